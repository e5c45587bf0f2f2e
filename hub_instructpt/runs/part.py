"""A part of a run: some of its shards, made by one process for another that has the run directory.

Keeps true: a shard of it is sealed and noted as in any run, and never by two at once; one that an earlier try at the
same part has noted is not made again, and what that one was answered is not asked again.
Does not know who has the run, what the other parts are, or where they are made.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hub_instructpt.background import new_event_loop
from hub_instructpt.engines.base import Engine
from hub_instructpt.records import EngineInfo
from hub_instructpt.runs.locks import part_writer
from hub_instructpt.runs.manifest import EngineFacts, Manifest, ShardFacts
from hub_instructpt.runs.plan import Plan, known_rows
from hub_instructpt.runs.runner import Progress, Run
from hub_instructpt.runs.same_run import refuse_other_run
from hub_instructpt.runs.shards import shard_path
from hub_instructpt.runs.sources import Source, SourceRow
from hub_instructpt.runs.stopping import Stop
from hub_instructpt.synthesis import FailureBudget


@dataclass(frozen=True, slots=True)
class Part:
    """What is to be made.

    Attributes:
        place: its number among the parts that are made at the same time.
        shards: their numbers.
        texts_before: texts that were answered for by other parts; without any, failures alone stop this one.
    """

    place: int
    shards: Sequence[int]
    texts_before: int = 0


@dataclass(slots=True)
class Made:
    """What came of a part: its sealed shards, and whether the source ended within them or before."""

    shards: list[ShardFacts] = field(default_factory=list)
    source_ended: bool = False


def make_part(
    source: Source,
    engine: Engine,
    here: Manifest,
    folder: Path,
    part: Part,
    *,
    owner: str,
    stop: Stop | None = None,
    progress: Progress | None = None,
    on_noted: Callable[[ShardFacts], None] = lambda facts: None,
) -> Made:
    """Make the shards of a part.

    Args:
        engine: connected and closed here.
        here: the manifest of the run, as its owner began; its shards are not looked at.
        owner: of the run directory, as `owner_of` named it.
        stop: ends it when it is told to; `asyncio.CancelledError` comes out then.
        on_noted: called at once with each shard that an earlier try has made.

    Raises:
        RunDirectoryError: the directory is not the owner's, or the engine has another model.
        EngineError: the engine is gone; what was answered is kept. How many texts may fail is for the owner to judge.
    """
    with part_writer(folder, part.place, owner), asyncio.Runner(loop_factory=new_event_loop) as runner:
        made = Made(_noted(folder, part.shards))
        for facts in made.shards:
            on_noted(facts)
        left = set(part.shards) - {facts.index for facts in made.shards}
        per_shard = here.settings.rows_per_shard
        bounds = [(max(part.shards) + 1) * per_shard, here.settings.limit, known_rows(here)]
        end = min(bound for bound in bounds if bound is not None)
        made.source_ended = any(facts.source_rows[1] < min(end, (facts.index + 1) * per_shard) for facts in made.shards)

        def plan(info: EngineInfo) -> Plan:
            refuse_other_run(here, here.model_copy(update={"engine": EngineFacts.of(info)}), folder)
            return Plan(here.model_copy(update={"shards": []}), left.__contains__, end)

        def rows(
            start: int, stop: int | None, wanted: Callable[[int], bool], ended: Callable[[int], None]
        ) -> Iterator[SourceRow]:
            yield from source.rows(start, stop, wanted, lambda index: note_end(index, stop))

        def note_end(index: int, stop: int | None) -> None:
            made.source_ended = stop is None or index < stop

        budget = FailureBudget(max_share=1.0)
        budget.remember({"texts/all": part.texts_before})
        run = Run(
            rows, source.kept_types, engine, here.settings, folder, plan, budget, progress or Progress(), part=True
        )
        made.shards += runner.run(run.run() if stop is None else stop.guard(run.run())).shards
        return made


def _noted(folder: Path, shards: Sequence[int]) -> list[ShardFacts]:
    """Those of some shards that are sealed and noted."""
    if not any((folder / shard_path(index)).exists() for index in shards):
        return []  # a manifest may be long
    return [facts for facts in Manifest.load(folder).shards if facts.index in shards]
