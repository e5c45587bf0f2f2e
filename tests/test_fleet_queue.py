"""The queue of a fleet: who gets which place, and that none is lost."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from hub_instructpt.engines.fleet_queue import FleetQueue, Pin


@dataclass(eq=False)
class Seats:
    """A member as the queue sees it."""

    capacity: int
    usable: bool = True
    outstanding: int = 0


async def settle() -> None:
    for _ in range(4):
        await asyncio.sleep(0)


ACTIONS = st.lists(
    st.sampled_from(["ask"] * 4 + ["give"] * 4 + ["cancel", "cancel handed", "aside", "back", "grow", "shrink"]),
    max_size=80,
)


@settings(max_examples=200, deadline=None)
@given(capacities=st.lists(st.integers(1, 4), min_size=1, max_size=4), actions=ACTIONS, seed=st.integers(0, 2**16))
def test_no_place_is_lost_and_nobody_waits_beside_one(capacities: list[int], actions: list[str], seed: int) -> None:
    draw = random.Random(seed)

    async def main() -> None:
        members = [Seats(capacity) for capacity in capacities]
        queue: FleetQueue[Seats] = FleetQueue(members)
        pins: list[Pin[Seats]] = [Pin() for _ in range(3)]
        tasks: dict[int, asyncio.Task[None]] = {}
        holding: dict[int, tuple[Seats, asyncio.Future[None]]] = {}

        async def caller(number: int, pin: Pin[Seats] | None, avoid: Seats | None) -> None:
            member = await queue.take(pin, avoid)
            assert member.usable
            try:
                holding[number] = member, asyncio.get_running_loop().create_future()
                await holding[number][1]
            finally:
                del holding[number]
                queue.give(member)

        for action in actions:
            member = draw.choice(members)
            if action == "ask":
                pin = draw.choice([None, None, *pins])
                avoid = draw.choice([None, None, None, member])
                tasks[len(tasks)] = asyncio.create_task(caller(len(tasks), pin, avoid))
            elif action == "cancel" and tasks:
                tasks[draw.choice(list(tasks))].cancel()
            elif action in ("aside", "back"):
                member.usable = action == "back"
                queue.stir()
            elif action in ("grow", "shrink"):
                member.capacity = max(1, member.capacity + (1 if action == "grow" else -1))
                queue.stir()
            elif holding:
                number = draw.choice(list(holding))
                holding[number][1].set_result(None)
                if action == "cancel handed":  # in the very tick in which its place is handed to the next in line
                    await asyncio.sleep(0)
                    for other, task in tasks.items():
                        if not task.done() and other not in holding:
                            task.cancel()
                            break
            await settle()
            waiting = [n for n, task in tasks.items() if not task.done() and n not in holding]
            for one in members:
                assert one.outstanding == sum(at is one for at, _ in holding.values())
            # An avoided member may have room: it is kept for others, as long as there is another at all.
            usable = [one for one in members if one.usable]
            if waiting and len(usable) == 1:
                assert usable[0].outstanding >= usable[0].capacity
        for member in members:
            member.usable = True
        queue.stir()
        await settle()
        while holding:
            for _, done in list(holding.values()):
                done.done() or done.set_result(None)
            await settle()
        assert all(task.done() for task in tasks.values())
        assert [member.outstanding for member in members] == [0] * len(members)
        assert queue.waiting == 0

    asyncio.run(main())


def test_work_goes_to_the_member_with_the_most_room_and_then_to_the_place_that_comes_free_first() -> None:
    async def main() -> None:
        small, large = Seats(2), Seats(6)
        queue = FleetQueue([small, large])
        got = [await queue.take() for _ in range(8)]
        assert (got.count(small), got.count(large)) == (2, 6)
        assert got[:2] == [small, large]
        order: list[int] = []

        async def caller(number: int) -> None:
            member = await queue.take()
            order.append(number)
            assert member is small

        callers = [asyncio.create_task(caller(number)) for number in range(3)]
        await settle()
        assert queue.waiting == 3
        for _ in range(3):
            queue.give(small)
            await settle()
        assert order == [0, 1, 2]
        await asyncio.gather(*callers)

    asyncio.run(main())


def test_a_chain_waits_for_its_member_goes_before_new_ones_and_moves_when_it_is_set_aside() -> None:
    async def main() -> None:
        a, b = Seats(1), Seats(1)
        queue = FleetQueue([a, b])
        chain: Pin[Seats] = Pin()
        assert await queue.take(chain) is a
        queue.give(a)
        assert await queue.take() is a  # somebody else, between two texts of the chain
        assert await queue.take() is b
        new, following = asyncio.create_task(queue.take()), asyncio.create_task(queue.take(chain))
        await settle()
        queue.give(a)
        await settle()
        assert following.done()
        assert following.result() is a
        assert not new.done()
        again = asyncio.create_task(queue.take(chain))
        await settle()
        a.usable = False
        queue.stir()
        queue.give(b)
        assert await again is b  # before the one that has waited longer, but begun nothing
        assert chain.member is b
        queue.give(b)
        assert await new is b

    asyncio.run(main())


def test_when_nothing_else_waits_a_chain_goes_where_there_is_room() -> None:
    async def main() -> None:
        a, b = Seats(1), Seats(1)
        queue = FleetQueue([a, b])
        chain: Pin[Seats] = Pin(a)
        a.outstanding = 1
        assert await queue.take(chain) is b
        waiting = asyncio.create_task(queue.take(Pin(a)))
        await settle()
        assert not waiting.done()
        queue.give(b)
        assert await waiting is b

    asyncio.run(main())


def test_what_failed_with_one_is_given_to_another_unless_there_is_none() -> None:
    async def main() -> None:
        a, b = Seats(4), Seats(1)
        queue = FleetQueue([a, b])
        assert await queue.take(None, a) is b
        second = asyncio.create_task(queue.take(None, a))
        await settle()
        assert not second.done()  # b is full, and a has just failed
        assert await asyncio.wait_for(queue.take(), 1) is a  # others are not held up by that
        b.usable = False
        queue.stir()
        assert await second is a

    asyncio.run(main())


def test_everybody_who_waits_hears_that_nothing_comes() -> None:
    async def main() -> None:
        a = Seats(1)
        queue = FleetQueue([a])
        await queue.take()
        waiting = [asyncio.create_task(queue.take(pin)) for pin in (None, Pin(a), None)]
        await settle()
        queue.fail(lambda: ValueError("gone"))
        assert all(isinstance(e, ValueError) for e in await asyncio.gather(*waiting, return_exceptions=True))
        assert a.outstanding == 1
        assert queue.waiting == 0

    asyncio.run(main())
