"""Several engines as one: work goes where there is room, and on to others when a server fails.

    take a place ─► member.complete ─► answer
         ▲                └─► failed ─► another place, within the bounds of the retry policy
    fleet_queue.py               └─► again and again, or gone: fleet_roster.py sets the member aside
    fleet_backups.py: at the end, what a slow member still has is asked of an idle fast one as well

A member finds out by itself whether its server is there (its own tries are few and short); the fleet decides what
becomes of the prompt.

Keeps true: a prompt is given up only after as many tries as one server alone would get; no member is asked beyond its
limit; whatever one member can not do, the others are asked for.
Does not know HTTP, chains or files of rows.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, cast

from hub_instructpt.engines.base import Engine, HomeLoop, rebuild
from hub_instructpt.engines.engines_file import EnginesFile
from hub_instructpt.engines.fleet_backups import Backups
from hub_instructpt.engines.fleet_members import Given, Member, Spec, shown
from hub_instructpt.engines.fleet_queue import Pin
from hub_instructpt.engines.fleet_roster import Roster
from hub_instructpt.engines.load import Load
from hub_instructpt.engines.retries import Retries, RetryPolicy
from hub_instructpt.errors import EngineUnavailable, RequestFailed, SettingsError
from hub_instructpt.records import Completion, EngineInfo, SamplingParams

DOUBTED_AFTER = 3
"""A refusal is not believed of a server that has done nothing but fail for so many prompts."""

Answer = TypeVar("Answer")


class Fleet:
    """Several engines of the same model behind the one verb of each.

    Args:
        engines: their names, or engines. Of those, copies are used; their own retries should be few and short.
        file: names more of them, one a line, and is read again when it changes.
        retry: bounds on asking again, over all members; `unreachable_seconds` is how long all may be away.
        options: of every member that is named: `api_key`, `concurrency`, `timeout_seconds`, …
    """

    def __init__(
        self,
        engines: Sequence[str | Engine] = (),
        *,
        file: str | Path | None = None,
        retry: RetryPolicy | None = None,
        **options: Any,
    ) -> None:
        self._specs: list[Spec] = [one.strip() if isinstance(one, str) else Given(one) for one in engines]
        self._file = None if file is None else EnginesFile(file)
        self._retry = retry or RetryPolicy()
        self._options = options
        if not self._specs and self._file is None:
            raise SettingsError("A fleet needs an engine.", advice="Name one: --engine http://HOST:PORT.")
        self.address = ", ".join([*map(shown, self._specs), *([f"@{self._file.path}"] if self._file else [])])
        self._home = HomeLoop()
        self._forget()
        # A wrong name is an error here, not when connecting.
        self._roster.check([*self._specs, *(self._file.read() if self._file else [])])

    def _forget(self) -> None:
        """Be as before the first connection."""
        self._connecting = asyncio.Lock()
        self._info: EngineInfo | None = None
        self._roster = Roster(self._specs, self._file, self._make, self._retry.unreachable_seconds)
        self._backups = Backups(self._roster)

    # -- the engine ------------------------------------------------------------------------------------------------

    async def connect(self) -> EngineInfo:
        if not self._home.enter():
            self._forget()
        if self._info is None:
            async with self._connecting:
                if self._info is None:
                    try:
                        self._info = await self._roster.gather()
                    except BaseException:
                        await self.aclose()
                        raise
        return self._info

    async def complete(self, prompt: str, sampling: SamplingParams) -> Completion:
        return await self.complete_pinned(prompt, sampling, None)

    async def complete_pinned(self, prompt: str, sampling: SamplingParams, pin: Pin[Member] | None) -> Completion:
        """Complete one prompt of a chain."""
        await self.connect()
        return await self._ask(lambda engine: engine.complete(prompt, sampling), pin)

    async def count_tokens(self, text: str) -> int:
        await self.connect()
        return await self._ask(lambda engine: engine.count_tokens(text), None)

    def pinned(self) -> Engine:
        """The fleet for one chain: it stays with the server that it began with, as long as that is there."""
        return _Pinned(self)

    @property
    def capacity(self) -> int:
        """Prompts that all members take at once, now."""
        return self._roster.capacity

    def loads(self) -> Sequence[Load]:
        """The load of each server, those that are away included."""
        return self._roster.loads()

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy knows how to connect, and is not connected.
        file = None if self._file is None else self._file.path
        engines = [spec if isinstance(spec, str) else spec.engine for spec in self._specs]
        return rebuild, (type(self), {"engines": engines, "file": file, "retry": self._retry, **self._options})

    async def aclose(self) -> None:
        roster, backups = self._roster, self._backups
        self._home.leave()
        self._forget()
        await backups.aclose()
        await roster.aclose()

    # -- asking ----------------------------------------------------------------------------------------------------

    async def _ask(self, ask: Callable[[Engine], Awaitable[Answer]], pin: Pin[Member] | None) -> Answer:
        """Ask members until one answers, within the bounds of the retry policy."""
        retries: Retries | None = None  # most prompts are answered at once
        avoid: Member | None = None
        attempts = 0
        roster = self._roster
        while True:
            if roster.gone:
                raise roster.all_gone()
            member = await roster.queue.take(pin, avoid)
            running = self._backups.begin(ask, member)
            try:
                answer = await ask(member.engine)
            except asyncio.CancelledError:
                if not running.was_overtaken():
                    raise
                return cast(Answer, running.answer)
            except (EngineUnavailable, RequestFailed) as failure:
                if await running.second_answer():
                    return cast(Answer, running.answer)
                retries = retries or Retries(self._retry)
                attempts += max(1, failure.attempts) if isinstance(failure, RequestFailed) else 1
                wait = self._judge(member, failure, retries, attempts)
            else:
                roster.is_well(member)
                return answer
            finally:
                self._backups.end(running)
                roster.give(member)
            avoid = member
            if pin is not None:
                pin.member = None
            if not self._has_other(member):
                await asyncio.sleep(wait)

    def _judge(
        self, member: Member, failure: EngineUnavailable | RequestFailed, retries: Retries, attempts: int
    ) -> float:
        """What a failed prompt says about the member, and whether it is to be asked again.

        Returns:
            Seconds to wait, if there is no other member.

        Raises:
            RequestFailed: the prompt is given up.
        """
        if isinstance(failure, EngineUnavailable):
            self._roster.set_aside(member, failure.message)
            # A prompt that takes every server down with it has to end as well.
            wait, reason = retries.next_wait("error"), "unreachable"
        elif failure.reason == "status_429":
            wait, reason = retries.next_wait("busy"), failure.reason
        else:
            doubted = (member.on_trial or member.failures >= DOUBTED_AFTER) and self._has_other(member)
            if member.failed() and (failure.passing or doubted):
                self._roster.set_aside(member, failure.message)
            if not failure.passing and not doubted:
                raise failure
            weight = max(failure.attempts, 2 if failure.reason == "timeout" else 1)
            wait, reason = retries.next_wait("error", weight=weight), failure.reason
        if wait is None:
            raise RequestFailed(
                f"{failure.message.rstrip('.')}; {attempts} tries in all.",
                reason=reason,
                attempts=attempts,
                passing=True,
                advice=failure.advice if isinstance(failure, RequestFailed) else "",
            ) from None
        return wait

    def _has_other(self, member: Member) -> bool:
        return any(other.usable and other is not member for other in self._roster.members)

    def _make(self, spec: Spec) -> Engine:
        from hub_instructpt.engines import open_engine

        if not isinstance(spec, str):
            return copy.copy(spec.engine)
        # The fleet asks elsewhere, where one engine alone would have to be patient.
        own = replace(
            self._retry,
            max_attempts=min(2, self._retry.max_attempts),
            busy_seconds=min(2.0, self._retry.busy_seconds),
            unreachable_seconds=0.0,
        )
        return open_engine(spec, retry=own, **self._options)


class _Pinned:
    """A fleet as one chain of prompts sees it."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._pin: Pin[Member] = Pin()

    async def connect(self) -> EngineInfo:
        return await self._fleet.connect()

    async def complete(self, prompt: str, sampling: SamplingParams) -> Completion:
        return await self._fleet.complete_pinned(prompt, sampling, self._pin)

    async def count_tokens(self, text: str) -> int:
        return await self._fleet.count_tokens(text)

    async def aclose(self) -> None:
        """The fleet stays open: other chains use it."""
