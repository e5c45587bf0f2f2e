"""Retry: ask again for the texts of a run that failed for reasons that may pass.

A shard with such a text keeps its journal, so making the shard anew asks for what failed and for nothing else (and, in
a chain of several shots, for the texts after it, whose prompts show its pairs). The rows come from the sealed shard
itself and from its ledger; the source is not needed.

Keeps true: a shard is replaced whole, when all of it is answered for; until then it stays as it was.
Does not know why a text failed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hub_instructpt.background import new_event_loop
from hub_instructpt.engines.base import Engine
from hub_instructpt.errors import RunError
from hub_instructpt.records import EngineInfo
from hub_instructpt.runs.ledger import read_ledger
from hub_instructpt.runs.locks import only_writer
from hub_instructpt.runs.manifest import EngineFacts, Manifest, ShardFacts
from hub_instructpt.runs.plan import Plan, known_rows
from hub_instructpt.runs.runner import Progress, Run
from hub_instructpt.runs.same_run import refuse_other_run
from hub_instructpt.runs.shards import journal_path
from hub_instructpt.runs.sources import SourceRow
from hub_instructpt.runs.stopping import Stop
from hub_instructpt.synthesis import FailureBudget

_log = logging.getLogger("hub_instructpt")


def retry_failed(
    engine: Engine,
    folder: Path,
    *,
    stop: Stop | None = None,
    max_failed_share: float = 0.05,
    progress: Progress | None = None,
    on_sealed: Callable[[ShardFacts], None] | None = None,
) -> Manifest:
    """Ask again for what failed for passing reasons, and seal the shards concerned anew.

    Args:
        engine: of the same model; connected and closed here.
        folder: a run directory, finished or not.
        stop: ends it when it is told to.
        max_failed_share: more failures than this, of the texts in these shards, stop it.
        on_sealed: as for `augment_source`.

    Returns:
        The manifest, with the new counts.

    Raises:
        RunDirectoryError: there is no run, another model wrote it, or another process writes to it.
        RunError: a sealed shard can not be read.
        EngineError: the engine is gone or fails too often again; what was answered is kept.
    """
    manifest = Manifest.load(folder)
    with only_writer(folder), asyncio.Runner(loop_factory=new_event_loop) as runner:
        failed = {shard.index: shard for shard in manifest.shards if shard.retryable}
        if not failed:
            return manifest
        for index, shard in failed.items():
            if not (folder / journal_path(index)).exists():
                _log.warning(
                    "%s is gone: all %d texts of its shard are asked again.",
                    folder / journal_path(index), shard.counts.get("texts/all", 0),
                )  # fmt: skip
        sealed = _SealedRows(folder, [shard for _, shard in sorted(failed.items())])

        def plan(info: EngineInfo) -> Plan:
            here = manifest.model_copy(update={"engine": EngineFacts.of(info)})
            refuse_other_run(manifest, here, folder)
            ends = max(shard.source_rows[1] for shard in failed.values())
            return Plan(manifest, failed.__contains__, known_rows(manifest) or ends)

        run = Run(
            lambda *_: sealed.rows(),
            sealed.kept_types(),
            engine,
            manifest.settings,
            folder,
            plan,
            FailureBudget(max_failed_share),
            progress or Progress(),
            on_sealed,
        )
        return runner.run(run.run() if stop is None else stop.guard(run.run()))


class _SealedRows:
    """Sealed shards as a source: their rows as they were read, those without a text included."""

    def __init__(self, folder: Path, shards: Sequence[ShardFacts]) -> None:
        self.folder, self.shards = folder, shards

    def rows(self) -> Iterator[SourceRow]:
        """Rows of the shards, in order."""
        for shard in self.shards:
            yield from self._rows(shard)

    def kept_types(self) -> dict[str, pa.DataType]:
        """Types of the columns that were kept from the source."""
        example = self._read(self.shards[0]).schema.field("examples").type.value_type
        return {field.name: field.type for field in example if field.name not in ("context", "pairs")}

    def _rows(self, shard: ShardFacts) -> Iterator[SourceRow]:
        rejected = {row: loss.reason for row, loss in read_ledger(self.folder, shard.index) if loss.what == "row"}
        texts: dict[int, dict[str, Any]] = {}
        for row in self._read(shard).to_pylist():
            texts |= dict(zip(row["source_rows"], row["examples"], strict=True))
        repaired = shard.counts.get("rows/repaired_lone_surrogates", 0)  # which ones they were nobody knows any more
        for index in range(*shard.source_rows):
            if index in rejected:
                yield SourceRow(index, "", {}, rejected[index])
            elif index in texts:
                example = texts[index]
                kept = {name: value for name, value in example.items() if name not in ("context", "pairs")}
                yield SourceRow(index, example["context"], kept, repaired=repaired > 0)
                repaired -= 1
            else:
                raise RunError(
                    f"Row {index:,} stands neither in {shard.path} nor in its ledger.",
                    advice="`hub-instructpt verify` says what is damaged; `augment` makes such a shard anew.",
                )

    def _read(self, shard: ShardFacts) -> pa.Table:
        try:
            return pq.read_table(self.folder / shard.path, columns=["source_rows", "examples"])
        except (OSError, pa.ArrowException):
            raise RunError(
                f"{self.folder / shard.path} can not be read.",
                advice="Run the same `hub-instructpt augment` again: it makes a damaged shard anew.",
            ) from None
