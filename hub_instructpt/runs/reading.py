"""Reading ahead: rows of a source, taken in another thread one block ahead of their use.

Keeps true: rows come in order; an error of the source is raised where its row would have come.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from itertools import islice
from typing import TypeVar

Row = TypeVar("Row")

ROWS_READ_AHEAD = 256


async def read_ahead(rows: Iterator[Row]) -> AsyncIterator[Row]:
    """The rows of an iterator that may wait for a disk or a network."""

    def block() -> list[Row]:
        return list(islice(rows, ROWS_READ_AHEAD))

    following = asyncio.create_task(asyncio.to_thread(block))
    try:
        while current := await following:
            following = asyncio.create_task(asyncio.to_thread(block))
            for row in current:
                yield row
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
