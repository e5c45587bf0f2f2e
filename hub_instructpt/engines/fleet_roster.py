"""Who belongs to a fleet: connecting its servers, setting them aside, taking them back, and the file that names them.

A server that fails is set aside and connected anew, with growing waits; when it is back it gets one prompt at a time
until one is answered. One that is named while the run goes on takes part when it is connected; one that is named no
longer answers what it has and gets no more. When nobody has been in order for a while, everybody who waits hears it.

Keeps true: who comes later, or back, serves the same model within the same limits, or is left out with a warning.
No connection is closed while a prompt is on it, unless all are.
Does not know what is being asked.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Sequence

from hub_instructpt.engines.base import Engine
from hub_instructpt.engines.engines_file import LOOK_SECONDS, EnginesFile
from hub_instructpt.engines.fleet_members import (
    Member,
    Spec,
    check_fits,
    check_same,
    info_of,
    shown,
)
from hub_instructpt.engines.fleet_queue import FleetQueue
from hub_instructpt.engines.load import Load
from hub_instructpt.errors import EngineUnavailable, HubInstructPTError, SettingsError
from hub_instructpt.records import EngineInfo

FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 1.0, 30.0
"""How long a server that was set aside is left alone: each time twice as long."""

CAPACITY_SECONDS = 0.25

GRACE_SECONDS = 10.0
"""How long those that are up wait at the start for those that are not."""

_log = logging.getLogger("hub_instructpt")


class Roster:
    """The servers of one fleet, in one event loop.

    Args:
        fixed: servers that belong to it as long as it is there.
        file: names more of them.
        make: makes the engine of a server, not yet connected; raises SettingsError for what is none.
        unreachable_seconds: how long all may be away.
    """

    def __init__(
        self,
        fixed: Sequence[Spec],
        file: EnginesFile | None,
        make: Callable[[Spec], Engine],
        unreachable_seconds: float,
    ) -> None:
        self._fixed, self._file, self._make = fixed, file, make
        self._unreachable_seconds = unreachable_seconds
        self._info: EngineInfo | None = None
        self._first: Member | None = None  # what the others are compared with
        self.members: list[Member] = []
        self.queue: FleetQueue[Member] = FleetQueue(self.members)
        self.gone = False
        self._capacity, self._capacity_until = 1, 0.0
        self._away: dict[Spec, str] = {}  # servers that are not connected, and why
        self._calling: dict[Spec, asyncio.Task[None]] = {}  # tries to connect them
        self._watching: asyncio.Task[None] | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._closed = False
        self._alarm: asyncio.TimerHandle | None = None

    @property
    def capacity(self) -> int:
        """Prompts that all members take at once, now."""
        now = time.monotonic()
        if now >= self._capacity_until:  # asked for each chain, and limits move slowly
            self._capacity = max(1, sum(member.capacity for member in self.members if member.usable))
            self._capacity_until = now + CAPACITY_SECONDS
        return self._capacity

    def loads(self) -> list[Load]:
        """The load of each server, those that are away included."""
        away = [Load(address=shown(spec), state="aside") for spec in self._away if self._active(spec) is None]
        return [*(member.load() for member in self.members), *away]

    async def aclose(self) -> None:
        """Close all connections, whoever uses them."""
        if self._alarm is not None:
            self._alarm.cancel()
        self._closed = self.gone = True
        self.queue.fail(lambda: EngineUnavailable("The engine was closed."))
        tasks = [*self._calling.values(), *([self._watching] if self._watching else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, *self._closing, return_exceptions=True)
        for member in self.members:
            await member.engine.aclose()

    # -- the start -------------------------------------------------------------------------------------------------

    async def gather(self) -> EngineInfo:
        """Connect whoever is up.

        Raises:
            EngineUnavailable: nobody is.
            HubInstructPTError: one of them is no engine, or not of the same model.
        """
        specs = [*self._fixed, *(self._file.read() if self._file else [])]
        self.check(specs)
        tasks = {spec: asyncio.create_task(self._open(spec)) for spec in specs}
        try:
            deadline = asyncio.get_running_loop().time() + GRACE_SECONDS
            while pending := [task for task in tasks.values() if not task.done()]:
                up = any(task.done() and not task.exception() for task in tasks.values())
                left = deadline - asyncio.get_running_loop().time()
                if up and left <= 0:
                    break
                timeout = left if up else None
                await asyncio.wait(pending, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            for spec, task in tasks.items():
                error = task.exception() if task.done() else EngineUnavailable(f"{shown(spec)} is not ready yet.")
                if error is None:
                    self.members.append(task.result())
                elif not isinstance(error, EngineUnavailable):
                    raise error
                else:
                    self._away[spec] = error.message
        finally:
            for task in tasks.values():
                task.cancel()
            for done in await asyncio.gather(*tasks.values(), return_exceptions=True):
                if isinstance(done, Member) and done not in self.members:
                    await done.engine.aclose()
        if not self.members:
            errors = [task.exception() for task in tasks.values()]
            raise errors[0] if len(errors) == 1 and errors[0] else self._nobody_there()
        self._first = self.members[0]
        for member in self.members[1:]:
            check_same(self._first, member)
        self._info = info_of(self.members)
        for spec, why in self._away.items():
            _log.warning("%s The others begin without it; it joins them when it is there.", why)
            self._call(spec, FIRST_WAIT_SECONDS)
        if self._file is not None:
            self._watching = asyncio.create_task(self._watch_file(self._file))
        return self._info

    async def _open(self, spec: Spec) -> Member:
        """Connect one server.

        Raises:
            SettingsError: it is not one that could take part.
        """
        engine = self._make(spec)
        try:
            member = Member(spec, engine, await engine.connect())
            if self._first is not None and self._info is not None:
                check_same(self._first, member)
                check_fits(member, self._info)
            return member
        except BaseException:
            await engine.aclose()
            raise

    # -- coming and going ------------------------------------------------------------------------------------------

    def check(self, specs: Sequence[Spec]) -> None:
        """See whether these can be servers of one fleet.

        Raises:
            SettingsError: for a name that no engine has, or one that stands there twice.
        """
        known: set[str] = set()
        for name in (spec.rstrip("/") for spec in specs if isinstance(spec, str)):
            if name in known:
                raise SettingsError(f"The engine {shown(name)} is named twice.", advice="Name each server once.")
            known.add(name)
            self._make(name)

    def give(self, member: Member) -> None:
        """A member has one prompt less."""
        self.queue.give(member)
        if member.state in ("draining", "replaced") and not member.outstanding:
            self._let_go(member)

    def set_aside(self, member: Member, why: str) -> None:
        """Give a member no more prompts until it is back."""
        if member.state != "up" or self._closed:
            return
        member.state, member.trouble = "aside", why
        self._away[member.spec] = why
        _log.warning("%s It is set aside; its work goes on elsewhere.", why)
        self._call(member.spec, max(FIRST_WAIT_SECONDS, member.wait_seconds))
        self._changed()

    def is_well(self, member: Member) -> None:
        """A member has answered a prompt."""
        was_on_trial = member.on_trial
        member.answered()
        if was_on_trial and member.usable:
            _log.warning("%s is back.", member.address)
            self._changed()

    def _call(self, spec: Spec, wait: float) -> None:
        """Begin to ask a server that is away whether it is back."""
        if spec not in self._calling:
            self._calling[spec] = asyncio.create_task(self._keep_calling(spec, wait))

    async def _keep_calling(self, spec: Spec, wait: float) -> None:
        told = ""
        while True:
            await asyncio.sleep(random.uniform(0.75, 1.0) * wait)
            wait = min(max(FIRST_WAIT_SECONDS, 2 * wait), LONGEST_WAIT_SECONDS)
            try:
                member = await self._open(spec)
            except EngineUnavailable as error:
                self._away[spec] = error.message
            except Exception as error:  # whatever it is: others work, and this one may be mended
                self._away[spec] = _message(error, spec)
                if self._away[spec] != told:
                    told = self._away[spec]
                    _log.warning("%s It is left out.", told)
            else:
                member.wait_seconds = wait
                self._calling.pop(spec, None)
                self._admit(member)
                return

    def _admit(self, member: Member) -> None:
        """Let a server take part that has just been connected."""
        self._away.pop(member.spec, None)
        before = self._active(member.spec)
        if before is not None:
            member.on_trial, member.past = True, before.load()
            before.state = "replaced"
            if not before.outstanding:
                self._let_go(before)
        else:
            _log.warning("%s takes part from now on.", member.address)
        self.members.append(member)
        self.gone = False  # it may yet fail; then there is another alarm
        self._changed()

    def _active(self, spec: Spec) -> Member | None:
        return next((one for one in self.members if one.spec == spec and one.state in ("up", "aside")), None)

    def _let_go(self, member: Member) -> None:
        """Close a connection that nobody uses any more."""
        if member in self.members:
            self.members.remove(member)
            task = asyncio.create_task(member.engine.aclose())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    def _changed(self) -> None:
        """Members came, went, or changed: give out work, and see whether anybody is left."""
        self._capacity_until = 0.0
        self.queue.stir()
        if any(member.usable and not member.on_trial for member in self.members):
            self.gone = False
            if self._alarm is not None:
                self._alarm.cancel()
                self._alarm = None
        elif self._alarm is None and not self.gone:
            loop = asyncio.get_running_loop()
            self._alarm = loop.call_later(self._unreachable_seconds, self._give_up)

    def _give_up(self) -> None:
        """Nobody was in order for as long as was to be waited."""
        self._alarm = None
        if any(member.usable for member in self.members):  # one is on trial: it may yet answer
            self._changed()
            return
        self.gone = True
        self.queue.fail(self.all_gone)

    def all_gone(self) -> EngineUnavailable:
        """The error for everybody, when nobody is in order."""
        return EngineUnavailable(
            f"No engine has been in order for {self._unreachable_seconds:g} s: {self._causes()}.",
            advice="What is done is safe: restart a server, then run the same command again.",
        )

    def _nobody_there(self) -> EngineUnavailable:
        return EngineUnavailable(
            f"None of {len(self._away)} engines answers: {self._causes()}.",
            advice="Start one of them, or check the addresses.",
        )

    def _causes(self) -> str:
        return "; ".join(why.rstrip(".") for why in self._away.values())

    # -- the file of engines ---------------------------------------------------------------------------------------

    async def _watch_file(self, file: EnginesFile) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if not await asyncio.to_thread(file.changed):
                continue
            try:
                names = await asyncio.to_thread(file.read)
                self.check([*self._fixed, *names])
            except HubInstructPTError as error:
                _log.warning("%s The engines stay as they were.", error.message)
                continue
            self._adopt(names)

    def _adopt(self, names: Sequence[str]) -> None:
        """Work with the engines that the file names now."""
        wanted: set[Spec] = {*self._fixed, *names}
        for member in list(self.members):
            if member.spec not in wanted and member.state in ("up", "aside"):
                member.state = "draining"
                _log.warning("%s is no longer named; it answers what it has, and gets no more.", member.address)
                if not member.outstanding:
                    self._let_go(member)
        for spec in [spec for spec in (*self._away, *self._calling) if spec not in wanted]:
            self._away.pop(spec, None)
            if task := self._calling.pop(spec, None):
                task.cancel()
        for spec in wanted:
            if self._active(spec) is None and spec not in self._calling:
                self._away[spec] = f"{shown(spec)} is not connected yet."
                self._call(spec, 0.0)
        self._changed()


def _message(error: Exception, spec: Spec) -> str:
    if isinstance(error, HubInstructPTError):
        return error.message
    return f"{shown(spec)} failed: {type(error).__name__}."
