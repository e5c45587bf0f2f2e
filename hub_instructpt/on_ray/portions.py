"""Portions: which shards the next task makes.

Large ones first and small ones last, so that tasks have something to go on with while a shard's last texts are
answered, and yet all end together. A shard is in one portion only.

Keeps true: nothing behind the end of the source is made but to find that end.
Does not know who makes them.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from hub_instructpt.runs.manifest import Manifest
from hub_instructpt.runs.plan import expected_rows, known_rows

MOST_OF_FILES = 16
"""Shards in a portion. One of a Hub dataset has no such bound: each task reads from the beginning of the dataset up to
its rows, so there should be few."""


@dataclass(slots=True)
class Portions:
    """The shards of a run that are left to be made.

    Attributes:
        left: those that are there, as far as is known.
        sure: there are no others.
    """

    manifest: Manifest
    left: deque[int] = field(default_factory=deque)
    sure: bool = False
    _beyond: int = 0
    _expected: bool = False

    @classmethod
    def of(cls, manifest: Manifest) -> Portions:
        """What is left of a run."""
        per_shard, limit = manifest.settings.rows_per_shard, manifest.settings.limit
        known, expected = known_rows(manifest), expected_rows(manifest)
        sealed = {shard.index for shard in manifest.shards}
        shards = -(-(known if known is not None else expected or 0) // per_shard)
        left = deque(index for index in range(shards) if index not in sealed)
        sure = known is not None or (limit is not None and expected is not None and expected >= limit)
        return cls(manifest, left, sure, shards, expected is not None)

    def ended(self) -> None:
        """A shard was found behind which the source has no rows."""
        self.sure = True

    def next(self, at_once: int, others: int) -> tuple[int, ...]:
        """The shards of the next task; none where there is nothing to do for it, for now.

        Args:
            at_once: tasks that work at the same time.
            others: tasks that are working now. What they find tells whether there are more rows than expected.
        """
        if self.left:
            size = max(1, len(self.left) // (2 * at_once))
            if self.manifest.source.kind == "files":
                size = min(size, MOST_OF_FILES)
            return tuple(self.left.popleft() for _ in range(size))
        if self.sure or (self._expected and others):
            return ()
        limit, per_shard = self.manifest.settings.limit, self.manifest.settings.rows_per_shard
        sealed = {shard.index for shard in self.manifest.shards}
        while self._beyond in sealed:
            self._beyond += 1
        if limit is not None and self._beyond * per_shard >= limit:
            return ()
        self._beyond += 1
        return (self._beyond - 1,)
