"""Run coroutines side by side and give their results in the order in which they came in.

Two bounds that mean different things. So many *run* at once: enough that a place that comes free is taken at once; it
may change at any time. So many are *held*: finished ones that wait behind a slow one before them cost memory and
nothing else, so this bound is far higher. Were it not, one answer that takes ten times as long as the others (outputs
are long-tailed, and servers stall) would empty every server while it is waited for.

Keeps true: results come in order, whole, and as soon as the ones before them are there. An error of a coroutine is
raised in its turn, and nothing is begun after it; an error of what gives the work, at once. However it ends, what still
runs is cancelled and waited for.
Does not know what the work is.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Coroutine
from typing import Any, TypeVar

Tag = TypeVar("Tag")
Result = TypeVar("Result")

MOST_HELD = 65_536
"""With two thousand requests in flight, one of them may take thirty times as long as the others before they wait."""

MOST_WEIGHT = 2**27
"""Characters of text that are held: some 0.2 to 0.5 GB of memory with the pairs."""


async def in_order(
    work: AsyncIterable[tuple[Tag, Coroutine[Any, Any, Result]]],
    running: Callable[[], int],
    weight: Callable[[Tag], int] | None = None,
) -> AsyncGenerator[tuple[Tag, Result], None]:
    """Results of coroutines, each with its tag.

    Args:
        work: coroutines, each with a tag that comes back beside its result; taken only when there is room.
        running: how many may run now; asked again and again.
        weight: of a tag, in characters; without it only the number held is bounded.
    """
    pending: deque[tuple[Tag, asyncio.Task[Result]]] = deque()
    room, news = asyncio.Event(), asyncio.Event()
    active = held = 0
    starting: asyncio.Task[None]

    def finished(task: asyncio.Task[Result]) -> None:
        nonlocal active
        active -= 1
        room.set()
        if pending and task is pending[0][1]:
            news.set()
        if not task.cancelled() and task.exception() is not None:
            starting.cancel()  # its turn to be raised will come; until then nothing new is begun

    async def start() -> None:
        nonlocal active, held
        async for tag, coroutine in work:
            task = asyncio.create_task(coroutine)
            task.add_done_callback(finished)
            active += 1
            pending.append((tag, task))
            held += weight(tag) if weight is not None else 0
            news.set()
            while active >= running() or len(pending) >= MOST_HELD or held >= MOST_WEIGHT:
                room.clear()
                await room.wait()

    starting = asyncio.create_task(start())
    starting.add_done_callback(lambda _: news.set())
    try:
        while pending or not starting.done():
            if starting.done() and not starting.cancelled():
                starting.result()  # what gives the work may have failed
            if not pending or not pending[0][1].done():
                news.clear()
                await news.wait()
                continue
            tag, task = pending[0]
            result = task.result()
            pending.popleft()
            held -= weight(tag) if weight is not None else 0
            room.set()
            yield tag, result
        if not starting.cancelled():
            starting.result()
    finally:
        tasks = [starting, *(task for _, task in pending)]
        for one in tasks:
            one.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if isinstance(work, AsyncGenerator):
            await work.aclose()
