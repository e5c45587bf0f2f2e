"""How many requests may be in flight to one server, and how that number moves.

TGI has no waiting room: the request after the last permit is refused at once (429). So the number starts at what
/info allows; a refusal says that others use the server too, and takes a tenth away; a full round of answers gives one
back (additive increase, multiplicative decrease), never above the server's own limit.

Keeps true: never more than `limit` slots are held; waiters are served in order of arrival.
Does not know what the requests are.
"""

from __future__ import annotations

import asyncio
from collections import deque


class Limiter:
    """An adaptive counting semaphore: `async with limiter:` holds one slot."""

    def __init__(self, maximum: int) -> None:
        self.maximum = max(1, maximum)
        self.limit = float(self.maximum)
        self.in_flight = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def __aenter__(self) -> None:
        if self.in_flight < int(self.limit) and not self._waiting:
            self.in_flight += 1
            return
        slot = asyncio.get_running_loop().create_future()
        self._waiting.append(slot)
        try:
            await slot
        except asyncio.CancelledError:
            # Cancelled in the instant in which the slot was handed over: give it to the next one.
            if slot.done() and not slot.cancelled():
                self._release()
            raise

    async def __aexit__(self, *exc_info: object) -> None:
        self._release()

    def answered(self) -> None:
        """An answer came: after one full round of them, one more slot."""
        if self.limit < self.maximum:
            self.limit = min(self.maximum, self.limit + 1 / self.limit)

    def refused(self) -> None:
        """The server was full: a tenth fewer slots, and at least one."""
        self.limit = max(1.0, min(self.limit, self.in_flight + 1.0) * 0.9)

    def _release(self) -> None:
        self.in_flight -= 1
        while self._waiting and self.in_flight < int(self.limit):
            slot = self._waiting.popleft()
            if not slot.done():
                self.in_flight += 1
                slot.set_result(None)
