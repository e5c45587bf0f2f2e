"""Samples of a corpus for its card: the ones that its manifest has chosen, read from the shards that hold them.

Keeps true: which ones they are follows from the corpus and from nobody's taste; each is cut to a size that a page can
bear, however long its text is, and says so.
Does not know how they are shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hub_instructpt.evidence import Place, chosen
from hub_instructpt.records import Pair
from hub_instructpt.runs.manifest import ShardFacts

TEXT_CHARACTERS, PAIR_CHARACTERS, PAIRS, LINES = 800, 400, 4, 24
COLUMNS = 110
ROWS_AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class Sample:
    """A text with its pairs: what it is, and lines to show."""

    title: str
    lines: list[str]


def read_samples(folder: Path, shards: Sequence[ShardFacts]) -> list[Sample]:
    """The chosen samples of a corpus; none where nobody gathered evidence, and none of a shard that can not be read:
    verifying tells what is wrong with it."""
    samples = []
    for at, place in _chosen(shards):
        try:
            row = _row(folder / shards[at].path, place)
            example = row["examples"][place.shot]
            lines = shown(example["context"], example["pairs"])
            samples.append(Sample(f"Row {row['source_rows'][place.shot]:,} of the source", lines))
        except (OSError, pa.ArrowException, LookupError, TypeError):
            continue
    return samples


def shards_sampled(shards: Sequence[ShardFacts]) -> set[int]:
    """Which shards hold the samples, as positions in their list."""
    return {at for at, _ in _chosen(shards)}


def _chosen(shards: Sequence[ShardFacts]) -> list[tuple[int, Place]]:
    return chosen(shard.samples() for shard in shards)


def shown(text: str, pairs: Sequence[Pair], names: tuple[str, str] = ("instruction", "response")) -> list[str]:
    """A text with its pairs as lines, broken at a width that needs no scrolling; `names` are of the parts of a pair."""
    lines = list(_cut(text, TEXT_CHARACTERS))
    for pair in pairs[:PAIRS]:
        lines += ["", *_named(names[0], pair["instruction"]), *_named(names[1], pair["response"])]
    more = len(pairs) - PAIRS
    return lines + (["", f"[{more:,} more pair{'s' if more > 1 else ''}]"] if more > 0 else [])


def _named(name: str, text: str) -> Iterator[str]:
    first, *rest = _cut(text, PAIR_CHARACTERS) or [""]
    yield f"{name}: {first}"
    yield from (" " * (len(name) + 2) + line for line in rest)


def _cut(text: str, characters: int) -> list[str]:
    lines = [piece for line in text[:characters].splitlines() for piece in wrap(line, COLUMNS) or [""]]
    if len(text) > characters or len(lines) > LINES:
        lines = [*lines[:LINES], f"[… {len(text):,} characters in all]"]
    return lines


def _row(path: Path, place: Place) -> dict[str, Any]:
    """One row of a shard, without reading much more than that."""
    with pq.ParquetFile(path) as file:
        before = 0
        for group in range(file.num_row_groups):
            size = file.metadata.row_group(group).num_rows
            if place.row < before + size:
                wanted = ["examples", "source_rows"]
                for batch in file.iter_batches(ROWS_AT_ONCE, row_groups=[group], columns=wanted):
                    if place.row < before + len(batch):
                        row: dict[str, Any] = batch.slice(place.row - before, 1).to_pylist()[0]
                        return row
                    before += len(batch)
            before += size
    raise LookupError("there is no such row")
