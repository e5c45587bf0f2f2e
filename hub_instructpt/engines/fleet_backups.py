"""Second tries at the end: what a slow server still has is asked of a fast one that has nothing left to do.

When no prompt waits any more, a run takes as long as its slowest server does for what it has. A fast one that is idle
by then may well be done earlier, though it begins later (backup tasks, as MapReduce has them). So may anybody, where a
server has fallen silent. The first answer counts; the other request is cancelled.

    slow      its answers take at least twice as many seconds a token as those of the idle one. Outputs are
              long-tailed: what has run for long is expected to run for about as long again
    silent    it has answered nothing for many times as long as its answers usually take

Keeps true: a place is used for this only while nobody waits for one; a prompt is with two servers at most; between
servers of one speed nothing is asked twice. Does not know HTTP or why a server is slow.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from hub_instructpt.engines.base import Engine
from hub_instructpt.engines.fleet_members import Member
from hub_instructpt.engines.fleet_roster import Roster
from hub_instructpt.errors import EngineUnavailable, RequestFailed

LOOK_SECONDS = 0.5
SLOWER = 2.0
SILENT = 8.0
SILENT_SECONDS = 20.0
_NONE: Any = object()


@dataclass(eq=False, slots=True)
class Running:
    """A prompt that a member has, and the second try of it, if there is one."""

    ask: Callable[[Engine], Awaitable[Any]]
    member: Member
    task: asyncio.Task[Any]
    since: float
    backup: asyncio.Task[None] | None = None
    answer: Any = field(default=_NONE)
    over: bool = False

    def was_overtaken(self) -> bool:
        """After its task was cancelled: whether only because the second try has the answer."""
        return self.answer is not _NONE and self.task.uncancel() == 0

    async def second_answer(self) -> bool:
        """After the first try has failed: whether the second one has an answer. Waits for it."""
        self.over = True
        if self.backup is not None and not self.backup.done():
            await asyncio.wait((self.backup,))
        return self.answer is not _NONE


class Backups:
    """The second tries of a fleet, in one event loop."""

    def __init__(self, roster: Roster) -> None:
        self._roster = roster
        self._running: dict[Running, None] = {}  # the one that has run for longest comes first
        self._watching: asyncio.Task[None] | None = None

    def begin(self, ask: Callable[[Engine], Awaitable[Any]], member: Member) -> Running:
        """Note that a member is being asked, by the task that runs."""
        task = asyncio.current_task()
        assert task is not None
        running = Running(ask, member, task, time.monotonic())
        self._running[running] = None
        if self._watching is None:
            self._watching = asyncio.create_task(self._watch())
        return running

    def end(self, running: Running) -> None:
        """Note that it is not any more."""
        running.over = True
        self._running.pop(running, None)
        if running.backup is not None:
            running.backup.cancel()

    async def aclose(self) -> None:
        """Stop all second tries."""
        tasks = [running.backup for running in self._running if running.backup is not None]
        tasks += [self._watching] if self._watching is not None else []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if self._running and not self._roster.queue.waiting:
                self._look()

    def _look(self) -> None:
        """Begin second tries where there is room for them and a reason."""
        usable = [member for member in self._roster.members if member.usable and not member.on_trial]
        paces = {member: pace for member in usable if (pace := member.pace()) is not None}
        now = time.monotonic()
        for idle in sorted(paces, key=lambda member: paces[member]):
            places = idle.capacity // 2 - idle.outstanding
            for running in list(self._running):
                if places <= 0:
                    break
                if running.backup is None and running.member is not idle and self._pays(running, idle, paces, now):
                    places -= 1
                    running.backup = asyncio.create_task(self._try(running, idle))

    def _pays(self, running: Running, idle: Member, paces: dict[Member, float], now: float) -> bool:
        member = running.member
        slow = member in paces and paces[member] >= SLOWER * paces[idle]
        patience = max(SILENT_SECONDS, SILENT * member.latency())
        return slow or now - max(running.since, member.last_answer) > patience

    async def _try(self, running: Running, member: Member) -> None:
        member.outstanding += 1
        member.backups += 1
        try:
            answer = await running.ask(member.engine)
        except EngineUnavailable as error:
            self._roster.set_aside(member, error.message)
        except RequestFailed:
            pass  # the first try is still under way
        else:
            self._roster.is_well(member)
            running.answer = answer
            if not running.over:
                running.task.cancel()
        finally:
            self._roster.give(member)
