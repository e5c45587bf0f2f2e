"""MCTest: short stories for children, four questions a story, four options a question.

The release has a table of stories (`mc500.train.tsv`) beside one of the right letters (`mc500.train.ans`); line breaks
are written as `\\newline` there, and a question says first whether one sentence answers it (`one:`) or several
(`multiple:`). The Hub has a row a question.
"""

from collections.abc import Iterator
from pathlib import Path

from hub_instructpt.collection import Hub, Licence, Question, Rejected, Release, Row, Source
from hub_instructpt.collection.choices import right_option
from hub_instructpt.collection.files import opened

LETTERS = ("A", "B", "C", "D")


def questions(row: Row) -> Iterator[Question | Rejected]:
    options = row["answer_options"]
    texts = [options[letter] for letter in LETTERS] if isinstance(options, dict) else list(options)
    asked = row["question"].removeprefix("one:").removeprefix("multiple:").strip()
    yield Question(row["story"], asked, right_option(texts, row["answer"]), options=texts)


def stories(path: Path) -> Iterator[Row | Rejected]:
    """Rows of the release: every fifth field from the fourth on is a question, its options follow."""
    answers = path.with_suffix(".ans")
    right = answers.read_text("utf-8").splitlines() if answers.is_file() else []
    with opened(path) as lines:
        for number, line in enumerate(lines):
            fields = [
                field.replace("\\newline", "\n").replace("\\tab", "\t") for field in line.rstrip("\r\n").split("\t")
            ]
            if len(fields) < 8 or (len(fields) - 3) % 5:
                yield Rejected("fields_missing")
                continue
            letters = right[number].split("\t") if number < len(right) else []
            for i, start in enumerate(range(3, len(fields), 5)):
                yield {
                    "story": fields[2],
                    "question": fields[start],
                    "answer_options": fields[start + 1 : start + 5],
                    "answer": letters[i] if i < len(letters) else "",
                }


SOURCE = Source(
    name="mctest",
    title="Short stories for children with four questions each, four options a question.",
    homepage="https://mattr1.github.io/mctest/",
    hub=Hub("sagnikrayc/mctest", configs=("mc160", "mc500"), revision="refs/convert/parquet"),
    licence=Licence(
        "Microsoft Research licence (MSR-LA)",
        "other",
        non_commercial=True,
        redistributable=False,
        note="Microsoft's research licence allows non-commercial research only.",
    ),
    citation="""@inproceedings{richardson-etal-2013-mctest,
  title = {{MCT}est: A Challenge Dataset for the Open-Domain Machine Comprehension of Text},
  author = {Richardson, Matthew and Burges, Christopher J.C. and Renshaw, Erin},
  booktitle = {Proceedings of EMNLP},
  year = {2013},
  url = {https://aclanthology.org/D13-1020}
}""",
    qa_type="multiple-choice",
    questions=questions,
    example=(
        {
            "idx": {"story": "mc160.train.0", "question": 0},
            "question": "What did the goat eat?",
            "story": "A goat lived behind the school. One day it ate the teacher's hat.",
            "answer_options": {"A": "grass", "B": "a hat", "C": "a book", "D": "lunch"},
            "answer": "B",
            "question_is_multiple": False,
        },
        {
            "context": "A goat lived behind the school. One day it ate the teacher's hat.",
            "QA_list": [{"Q": "What did the goat eat?\nOptions:\n- grass\n- a hat\n- a book\n- lunch", "A": "a hat"}],
            "QA_type": "multiple-choice",
            "rc_name": "mctest",
        },
    ),
    release=[Release("**/mc*.tsv", stories)],
)

records = SOURCE.records
