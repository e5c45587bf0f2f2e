"""A journal of completions: what an engine has answered is written down before it counts, and never asked again.

    {checksum}\t{"key": …, "text": …, "finish_reason": …, "prompt_tokens": …, "generated_tokens": …}\n

One line an answer, keyed by a digest of its prompt; the file belongs to one model and one way of sampling, which is
its owner's business. Many answers share one fsync, at most 50 ms or 64 answers apart (appending.py).

Keeps true: `complete` returns only what is on disk. A line that was torn by a crash, or damaged since, is left out and
counted; its prompt is asked again, and no other. One process writes to a file.
Does not know rows, shards or what the prompts are about; no prompt is ever written.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import orjson
import xxhash

from hub_instructpt.appending import Appender
from hub_instructpt.engines.base import Engine, pinned
from hub_instructpt.errors import RunError
from hub_instructpt.records import Completion, EngineInfo, SamplingParams

_log = logging.getLogger("hub_instructpt")


class Journal:
    """Completions on disk, by the digest of their prompts.

    Args:
        path: the file; made with its folder at the first answer.

    Attributes:
        damaged: lines that could not be believed when the file was read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.damaged = 0
        self._answers = dict(self._read())
        self._appender = Appender(path, self._told)
        if self.damaged:
            _log.warning("%d damaged lines of the journal are left out; their prompts are asked again.", self.damaged)

    def get(self, prompt: str) -> Completion | None:
        """The answer to a prompt, if it stands here."""
        return self._answers.get(key_of(prompt))

    async def put(self, prompt: str, completion: Completion) -> None:
        """Write an answer down. Returns when it would survive a crash.

        Raises:
            RunError: the disk is full, or not to be written to.
        """
        key = key_of(prompt)
        self._answers[key] = completion
        # A future of its own: whoever is cancelled while waiting must not take the commit of the others along.
        committed = asyncio.get_running_loop().create_future()
        self._appender.add(line_of(key, completion), committed)
        await committed

    def _told(self, _: list[bytes], waiting: list[asyncio.Future[None]], at: int | OSError) -> None:
        for committed in waiting:
            if committed.done():
                continue
            if isinstance(at, OSError):
                committed.set_exception(
                    RunError(
                        f"{self.path} can not be written: {at.strerror or at}.",
                        advice="Make room or mend the folder, then run the same again: what is written is not asked "
                        "again.",
                    )
                )
            else:
                committed.set_result(None)

    async def aclose(self) -> None:
        """Commit what is buffered, and close the file."""
        await self._appender.aclose()

    async def remove(self) -> None:
        """Close the file and delete it: everything in it is kept elsewhere by now."""
        await self.aclose()
        self.path.unlink(missing_ok=True)

    # -- reading ---------------------------------------------------------------------------------------------------

    def _read(self) -> list[tuple[str, Completion]]:
        answers = []
        try:
            stream = self.path.open("rb")
        except FileNotFoundError:
            return []
        with stream:
            for line in stream:
                if not line.strip():
                    continue
                answer = believed(line)
                if answer is None:
                    self.damaged += 1
                else:
                    answers.append(answer)
        return answers


class JournaledEngine:
    """An engine whose answers are journaled: asked once, known ever after.

    Closing it leaves the engine open: several journals share one.
    """

    def __init__(self, engine: Engine, journal: Journal) -> None:
        self.engine, self.journal = engine, journal

    async def connect(self) -> EngineInfo:
        return await self.engine.connect()

    async def complete(self, prompt: str, sampling: SamplingParams) -> Completion:
        known = self.journal.get(prompt)
        if known is not None:
            return known
        completion = await self.engine.complete(prompt, sampling)
        await self.journal.put(prompt, completion)
        return completion

    async def count_tokens(self, text: str) -> int:
        return await self.engine.count_tokens(text)

    def pinned(self) -> Engine:
        """For one chain: the engine within stays with one server, where it has several."""
        engine = pinned(self.engine)
        return self if engine is self.engine else JournaledEngine(engine, self.journal)

    async def aclose(self) -> None:
        await self.journal.aclose()


def key_of(prompt: str) -> str:
    """Digest of a prompt: 128 bits, so that no two prompts of any corpus share one."""
    return xxhash.xxh3_128_hexdigest(prompt.encode())


def line_of(key: str, completion: Completion) -> bytes:
    """The line of an answer. Its body begins with its key, so that an index finds it without reading JSON."""
    body = orjson.dumps(
        {
            "key": key,
            "text": completion.text,
            "finish_reason": completion.finish_reason,
            "prompt_tokens": completion.prompt_tokens,
            "generated_tokens": completion.generated_tokens,
        }
    )
    return b"".join((xxhash.xxh3_64_hexdigest(body).encode(), b"\t", body, b"\n"))


def believed(line: bytes) -> tuple[str, Completion] | None:
    """The key and the answer of a line; None for one that was torn or damaged."""
    checksum, _, body = line.rstrip(b"\n").partition(b"\t")
    if not line.endswith(b"\n") or xxhash.xxh3_64_hexdigest(body).encode() != checksum:
        return None
    answer: dict[str, Any] = orjson.loads(body)
    key = answer.pop("key")
    return key, Completion(**answer)
