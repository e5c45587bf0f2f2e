"""FairytaleQA: questions of education experts about sections of children's stories, explicit and implicit.

The context is the section that a question is about; where it is about several, they stand in their order, a blank line
between them. Of several answers the first is taken. The release has the questions of a story in one file, its sections
in another; the Hub has a row a question.
"""

import csv
from collections.abc import Iterator
from pathlib import Path

from hub_instructpt.collection import Hub, Licence, Question, Rejected, Release, Row, Source
from hub_instructpt.collection.files import opened
from hub_instructpt.collection.linear import passages

# Names of the section and of the first answer in the release and in the Hub's copies.
SECTIONS = ("story_section", "section", "content", "context")
ANSWERS = ("answer1", "answer", "target")


def questions(row: Row) -> Iterator[Question]:
    section, answer = (next((name for name in names if name in row), names[0]) for names in (SECTIONS, ANSWERS))
    yield Question(row[section], row["question"], row[answer])


def released(path: Path) -> Iterator[Row | Rejected]:
    """Rows of a file of questions, each with the text of its sections."""
    folder, name = path.parts.index("questions"), path.name.replace("-questions.csv", "-story.csv")
    beside = Path(*path.parts[:folder], "section-stories", *path.parts[folder + 1 : -1], name)
    texts: dict[str, str] = {}
    if beside.is_file():
        with opened(beside) as lines:
            texts = {row["section"].strip(): row["text"] for row in csv.DictReader(lines)}
    with opened(path) as lines:
        for row in csv.DictReader(lines):
            wanted = [number.strip() for number in (row.get("cor_section") or "").split(",")]
            if not all(number in texts for number in wanted):
                yield Rejected("no_such_section")
            else:
                yield {**row, "story_section": passages([("", texts[number]) for number in wanted])}


SOURCE = Source(
    name="FairyTaleQA",
    title="Questions of education experts about sections of children's stories.",
    homepage="https://github.com/uci-soe/FairytaleQAData",
    hub=Hub("WorkInTheDark/FairytaleQA", num_rows=8_548),
    licence=Licence("Apache-2.0", "apache-2.0", note="The tales are in the public domain."),
    citation="""@inproceedings{xu-etal-2022-fantastic,
  title = {Fantastic Questions and Where to Find Them: {F}airytale{QA} -- An Authentic Dataset for Narrative
    Comprehension},
  author = {Xu, Ying and Wang, Dakuo and Yu, Mo and Ritchie, Daniel and Yao, Bingsheng and Wu, Tongshuang and
    Zhang, Zheng and Li, Toby and Bradford, Nora and Sun, Branda and Hoang, Tran and Sang, Yisi and Hou, Yufang and
    Ma, Xiaojuan and Yang, Diyi and Peng, Nanyun and Yu, Zhou and Warschauer, Mark},
  booktitle = {Proceedings of ACL},
  year = {2022},
  url = {https://aclanthology.org/2022.acl-long.34}
}""",
    qa_type="free-form",
    questions=questions,
    example=(
        {
            "story_name": "the-clever-miller",
            "story_section": "The miller hid the last sack of flour in the well, and nobody thought of looking there.",
            "question": "Where did the miller hide the flour?",
            "answer1": "In the well.",
            "answer2": "In a well.",
            "local-or-sum": "local",
            "attribute": "setting",
            "ex-or-im": "explicit",
        },
        {
            "context": "The miller hid the last sack of flour in the well, and nobody thought of looking there.",
            "QA_list": [{"Q": "Where did the miller hide the flour?", "A": "In the well."}],
            "QA_type": "free-form",
            "rc_name": "FairyTaleQA",
        },
    ),
    release=[Release("**/questions/**/*-questions.csv", released)],
)

records = SOURCE.records
