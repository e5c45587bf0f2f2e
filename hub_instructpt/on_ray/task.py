"""A task: makes some shards of a run on a machine of the cluster, and tells the board how it goes.

Keeps true: an error that users should read comes back as a value; what it raises is unforeseen. A task that is told to
stop, or can reach nobody any more who would tell it, commits what was answered and ends.
Does not know which shards others make.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hub_instructpt.engines import open_engine
from hub_instructpt.engines.load import Load
from hub_instructpt.errors import HubInstructPTError, SettingsError
from hub_instructpt.on_ray.board import Report
from hub_instructpt.runs.manifest import Manifest
from hub_instructpt.runs.part import Part, make_part
from hub_instructpt.runs.runner import Progress
from hub_instructpt.runs.sources import Source
from hub_instructpt.runs.stopping import Stop
from hub_instructpt.synthesis import Synthesis
from hub_instructpt.version import __version__

TELL_SECONDS = 0.5
ALONE_SECONDS = 30.0
"""How long a task goes on when the board does not answer: it may be lost with its machine, and begun anew elsewhere."""


@dataclass(frozen=True, slots=True)
class Job:
    """What all tasks of a run have in common.

    Attributes:
        engines: as `open_engine` takes them, with paths that hold everywhere.
        here: the manifest of the run, without shards.
        folder: the run directory, on every machine.
        owner: of it, as `owner_of` names the driver.
        environment: variables that the driver has, for machines that have no such variable.
        version: of the driver's package.
    """

    source: Source
    engines: str | list[str]
    options: Mapping[str, Any]
    here: Manifest
    folder: Path
    owner: str
    environment: Mapping[str, str]
    version: str = __version__


def make(job: Job, part: Part, concurrency: int | None, number: int, board: Any) -> Report:
    """Make a part of the run; runs as a Ray task.

    Args:
        concurrency: requests in flight to each server; None for engines that are not shared.
        number: of the task.
        board: the actor.
    """
    if job.version != __version__:
        here = f"{socket.gethostname()} has hub-instructpt {__version__}, and the driver {job.version}"
        return Report(error=SettingsError(f"{here}.", advice="Install the same version on all machines."))
    for name, value in job.environment.items():
        os.environ.setdefault(name, value)
    telling = _Telling(number, board)
    try:
        with telling:
            options = dict(job.options) | ({} if concurrency is None else {"concurrency": concurrency})
            made = make_part(
                job.source,
                open_engine(job.engines, **options),
                job.here,
                job.folder,
                part,
                owner=job.owner,
                stop=telling.stop,
                progress=telling,
                on_noted=telling.report.take,
            )
        return replace(telling.report, sealed=made.shards, source_ended=made.source_ended)
    except HubInstructPTError as error:
        return replace(telling.report, error=error)
    except asyncio.CancelledError:
        return replace(telling.report, stopped=True)


class _Telling(Progress):
    """The progress of a task, told to the board from a thread of its own; stops the task when the board says so."""

    def __init__(self, number: int, board: Any) -> None:
        self.number, self.board = number, board
        self.report, self.stop = Report(), Stop()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._tell, name="telling", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def advance(self, rows: int, outcomes: Sequence[Synthesis]) -> None:
        report = self.report
        report.rows += rows
        report.texts += len(outcomes)
        for outcome in outcomes:
            report.pairs += len(outcome.pairs)
            if outcome.failure is not None:
                report.failures[outcome.failure] += 1

    def sealed(self, manifest: Manifest) -> None:
        self.report.sealed.append(manifest.shards[-1])

    def loaded(self, loads: Sequence[Load]) -> None:
        self.report.loads = [replace(load) for load in loads]

    def _tell(self) -> None:
        import ray

        heard = time.monotonic()
        while not self._ended.wait(TELL_SECONDS):
            try:
                told = self.board.tell.remote(self.number, self._snapshot())
                go_on = ray.get(told, timeout=ALONE_SECONDS)
            except Exception:  # whatever became of it, or of Ray: what counts is for how long
                go_on = time.monotonic() - heard < ALONE_SECONDS
            else:
                heard = time.monotonic()
            if not go_on:
                self.stop.now()
                return

    def _snapshot(self) -> Report:
        # The run goes on counting while this is sent.
        report = self.report
        return replace(report, failures=Counter(dict(report.failures)), sealed=list(report.sealed))
