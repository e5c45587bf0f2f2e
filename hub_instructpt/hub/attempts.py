"""Trying again: a call of the Hub, made until it is through or it is plain that it will not be.

Keeps true: what can not pass is raised at once, as an error of ours; what may pass is tried so often after the last
step forward, with longer and longer waits between; no connection is silent for ever.
Does not know what is called.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import huggingface_hub.utils

from hub_instructpt.errors import HubInstructPTError
from hub_instructpt.hub.failures import is_passing, status_of, told, wait_before_next

TRIES = 6
"""Attempts after the last step forward."""
TRIES_UNREACHED = 2
"""The same, for a Hub that has not answered at all."""
SILENCE_SECONDS = 120.0
"""How long a connection may say nothing; the Hub's client by itself waits for ever."""

# Names that are public there, which a type checker can not see.
client: Any = huggingface_hub.utils

Result = TypeVar("Result")


@dataclass(slots=True)
class Advance:
    """How far something has come: `reached` once the Hub has answered, `steps` that need not be made again."""

    reached: bool = False
    steps: int = 0


def until_through(doing: str, attempt: Callable[[], Result], advance: Advance) -> Result:
    """Make attempts until one comes back.

    Args:
        doing: in words, for the error.
        attempt: finds what an earlier attempt has left, and goes on from there.
        advance: kept by the attempts.

    Raises:
        HubError: the Hub refused, or did not answer.
    """
    failed, steps = 0, 0
    while True:
        try:
            with bounded_silence():
                return attempt()
        except HubInstructPTError:
            raise
        except Exception as error:
            failed, steps = (failed + 1 if advance.steps == steps else 1), advance.steps
            tries = TRIES if advance.reached or status_of(error) is not None else TRIES_UNREACHED
            if failed >= tries or not is_passing(error):
                raise told(error, doing) from None
            time.sleep(wait_before_next(error, failed))


@contextlib.contextmanager
def bounded_silence() -> Iterator[None]:
    """Give the client's connections a time limit, where its HTTP library has one for the whole session."""
    session = client.get_session()
    if not hasattr(session, "timeout"):
        yield
        return
    before, session.timeout = session.timeout, SILENCE_SECONDS
    try:
        yield
    finally:
        session.timeout = before
