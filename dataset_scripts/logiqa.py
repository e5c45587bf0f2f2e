"""LogiQA: logical reasoning of the Chinese civil service examination, in English, four options a question.

Read are the Hub's rows, the release (blocks of a blank line, the letter, the text, the question and four options), and
the rows of LogiQA 2.0 and of AGIEval.
"""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from hub_instructpt.collection import Hub, Licence, Question, Rejected, Release, Row, Source
from hub_instructpt.collection.choices import right_option, unlettered
from hub_instructpt.collection.files import json_lines, opened

# Text, question and right option under the names of the Hub's copy, of LogiQA 2.0 and of AGIEval.
FORMS = (
    ("context", "query", "correct_option"),
    ("text", "question", "answer"),
    ("passage", "question", "label"),
)


def questions(row: Row) -> Iterator[Question]:
    context, asked, right = next((form for form in FORMS if form[0] in row and form[1] in row), FORMS[0])
    options = unlettered(row["options"])
    yield Question(row[context], row[asked], right_option(options, row.get(right, "")), options=options)


def blocks(path: Path) -> Iterator[Row | Rejected]:
    """Rows of the release, eight lines each, and of LogiQA 2.0's files of the same name, an object a line."""
    with opened(path) as lines:
        begins = next((line.strip() for line in lines if line.strip()), "")
    if begins.startswith("{"):
        yield from json_lines(path)
        return
    with opened(path) as lines:
        filled = (line.strip() for line in lines if line.strip())
        while block := list(islice(filled, 7)):
            if len(block) < 7 or block[0].lower() not in ("a", "b", "c", "d"):
                yield Rejected("not_a_block")
                return
            yield {"correct_option": block[0], "context": block[1], "query": block[2], "options": block[3:]}


SOURCE = Source(
    name="LogiQA",
    title="Logical reasoning of the Chinese civil service examination, four options a question.",
    homepage="https://github.com/lgw863/LogiQA-dataset",
    hub=Hub("lucasmccabe/logiqa", revision="refs/convert/parquet", num_rows=7_376),
    licence=Licence(
        "not stated (LogiQA 2.0: CC BY-NC-SA 4.0)",
        "unknown",
        share_alike=True,
        non_commercial=True,
        redistributable=False,
        note="The first release states no licence; its successor is for non-commercial use.",
    ),
    citation="""@inproceedings{liu2020logiqa,
  title = {{LogiQA}: A Challenge Dataset for Machine Reading Comprehension with Logical Reasoning},
  author = {Liu, Jian and Cui, Leyang and Liu, Hanmeng and Huang, Dandan and Wang, Yile and Zhang, Yue},
  booktitle = {Proceedings of IJCAI},
  year = {2020}
}""",
    qa_type="multiple-choice",
    questions=questions,
    example=(
        {
            "context": "All members of the choir can read music. Some members of the choir play the oboe.",
            "query": "Which of the following follows?",
            "options": [
                "Some who play the oboe can read music.",
                "All who play the oboe can read music.",
                "Nobody who plays the oboe sings.",
                "All who read music are members of the choir.",
            ],
            "correct_option": 0,
        },
        {
            "context": "All members of the choir can read music. Some members of the choir play the oboe.",
            "QA_list": [
                {
                    "Q": "Which of the following follows?\nOptions:\n- Some who play the oboe can read music.\n"
                    "- All who play the oboe can read music.\n- Nobody who plays the oboe sings.\n"
                    "- All who read music are members of the choir.",
                    "A": "Some who play the oboe can read music.",
                }
            ],
            "QA_type": "multiple-choice",
            "rc_name": "LogiQA",
        },
    ),
    release=[Release(f"**/{name}.txt", blocks) for name in ("Train", "Eval", "Test", "train", "dev", "test")],
)

records = SOURCE.records
