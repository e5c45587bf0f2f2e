"""What was left out of a dataset, and why: counted in full, and the first ones of every reason by name.

Keeps true: an entry names a row or a question by file, number and id, and holds none of its text; there are at most
`NAMED` entries a reason, however many rows are rejected. Does not know which reasons there are.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any, Literal

import orjson

NAMED = 100
"""Entries of each reason; the counts tell how many there were."""
ID_COLUMNS = ("id", "_id", "qid", "question_id", "example_id", "id_string", "dialogue_id", "q_no", "pubid", "story_id")
LONGEST_ID = 100

What = Literal["rows_rejected", "rows_cut", "questions_rejected"]


@dataclass(frozen=True, slots=True)
class Entry:
    """A row or a question that was left out.

    Attributes:
        what: `rows_rejected`; `rows_cut` for a row that broke off after some of its questions were taken;
            `questions_rejected`.
        reason: a short word.
        file: the file, or the Hub dataset with config and split.
        row: its number there, from 0.
        question: its number in the row, from 0.
        id: as the row itself calls it.
        detail: of a malformed row, where the converter stumbled.
    """

    what: What
    reason: str
    file: str
    row: int
    question: int | None = None
    id: str | int | None = None
    detail: str | None = None


class Ledger:
    """Counts by `what/reason`, and entries."""

    def __init__(self, counts: Counter[str] | None = None) -> None:
        self.counts: Counter[str] = Counter() if counts is None else counts
        self.entries: list[Entry] = []
        self._named: Counter[str] = Counter()

    def wants(self, what: What, reason: str) -> bool:
        """Count one; tells whether it is to be named as well."""
        key = f"{what}/{reason}"
        self.counts[key] += 1
        self._named[key] += 1
        return self._named[key] <= NAMED

    def lines(self) -> bytes:
        """The entries as JSON Lines, in the order in which they were met; repeated questions are met last."""
        known = ({key: value for key, value in asdict(entry).items() if value is not None} for entry in self.entries)
        return b"".join(orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE) for entry in known)


def id_of(row: Any) -> str | int | None:
    """What a row calls itself, if it does."""
    if not isinstance(row, dict):
        return None
    for column in ID_COLUMNS:
        value = row.get(column)
        if isinstance(value, str) and value:
            return value[:LONGEST_ID].encode("utf-8", "replace").decode()
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    return None
