"""How busy a server is and was: what tells whether it holds a run up, or its client does.

A server whose every place is taken all the time is the bottleneck. Where places stay free although there is work, the
client is: its source, its disk or its processor.

Keeps true: measuring costs about a microsecond a request. Seconds are those of a clock that never goes back.
Does not know what is being asked, or who.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Protocol, runtime_checkable

FULL = 0.8
"""With every place taken for this share of the time, the servers are what takes it."""
BUSY = 0.85
"""A core that is busy for this share of the time is full."""


@dataclass(slots=True)
class Load:
    """One server's load since its first request.

    Attributes:
        address: where it is, without passwords.
        state: `up`, `aside` (failing, asked again later), `draining` (leaves when its last request is answered).
        limit: requests that it is given at once, now.
        in_flight: requests that it has, now.
        answered, refused, failed: requests, by what became of them; refused are those that met a full server.
        tokens: generated.
        backups: requests for prompts that another server of the fleet had as well.
        seconds: since the first request.
        full_seconds: of these, with every place taken.
        slot_seconds: requests in flight, integrated over time.
        answer_seconds: sum over the answered, from sending to answer.
    """

    address: str = ""
    state: str = "up"
    limit: int = 0
    in_flight: int = 0
    answered: int = 0
    refused: int = 0
    failed: int = 0
    tokens: int = 0
    backups: int = 0
    seconds: float = 0.0
    full_seconds: float = 0.0
    slot_seconds: float = 0.0
    answer_seconds: float = 0.0

    @property
    def full_share(self) -> float:
        """Share of the time in which every place was taken."""
        return self.full_seconds / self.seconds if self.seconds else 0.0

    @property
    def mean_in_flight(self) -> float:
        return self.slot_seconds / self.seconds if self.seconds else 0.0

    @property
    def latency(self) -> float:
        """Mean seconds from sending to answer."""
        return self.answer_seconds / self.answered if self.answered else 0.0

    def as_dict(self) -> dict[str, Any]:
        """Everything, rounded for a file."""
        return {name: round(value, 3) if isinstance(value, float) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, told: dict[str, Any]) -> Load:
        """What `as_dict` gave, from this version or another."""
        return cls(**{name.name: told[name.name] for name in fields(cls) if name.name in told})


def verdict(loads: Sequence[Load], cpu_share: float) -> str:
    """What holds a run up, in words.

    Args:
        loads: of its servers.
        cpu_share: of one core, used by the client.
    """
    slots = sum(load.seconds * max(1, load.limit) for load in loads)
    full = sum(load.full_seconds * max(1, load.limit) for load in loads) / slots if slots else 0.0
    if full >= FULL:
        return f"the engine: every place was taken for {_percent(full)} of the time"
    free = f"places stayed free for {_percent(1 - full)} of the time"
    if cpu_share >= BUSY:
        return f"this process: its core was busy {_percent(cpu_share)} of the time, and {free}"
    return f"the client: {free}, waiting for the source or the disk"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


@dataclass(slots=True)
class Meter:
    """Adds up the load of one server. `moved` is to be called before each change of what is in flight."""

    clock: Callable[[], float] = time.monotonic
    load: Load = field(default_factory=Load)
    now: float = 0.0
    _began: float | None = None

    def moved(self, in_flight: int, limit: int) -> float:
        """Account for the time since the last change, in which so many were in flight beneath that limit.

        Returns:
            The clock's time.
        """
        now = self.clock()
        if self._began is None:
            self._began = now
        else:
            passed, load = now - self.now, self.load
            load.seconds += passed
            load.slot_seconds += passed * in_flight
            if in_flight >= limit:
                load.full_seconds += passed
        self.now = now
        return now


@runtime_checkable
class Measured(Protocol):
    """An engine that knows its load."""

    def loads(self) -> Sequence[Load]:
        """The load of each server, at this moment."""
        ...


def loads_of(engine: object) -> Sequence[Load]:
    """The load of each server of an engine; none where it does not know."""
    return engine.loads() if isinstance(engine, Measured) else ()
