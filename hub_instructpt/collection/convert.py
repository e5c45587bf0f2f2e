"""From rows to records: questions are checked, written in the wire format, and grouped by their context.

Keeps true: what `source.py` says of a record; every question left out is counted with its reason, and named; contexts
come in the order in which they first appear; memory does not grow with the number of rows.
Does not know files, or which dataset it is.
"""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hub_instructpt.collection.grouping import Grouping
from hub_instructpt.collection.ledger import Entry, Ledger, What, id_of
from hub_instructpt.collection.source import Question, Record, Rejected, Row, Source
from hub_instructpt.markup import MARKERS
from hub_instructpt.rendering.questions import OPTIONS, THEREFORE, THINK

MALFORMED = (KeyError, TypeError, ValueError, IndexError, AttributeError)
_PLACES = 1 << 20
"""Questions that a row may have, in the number that says where a pair came from."""


def written(question: Question) -> tuple[str, str]:
    """A question and its answer in the wire format: options and rationale inside.

    Raises:
        Rejected: when something is empty, holds a marker, or does not fit together.
    """
    texts = (question.context, question.question, question.answer, question.rationale, *question.options)
    if not all(isinstance(text, str) for text in texts):
        raise Rejected("not_text")
    asked, answer = question.question.strip(), question.answer.strip()
    rationale, options = question.rationale.strip(), [" ".join(option.split()) for option in question.options]
    if not question.context.strip():
        raise Rejected("empty_context")
    if not asked:
        raise Rejected("empty_question")
    if not answer:
        raise Rejected("empty_answer")
    whole = "\0".join(texts)
    if any(marker in whole for marker in MARKERS):
        raise Rejected("marker_in_text")
    # Whoever reads a pair tells options and reasoning by these cues, so no text may hold one of its own.
    if "\n" in whole and any(cue in text for text in (asked, answer, rationale) for cue in (OPTIONS, THINK, THEREFORE)):
        raise Rejected("cue_in_text")
    if options:
        answer = " ".join(answer.split())
        if "" in options or len(options) < 2 or len(set(options)) < len(options):
            raise Rejected("unusable_options")
        if answer not in options:
            raise Rejected("answer_not_an_option")
        asked += OPTIONS + "\n- ".join(options)
    if rationale:
        asked += THINK
        answer = rationale + THEREFORE + answer
    return asked, answer


@dataclass(frozen=True, slots=True)
class Part:
    """Rows that lie together: the name of their file, or of their dataset on the Hub. A row that could not even be
    read as one is a `Rejected` in its place."""

    name: str
    rows: Iterable[Row | Rejected]


class Conversion:
    """A dataset on its way from rows to records. Close it, or use it in a `with`.

    Args:
        source: the declaration.
        path: where pairs are grouped; None takes a nameless temporary file.
        counts: is counted into: `rows/read`, `rows_rejected/REASON`, `rows_cut/REASON`,
            `questions_rejected/REASON`, `questions/read`.
    """

    def __init__(self, source: Source, path: Path | None = None, counts: Counter[str] | None = None) -> None:
        self.source = source
        self.ledger = Ledger(counts)
        self.counts = self.ledger.counts
        self._grouping = Grouping(path)
        self._parts: list[tuple[str, int]] = []

    def __enter__(self) -> Conversion:
        return self

    def __exit__(self, *_: object) -> None:
        self._grouping.close()

    def read(self, part: Part) -> Iterator[None]:
        """Take the rows of a part, one at each step, so that whoever drives this can show progress."""
        first = self.counts["rows/read"]
        self._parts.append((part.name, first))
        for number, row in enumerate(part.rows):
            self.counts["rows/read"] += 1
            self._take(row, number, first + number)
            yield

    def _take(self, row: Row | Rejected, number: int, place: int) -> None:
        index = -1
        try:
            if isinstance(row, Rejected):
                raise row
            for index, question in enumerate(self.source.questions(row)):
                self.counts["questions/read"] += 1
                try:
                    if isinstance(question, Rejected):
                        raise question
                    if self.source.qa_type == "multiple-choice" and not question.options:
                        raise Rejected("no_options")
                    asked, answer = written(question)
                    self._grouping.add(question.context.strip(), asked, answer, place * _PLACES + index)
                except Rejected as rejected:
                    self._reject("questions_rejected", rejected.reason, row, number, index)
                except UnicodeEncodeError:  # a lone surrogate, which no file of the collection could hold
                    self._reject("questions_rejected", "invalid_unicode", row, number, index)
        except Rejected as rejected:
            self._reject("rows_rejected" if index < 0 else "rows_cut", rejected.reason, row, number)
        except MALFORMED as error:
            what: What = "rows_rejected" if index < 0 else "rows_cut"
            self._reject(what, f"malformed_{type(error).__name__}", row, number, detail=_stumbled(error))

    def _reject(
        self, what: What, reason: str, row: Any, number: int, question: int | None = None, detail: str | None = None
    ) -> None:
        if self.ledger.wants(what, reason):
            name = self._parts[-1][0]
            self.ledger.entries.append(Entry(what, reason, name, number, question, id_of(row), detail))

    def records(self, cap: int | None = None, seed: int = 0) -> Iterator[Record]:
        """Records of all rows that were read: at most `cap`, those with the most pairs first to stay.

        Counts `records/kept`, `pairs/kept`, and `records/over_cap`, `pairs/over_cap`.
        """
        for group in self._grouping.groups(cap, seed, self._repeated):
            self.counts["records/kept"] += 1
            self.counts["pairs/kept"] += len(group.pairs)
            yield {
                "context": group.context,
                "QA_list": [{"Q": question, "A": answer} for question, answer in group.pairs],
                "QA_type": self.source.qa_type,
                "rc_name": self.source.name,
            }
        over = self._grouping.capped
        if over.groups:
            self.counts["records/over_cap"] += over.groups
            self.counts["pairs/over_cap"] += over.pairs

    def _repeated(self, place: int) -> None:
        row, question = divmod(place, _PLACES)
        if self.ledger.wants("questions_rejected", "repeated_on_context"):
            name, first = next((name, first) for name, first in reversed(self._parts) if first <= row)
            entry = Entry("questions_rejected", "repeated_on_context", name, row - first, question)
            self.ledger.entries.append(entry)


def convert(source: Source, rows: Iterable[Row | Rejected], counts: Counter[str] | None = None) -> Iterator[Record]:
    """Records of rows, all of them."""
    with Conversion(source, counts=counts) as conversion:
        for _ in conversion.read(Part("rows", rows)):
            pass
        yield from conversion.records()


def _stumbled(error: BaseException) -> str:
    """Where a converter stumbled over a row, without a word of the row: a key that it lacks, a line of the file."""
    key = f" {error.args[0]!r:.60}" if isinstance(error, KeyError) and error.args else ""
    [*_, last] = traceback.extract_tb(error.__traceback__)
    return f"{type(error).__name__}{key} at {Path(last.filename).name}:{last.lineno}"
