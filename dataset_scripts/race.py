"""RACE: English examinations of Chinese middle and high schools, four options a question.

The Hub has a row a question, the release a JSON file an article. Cloze questions keep their blank (`_`).
"""

from hub_instructpt.collection import Hub, Licence, Release, Source
from hub_instructpt.collection.choices import exam
from hub_instructpt.collection.files import json_lines

SOURCE = Source(
    name="race",
    title="Reading comprehension of English examinations in middle and high schools, four options a question.",
    homepage="https://www.cs.cmu.edu/~glai1/data/race/",
    hub=Hub("ehovy/race", configs=("all",), num_rows=87_866),
    licence=Licence(
        "RACE, for non-commercial research only",
        "other",
        non_commercial=True,
        redistributable=False,
        note="The authors allow non-commercial research only; copies are to be had from them.",
    ),
    citation="""@inproceedings{lai-etal-2017-race,
  title = {{RACE}: Large-scale {R}e{A}ding Comprehension Dataset From Examinations},
  author = {Lai, Guokun and Xie, Qizhe and Liu, Hanxiao and Yang, Yiming and Hovy, Eduard},
  booktitle = {Proceedings of EMNLP},
  year = {2017},
  url = {https://aclanthology.org/D17-1082}
}""",
    qa_type="multiple-choice",
    questions=exam,
    example=(
        {
            "example_id": "middle0001.txt",
            "article": "Lin went to the river with her aunt. They forgot the bread, so they bought apples.",
            "question": "What did they eat at the river?",
            "options": ["Bread.", "Apples.", "Fish.", "Nothing."],
            "answer": "B",
        },
        {
            "context": "Lin went to the river with her aunt. They forgot the bread, so they bought apples.",
            "QA_list": [
                {
                    "Q": "What did they eat at the river?\nOptions:\n- Bread.\n- Apples.\n- Fish.\n- Nothing.",
                    "A": "Apples.",
                }
            ],
            "QA_type": "multiple-choice",
            "rc_name": "race",
        },
    ),
    release=[Release("**/[0-9]*.txt", json_lines)],
)

records = SOURCE.records
