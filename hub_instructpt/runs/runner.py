"""The runner: rows of a source through a synthesizer into sealed shards, and on from where a killed run was.

Shard k covers the rows [k R, (k + 1) R) of the source, whoever makes it. Made here are those of one worker that are not
sealed yet.

Keeps true: a shard is sealed before it is noted; every answer is journaled before it counts. So the same command again
makes what is not sealed, and asks for nothing that was answered. Reading and sealing happen off the event loop, so that
requests in flight never wait for a disk.
Does not know which engine it is, cards, or the Hub.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from hub_instructpt.background import new_event_loop
from hub_instructpt.engines.base import Engine
from hub_instructpt.engines.load import Load, loads_of
from hub_instructpt.errors import InputError, SettingsError
from hub_instructpt.in_order import in_order
from hub_instructpt.journal import Journal, JournaledEngine
from hub_instructpt.records import EngineInfo, SamplingParams
from hub_instructpt.runs import load_file
from hub_instructpt.runs.locks import only_writer
from hub_instructpt.runs.manifest import (
    EngineFacts,
    Manifest,
    Settings,
    ShardFacts,
    bring_up_to_date,
    write_beside,
)
from hub_instructpt.runs.plan import Plan, known_rows
from hub_instructpt.runs.reading import read_ahead
from hub_instructpt.runs.registration import Shelf, prepare, register
from hub_instructpt.runs.shards import OpenShard, journal_path
from hub_instructpt.runs.share import ALONE, Worker
from hub_instructpt.runs.sources import Source, SourceRow
from hub_instructpt.runs.stopping import Stop
from hub_instructpt.synthesis import FailureBudget, Synthesis, Synthesizer, running_in

MOST_OPEN_SHARDS = 64
"""Each has a journal, with a file and a thread. Only with small shards, and an answer that takes very long, is it so
many; then no more are begun until the first is sealed."""

UNKNOWN = EngineFacts(kind="", model_id="", model_sha=None, version=None, dtype=None, bos="", eos="")

SAVING_SHARE = 0.02
"""Of the time at most goes into writing the manifest, which grows with the run."""


class Progress:
    """What a run tells while it works. This one keeps silent; the command line has one that draws."""

    def begin(self, done: int, total: int | None, manifest: Manifest) -> None:
        """Rows done by earlier runs of the same, rows in all (None when nobody knows)."""

    def advance(self, rows: int, outcomes: Sequence[Synthesis]) -> None:
        """So many more rows are done."""
        self.add(
            rows, sum(len(outcome.pairs) for outcome in outcomes), sum(bool(outcome.failure) for outcome in outcomes)
        )

    def add(self, rows: int, pairs: int, failed: int) -> None:
        """So many more rows are done, with so many pairs, and so many texts that failed."""

    def sealed(self, manifest: Manifest) -> None:
        """One more shard is sealed."""

    def loaded(self, loads: Sequence[Load]) -> None:
        """So busy are the servers; told every few seconds."""


def augment_source(
    source: Source,
    engine: Engine,
    settings: Settings,
    folder: Path,
    *,
    worker: Worker = ALONE,
    stop: Stop | None = None,
    max_failed_share: float = 0.05,
    progress: Progress | None = None,
    license: str | None = None,  # noqa: A002
    command: str | None = None,
    on_sealed: Callable[[ShardFacts], None] | None = None,
    shelf: Shelf | None = None,
) -> Manifest:
    """Augment a source into a run directory, or go on with the run that is there.

    Args:
        source: the rows.
        engine: writes the pairs; connected and closed here.
        settings: what the content depends on.
        folder: the run directory; made when it is not there.
        worker: which part of the run is made here.
        stop: ends the run when it is told to; `asyncio.CancelledError` comes out then.
        max_failed_share: more failures than this stop the run.
        license: of the corpus, when the user names one.
        command: how to make the corpus again; for the card.
        on_sealed: called in a thread with each shard that is sealed from now on, once it would survive a crash. The
            next one is sealed when it has come back: what takes time, such as an upload, belongs into another thread.
        shelf: where sealed shards lie, when they leave the folder; it is told of each, too.

    Returns:
        The manifest of the run; finished when no other worker has anything left to do.

    Raises:
        RunDirectoryError: the directory holds something else, or another process writes to it.
        EngineError: the engine is gone or fails too often; what was answered is kept.
    """
    if settings.rows_per_shard < 1:
        raise SettingsError(f"rows_per_shard must be at least 1, not {settings.rows_per_shard}.")
    if settings.limit is not None and settings.limit < 1:
        raise SettingsError(f"limit must be at least 1, not {settings.limit}.")
    prepare(folder)
    with only_writer(folder, worker), asyncio.Runner(loop_factory=new_event_loop) as runner:
        here = Manifest(
            source=source.facts, settings=settings, engine=UNKNOWN, license=license, command=command,
            kept_types={name: str(kind) for name, kind in source.kept_types.items()},
        )  # fmt: skip

        def plan(info: EngineInfo) -> Plan:
            manifest = register(folder, here.model_copy(update={"engine": EngineFacts.of(info)}), worker, shelf)
            if shelf is not None:
                shelf.registered(manifest)
            budget.remember(manifest.counts)
            sealed = {shard.index: shard.num_source_rows for shard in manifest.shards if worker.has(shard.index)}
            return Plan(
                manifest,
                lambda k: worker.has(k) and k not in sealed,
                known_rows(manifest),
                sum(sealed.values()),
                worker,
            )

        def tell(facts: ShardFacts) -> None:
            for hook in (shelf.sealed if shelf else None, on_sealed):
                if hook is not None:
                    hook(facts)

        budget = FailureBudget(max_failed_share)
        run = Run(source.rows, source.kept_types, engine, settings, folder, plan, budget, progress or Progress(), tell)
        return runner.run(run.run() if stop is None else stop.guard(run.run()))


@dataclass(slots=True)
class _Desk:
    """A shard in the making, with the journal of its answers and the synthesizer that writes there."""

    shard: OpenShard
    journal: Journal
    synthesizer: Synthesizer


_Chain = tuple[_Desk, list[SourceRow]]
RowsOf = Callable[[int, int | None, Callable[[int], bool], Callable[[int], None]], Iterator[SourceRow]]
"""Rows as `Source.rows` gives them: from, up to, whether a row is wanted, and who is told of the end."""


class Run:
    """Rows of a source through an engine into the shards that a plan names.

    Args:
        part: this is one part of a run that another process holds together. It seals and notes its shards; the
            manifest, the file of loads and the end of the run are the other's business.
    """

    def __init__(
        self,
        rows: RowsOf,
        kept_types: dict[str, pa.DataType],
        engine: Engine,
        settings: Settings,
        folder: Path,
        plan: Callable[[EngineInfo], Plan],
        budget: FailureBudget,
        progress: Progress,
        on_sealed: Callable[[ShardFacts], None] | None = None,
        *,
        part: bool = False,
    ) -> None:
        self.part = part
        self.rows, self.kept_types, self.engine = rows, kept_types, engine
        self.settings, self.folder = settings, folder
        self.sampling = SamplingParams(settings.max_new_tokens, settings.temperature, settings.top_p)
        self.make_plan, self.budget, self.progress, self.on_sealed = plan, budget, progress, on_sealed
        self.desks: deque[_Desk] = deque()
        self.chain_done = asyncio.Event()
        self.sealed_at = self.saved_at = time.monotonic()
        self.saving_took = self.engine_spent = 0.0
        self.num_rows: int | None = None
        self.rows_at_most: int | None = None  # nothing was read from there on, which tells little of where the end is

    async def run(self) -> Manifest:
        try:
            info = await self.engine.connect()
            info.input_budget(self.sampling)  # settings that can not work leave no manifest behind
            self.plan = await asyncio.to_thread(self.make_plan, info)
            self.manifest, self.num_rows = self.plan.manifest, self.plan.num_rows
            if self.plan.span() is None:
                return self.manifest if self.manifest.finished or self.part else await self._finish()
            async with self._watched():
                return await self._work(info)
        finally:
            for desk in self.desks:
                await desk.journal.aclose()
            await self.engine.aclose()

    @asynccontextmanager
    async def _watched(self) -> AsyncIterator[None]:
        """Tell and write down, now and then and in the end, how busy the servers are."""
        clock = load_file.Clock()

        async def watch() -> None:
            while True:
                await asyncio.sleep(load_file.LOOK_SECONDS)
                loads = loads_of(self.engine)
                self.progress.loaded(loads)
                if not self.part:
                    await asyncio.to_thread(load_file.save, self.folder, loads, clock, self.plan.worker)

        watching = asyncio.create_task(watch())
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            if self.part:
                self.progress.loaded(loads_of(self.engine))
            else:
                load_file.save(self.folder, loads_of(self.engine), clock, self.plan.worker)

    async def _work(self, info: EngineInfo) -> Manifest:
        left = self.plan.rows_left()
        self.progress.begin(self.plan.rows_done, None if left is None else self.plan.rows_done + left, self.manifest)
        chains, running = self._chains(), running_in(self.engine, info)
        async with aclosing(in_order(chains, running, _characters)) as results:
            async for (desk, rows), outcomes in results:
                for outcome in outcomes:
                    self.budget.record(outcome)
                desk.shard.add(rows, outcomes, self.settings.seed)
                self.chain_done.set()
                self.progress.advance(len(rows), outcomes)
                if self.budget.reasons.total() < self.budget.texts:
                    await self._seal_complete()
        self.budget.check()
        if not self.part:
            self._check_texts()
        await self._seal_complete()
        if self.part:
            return self.manifest
        with suppress(OSError):  # not there, or with something of somebody else's in it
            (self.folder / journal_path(0)).parent.rmdir()
        return await self._finish()

    async def _finish(self) -> Manifest:
        """Bring the manifest up to date: the run is finished when no shard of anybody's is missing."""

        def finish(manifest: Manifest) -> None:
            if self.num_rows is not None:
                manifest.num_rows = self.num_rows
            elif manifest.num_rows is None and manifest.rows_sealed == self.rows_at_most:
                manifest.num_rows = self.rows_at_most
            manifest.finished = manifest.num_rows is not None and manifest.rows_sealed >= manifest.num_rows

        return await asyncio.to_thread(bring_up_to_date, self.folder, finish)

    def _check_texts(self) -> None:
        """Raise when no row had a text: `datasets` can not load a corpus without rows."""
        if self.budget.texts or self.plan.worker != ALONE:
            return
        why: Counter[str] = Counter()
        for desk in self.desks:
            counts = desk.shard.counts.items()
            why.update({key.partition("/")[2]: number for key, number in counts if key.startswith("rows_rejected/")})
        reasons = ", ".join(f"{number:,} {reason.replace('_', ' ')}" for reason, number in why.most_common())
        raise InputError(
            f"No row read has a usable text in {self.settings.text_column!r}: {reasons or 'there was none'}.",
            advice="Name the right column with --text-column, or raise --limit.",
        )

    async def _chains(self) -> AsyncIterator[tuple[_Chain, Coroutine[Any, Any, list[Synthesis]]]]:
        """Chains of texts, in source order, with what is to be done for them; none of them crosses a shard."""
        per_shard, num_shots = self.settings.rows_per_shard, self.settings.num_shots
        span = self.plan.span()
        assert span is not None
        waiting: list[SourceRow] = []
        desk: _Desk | None = None
        rows = self.rows(*span, self.plan.has_row, lambda index: self._ended(span[0], index))
        async for row in read_ahead(rows):
            desk = desk or await self._open(row.index // per_shard)
            shard = desk.shard
            if shard.take(row):
                waiting.append(row)
            else:
                self.progress.advance(1, ())
            full = row.index + 1 - shard.start >= per_shard
            if waiting and (full or len(waiting) == num_shots):
                yield _chain(desk, waiting)
                waiting = []
            if full:
                shard.read, desk = True, None
        if desk is not None:
            if waiting:
                yield _chain(desk, waiting)
            desk.shard.read = True

    def _ended(self, start: int, index: int) -> None:
        if self.num_rows is None and (index > start or not start):
            self.num_rows = index
        self.rows_at_most = index

    async def _open(self, index: int) -> _Desk:
        # A shard without chains, as of rows that are all rejected, has nothing open, and no answer that seals it.
        while sum(desk.shard.chains_open > 0 for desk in self.desks) >= MOST_OPEN_SHARDS:
            self.chain_done.clear()
            await self.chain_done.wait()
        shard = OpenShard(index, index * self.settings.rows_per_shard)
        journal = await asyncio.to_thread(Journal, self.folder / journal_path(shard.index))
        engine = JournaledEngine(self.engine, journal)
        desk = _Desk(shard, journal, Synthesizer(engine, self.sampling, self.settings.num_shots))
        self.desks.append(desk)
        return desk

    async def _seal_complete(self) -> None:
        while self.desks and self.desks[0].shard.complete:
            desk = self.desks[0]
            facts = await asyncio.to_thread(self._seal, desk.shard)
            # Only now is everything that the journal holds kept elsewhere.
            await (desk.journal.aclose() if facts.retryable else desk.journal.remove())
            self.desks.popleft()
            self.manifest.shards.append(facts)
            self.progress.sealed(self.manifest)
            if self.on_sealed is not None:
                await asyncio.to_thread(self.on_sealed, facts)

    def _seal(self, shard: OpenShard) -> ShardFacts:
        facts = shard.seal(self.folder, self.kept_types)
        now = time.monotonic()
        facts.seconds, self.sealed_at = round(now - self.sealed_at, 3), now
        spent = sum(load.answer_seconds for load in loads_of(self.engine))
        facts.engine_seconds, self.engine_spent = round(spent - self.engine_spent, 3), spent
        write_beside(self.folder, facts)
        if not self.part and self.saving_took <= SAVING_SHARE * (now - self.saved_at):
            bring_up_to_date(self.folder)
            self.saved_at = time.monotonic()
            self.saving_took = self.saved_at - now
        return facts


def _chain(desk: _Desk, rows: list[SourceRow]) -> tuple[_Chain, Coroutine[Any, Any, list[Synthesis]]]:
    desk.shard.chains_open += 1
    return (desk, rows), desk.synthesizer.chain([row.text for row in rows])


def _characters(chain: _Chain) -> int:
    return sum(len(row.text) for row in chain[1])
