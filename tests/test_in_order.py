"""Coroutines side by side, results in order: what runs, what is held, and how it ends."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Coroutine
from contextlib import aclosing
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub_instructpt import in_order as room
from hub_instructpt.in_order import in_order


@settings(max_examples=60, deadline=None)
@given(
    ticks=st.lists(st.integers(0, 12), max_size=60),
    running=st.integers(1, 8),
    held=st.integers(1, 20),
    weight=st.integers(1, 30),
    seed=st.integers(0, 2**16),
)
def test_results_come_in_order_and_the_bounds_hold(
    ticks: list[int], running: int, held: int, weight: int, seed: int
) -> None:
    draw, active, begun, given_back = random.Random(seed), 0, 0, 0
    weights = [draw.randint(1, 5) for _ in ticks]

    async def one(number: int) -> int:
        nonlocal active
        active += 1
        assert active <= running
        for _ in range(ticks[number]):
            await asyncio.sleep(0)
        active -= 1
        return number

    async def work() -> AsyncIterator[tuple[int, Coroutine[Any, Any, int]]]:
        nonlocal begun
        for number in range(len(ticks)):
            assert number - given_back <= held
            assert sum(weights[given_back:number]) < weight + 5
            begun += 1
            yield number, one(number)

    async def main() -> list[tuple[int, int]]:
        nonlocal given_back
        results = []
        async with aclosing(in_order(work(), lambda: running, lambda number: weights[number])) as ordered:
            async for result in ordered:
                results.append(result)
                given_back += 1
        return results

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "MOST_HELD", held)
        patch.setattr(room, "MOST_WEIGHT", weight)
        assert asyncio.run(main()) == [(number, number) for number in range(len(ticks))]
    assert begun == len(ticks)


def test_one_that_takes_long_keeps_no_other_from_being_done() -> None:
    done: list[int] = []

    async def one(number: int) -> int:
        await asyncio.sleep(0.3 if number == 0 else 0.001)
        done.append(number)
        return number

    async def work() -> AsyncIterator[tuple[None, Coroutine[Any, Any, int]]]:
        for number in range(200):
            yield None, one(number)

    async def main() -> None:
        async for _ in in_order(work(), lambda: 4):
            pass

    asyncio.run(main())
    assert done[-1] == 0


def test_how_many_run_may_change_at_any_time() -> None:
    allowed, most = 1, 0

    async def one(number: int) -> None:
        nonlocal allowed, most
        most = max(most, len(asyncio.all_tasks()) - 2)
        await asyncio.sleep(0)
        allowed = 6 if number > 20 else 1

    async def work() -> AsyncIterator[tuple[int, Coroutine[Any, Any, None]]]:
        for number in range(100):
            yield number, one(number)
            assert number > 20 or most <= 2

    async def main() -> None:
        async for _ in in_order(work(), lambda: allowed):
            pass

    asyncio.run(main())
    assert 4 <= most <= 6


def test_an_error_is_raised_in_its_turn_and_nothing_is_begun_after_it() -> None:
    begun, closed = 0, False

    async def one(number: int) -> int:
        await asyncio.sleep(0.02 if number < 3 else 0)
        if number == 3:
            raise ValueError("three")
        return number

    async def work() -> AsyncIterator[tuple[None, Coroutine[Any, Any, int]]]:
        nonlocal begun, closed
        try:
            for begun in range(1000):
                yield None, one(begun)
        finally:
            closed = True

    async def main() -> None:
        got: list[int] = []

        async def consume() -> None:
            async for _, result in in_order(work(), lambda: 5):
                got.append(result)

        with pytest.raises(ValueError, match="three"):
            await consume()
        assert got == [0, 1, 2]
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())
    assert begun < 12
    assert closed
