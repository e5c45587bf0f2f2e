"""SIGINT and SIGTERM: a run ends within seconds, safely, and says how it goes on.

    once     no new work; what is in flight is dropped, what was answered is committed
    twice    the process leaves at once; what was committed is safe then, too

Keeps true: after LEAVE_SECONDS the process is gone, whatever hangs. Exit status 1.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from hub_instructpt.errors import RunError
from hub_instructpt.runs.stopping import Stop

LEAVE_SECONDS = 9.0
SAFE = "What was answered is kept; the same command goes on from there."


@contextmanager
def stoppable() -> Iterator[Stop]:
    """Let signals stop a run.

    Raises:
        RunError: it was stopped.
    """
    stop = Stop()
    leaving = threading.Timer(LEAVE_SECONDS, _leave)
    leaving.daemon = True

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.wanted:
            _leave()
        leaving.start()
        if not stop.now():
            raise KeyboardInterrupt

    numbers = [signal.SIGTERM]
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as in the background of a shell
        numbers.append(signal.SIGINT)
    earlier = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield stop
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise RunError("Stopped.", advice=SAFE) from None
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
        if not stop.wanted:
            leaving.cancel()


def _leave() -> None:
    # Neither buffers nor locks: this may run in the middle of anything.
    os.write(2, f"hub-instructpt: Stopped at once. {SAFE}\n".encode())
    os._exit(1)
