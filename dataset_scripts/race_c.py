"""RACE-C: English examinations of Chinese colleges, in the form of RACE, four options a question.

Rows of a question each and files of an article with all its questions are read alike.
"""

from hub_instructpt.collection import Hub, Licence, Release, Source
from hub_instructpt.collection.choices import exam
from hub_instructpt.collection.files import json_lines

SOURCE = Source(
    name="race_c",
    title="Reading comprehension of English examinations in colleges, four options a question.",
    homepage="https://github.com/mrcdata/race-c",
    hub=Hub("tasksource/race-c"),
    licence=Licence(
        "RACE-C, for non-commercial research only",
        "other",
        non_commercial=True,
        redistributable=False,
        note="Its licence file allows non-commercial research only.",
    ),
    citation="""@inproceedings{liang-etal-2019-new,
  title = {A New Multi-choice Reading Comprehension Dataset for Curriculum Learning},
  author = {Liang, Yichan and Li, Jianheng and Yin, Jian},
  booktitle = {Proceedings of ACML},
  year = {2019}
}""",
    qa_type="multiple-choice",
    questions=exam,
    example=(
        {
            "id": "college/0001.txt",
            "article": "Most letters in the archive are unsigned. Two of them name the harbour master as their writer.",
            "questions": ["Who wrote two of the letters?"],
            "options": [["The archivist.", "The harbour master.", "A sailor.", "Nobody knows."]],
            "answers": ["B"],
        },
        {
            "context": "Most letters in the archive are unsigned. Two of them name the harbour master as their writer.",
            "QA_list": [
                {
                    "Q": "Who wrote two of the letters?\nOptions:\n- The archivist.\n- The harbour master.\n"
                    "- A sailor.\n- Nobody knows.",
                    "A": "The harbour master.",
                }
            ],
            "QA_type": "multiple-choice",
            "rc_name": "race_c",
        },
    ),
    release=[Release("**/[0-9]*.txt", json_lines)],
    also_called=("race-c",),
)

records = SOURCE.records
