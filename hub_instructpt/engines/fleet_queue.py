"""Who is asked next: prompts that wait, members with room, and which of them goes to which.

A prompt goes to the member with the least in flight against its limit. When all are full it waits in one queue, so
that a place that comes free anywhere takes the one that has waited longest. A chain that has begun with a member waits
for that member, and goes before chains that have not begun; only when nothing else waits does another member take it
over, one that is half empty.

Keeps true: no member has more in flight than its limit, but for what it had before that fell; nobody waits beside
room that may take him; no place is lost, whoever is cancelled when.
Does not know engines, failures or HTTP.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar


class Seats(Protocol):
    """What the queue needs to know of a member. `outstanding` is counted here."""

    outstanding: int

    @property
    def capacity(self) -> int:
        """Prompts that it takes at once, now; at least one."""
        ...

    @property
    def usable(self) -> bool:
        """Whether it may be given prompts at all."""
        ...


S = TypeVar("S", bound=Seats)

HALF = 0.51  # of its places: a member with fewer taken is idle


@dataclass(eq=False, slots=True)
class Pin(Generic[S]):
    """A chain's tie to a member; None before its first prompt, and when that member is no longer there."""

    member: S | None = None


@dataclass(eq=False, slots=True)
class _Waiter(Generic[S]):
    place: asyncio.Future[S]
    pin: Pin[S] | None
    avoid: S | None


class FleetQueue(Generic[S]):
    """Gives out places with members, and takes them back.

    Args:
        members: all that there are; after changing them, or what they take, call `stir`.
    """

    def __init__(self, members: list[S]) -> None:
        self.members = members
        self._waiting: deque[_Waiter[S]] = deque()
        self._tied: dict[S, deque[_Waiter[S]]] = {}
        self._picky = 0  # how many of those who wait avoid a member

    @property
    def waiting(self) -> int:
        """How many wait for a place."""
        return len(self._waiting) + sum(map(len, self._tied.values()))

    async def take(self, pin: Pin[S] | None = None, avoid: S | None = None) -> S:
        """A place with a member, to be given back.

        Args:
            pin: the chain that the prompt belongs to; tied to the member whose place is taken.
            avoid: a member that has just failed on the prompt: it is asked again only if there is no other.
        """
        member = self._at_once(pin, avoid)
        if member is not None:
            member.outstanding += 1
        else:
            waiter = _Waiter[S](asyncio.get_running_loop().create_future(), pin, avoid)
            tied = None if pin is None else pin.member
            (self._waiting if tied is None else self._tied.setdefault(tied, deque())).append(waiter)
            if avoid is not None:
                self._picky += 1
            if self._picky:
                self.stir()  # there may be room for somebody, if not for the first in line
            try:
                member = await waiter.place
            except asyncio.CancelledError:
                # Cancelled in the instant in which a place was handed over: give it to the next one.
                if waiter.place.done() and not waiter.place.cancelled() and waiter.place.exception() is None:
                    self.give(waiter.place.result())
                raise
            finally:
                self._picky -= avoid is not None
        if pin is not None:
            pin.member = member
        return member

    def give(self, member: S) -> None:
        """Give a place back."""
        member.outstanding -= 1
        self._serve(member)

    def stir(self) -> None:
        """Look again: members came or went, or their limits moved."""
        for member in [one for one in self._tied if not one.usable]:
            # What has begun goes first.
            for waiter in reversed(self._tied.pop(member)):
                if waiter.pin is not None:
                    waiter.pin.member = None
                self._waiting.appendleft(waiter)
        for member in sorted(self.members, key=_fill):
            self._serve(member)

    def fail(self, error: Callable[[], Exception]) -> None:
        """Let everybody who waits hear that nothing comes."""
        for waiter in [*self._waiting, *(one for tied in self._tied.values() for one in tied)]:
            if not waiter.place.done():
                waiter.place.set_exception(error())
        self._waiting.clear()
        self._tied.clear()

    # -- choosing ------------------------------------------------------------------------------------------------

    def _at_once(self, pin: Pin[S] | None, avoid: S | None) -> S | None:
        """The member that a prompt may go to without waiting, if there is one."""
        if pin is not None and pin.member is not None:
            if not pin.member.usable:
                pin.member = None
            elif _has_room(pin.member):
                return pin.member
        if self.waiting:
            return None
        begun = pin is not None and pin.member is not None
        best, least, avoided = None, 1.0, None
        for member in self.members:  # for each prompt: it has to be quick
            if member.usable:
                fill = member.outstanding / member.capacity
                if fill < (least if not begun else min(least, HALF)):
                    if member is avoid:
                        avoided = member
                    else:
                        best, least = member, fill
        if best is None and avoided is not None and not any(m.usable and m is not avoid for m in self.members):
            return avoided
        return best

    def _serve(self, member: S) -> None:
        """Fill the places of a member that are free."""
        while member.usable and _has_room(member):
            waiter = self._next_for(member)
            if waiter is None:
                return
            member.outstanding += 1
            waiter.place.set_result(member)

    def _next_for(self, member: S) -> _Waiter[S] | None:
        tied = self._tied.get(member)
        if tied and (waiter := _first(tied)) is not None:
            return waiter
        alone = not any(other.usable for other in self.members if other is not member)
        waiter = _first(self._waiting, None if alone else member)
        if waiter is not None or self._waiting:
            return waiter
        if not _is_idle(member):
            return None
        # Nothing but chains of others, which have no room for them now.
        for others in sorted(self._tied.values(), key=len, reverse=True):
            if (waiter := _first(others)) is not None:
                return waiter
        return None


def _has_room(member: Seats) -> bool:
    return member.outstanding < member.capacity


def _is_idle(member: Seats) -> bool:
    # Less would be the moment between two prompts of its own chains: two members would swap theirs over and over.
    return member.outstanding / member.capacity < HALF


def _fill(member: Seats) -> float:
    return member.outstanding / member.capacity


def _first(waiters: deque[_Waiter[S]], member: S | None = None) -> _Waiter[S] | None:
    """Take out the first that still waits and does not avoid the member."""
    passed: list[_Waiter[S]] = []
    found = None
    while waiters and found is None:
        waiter = waiters.popleft()
        if waiter.place.done():
            continue
        if member is not None and waiter.avoid is member:
            passed.append(waiter)
        else:
            found = waiter
    waiters.extendleft(reversed(passed))
    return found
