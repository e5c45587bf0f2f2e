"""The board: what tasks have done so far, for the driver to read, and whether they are to go on.

Each task tells all that it has done, not what is new: a board that was lost with its machine is whole again with the
next words of each task, and a task that begins anew replaces what its lost one had told.

Keeps true: it is small, whatever the run. Does not know Ray, rows or files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace

from hub_instructpt.engines.load import Load
from hub_instructpt.errors import HubInstructPTError
from hub_instructpt.runs.manifest import ShardFacts


@dataclass(slots=True)
class Report:
    """What a task has done.

    Attributes:
        rows: of the source.
        texts: of them, those that were answered for.
        failures: texts that failed, by reason.
        loads: of the servers, as this task sees them.
        sealed: shards.
        source_ended: there are no more rows than those of its shards.
        error: what stopped it; None when nothing did.
        stopped: it was told to.
    """

    rows: int = 0
    texts: int = 0
    pairs: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    loads: Sequence[Load] = ()
    sealed: list[ShardFacts] = field(default_factory=list)
    source_ended: bool = False
    error: HubInstructPTError | None = None
    stopped: bool = False

    def take(self, facts: ShardFacts) -> None:
        """Count a shard that an earlier try of the same task has made."""
        self.sealed.append(facts)
        self.rows += facts.num_source_rows
        self.texts += facts.counts.get("texts/all", 0)
        self.pairs += facts.counts.get("pairs/kept", 0)
        for key, number in facts.counts.items():
            if key.startswith("texts_without_pairs/failed_"):
                self.failures[key.partition("failed_")[2]] += number


class Board:
    """Runs as an actor, where all tasks and the driver reach it."""

    def __init__(self) -> None:
        self._reports: dict[int, Report] = {}
        self._stopped = False

    def tell(self, task: int, report: Report) -> bool:
        """What a task has done; returns whether it is to go on."""
        self._reports[task] = report
        return not self._stopped

    def read(self, finished: Collection[int]) -> dict[int, Report]:
        """What is known of tasks. Those that are finished are forgotten."""
        for task in finished:
            self._reports.pop(task, None)
        return self._reports

    def stop(self) -> None:
        """Let no task go on."""
        self._stopped = True


def merged(loads: Iterable[Load], at_once: int) -> list[Load]:
    """The loads of servers that several tasks share, each server's once.

    Args:
        at_once: how many tasks work at the same time. Their seconds pass together.
    """
    servers: dict[str, Load] = {}
    for load in loads:
        known = servers.get(load.address)
        servers[load.address] = replace(load) if known is None else _sum(known, load)
    for load in servers.values():
        load.seconds /= at_once
        load.full_seconds /= at_once
    return list(servers.values())


def _sum(one: Load, other: Load) -> Load:
    added = {
        name: getattr(one, name) + getattr(other, name)
        for name in (
            "limit", "in_flight", "answered", "refused", "failed", "tokens", "seconds", "full_seconds", "slot_seconds",
            "answer_seconds",
        )
    }  # fmt: skip
    return replace(one, state=one.state if one.state != "up" else other.state, **added)
