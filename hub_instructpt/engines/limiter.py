"""How many requests may be in flight to one server, and how that number moves.

TGI has no waiting room: the request after the last permit is refused at once (429). So the number starts at what
/info allows; a refusal says that others use the server too, and takes a fifth away; a full round of answers gives one
back (additive increase, multiplicative decrease), never above the server's own limit. Requests that were in flight
together are refused together: only the first of them counts, or one full moment would take nearly everything away.

Keeps true: never more than `limit` slots are held, but for those taken before it fell; waiters are served in order of
arrival; no slot is lost, whoever is cancelled when.
Does not know what the requests are.
"""

from __future__ import annotations

import asyncio
from collections import deque


class Limiter:
    """An adaptive counting semaphore: `async with limiter as slot:` holds one slot, which is its number."""

    def __init__(self, maximum: int) -> None:
        self.maximum = max(1, maximum)
        self.limit = float(self.maximum)
        self.in_flight = 0
        self._taken = 0
        self._taken_when_lowered = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def __aenter__(self) -> int:
        if self.in_flight >= int(self.limit) or self._waiting:
            slot = asyncio.get_running_loop().create_future()
            self._waiting.append(slot)
            try:
                await slot
            except asyncio.CancelledError:
                # Cancelled in the instant in which the slot was handed over: give it to the next one.
                if slot.done() and not slot.cancelled():
                    self._release()
                raise
        else:
            self.in_flight += 1
        self._taken += 1
        return self._taken

    async def __aexit__(self, *exc_info: object) -> None:
        self._release()

    def answered(self) -> None:
        """An answer came: after one full round of them, one more slot."""
        if self.limit < self.maximum:
            self.limit = min(self.maximum, self.limit + 1 / self.limit)

    def refused(self, slot: int) -> None:
        """The server was full for the holder of this slot: a fifth fewer slots, and at least one."""
        if slot > self._taken_when_lowered:
            self._taken_when_lowered = self._taken
            self.limit = max(1.0, min(self.limit, float(self.in_flight)) * 0.8)

    def _release(self) -> None:
        self.in_flight -= 1
        while self._waiting and self.in_flight < int(self.limit):
            slot = self._waiting.popleft()
            if not slot.done():
                self.in_flight += 1
                slot.set_result(None)
