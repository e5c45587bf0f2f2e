"""Which part of a run is whose: shard k belongs to worker k mod N.

So that workers of one speed end together, whatever of a run is done already, and another N may go on with what is left.

Keeps true: each shard belongs to one worker. Does not know rows.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from hub_instructpt.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Worker:
    """Worker `index` of so many, counted from 0."""

    index: int
    of: int

    def __str__(self) -> str:
        return f"{self.index}/{self.of}"

    def has(self, shard: int) -> bool:
        """Whether a shard is its own."""
        return shard % self.of == self.index

    @classmethod
    def parse(cls, text: str) -> Worker:
        """Read `I/N`. Schedulers count from 0 or from 1: worker N of N is worker 0.

        Raises:
            SettingsError: it is nothing like that.
        """
        found = re.fullmatch(r"\s*(\d{1,9})\s*/\s*(\d{1,9})\s*", text)
        index, of = map(int, found.groups()) if found else (1, 0)
        if index > of or not of:
            raise SettingsError(
                f"--worker {text[:40]!r} is not I/N.",
                advice="N workers share a run: --worker 0/N to --worker N-1/N, or 1/N to N/N.",
            )
        return cls(index % of, of)


ALONE = Worker(0, 1)
