"""The driver: a run whose shards are made by Ray tasks, on any machine of an existing cluster.

Keeps true: the run directory has one owner, this process; a task that is lost with its machine is begun anew elsewhere
and goes on from its journal. All tasks together have as many requests in flight as one process would have. Failures are
judged over all of them. Whatever ends the driver, the same command goes on.
Does not know how a shard is made.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from hub_instructpt.background import new_event_loop
from hub_instructpt.engines import open_engine
from hub_instructpt.engines.load import loads_of
from hub_instructpt.errors import RunError
from hub_instructpt.on_ray import task
from hub_instructpt.on_ray.board import Board, Report, merged
from hub_instructpt.on_ray.cluster import connected, here
from hub_instructpt.on_ray.portions import Portions
from hub_instructpt.records import EngineInfo, SamplingParams
from hub_instructpt.runs import load_file
from hub_instructpt.runs.locks import only_writer, owner_of
from hub_instructpt.runs.manifest import EngineFacts, Manifest, Settings, ShardFacts, bring_up_to_date
from hub_instructpt.runs.part import Part
from hub_instructpt.runs.plan import known_rows
from hub_instructpt.runs.registration import drop_temporary, prepare, register
from hub_instructpt.runs.runner import SAVING_SHARE, UNKNOWN, Progress
from hub_instructpt.runs.shards import journal_path
from hub_instructpt.runs.sources import Source
from hub_instructpt.runs.stopping import Stop
from hub_instructpt.synthesis import FailureBudget

MAX_RETRIES = 16
"""How often a task lost with its machine is begun anew. More often, it is probably the task that kills them."""
LEAST_REQUESTS = 4
"""In flight for each task; with fewer, more tasks would only cost more processes."""
LOOK_SECONDS = 0.5
STOP_SECONDS = 5.0
"""How long tasks have to end when they are told to, before Ray ends them."""
FORWARDED = ("HUB_INSTRUCTPT_API_KEY", "HF_TOKEN", "HF_ENDPOINT")


def augment_on_ray(
    source: Source,
    engines: str | list[str],
    settings: Settings,
    folder: Path,
    *,
    address: str = "auto",
    tasks: int | None = None,
    engine_options: dict[str, Any] | None = None,
    stop: Stop | None = None,
    max_failed_share: float = 0.05,
    progress: Progress | None = None,
    license: str | None = None,  # noqa: A002
    command: str | None = None,
    on_sealed: Callable[[ShardFacts], None] | None = None,
) -> Manifest:
    """Augment a source into a run directory on a Ray cluster, or go on there with a run that any way of running began.

    Args:
        source: the rows, at a place that all machines reach.
        engines: names, as `open_engine` takes them; servers that all machines reach.
        folder: the run directory, on storage that all machines see under the same path.
        address: of the cluster: `auto`, `host:port` or `ray://host:port`.
        tasks: that work at the same time; by default one for each CPU, as far as there are shards and requests.
        engine_options: `concurrency` among them is shared out; without it, what each server allows is.

    The rest, what is returned and what is raised are those of `augment_source`. RunError, too: there is no cluster, or
    its machines are lost again and again.
    """
    prepare(folder)
    with (
        connected(address) as ray,
        only_writer(folder),
        asyncio.Runner(loop_factory=new_event_loop) as runner,
    ):
        where = folder.resolve()
        begun = Manifest(
            source=source.facts, settings=settings, engine=UNKNOWN, license=license, command=command,
            kept_types={name: str(kind) for name, kind in source.kept_types.items()},
        )  # fmt: skip
        job = task.Job(
            source, _everywhere(engines), engine_options or {}, begun, where, owner_of(where) or "",
            {name: os.environ[name] for name in FORWARDED if name in os.environ},
        )  # fmt: skip
        driver = _Driver(
            ray, job, tasks, FailureBudget(max_failed_share), progress or Progress(), on_sealed or (lambda facts: None)
        )
        return runner.run(driver.run() if stop is None else stop.guard(driver.run()))


def _everywhere(engines: str | list[str]) -> str | list[str]:
    """Engines' names with absolute paths: a task works in another folder."""
    if not isinstance(engines, str):
        return [str(_everywhere(one)) for one in engines]
    mark = next((mark for mark in ("@", "local:") if engines.startswith(mark)), None)
    path = Path(engines.removeprefix(mark)).expanduser() if mark else None
    return f"{mark}{path.absolute()}" if path is not None and path.exists() else engines


def _is_local(engines: str | list[str]) -> bool:
    names = [engines] if isinstance(engines, str) else engines
    return all(name == "local" or name.startswith("local:") for name in names)


@dataclass(slots=True)
class _Task:
    """A task that is at work."""

    number: int
    part: Part
    ref: Any
    report: Report = field(default_factory=Report)


class _Driver:
    def __init__(
        self,
        ray: ModuleType,
        job: task.Job,
        tasks: int | None,
        budget: FailureBudget,
        progress: Progress,
        on_sealed: Callable[[ShardFacts], None],
    ) -> None:
        self.ray, self.job, self.tasks = ray, job, tasks
        self.budget, self.progress, self.on_sealed = budget, progress, on_sealed
        self.working: dict[asyncio.Future[Report], _Task] = {}
        self.done = Report()  # of tasks that are finished
        self.told = Report()  # of that and what is at work, as far as it was told
        self.known: set[int] = set()  # shards that are sealed
        self.finished: list[int] = []
        self.numbers = 0
        self.saved_at, self.saving_took, self.unsaved = time.monotonic(), 0.0, 0
        self.loads_next = 0.0

    async def run(self) -> Manifest:
        info, servers = await self._connect()
        begun = self.job.here.model_copy(update={"engine": EngineFacts.of(info)})
        manifest = await asyncio.to_thread(register, self.job.folder, begun)
        self.job = replace(self.job, here=begun.model_copy(update={"num_rows": manifest.num_rows}))
        self.budget.remember(manifest.counts)
        self.before = Counter(self.budget.reasons), self.budget.texts
        self.known = {shard.index for shard in manifest.shards}
        self.portions = Portions.of(manifest)
        if manifest.finished and self.portions.sure and not self.portions.left:
            return manifest
        self._share(info, servers)
        left = sum(self._rows_of(index) for index in self.portions.left)
        total = manifest.rows_sealed + left if self.portions.left else None
        self.progress.begin(manifest.rows_sealed, total, manifest)
        self.clock = load_file.Clock()
        self.board = self._begin_board()
        self.job_ref = self.ray.put(self.job)
        try:
            await self._work()
        finally:
            await self._end()
        return await asyncio.to_thread(self._finish)

    async def _connect(self) -> tuple[EngineInfo, int]:
        """What the engine is, and how many servers it has."""
        engine = open_engine(self.job.engines, **self.job.options)
        settings = self.job.here.settings
        try:
            info = await engine.connect()
            info.input_budget(SamplingParams(settings.max_new_tokens, settings.temperature, settings.top_p))
            return info, max(1, len(loads_of(engine)))
        finally:
            await engine.aclose()

    def _share(self, info: EngineInfo, servers: int) -> None:
        """Settle how many tasks work at once, and what each of them takes of the requests in flight."""
        resources = self.ray.cluster_resources()
        local = _is_local(self.job.engines)
        self.gpus = 1 if local and resources.get("GPU") else 0
        most = self.tasks or int(resources.get("GPU" if self.gpus else "CPU", 1))
        shards = len(self.portions.left) if self.portions.sure or self.portions.left else most
        if local:
            self.places, self.shares = max(1, min(most, shards)), None
        else:
            requests = self.job.options.get("concurrency") or info.max_concurrent_requests // servers
            least = 1 if self.tasks else LEAST_REQUESTS
            self.places = max(1, min(most, shards, requests * servers // least, requests))
            self.shares = [requests // self.places + (i < requests % self.places) for i in range(self.places)]
        self.free = set(range(self.places))

    def _begin_board(self) -> Any:
        kind = self.ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1, scheduling_strategy=here(self.ray))
        return kind(Board).remote()

    def _rows_of(self, shard: int) -> int:
        manifest = self.portions.manifest
        per_shard = manifest.settings.rows_per_shard
        limits = [number for number in (manifest.num_rows, manifest.source.num_rows, manifest.settings.limit) if number]
        return min(per_shard, *(limit - shard * per_shard for limit in limits)) if limits else per_shard

    # -- while tasks work -------------------------------------------------------------------------------------------

    async def _work(self) -> None:
        while True:
            while self.free and (shards := self.portions.next(self.places, len(self.working))):
                self._submit(shards)
            if not self.working:
                return
            done, _ = await asyncio.wait(self.working, timeout=LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            await self._read()
            for future in done:
                self._take(self.working.pop(future), future)
            self._tell()
            self.budget.judge()
            await self._save()

    def _submit(self, shards: tuple[int, ...]) -> None:
        place = min(self.free)
        self.free.remove(place)
        answered = self.told.texts - self.told.failures.total() + self.before[1] - self.before[0].total()
        part, share = Part(place, shards, max(0, answered)), self.shares[place] if self.shares else None
        make = self.ray.remote(num_cpus=1, num_gpus=self.gpus, max_retries=MAX_RETRIES)(task.make)
        ref = make.options(name="hub-instructpt").remote(self.job_ref, part, share, self.numbers, self.board)
        self.working[asyncio.wrap_future(ref.future())] = _Task(self.numbers, part, ref)
        self.numbers += 1

    async def _read(self) -> None:
        finished, self.finished = self.finished, []
        try:
            reports = await asyncio.wait_for(asyncio.wrap_future(self.board.read.remote(finished).future()), 5.0)
        except (self.ray.exceptions.RayError, TimeoutError):  # it comes back
            self.finished += finished
            return
        for one in self.working.values():
            one.report = reports.get(one.number, one.report)

    def _take(self, one: _Task, future: asyncio.Future[Report]) -> None:
        """Take in what a task gives back.

        Raises:
            HubInstructPTError: what stopped it, or that it was lost too often.
        """
        self.free.add(one.part.place)
        self.finished.append(one.number)
        try:
            report = one.report = future.result()
        except self.ray.exceptions.RayTaskError as error:
            cause = error.cause if isinstance(error.cause, Exception) else error
            if isinstance(cause, ModuleNotFoundError):
                raise RunError(
                    "A machine of the cluster lacks hub-instructpt, or something that it needs.",
                    advice="Install the same version on all machines.",
                ) from None
            raise cause from None
        except self.ray.exceptions.RayError as error:
            shards = f"{one.part.shards[0]} to {one.part.shards[-1]}"
            raise RunError(
                f"Ray lost the task of the shards {shards} {MAX_RETRIES + 1} times, or can not run it "
                f"({type(error).__name__}).",
                advice="Look at `ray status` and the logs of its machines, then run the same again: what was answered "
                "is kept.",
            ) from None
        _add(self.done, report)
        self.done.loads = merged([*self.done.loads, *(replace(load, limit=0, in_flight=0) for load in report.loads)], 1)
        if report.source_ended:
            self.portions.ended()
        self._note(report)
        if report.error is not None:
            raise report.error
        if report.stopped:
            raise RunError("A task was stopped from outside.", advice="Run the same again: what was answered is kept.")

    def _note(self, report: Report) -> None:
        for facts in report.sealed:
            if facts.index not in self.known:
                self.known.add(facts.index)
                self.unsaved += 1
                self.on_sealed(facts)

    def _tell(self) -> None:
        """Tell of everything that is new. A task that was begun anew tells less than before, until it has caught up."""
        now = Report()
        for report in (self.done, *(one.report for one in self.working.values())):
            _add(now, report)
            self._note(report)
        rows, pairs = max(0, now.rows - self.told.rows), max(0, now.pairs - self.told.pairs)
        failed = max(0, now.failures.total() - self.told.failures.total())
        self.told.rows, self.told.pairs = self.told.rows + rows, self.told.pairs + pairs
        self.told.texts = max(self.told.texts, now.texts)
        self.told.failures = max(self.told.failures, now.failures, key=Counter.total)
        self.budget.texts, self.budget.reasons = self.before[1] + now.texts, self.before[0] + now.failures
        if rows or pairs or failed:
            self.progress.add(rows, pairs, failed)
        if (moment := time.monotonic()) >= self.loads_next:
            self.loads_next = moment + load_file.LOOK_SECONDS
            at_work = [load for one in self.working.values() for load in one.report.loads]
            loads = merged([*self.done.loads, *at_work], self.places)
            if self.working:
                self.progress.loaded(loads)
            load_file.save(self.job.folder, loads, self.clock)

    async def _save(self) -> None:
        now = time.monotonic()
        if self.unsaved and self.saving_took <= SAVING_SHARE * (now - self.saved_at):
            manifest = await asyncio.to_thread(bring_up_to_date, self.job.folder)
            self.saved_at, self.unsaved = time.monotonic(), 0
            self.saving_took = self.saved_at - now
            self.progress.sealed(manifest)

    # -- the end ----------------------------------------------------------------------------------------------------

    async def _end(self) -> None:
        """Let no task work on."""
        try:
            if self.working:
                self.board.stop.remote()
                await asyncio.wait(self.working, timeout=STOP_SECONDS)
                for future, one in self.working.items():
                    if not future.done():
                        self.ray.cancel(one.ref, force=True)
                    elif not future.cancelled():
                        future.exception()  # it is looked at; what stopped the run is known
        finally:
            with suppress(self.ray.exceptions.RayError):
                self.ray.kill(self.board)

    def _finish(self) -> Manifest:
        folder = self.job.folder
        drop_temporary(folder)

        def finish(manifest: Manifest) -> None:
            known = known_rows(manifest)
            manifest.num_rows = manifest.rows_sealed if known is None else known
            manifest.finished = manifest.rows_sealed >= manifest.num_rows

        with suppress(OSError):  # not there, or with something in it that may be asked again
            (folder / journal_path(0)).parent.rmdir()
        return bring_up_to_date(folder, finish)


def _add(total: Report, report: Report) -> None:
    total.rows += report.rows
    total.texts += report.texts
    total.pairs += report.pairs
    total.failures += report.failures
