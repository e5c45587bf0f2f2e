"""The plan of a process: which shards of a run it makes, and which rows of the source it reads for them.

Keeps true: shard k covers the rows [k R, (k + 1) R), whoever makes it.
Does not know why a shard is to be made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

from hub_instructpt.runs.manifest import Manifest
from hub_instructpt.runs.share import ALONE, Worker


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done.

    Attributes:
        manifest: of the run, as it is.
        has: whether a shard is to be made here, by its number.
        num_rows: of the whole run, where that is known for sure.
        rows_done: by earlier processes, of the rows that this one would have had to do.
        worker: who makes them; others make other shards of this run.
    """

    manifest: Manifest
    has: Callable[[int], bool]
    num_rows: int | None
    rows_done: int = 0
    worker: Worker = ALONE

    def has_row(self, index: int) -> bool:
        """Whether a row of the source belongs to a shard that is to be made."""
        return self.has(index // self.manifest.settings.rows_per_shard)

    def rows_left(self) -> int | None:
        """Rows to be read; None when nobody knows."""
        known = self.num_rows if self.num_rows is not None else expected_rows(self.manifest)
        if known is None:
            return None
        per_shard = self.manifest.settings.rows_per_shard
        shards = range(-(-known // per_shard))
        return sum(min(per_shard, known - k * per_shard) for k in shards if self.has(k))

    def span(self) -> tuple[int, int | None] | None:
        """First row to be read, and the one after the last (None: to the end); None when there is nothing to do."""
        per_shard, limit = self.manifest.settings.rows_per_shard, self.manifest.settings.limit
        if self.num_rows is None:
            return per_shard * next(k for k in count() if self.has(k)), limit
        own = [k for k in range(-(-self.num_rows // per_shard)) if self.has(k)]
        return (own[0] * per_shard, min(self.num_rows, (own[-1] + 1) * per_shard)) if own else None


def known_rows(manifest: Manifest) -> int | None:
    """Rows that a run covers, where that is known for sure: of local files, and when the end was reached once."""
    if manifest.num_rows is not None:
        return manifest.num_rows
    last = manifest.shards[-1] if manifest.shards else None
    if last is not None and last.num_source_rows < manifest.settings.rows_per_shard:
        return last.source_rows[1]
    if manifest.finished:  # by a version that did not note it
        return manifest.rows_sealed
    return expected_rows(manifest) if manifest.source.kind == "files" else None


def expected_rows(manifest: Manifest) -> int | None:
    """Rows that a run covers, as far as its source tells."""
    counts = [number for number in (manifest.source.num_rows, manifest.settings.limit) if number is not None]
    return min(counts) if manifest.source.num_rows is not None else None
