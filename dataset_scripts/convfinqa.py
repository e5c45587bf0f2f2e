"""ConvFinQA: conversations about a page of a financial report, each turn a number to find or to reckon.

The context is the page: the text before its table, the table a line a row, the text after it. The turns of a
conversation are its pairs, in their order. The program of a turn that reckons is the rationale. Read are whole
conversations (released anew as `convfinqa_dataset.json`, and as `train.json`, `dev.json`) and rows of one turn each.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hub_instructpt.collection import Hub, Licence, Question, Rejected, Release, Row, Source
from hub_instructpt.collection.files import json_items, opened
from hub_instructpt.collection.linear import passages, table


def questions(row: Row) -> Iterator[Question]:
    if "dialogue" in row:
        said, page = row["dialogue"], row["doc"]
        turns = zip(said["conv_questions"], said["conv_answers"], said["turn_program"], strict=True)
    else:
        said, page = row["annotation"], row
        if "cur_dial" in said:  # a row a turn: the conversation so far, and what is asked last
            turns = zip(said["cur_dial"][-1:], [said["exe_ans"]], [said["cur_program"]], strict=True)
        else:
            turns = zip(said["dialogue_break"], said["exe_ans_list"], said["turn_program"], strict=True)
    context = passages([("", _text(page["pre_text"])), ("", _table(page["table"])), ("", _text(page["post_text"]))])
    for asked, answer, program in turns:
        yield Question(context, asked, _number(answer), rationale=program if "(" in program else "")


def conversations(path: Path) -> Iterator[Row | Rejected]:
    """Rows of the release anew, a list for each split."""
    with opened(path) as stream:
        for rows in json.load(stream).values():
            yield from (row if isinstance(row, dict) else Rejected("not_an_object") for row in rows)


def _text(lines: str | list[str]) -> str:
    return lines if isinstance(lines, str) else " ".join(lines)


def _table(cells: Any) -> str:
    """A table as lists of cells, or as columns of {row name: value}."""
    if isinstance(cells, dict):
        names = list(dict.fromkeys(name for column in cells.values() for name in column))
        rows = [[name, *(_number(column.get(name, "")) for column in cells.values())] for name in names]
        return table(["", *cells], rows)
    return table(cells[0], cells[1:])


def _number(value: str | float) -> str:
    """A value as people write it: 25 for 25.0, and five decimals, as in the source, at most."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise TypeError("neither text nor a number")
    return value if isinstance(value, str) else f"{value:.5f}".rstrip("0").rstrip(".")


SOURCE = Source(
    name="ConvFinQA",
    title="Conversations about pages of financial reports, each turn a number to find or to reckon.",
    homepage="https://github.com/czyssrs/ConvFinQA",
    hub=Hub("AdaptLLM/ConvFinQA"),
    licence=Licence("MIT", "mit"),
    citation="""@inproceedings{chen-etal-2022-convfinqa,
  title = {{C}onv{F}in{QA}: Exploring the Chain of Numerical Reasoning in Conversational Finance Question Answering},
  author = {Chen, Zhiyu and Li, Shiyang and Smiley, Charese and Ma, Zhiqiang and Shah, Sameena and Wang, William Yang},
  booktitle = {Proceedings of EMNLP},
  year = {2022},
  url = {https://aclanthology.org/2022.emnlp-main.421}
}""",
    qa_type="arithmetic",
    questions=questions,
    example=(
        {
            "id": "Single_ABC/2009/page_1.pdf-1",
            "doc": {
                "pre_text": "The table shows rents in millions .",
                "post_text": "Rents are due monthly .",
                "table": {"2009": {"rents": 12.0, "fees": 1.5}, "2008": {"rents": 10.0, "fees": 1.25}},
            },
            "dialogue": {
                "conv_questions": ["what were the rents in 2009?", "and how much more is that than in 2008?"],
                "conv_answers": ["12", "2"],
                "turn_program": ["12", "subtract(12, 10)"],
                "executed_answers": [12.0, 2.0],
                "qa_split": [False, False],
            },
        },
        {
            "context": "The table shows rents in millions .\n\n| 2009 | 2008\nrents | 12 | 10\nfees | 1.5 | 1.25\n\n"
            "Rents are due monthly .",
            "QA_list": [
                {"Q": "what were the rents in 2009?", "A": "12"},
                {
                    "Q": "and how much more is that than in 2008?\nLet's think step by step.",
                    "A": "subtract(12, 10)\nTherefore, the answer is 2",
                },
            ],
            "QA_type": "arithmetic",
            "rc_name": "ConvFinQA",
        },
    ),
    release=[
        Release("**/convfinqa_dataset.json", conversations),
        Release("**/train.json", json_items()),
        Release("**/train_turn.json", json_items()),
    ],
)

records = SOURCE.records
