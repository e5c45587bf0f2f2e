"""The runner: rows of a source through a synthesizer into sealed shards, and on from where a killed run was.

Keeps true: one writer a directory; shards are sealed in order, each one before the manifest names it; every answer is
journaled before it counts. So the same command again goes on at the first unsealed row, and asks for nothing that was
answered; other settings are refused by name. Reading and sealing happen off the event loop, so that requests in flight
never wait for a disk.
Does not know which engine it is, cards, or the Hub.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from hub_instructpt.background import new_event_loop
from hub_instructpt.engines.base import Engine
from hub_instructpt.engines.load import Load, loads_of
from hub_instructpt.errors import InputError, RunDirectoryError, SettingsError
from hub_instructpt.in_order import in_order
from hub_instructpt.journal import Journal, JournaledEngine
from hub_instructpt.records import EngineInfo, SamplingParams
from hub_instructpt.runs import load_file
from hub_instructpt.runs.files import only_writer, sha256
from hub_instructpt.runs.manifest import MANIFEST, EngineFacts, Manifest, Settings, ShardFacts, refuse_other_run
from hub_instructpt.runs.shards import OpenShard, journal_path
from hub_instructpt.runs.sources import Source, SourceRow
from hub_instructpt.synthesis import FailureBudget, Synthesis, Synthesizer, running_in

ROWS_READ_AHEAD = 256

MOST_OPEN_SHARDS = 64
"""Each has a journal, with a file and a thread. Only with small shards, and an answer that takes very long, is it so
many; then no more are begun until the first is sealed."""


class Progress:
    """What a run tells while it works. This one keeps silent; the command line has one that draws."""

    def begin(self, done: int, total: int | None, manifest: Manifest) -> None:
        """Rows done by earlier runs of the same, rows in all (None when nobody knows)."""

    def advance(self, rows: int, outcomes: Sequence[Synthesis]) -> None:
        """So many more rows are done."""

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
    max_failed_share: float = 0.05,
    progress: Progress | None = None,
    license: str | None = None,  # noqa: A002
    command: str | None = None,
    on_sealed: Callable[[ShardFacts], None] | None = None,
) -> Manifest:
    """Augment a source into a run directory, or go on with the run that is there.

    Args:
        source: the rows.
        engine: writes the pairs; connected and closed here.
        settings: what the content depends on.
        folder: the run directory; made when it is not there.
        max_failed_share: more failures than this stop the run.
        license: of the corpus, when the user names one.
        command: how to make the corpus again; for the card.
        on_sealed: called with each shard that is sealed from now on, once it would survive a crash. It must come back
            at once: what takes time, such as an upload, belongs into a thread of its own.

    Returns:
        The manifest of the finished run.

    Raises:
        RunDirectoryError: the directory holds something else, or another process writes to it.
        EngineError: the engine is gone or fails too often; what was answered is kept.
    """
    if settings.rows_per_shard < 1:
        raise SettingsError(f"rows_per_shard must be at least 1, not {settings.rows_per_shard}.")
    if settings.limit is not None and settings.limit < 1:
        raise SettingsError(f"limit must be at least 1, not {settings.limit}.")
    _prepare(folder)
    with only_writer(folder), asyncio.Runner(loop_factory=new_event_loop) as runner:
        run = _Run(source, engine, settings, folder, FailureBudget(max_failed_share), progress or Progress(), on_sealed)
        return runner.run(run.run(license, command))


def _prepare(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # A run that was killed before its first manifest leaves no more than these.
        foreign = any(path.name not in (".lock", f".{MANIFEST}.tmp") for path in folder.iterdir())
        is_run = (folder / MANIFEST).exists()
    except OSError as error:
        raise RunDirectoryError(f"{folder} can not be used: {error.strerror}.", advice="Give another --out.") from None
    if foreign and not is_run:
        raise RunDirectoryError(
            f"{folder} is not empty, and what is there is no run.", advice="Give an empty or new folder as --out."
        )


@dataclass(slots=True)
class _Desk:
    """A shard in the making, with the journal of its answers and the synthesizer that writes there."""

    shard: OpenShard
    journal: Journal
    synthesizer: Synthesizer


_Chain = tuple[_Desk, list[SourceRow]]


class _Run:
    def __init__(
        self,
        source: Source,
        engine: Engine,
        settings: Settings,
        folder: Path,
        budget: FailureBudget,
        progress: Progress,
        on_sealed: Callable[[ShardFacts], None] | None,
    ) -> None:
        self.source, self.engine, self.settings, self.folder = source, engine, settings, folder
        self.sampling = SamplingParams(settings.max_new_tokens, settings.temperature, settings.top_p)
        self.budget, self.progress, self.on_sealed = budget, progress, on_sealed
        self.desks: deque[_Desk] = deque()
        self.chain_done = asyncio.Event()

    async def run(self, license: str | None, command: str | None) -> Manifest:  # noqa: A002
        try:
            info = await self.engine.connect()
            info.input_budget(self.sampling)  # settings that can not work leave no manifest behind
            self.manifest = self._manifest(info, license, command)
            _drop_unnamed(self.folder, self.manifest)
            if self.manifest.finished:
                return self.manifest
            async with self._watched():
                return await self._work(info)
        finally:
            for desk in self.desks:
                await desk.journal.aclose()
            await self.engine.aclose()

    def _manifest(self, info: EngineInfo, license: str | None, command: str | None) -> Manifest:  # noqa: A002
        facts = EngineFacts(
            kind=info.kind, model_id=info.model_id, model_sha=info.model_sha, version=info.version,
            dtype=info.dtype, bos=info.bos, eos=info.eos,
        )  # fmt: skip
        kept = {name: str(kind) for name, kind in self.source.kept_types.items()}
        here = Manifest(
            source=self.source.facts, settings=self.settings, engine=facts, kept_types=kept, license=license,
            command=command,
        )  # fmt: skip
        if not (self.folder / MANIFEST).exists():
            here.save(self.folder)
            return here
        there = Manifest.load(self.folder)
        if not there.shards:  # nothing is lost by another try with other settings
            if (there.settings, there.engine.model_id, there.engine.model_sha) != (
                here.settings, here.engine.model_id, here.engine.model_sha,
            ):  # fmt: skip
                _drop_journals(self.folder)
            here.save(self.folder)
            return here
        refuse_other_run(there, here, self.folder)
        for shard in there.shards:
            path = self.folder / shard.path
            if not path.exists() or path.stat().st_size != shard.num_bytes or sha256(path) != shard.sha256:
                raise RunDirectoryError(
                    f"{path} is missing or not as it was sealed.",
                    advice="Restore it from a copy, or start again with another --out.",
                )
        if license and license != there.license:
            there.license = license
            there.save(self.folder)
        return there

    @asynccontextmanager
    async def _watched(self) -> AsyncIterator[None]:
        """Tell and write down, now and then and in the end, how busy the servers are."""
        clock = load_file.Clock()

        async def watch() -> None:
            while True:
                await asyncio.sleep(load_file.LOOK_SECONDS)
                loads = loads_of(self.engine)
                self.progress.loaded(loads)
                await asyncio.to_thread(load_file.save, self.folder, loads, clock)

        watching = asyncio.create_task(watch())
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            load_file.save(self.folder, loads_of(self.engine), clock)

    async def _work(self, info: EngineInfo) -> Manifest:
        began, earlier = time.monotonic(), self.manifest.seconds
        start, limit, self.next_shard = self.manifest.next_row, self.settings.limit, len(self.manifest.shards)
        known = self.source.facts.num_rows
        total = limit if known is None else min(known, limit or known)
        self.progress.begin(start, total, self.manifest)
        self._remember_failures()
        chains, running = self._chains(start, limit), running_in(self.engine, info)
        async with aclosing(in_order(chains, running, _characters)) as results:
            async for (desk, rows), outcomes in results:
                for outcome in outcomes:
                    self.budget.record(outcome)
                desk.shard.add(rows, outcomes, self.settings.seed)
                self.chain_done.set()
                self.progress.advance(len(rows), outcomes)
                if self.budget.reasons.total() < self.budget.texts:
                    await self._seal_complete(earlier + time.monotonic() - began)
        self.budget.check()
        self._check_texts()
        await self._seal_complete(earlier + time.monotonic() - began)
        with suppress(OSError):  # not there, or with something of somebody else's in it
            (self.folder / journal_path(0)).parent.rmdir()
        self.manifest.finished = True
        self.manifest.seconds = round(earlier + time.monotonic() - began, 1)
        self.manifest.save(self.folder)
        return self.manifest

    def _check_texts(self) -> None:
        """Raise when no row had a text: `datasets` can not load a corpus without rows."""
        if self.budget.texts:
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

    def _remember_failures(self) -> None:
        """Count what is sealed into the budget, so that a run in two parts is judged like one in one."""
        counts = self.manifest.counts
        self.budget.texts = counts["texts/all"]
        for key, number in counts.items():
            if key.startswith("texts_without_pairs/failed_"):
                self.budget.reasons[key.partition("failed_")[2]] += number

    async def _chains(
        self, start: int, limit: int | None
    ) -> AsyncIterator[tuple[_Chain, Coroutine[Any, Any, list[Synthesis]]]]:
        """Chains of texts, in source order, with what is to be done for them; none of them crosses a shard."""
        per_shard, num_shots = self.settings.rows_per_shard, self.settings.num_shots
        waiting: list[SourceRow] = []
        desk: _Desk | None = None
        async for row in _read_ahead(self.source, start, limit):
            desk = desk or await self._open(row.index)
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

    async def _open(self, start: int) -> _Desk:
        # A shard without chains, as of rows that are all rejected, has nothing open, and no answer that seals it.
        while sum(desk.shard.chains_open > 0 for desk in self.desks) >= MOST_OPEN_SHARDS:
            self.chain_done.clear()
            await self.chain_done.wait()
        # Shards are sealed meanwhile: what is in the manifest by now, and what on the desks, may overlap.
        shard, self.next_shard = OpenShard(self.next_shard, start), self.next_shard + 1
        journal = await asyncio.to_thread(Journal, self.folder / journal_path(shard.index))
        engine = JournaledEngine(self.engine, journal)
        desk = _Desk(shard, journal, Synthesizer(engine, self.sampling, self.settings.num_shots))
        self.desks.append(desk)
        return desk

    async def _seal_complete(self, seconds: float) -> None:
        while self.desks and self.desks[0].shard.complete:
            desk = self.desks[0]
            facts = await asyncio.to_thread(desk.shard.seal, self.folder, self.source.kept_types)
            self.manifest.shards.append(facts)
            self.manifest.seconds = round(seconds, 1)
            await asyncio.to_thread(self.manifest.save, self.folder)
            # Only now is everything that the journal holds kept elsewhere.
            await desk.journal.remove()
            self.desks.popleft()
            self.progress.sealed(self.manifest)
            if self.on_sealed is not None:
                self.on_sealed(facts)


def _chain(desk: _Desk, rows: list[SourceRow]) -> tuple[_Chain, Coroutine[Any, Any, list[Synthesis]]]:
    desk.shard.chains_open += 1
    return (desk, rows), desk.synthesizer.chain([row.text for row in rows])


def _characters(chain: _Chain) -> int:
    return sum(len(row.text) for row in chain[1])


async def _read_ahead(source: Source, start: int, stop: int | None) -> AsyncIterator[SourceRow]:
    """Rows, read in another thread one block ahead of their use."""
    rows = source.rows(start, stop)

    def block() -> list[SourceRow]:
        return list(islice(rows, ROWS_READ_AHEAD))

    following = asyncio.create_task(asyncio.to_thread(block))
    try:
        while current := await following:
            following = asyncio.create_task(asyncio.to_thread(block))
            for row in current:
                yield row
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


def _drop_unnamed(folder: Path, manifest: Manifest) -> None:
    """Remove what a killed run left: a shard that the manifest does not name yet, a journal of one that it names."""
    known = {shard.path for shard in manifest.shards}
    for pattern in ("train-*.parquet", ".train-*.parquet.tmp"):
        for path in (folder / "data").glob(pattern):
            if f"data/{path.name}" not in known:
                path.unlink()
    for index in range(len(manifest.shards)):
        (folder / journal_path(index)).unlink(missing_ok=True)


def _drop_journals(folder: Path) -> None:
    """Forget the answers to a first try with other settings: another model, or another way of sampling."""
    for path in (folder / journal_path(0)).parent.glob("*.jsonl"):
        path.unlink()
