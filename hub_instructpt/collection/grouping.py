"""Pairs grouped by their context, on disk: a dataset may have millions of them, in any order.

Contexts are told apart by a digest and stored once; pairs are stored under their context. Whoever reads gets one group
a context, in the order in which contexts first appeared, and its pairs in the order in which they came.

Keeps true: what is held in memory does not grow with the dataset; a question stands once on its context, letters of
either case being the same (as the published parser has it), and the first one stays; with a cap, the groups with the
most pairs stay, ties broken by a digest of seed and context, so the choice does not depend on the order of rows.
Does not know rows, sources, or the wire format.
"""

from __future__ import annotations

import hashlib
import heapq
import sqlite3
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path

CACHE_KIB = 64 * 1024
REMEMBERED = 50_000
"""Contexts whose number is found without asking the disk."""
BATCH = 2_000
SHIFT = 32

Stored = tuple[int, int, str, str]
"""A pair as it lies there: context number and sequence number in one, where it came from, question, answer."""


@dataclass(frozen=True, slots=True)
class Group:
    """One context with its pairs, each (question, answer)."""

    context: str
    pairs: list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Capped:
    """What a cap left out."""

    groups: int = 0
    pairs: int = 0


class Grouping:
    """A store of pairs that gives them back by context. Close it, or use it in a `with`.

    Args:
        path: where the store lies while it is open; None takes a nameless file in the system's temporary folder.

    Attributes:
        capped: what the cap of the last reading left out.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._remove()
        self._base = sqlite3.connect("" if path is None else path, isolation_level=None)
        # The store is thrown away after a crash, so nothing needs to be safe from one.
        for pragma in ("journal_mode=OFF", "synchronous=OFF", f"cache_size=-{CACHE_KIB}", "locking_mode=EXCLUSIVE"):
            self._base.execute(f"PRAGMA {pragma}").close()
        self._base.execute("CREATE TABLE contexts (number INTEGER PRIMARY KEY, digest BLOB UNIQUE, context TEXT)")
        self._base.execute("CREATE TABLE pairs (key INTEGER PRIMARY KEY, place INTEGER, question TEXT, answer TEXT)")
        self._base.execute("BEGIN")
        self._waiting: list[Stored] = []
        self._numbers: OrderedDict[bytes, int] = OrderedDict()
        self._last: tuple[str | None, int] = (None, -1)
        self._contexts = self._pairs = 0
        self.capped = Capped()

    def __enter__(self) -> Grouping:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Throw everything away."""
        self._base.close()
        self._remove()

    def _remove(self) -> None:
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def add(self, context: str, question: str, answer: str, place: int = 0) -> None:
        """Store a pair.

        Args:
            place: any number; it is given back when the pair turns out to repeat a question.

        Raises:
            UnicodeEncodeError: one of the texts is no valid Unicode.
        """
        if not (question.isascii() and answer.isascii()):  # a context without a pair must never be stored
            question.encode(), answer.encode()
        # A question on the context of the one before is the common case, and needs no digest.
        number = self._last[1] if context == self._last[0] else self._number(context)
        self._waiting.append((number << SHIFT | self._pairs, place, question, answer))
        self._pairs += 1
        if len(self._waiting) >= BATCH:
            self._flush()

    def _number(self, context: str) -> int:
        digest = hashlib.blake2b(context.encode(), digest_size=16).digest()
        number = self._numbers.get(digest)
        if number is None:
            found = self._base.execute("SELECT number FROM contexts WHERE digest = ?", (digest,)).fetchone()
            number = self._contexts if found is None else found[0]
            if found is None:
                self._base.execute("INSERT INTO contexts VALUES (?, ?, ?)", (number, digest, context))
                self._contexts += 1
            self._numbers[digest] = number
            if len(self._numbers) > REMEMBERED:
                self._numbers.popitem(last=False)
        self._last = (context, number)
        return number

    def _flush(self) -> None:
        self._base.executemany("INSERT INTO pairs VALUES (?, ?, ?, ?)", self._waiting)
        self._waiting.clear()

    def groups(
        self, cap: int | None = None, seed: int = 0, repeated: Callable[[int], None] = lambda place: None
    ) -> Iterator[Group]:
        """Every group in the order of its context's first appearance; of more than `cap`, those with the most pairs.

        Args:
            cap: groups at most; None for all.
            seed: of the choice between groups of as many pairs.
            repeated: called with the place of each pair whose question stood on its context before.
        """
        self._flush()
        chosen = self.chosen(cap, seed)
        contexts = self._base.execute("SELECT number, context FROM contexts ORDER BY number")
        pairs = self._base.execute("SELECT key >> 32, place, question, answer FROM pairs ORDER BY key")
        try:
            for (number, context), (_, stored) in zip(contexts, groupby(pairs, itemgetter(0)), strict=True):
                kept: dict[str, tuple[str, str]] = {}
                for _, place, question, answer in stored:
                    key = question.lower()
                    if key in kept:
                        repeated(place)
                    else:
                        kept[key] = (question, answer)
                if chosen is None or number in chosen:
                    yield Group(context, list(kept.values()))
        finally:
            contexts.close()
            pairs.close()

    def chosen(self, cap: int | None, seed: int) -> set[int] | None:
        """Numbers of the contexts that stay under a cap; None when all do. Sets `capped`."""
        self.capped = Capped()
        if cap is None or self._contexts <= cap:
            return None
        best: list[tuple[int, bytes, int]] = []
        total = 0
        salt = str(seed).encode()
        digests = self._base.execute("SELECT digest FROM contexts ORDER BY number")
        pairs = self._base.execute("SELECT key >> 32, question FROM pairs ORDER BY key")
        for (digest,), (number, stored) in zip(digests, groupby(pairs, itemgetter(0)), strict=True):
            count = len({question.lower() for _, question in stored})
            total += count
            tie = hashlib.blake2b(digest, digest_size=8, key=salt).digest()
            (heapq.heappush if len(best) < cap else heapq.heappushpop)(best, (count, tie, number))
        self.capped = Capped(self._contexts - len(best), total - sum(count for count, _, _ in best))
        return {number for _, _, number in best}
