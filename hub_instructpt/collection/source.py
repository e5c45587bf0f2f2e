"""What a source dataset is: its declaration, and how its rows become records of the collection.

A converter in dataset_scripts/ declares a `Source` and gives one pure function, from a row to its questions. Everything
that all 35 have in common is done here, once: grouping by context, options and rationales in the wire format, what is
rejected and why.

    {"context": "…", "QA_list": [{"Q": "…", "A": "…"}], "QA_type": "extractive", "rc_name": "squad"}

Keeps true: a record has a context, at least one pair, no empty field, no marker of the wire format inside a text, and
no question twice; the answer to a question with options is one of them. What can not be so is counted with its reason.
Does not know where rows come from, or where records go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypedDict

Row = dict[str, Any]
"""A row as the Hub gives it, or one of the source's own release."""

QAType = Literal["extractive", "free-form", "multiple-choice", "yes-no", "conversational", "arithmetic", "table"]


class QA(TypedDict):
    """One question with its answer, as the collection writes them."""

    Q: str
    A: str


class Record(TypedDict):
    """One context with all its questions."""

    context: str
    QA_list: list[QA]
    QA_type: str
    rc_name: str


class Rejected(Exception):
    """Raised by a converter for a row or a question that can not be used.

    Args:
        reason: a short word for counting, such as `no_answer` or `hidden_test_label`.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Question:
    """One question on a context, before it is written in the wire format.

    Args:
        context: the text it is asked about.
        question: the question alone, without options.
        answer: the answer; with options, the text of the right one.
        options: texts of the options, in the source's order, without letters.
        rationale: the reasoning that leads to the answer, where the source has one.
    """

    context: str
    question: str
    answer: str
    options: Sequence[str] = ()
    rationale: str = ""


@dataclass(frozen=True, slots=True)
class Hub:
    """Where the dataset lies on the Hub.

    Args:
        repo_id: NAMESPACE/NAME.
        configs: the configs that are read, one after the other; None means the default one.
        split: the split that is read.
        revision: the commit that the declaration was written for, where it is known. `refs/convert/parquet` for
            repos that still hold a loading script.
        num_rows: rows of the split as the dataset's card declares them, all configs together.
    """

    repo_id: str
    configs: Sequence[str | None] = (None,)
    split: str = "train"
    revision: str | None = None
    num_rows: int | None = None


@dataclass(frozen=True, slots=True)
class Licence:
    """Under which terms the source may be used.

    Args:
        name: as people call it, such as `CC BY-SA 4.0`.
        hub_id: as the Hub's metadata calls it, such as `cc-by-sa-4.0`; `other` or `unknown` where it has no name.
        share_alike, non_commercial: what it asks for.
        redistributable: False when copies must not be passed on: such a part is collected, and never pushed.
        note: what else a user must know, in one sentence.
    """

    name: str
    hub_id: str
    share_alike: bool = False
    non_commercial: bool = False
    redistributable: bool = True
    note: str = ""

    @property
    def restrictions(self) -> list[str]:
        """Why these terms must be accepted before the dataset is collected unasked; empty when they need not be."""
        found = ["non-commercial"] if self.non_commercial else []
        found += [] if self.redistributable else ["must not be passed on"]
        return found + (["unclear"] if self.hub_id == "unknown" else [])


@dataclass(frozen=True, slots=True)
class Release:
    """A file of the source's own release.

    Args:
        pattern: glob of its path below the dataset's folder, such as `dev-v1.*.json` or `csv/**/*.csv`.
        rows: reads the file into rows, one at a time; what can not be read as one is a `Rejected` in its place.
        only_named: left aside in a folder, since it repeats rows of other files there; read when it is given itself.
    """

    pattern: str
    rows: Callable[[Path], Iterator[Row | Rejected]]
    only_named: bool = False


@dataclass(frozen=True)
class Source:
    """The declaration of a source dataset.

    Args:
        name: its name in the collection, and the folder it is written to.
        title: what it holds, in one sentence.
        homepage: where it comes from.
        hub: where it lies on the Hub; None when it is not there.
        licence: its terms.
        citation: BibTeX.
        qa_type: what its questions are.
        questions: pure function from one row to its questions. It raises `Rejected` for a row that can not be used.
            KeyError, TypeError, ValueError, IndexError and AttributeError are taken for a malformed row. To reject one
            question of a row and go on, it yields `Rejected(reason)` in its place.
        example: one real-looking row and the record that becomes of it.
        release: files of the source's own release that are read as well.
        extractive: whether answers are spans of their context.
        also_called: other names of it, such as that of its config in the published collection.
    """

    name: str
    title: str
    homepage: str
    hub: Hub | None
    licence: Licence
    citation: str
    qa_type: QAType
    questions: Callable[[Row], Iterator[Question | Rejected]]
    example: tuple[Row, Record]
    release: Sequence[Release] = ()
    extractive: bool = False
    also_called: Sequence[str] = ()

    def records(self, rows: Iterable[Row]) -> Iterator[Record]:
        """Records of rows, all of them; `collect` writes whole datasets, and tells what was left out."""
        from hub_instructpt.collection.convert import convert

        yield from convert(self, rows)
