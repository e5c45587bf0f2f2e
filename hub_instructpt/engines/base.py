"""What every engine is: one prompt in, one completion out, asynchronously.

Keeps true: batching, limits, retries and special tokens are the engine's own business, so no caller knows which engine
it talks to, and nobody above writes a batch barrier. An engine belongs to the event loop that connected it.
Does not know markup, pairs, rows or files.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from hub_instructpt import background
from hub_instructpt.errors import UsageError
from hub_instructpt.records import Completion, EngineInfo, SamplingParams


@runtime_checkable
class Engine(Protocol):
    """A text-generation engine. Everything else in the package speaks to this and to nothing more."""

    async def connect(self) -> EngineInfo:
        """Find out what the engine is and what it allows. Calling it again returns what is known.

        Raises:
            EngineUnavailable: nothing answers, or it refuses us.
            NotAnEngine: what answers is no text-generation server.
        """
        ...

    async def complete(self, prompt: str, sampling: SamplingParams) -> Completion:
        """Complete one prompt, which carries the BOS of `EngineInfo.bos` as text.

        Raises:
            RequestFailed: this prompt failed for good; others are not touched by it.
            EngineUnavailable: the engine is gone, for every prompt.
        """
        ...

    async def count_tokens(self, text: str) -> int:
        """Number of tokens of `text` as the model will see it, its own BOS included.

        Where the engine has no way to tell, a number that is surely not too small.
        """
        ...

    async def aclose(self) -> None:
        """Let go of connections and memory. The engine may be connected again."""
        ...


def pinned(engine: Engine) -> Engine:
    """An engine for one chain of prompts, which stays with one server where there are several.

    Each prompt of a chain begins with the one before: a server that has seen that one has most of it in its cache.
    Engines with more than one server offer `pinned()`; the others are what they are.
    """
    offer: Callable[[], Engine] | None = getattr(engine, "pinned", None)
    return engine if offer is None else offer()


def capacity_of(engine: Engine, info: EngineInfo) -> int:
    """How many prompts an engine takes at once, now: engines whose limit moves have an attribute `capacity`."""
    capacity: int = getattr(engine, "capacity", info.max_concurrent_requests)
    return capacity


def rebuild(kind: Callable[..., Engine], arguments: dict[str, Any]) -> Engine:
    """Make an engine anew from its arguments: what unpickling and copying one does."""
    return kind(**arguments)


class HomeLoop:
    """The process and event loop that an engine was connected in: its connections work nowhere else."""

    def __init__(self) -> None:
        self._home: tuple[int, asyncio.AbstractEventLoop] | None = None

    def enter(self) -> bool:
        """Make the running loop the home of the engine.

        Returns:
            False when the home before is gone (a loop that was closed, the parent of this fork), and with it all that
            was connected there.

        Raises:
            UsageError: the home before is another loop that lives.
        """
        here, before = (background.process_id(), asyncio.get_running_loop()), self._home
        if before == here:
            return True
        if before is not None and before[0] == here[0] and not before[1].is_closed():
            raise UsageError(
                "This engine is connected in another event loop.",
                advice="Give every loop an engine of its own (copy.copy makes one), or await aclose() there first.",
            )
        self._home = here
        return before is None

    def leave(self) -> None:
        """There is no home until the next `enter`."""
        self._home = None
