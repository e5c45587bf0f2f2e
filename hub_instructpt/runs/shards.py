"""Shards: gathers what became of a range of source rows, and seals it as one Parquet file.

Keeps true: the bytes of a shard depend on its rows only, not on when or in how many tries they came; a file with its
final name is whole. An empty row group is never written, because `datasets` can not read one.
Does not know engines, and not what comes before or after its own rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hub_instructpt.errors import RunError
from hub_instructpt.evidence import Evidence, Text
from hub_instructpt.records import Loss, shard_schema
from hub_instructpt.rendering import render_example
from hub_instructpt.runs.files import sha256, write_whole
from hub_instructpt.runs.ledger import write_ledger
from hub_instructpt.runs.manifest import ShardFacts
from hub_instructpt.runs.sources import SourceRow
from hub_instructpt.synthesis import Synthesis

ROWS_PER_GROUP = 1000


def shard_path(index: int) -> str:
    """Path of a sealed shard within its run directory."""
    return f"data/train-{index:05d}.parquet"


def journal_path(index: int) -> str:
    """Path of the answers to a shard's prompts; gone when it is sealed and nothing of it may be asked again."""
    return f"journal/train-{index:05d}.jsonl"


@dataclass(slots=True)
class OpenShard:
    """A shard in the making: the source rows [start, stop) and what became of them so far.

    `chains_open` counts chains that are still at the engine; `read` tells that all rows were taken from the source.
    `losses` are what did not make it, with the number of its source row.
    """

    index: int
    start: int
    stop: int = 0
    read: bool = False
    chains_open: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    rows: list[dict[str, Any]] = field(default_factory=list)
    losses: list[tuple[int, Loss]] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        return self.read and not self.chains_open

    def take(self, row: SourceRow) -> bool:
        """Count a row of the source; tells whether it has a text to work on."""
        self.stop = row.index + 1
        self.counts["rows/read"] += 1
        self.counts["rows/repaired_lone_surrogates"] += row.repaired
        if row.problem is not None:
            self.counts[f"rows_rejected/{row.problem}"] += 1
            self.losses.append((row.index, Loss("row", row.problem)))
        return row.problem is None

    def add(self, rows: Sequence[SourceRow], outcomes: Sequence[Synthesis], seed: int) -> None:
        """Take in a chain that came back: its M-shot examples become rows."""
        self.chains_open -= 1
        examples: list[list[tuple[SourceRow, Synthesis]]] = []
        for row, outcome in zip(rows, outcomes, strict=True):
            self.counts.update(outcome.counts)
            self.counts["texts/all"] += 1
            self.losses += [(row.index, loss) for loss in outcome.losses]
            if outcome.shot_index == 0:
                examples.append([])
            examples[-1].append((row, outcome))
        for shots in examples:
            self.rows.append(_augmented(shots, seed))

    def seal(self, folder: Path, kept_types: dict[str, pa.DataType]) -> ShardFacts:
        """Write the shard, and before it what was lost; it has its name only when it is whole."""
        write_ledger(folder, self.index, self.losses)
        path = folder / shard_path(self.index)
        try:
            table = pa.Table.from_pylist(self.rows, schema=shard_schema(kept_types))
            path.parent.mkdir(exist_ok=True)
        except (pa.ArrowException, OverflowError) as error:
            raise RunError(
                f"{path.name} can not hold rows {self.start:,} to {self.stop:,}: {str(error).splitlines()[0][:200]}.",
                advice="Start again with another --out and fewer --rows-per-shard, or without the column it names.",
            ) from None
        except OSError as error:
            raise RunError(f"{path.parent} can not be made: {error.strerror}.", advice="Mend the folder.") from None
        with (
            write_whole(path) as temporary,
            # Dictionaries double the time for texts that hardly repeat; content-defined chunks let the Hub store only
            # what has changed when a corpus is pushed again.
            pq.ParquetWriter(
                temporary,
                table.schema,
                compression="zstd",
                compression_level=3,
                use_dictionary=False,
                write_page_index=True,
                use_content_defined_chunking=True,
            ) as writer,
        ):
            if table.num_rows:
                writer.write_table(table, row_group_size=ROWS_PER_GROUP)
        return ShardFacts(
            path=shard_path(self.index),
            num_rows=table.num_rows,
            num_bytes=path.stat().st_size,
            arrow_bytes=table.nbytes,
            sha256=sha256(path),
            source_rows=(self.start, self.stop),
            counts={name: number for name, number in sorted(self.counts.items()) if number},
            evidence=Evidence.of(map(_texts, self.rows)).as_dict(),
            retryable=sum(loss.passing for _, loss in self.losses),
        )


def _augmented(shots: Sequence[tuple[SourceRow, Synthesis]], seed: int) -> dict[str, Any]:
    examples: list[Any] = [{"context": row.text, "pairs": outcome.pairs, **row.kept} for row, outcome in shots]
    return {
        "text": render_example(examples, seed),
        "examples": examples,
        "source_rows": [row.index for row, _ in shots],
        "num_pairs": sum(len(outcome.pairs) for _, outcome in shots),
    }


def _texts(row: dict[str, Any]) -> list[Text]:
    texts = zip(row["source_rows"], row["examples"], strict=True)
    return [(number, example["context"], example["pairs"]) for number, example in texts]
