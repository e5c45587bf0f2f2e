"""One event loop in a thread of its own, for callers that are not asynchronous, or whose loops come and go.

`Dataset.map` calls a plain function, maybe inside a notebook's running loop, maybe in a forked worker, and makes a new
loop for every call of an async one. Connections outlive none of that; here they live on a loop that does.

Keeps true: one loop a process; a forked child gets its own, and never touches its parent's.
Does not know what runs on it.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")

_lock = threading.Lock()
_loop: tuple[int, asyncio.AbstractEventLoop, threading.Thread] | None = None


_pid = os.getpid()


def _begin_in_child() -> None:
    # A fork copies the lock as it was, maybe held by a thread that the child does not have.
    global _lock, _pid
    _lock, _pid = threading.Lock(), os.getpid()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_in_child)


def process_id() -> int:
    """The id of this process. Asking the system for it with every request costs more than one would think."""
    return _pid


def new_event_loop() -> asyncio.AbstractEventLoop:
    """uvloop's event loop where there is one (a third less CPU time a request), else asyncio's."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


def submit(coroutine: Coroutine[Any, Any, T]) -> Future[T]:
    """Start `coroutine` on this process's background loop."""
    global _loop
    with _lock:
        if _loop is None or _loop[0] != _pid:
            loop = new_event_loop()
            thread = threading.Thread(target=loop.run_forever, name="hub-instructpt", daemon=True)
            thread.start()
            _loop = (_pid, loop, thread)
        return asyncio.run_coroutine_threadsafe(coroutine, _loop[1])


def is_here() -> bool:
    """Whether the caller runs on the background loop, where waiting for something that runs there would be for ever."""
    return _loop is not None and _loop[0] == _pid and threading.current_thread() is _loop[2]


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run `coroutine` on the background loop and wait for it. An interrupt cancels it."""
    future = submit(coroutine)
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise
