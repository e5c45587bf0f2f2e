"""A way to stop a run from outside of its event loop, such as from a signal handler.

Keeps true: a run that is stopped takes no new work, drops what is in flight, commits what was answered, and ends.
Does not know who stops it, or why.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


class Stop:
    """Stops what runs, if anything does. `wanted` tells that somebody asked."""

    def __init__(self) -> None:
        self.wanted = False
        self._running: tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]] | None = None

    async def guard(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Await some work so that it can be stopped.

        Raises:
            asyncio.CancelledError: it was.
        """
        task = asyncio.ensure_future(work)
        self._running = asyncio.get_running_loop(), task
        try:
            if self.wanted:
                task.cancel()
            return await task
        finally:
            self._running = None

    def now(self) -> bool:
        """Ask for the end; tells whether something was running."""
        self.wanted = True
        if self._running is None:
            return False
        loop, task = self._running
        loop.call_soon_threadsafe(task.cancel)
        return True
