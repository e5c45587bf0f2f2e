"""WikiTableQuestions: questions about tables of Wikipedia.

The context is the table, a line a row. An answer of several values is written as their list. The Hub's rows hold their
table; the release names it (`csv/204-csv/590.csv`) below its own folder.
"""

import csv
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from hub_instructpt.collection import Hub, Licence, Question, Rejected, Release, Row, Source
from hub_instructpt.collection.files import opened, table_rows
from hub_instructpt.collection.linear import table

_ESCAPES = {"n": "\n", "p": "|", "\\": "\\"}


def questions(row: Row) -> Iterator[Question]:
    answers = row["answers"]
    if not isinstance(answers, list):
        raise TypeError("answers that are no list")
    if not answers:
        raise Rejected("hidden_test_label")
    yield Question(table(row["table"]["header"], row["table"]["rows"]), row["question"], ", ".join(answers))


def released(path: Path) -> Iterator[Row | Rejected]:
    """Rows of the release's question files, each with its table in the Hub's form."""
    folder = next((parent for parent in path.parents if (parent / "csv").is_dir()), path.parent)
    for row in table_rows()(path):
        values = row.get("targetValue")
        if not row.get("context") or values is None:
            yield Rejected("fields_missing")
            continue
        lines = _table(folder / row["context"])
        if not lines:
            yield Rejected("no_such_table")
            continue
        yield {
            "id": row["id"],
            "question": _unescaped(row["utterance"]),
            "answers": [_unescaped(value) for value in values.split("|") if value],
            "table": {"header": lines[0], "rows": lines[1:], "name": row["context"]},
        }


@lru_cache(maxsize=512)  # questions on one table follow each other, nearly
def _table(path: Path) -> list[list[str]]:
    """Lines of cells; empty where the table is not there. Quotes within a cell are escaped by a backslash."""
    if not path.is_file():
        return []
    with opened(path) as stream:
        return [line for line in csv.reader(stream, doublequote=False, escapechar="\\") if line]


def _unescaped(text: str) -> str:
    r"""A field of the question files, where \n, \p and \\ stand for a line break, a bar and a backslash."""
    if "\\" not in text:
        return text
    pieces = iter(text)
    return "".join(_ESCAPES.get(next(pieces, ""), "") if piece == "\\" else piece for piece in pieces)


SOURCE = Source(
    name="WikiTableQuestions",
    title="Questions about tables of Wikipedia.",
    homepage="https://github.com/ppasupat/WikiTableQuestions",
    hub=Hub("stanfordnlp/wikitablequestions", configs=("random-split-1",), num_rows=11_321),
    licence=Licence("CC BY-SA 4.0", "cc-by-sa-4.0", share_alike=True),
    citation="""@inproceedings{pasupat-liang-2015-compositional,
  title = {Compositional Semantic Parsing on Semi-Structured Tables},
  author = {Pasupat, Panupong and Liang, Percy},
  booktitle = {Proceedings of ACL-IJCNLP},
  year = {2015},
  url = {https://aclanthology.org/P15-1142}
}""",
    qa_type="table",
    questions=questions,
    example=(
        {
            "id": "nt-0",
            "question": "which ships were launched after 1900?",
            "answers": ["Dorothea", "Petrel"],
            "table": {
                "header": ["Name", "Launched"],
                "rows": [["Alma", "1898"], ["Dorothea", "1902"], ["Petrel", "1911"]],
                "name": "csv/200-csv/0.csv",
            },
        },
        {
            "context": "Name | Launched\nAlma | 1898\nDorothea | 1902\nPetrel | 1911",
            "QA_list": [{"Q": "which ships were launched after 1900?", "A": "Dorothea, Petrel"}],
            "QA_type": "table",
            "rc_name": "WikiTableQuestions",
        },
    ),
    release=[
        Release("**/training.tsv", released),
        Release("**/pristine-unseen-tables.tsv", released),
        Release("**/random-split-[1-5]-*.tsv", released, only_named=True),
    ],
)

records = SOURCE.records
