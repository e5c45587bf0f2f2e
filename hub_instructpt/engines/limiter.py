"""How many requests may be in flight to one server, and how that number moves.

TGI has no waiting room: the request after the last permit is refused at once (429). So the number is never above what
/info allows, and refusals say whether others use the server too (refusals.py).

Below that, the number is found by measuring (knee.py): servers that queue whatever comes never refuse, and TGI's
permits are more than it works on at a time. Where the user has fixed it, only refusals make it fewer.

Keeps true: never more than `limit` slots are held, but for those taken before it fell; waiters are served in order of
arrival; no slot is lost, whoever is cancelled when.
Does not know what the requests are.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from hub_instructpt.engines.knee import Knee
from hub_instructpt.engines.load import Load, Meter
from hub_instructpt.engines.refusals import Ceiling


class Slot(NamedTuple):
    """A request's place: its number, counted as places are taken, and the clock's time then."""

    number: int
    began: float


class Limiter:
    """An adaptive counting semaphore: `async with limiter as slot:` holds one slot.

    Args:
        maximum: the limit is never higher.
        knee: finds the limit, where the server does not tell it.
        clock: tells the time, in seconds.
    """

    def __init__(self, maximum: int, *, knee: Knee | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.maximum = max(1, maximum)
        self.limit = float(self.maximum if knee is None else knee.limit)
        self.in_flight = 0
        self._knee = knee
        self._meter = Meter(clock)
        self._taken = 0
        self._ceiling = Ceiling(self.maximum)
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def __aenter__(self) -> Slot:
        if self.in_flight >= int(self.limit) or self._waiting:
            slot = asyncio.get_running_loop().create_future()
            self._waiting.append(slot)
            try:
                await slot
            except asyncio.CancelledError:
                # Cancelled in the instant in which the slot was handed over: give it to the next one.
                if slot.done() and not slot.cancelled():
                    self._hand_on()
                raise
            now = self._meter.now  # of the hand-over, a tick ago
        else:
            now = self._meter.moved(self.in_flight, int(self.limit))
            self.in_flight += 1
        self._taken += 1
        self._ceiling.sent(self._taken)
        return Slot(self._taken, now)

    async def __aexit__(self, *exc_info: object) -> None:
        self._hand_on()

    def left(self, slot: Slot) -> None:
        """The request of this slot has ended, somehow. To be said of every one."""
        self._ceiling.left(slot.number)

    def answered(self, slot: Slot, tokens: int = 0) -> None:
        """An answer came, of so many tokens."""
        load = self._meter.load
        now = self._meter.moved(self.in_flight, int(self.limit))
        seconds = now - slot.began
        load.answered += 1
        load.answer_seconds += seconds
        load.tokens += tokens
        self._ceiling.answered(slot.number)
        if self._knee is not None:
            self._knee.answered(slot.number, self._taken, seconds, tokens or 1, now=now, slot_seconds=load.slot_seconds)
        self._set_limit()

    def refused(self, slot: Slot) -> None:
        """The server was full for the holder of this slot."""
        self._meter.load.refused += 1
        self._meter.moved(self.in_flight, int(self.limit))
        self._ceiling.refused(slot.number)
        self._set_limit()

    def failed(self) -> None:
        """A request ended without an answer; only counted."""
        self._meter.load.failed += 1

    def load(self, address: str) -> Load:
        """The load of the server, up to now."""
        if self._taken:
            self._meter.moved(self.in_flight, int(self.limit))
        return replace(self._meter.load, address=address, limit=int(self.limit), in_flight=self.in_flight)

    def _set_limit(self) -> None:
        self.limit = self._ceiling.value if self._knee is None else min(self._ceiling.value, float(self._knee.limit))

    def _hand_on(self) -> None:
        self._meter.moved(self.in_flight, int(self.limit))
        self.in_flight -= 1
        while self._waiting and self.in_flight < int(self.limit):
            slot = self._waiting.popleft()
            if not slot.done():
                self.in_flight += 1
                slot.set_result(None)
