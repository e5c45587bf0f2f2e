"""A run directory, checked against its manifest: every shard, every row, every count, and what was lost.

Keeps true: nothing is changed; every finding names its file. Does not know how a run is made, or how to mend it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hub_instructpt.errors import RunError
from hub_instructpt.records import PAIRS_TYPE, shard_schema
from hub_instructpt.runs.ledger import ledger_path, read_ledger
from hub_instructpt.runs.manifest import Manifest, ShardFacts
from hub_instructpt.runs.plan import expected_rows
from hub_instructpt.runs.registration import why_damaged

LOST = {"row": "rows_rejected", "text": "texts_without_pairs", "pair": "pairs_dropped"}


@dataclass(slots=True)
class Report:
    """What was found wrong, a line each, and how much was looked at. `notes` are facts that are no faults."""

    findings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    shards: int = 0
    rows: int = 0
    pairs: int = 0


class Files:
    """Where the files of a run lie: in its directory. Elsewhere, another one brings them there for a while."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def brought(self, shard: ShardFacts) -> AbstractContextManager[None]:
        """Have the files of a shard in the directory."""
        return nullcontext()

    def data(self) -> list[str]:
        """Names of the Parquet files that there are."""
        return sorted(path.name for path in (self.folder / "data").glob("*.parquet"))


def verify(folder: Path, tick: Callable[[int], None] = lambda rows: None, files: Files | None = None) -> Report:
    """Check a run directory.

    Args:
        tick: called with the source rows of each shard that is checked.
        files: where they lie, when that is not the directory.

    Raises:
        RunDirectoryError: there is no run.
        RunError: the manifest can not be believed at all.
    """
    manifest, report, files = Manifest.load(folder), Report(), files or Files(folder)
    for shard in manifest.shards:
        with files.brought(shard):
            found = list(faults_in_shard(folder, manifest, shard)) or list(_in_ledger(folder, shard))
        report.findings += [f"{shard.path}: {what}" for what in found]
        report.shards += 1
        report.rows += shard.num_rows
        report.pairs += shard.counts.get("pairs/kept", 0)
        tick(shard.num_source_rows)
    report.findings += [*faults_between_shards(manifest), *_strays(files.data(), manifest)]
    if not manifest.finished:
        total = expected_rows(manifest)
        of = "" if total is None else f" of {total:,}"
        report.notes.append(f"The run is not finished: {manifest.rows_sealed:,}{of} source rows are sealed.")
    return report


def faults_in_shard(folder: Path, manifest: Manifest, shard: ShardFacts) -> Iterator[str]:
    """What is wrong with one shard of a run, its file lying where the manifest says."""
    if why := why_damaged(folder, shard):
        yield f"it {why}"
        return
    try:
        table = pq.read_table(folder / shard.path)
    except (OSError, pa.ArrowException) as error:
        yield f"it can not be read ({type(error).__name__})"
        return
    if not _is_schema(table.schema, manifest):
        yield "it has other columns than a shard of this run"
        return
    if table.num_rows != shard.num_rows:
        yield f"it has {table.num_rows:,} rows, the manifest says {shard.num_rows:,}"
    first, stop = shard.source_rows
    rows = pc.list_flatten(table["source_rows"]).to_pylist()
    if rows != sorted(set(rows)) or not all(first <= row < stop for row in rows):
        yield f"its source rows are not in order, not distinct, or not all within {first:,} to {stop - 1:,}"
    texts, pairs = len(rows), pc.sum(table["num_pairs"]).as_py() or 0
    examples = pc.list_flatten(table["examples"])
    held = pc.sum(pc.list_value_length(pc.struct_field(examples, "pairs"))).as_py() or 0
    counted = (
        ("rows/read", stop - first), ("texts/all", texts), ("pairs/kept", pairs), ("pairs/kept", held),
    )  # fmt: skip
    for name, number in counted:
        if shard.counts.get(name, 0) != number:
            yield f"{number:,} {name} stand in it, the manifest counts {shard.counts.get(name, 0):,}"


def _is_schema(schema: pa.Schema, manifest: Manifest) -> bool:
    wanted = shard_schema()
    if schema.names != wanted.names or not pa.types.is_list(schema.field("examples").type):
        return False
    example = schema.field("examples").type.value_type
    names = ["context", "pairs", *manifest.kept_types]
    return (
        [one.name for one in example] == names
        and example.field("pairs").type == PAIRS_TYPE
        and all(schema.field(name).type == wanted.field(name).type for name in wanted.names if name != "examples")
    )


def _in_ledger(folder: Path, shard: ShardFacts) -> Iterator[str]:
    lost: Counter[str] = Counter()
    try:
        for row, loss in read_ledger(folder, shard.index):
            lost[f"{LOST[loss.what]}/{loss.reason}"] += loss.number if loss.what == "pair" else 1
            if not shard.source_rows[0] <= row < shard.source_rows[1]:
                yield f"{ledger_path(shard.index)} tells of row {row:,}, which is not its own"
    except RunError as error:
        yield error.message
        return
    counted = {key: number for key, number in shard.counts.items() if key.partition("/")[0] in LOST.values()}
    for key in sorted(counted.keys() | lost.keys()):
        if counted.get(key, 0) != lost[key]:
            told = f"{ledger_path(shard.index)} tells of {lost[key]:,} {key}"
            yield f"{told}, the manifest counts {counted.get(key, 0):,}"


def faults_between_shards(manifest: Manifest) -> Iterator[str]:
    """What is wrong with the shards together."""
    per_shard, shards = manifest.settings.rows_per_shard, manifest.shards
    last = max((shard.source_rows[1] for shard in shards), default=0)
    for shard in shards:
        first, stop = shard.source_rows
        if first != shard.index * per_shard or (stop - first != per_shard and stop != last):
            yield f"{shard.path}: it covers the rows {first:,} to {stop - 1:,}, which are not those of its number"
    if manifest.finished:
        missing = sorted(set(range(-(-(manifest.num_rows or last) // per_shard))) - {shard.index for shard in shards})
        yield from (f"data/train-{index:05d}.parquet: the manifest of a finished run lacks it" for index in missing)


def _strays(names: Sequence[str], manifest: Manifest) -> Iterator[str]:
    known = {shard.path for shard in manifest.shards}
    for name in names:
        if f"data/{name}" not in known and (manifest.finished or not name.startswith("train-")):
            yield f"data/{name}: the manifest does not know it, but `datasets` would load it"
