"""An engine with a memory: what it answered before, to whichever process, it is not asked again.

    complete    key of the prompt ─► index (index.py), or the engine within ─► a segment (segments.py, appending.py)

Keeps true: an answer that was committed (at most 50 ms after it came, and at the end of every batch) is never asked
for again with the same model, revision and sampling. Nothing about the cache is ever an error: a folder that can not
be read or written is told once, and the work goes on without it. The engine within decides everything else.
Does not know texts or pairs; no prompt is ever written.

With a temperature, equal prompts are draws: the second time that one process asks it within a call it gets a draw of
its own, and the same call again gets the same draws.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import xxhash

from hub_instructpt.answers import segments
from hub_instructpt.answers.index import Index
from hub_instructpt.appending import Appender
from hub_instructpt.engines.base import Engine, pinned
from hub_instructpt.journal import line_of
from hub_instructpt.records import Completion, EngineInfo, SamplingParams

_log = logging.getLogger("hub_instructpt")
_warned: set[str] = set()

MOST_LINES = 1024
"""Of a group commit. Nobody waits for one: time bounds it, and half as many commits cost half as much."""


class CachedEngine:
    """An engine whose answers are kept, from call to call.

    Args:
        engine: who is asked for what is not there.
        root: the folder of answers; by default the one under the Hugging Face cache.
        max_bytes: bound on everything in that folder.

    Closing it closes the engine within, too.
    """

    def __init__(
        self, engine: Engine, root: Path | None = None, max_bytes: int = segments.DEFAULT_MAX_BYTES,
        books: _Books | None = None,
    ) -> None:  # fmt: skip
        self.engine = engine
        self._books = books or _Books(root or segments.default_folder(), max_bytes)

    def __getattr__(self, name: str) -> Any:
        # What some engines offer and others do not, such as `loads`.
        if name.startswith("_") or name == "engine":
            raise AttributeError(name)
        return getattr(self.engine, name)

    @property
    def capacity(self) -> int:
        """Of the engine within, where it has one; asked for with every text."""
        return self.engine.capacity  # type: ignore[attr-defined, no-any-return]

    async def connect(self) -> EngineInfo:
        return await self.engine.connect()

    async def complete(self, prompt: str, sampling: SamplingParams) -> Completion:
        book = self._books.latest
        if book is None or sampling is not book.sampling:
            book = await self._books.open(await self.engine.connect(), sampling)
        key = book.key(prompt)
        known = book.index.find(key)
        if known is not None:
            return known
        completion = await self.engine.complete(prompt, sampling)
        if book.needs_segment:
            await book.begin_segment()
        book.put(key, completion)
        return completion

    async def count_tokens(self, text: str) -> int:
        return await self.engine.count_tokens(text)

    def pinned(self) -> Engine:
        """For one chain: the engine within stays with one server, where it has several."""
        engine = pinned(self.engine)
        return self if engine is self.engine else CachedEngine(engine, books=self._books)

    def begin_call(self) -> None:
        """What is asked from now on is a call of its own: it gets the draws of the same call before."""
        for book in list(self._books.known.values()):
            book.asked.clear()

    async def flush(self) -> None:
        """Commit what was answered so far."""
        for book in list(self._books.known.values()):
            await book.flush()

    async def aclose(self) -> None:
        await self._books.aclose()
        await self.engine.aclose()


class _Books:
    """The books of one process, by sampling."""

    def __init__(self, root: Path, max_bytes: int) -> None:
        self.root, self.max_bytes = root, max_bytes
        self.known: dict[SamplingParams, _Book] = {}
        self.latest: _Book | None = None
        self._opening = asyncio.Lock()

    async def open(self, info: EngineInfo, sampling: SamplingParams) -> _Book:
        async with self._opening:
            if sampling not in self.known:
                book = _Book(self.root, self.max_bytes, segments.owner(info, sampling), sampling)
                if segments.is_known(info):
                    await asyncio.to_thread(book.read)
                else:
                    book.give_up("the server does not tell its model")
                self.known[sampling] = book
            self.latest = self.known[sampling]
            return self.latest

    async def aclose(self) -> None:
        books, self.known, self.latest = list(self.known.values()), {}, None
        for book in books:
            await book.aclose()


class _Book:
    """The answers of one owner: the index of all of them, and the segment that this process adds to."""

    def __init__(self, root: Path, max_bytes: int, owned: dict[str, Any], sampling: SamplingParams) -> None:
        self.sampling = sampling
        self.index = Index()
        self.asked: Counter[int] = Counter()
        self._root, self._max_bytes, self._owned, self._greedy = root, max_bytes, owned, sampling.greedy
        self._writing = True
        self._segment: segments.Segment | None = None
        self._appender: Appender | None = None
        self._turning = asyncio.Lock()
        self._turn: asyncio.Task[None] | None = None

    def read(self) -> None:
        """Index what all processes have written so far."""
        try:
            self.index.read(segments.folder_of(self._root, self._owned))
        except OSError as error:
            self.give_up(_told_by(error))
        if self.index.damaged:
            _log.info("%d damaged lines of kept answers are left out.", self.index.damaged)

    def key(self, prompt: str) -> int:
        """Digest of a prompt, as in a journal; and of how often it was asked before, where answers are draws."""
        encoded = prompt.encode()
        key: int = xxhash.xxh3_128_intdigest(encoded)
        if self._greedy:
            return key
        draw = self.asked[key]
        self.asked[key] = draw + 1
        return int(xxhash.xxh3_128_intdigest(encoded, seed=draw))

    @property
    def needs_segment(self) -> bool:
        return self._segment is None and self._writing

    def put(self, key: int, completion: Completion) -> None:
        """Write an answer down with the next commit, where there is a segment. Never fails."""
        segment, appender = self._segment, self._appender
        if segment is None or appender is None or not self._writing:
            return
        line = line_of(f"{key:032x}", completion)
        appender.add(line, key)
        segment.room -= len(line)
        if segment.room <= 0 and (self._turn is None or self._turn.done()):
            self._turn = asyncio.create_task(self._next_segment(segment))

    async def flush(self) -> None:
        if self._turn is not None:
            await asyncio.gather(self._turn, return_exceptions=True)
        if self._appender is not None:
            await self._appender.flush()

    async def aclose(self) -> None:
        if self._turn is not None:
            await asyncio.gather(self._turn, return_exceptions=True)
        async with self._turning:
            await self._end(self._appender, self._segment)
            self._appender = self._segment = None
        self.index.close()

    # -- within ------------------------------------------------------------------------------------------------------

    def _told(self, segment: int, lines: list[bytes], keys: list[int], at: int | OSError) -> None:
        if isinstance(at, OSError):
            self.give_up(_told_by(at))
            return
        for line, key in zip(lines, keys, strict=True):
            self.index.add(key, segment, at)
            at += len(line)

    async def begin_segment(self) -> None:
        async with self._turning:
            if self._segment is not None or not self._writing:
                return
            try:
                segment = await asyncio.to_thread(segments.take, self._root, self._owned, self._max_bytes)
            except (OSError, NotImplementedError, RuntimeError) as error:  # file systems refuse locks in many ways
                self.give_up(_told_by(error))
            else:
                told = partial(self._told, self.index.number(segment.path))
                self._appender = Appender(segment.path, told, create=False, most_lines=MOST_LINES)
                self._segment = segment

    async def _next_segment(self, full: segments.Segment) -> None:
        """Go on in another segment, so that the oldest answers can go in parts."""
        async with self._turning:
            appender, self._appender, self._segment = self._appender, None, None
            await self._end(appender, full)
        await self.begin_segment()

    async def _end(self, appender: Appender | None, segment: segments.Segment | None) -> None:
        if appender is not None:
            await appender.aclose()
        if segment is not None:
            segment.release()

    def give_up(self, why: str) -> None:
        """Write nothing more, and say so once in this process."""
        self._writing = False
        if why not in _warned:
            _warned.add(why)
            _log.warning(
                "Answers are not kept from here on: %s (%s). The work goes on; journal=False does without them.",
                why, self._root,
            )  # fmt: skip


def _told_by(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
