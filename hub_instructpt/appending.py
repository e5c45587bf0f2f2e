"""Lines appended to a file, many of them to one fsync (a group commit).

A line is on disk some 50 ms or 64 lines after it was given, and whoever gave it is told then, and where it stands.
fsync waits for the disk: it runs in a thread of its own, and holds up neither requests nor other file work.

Keeps true: who is told of a line finds it whole on disk, whatever is killed then. Half a line, left by a crash or by a
disk that was full, is ended before the next one begins. One process writes to a file.
Does not know what the lines say.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

COMMIT_SECONDS = 0.05
COMMIT_LINES = 64

Told = Callable[[list[bytes], list[Any], int | OSError], None]
"""Called when lines are on disk, with them, what was given along with each, and the offset of the first in bytes; or
with the error that kept them from there."""


class Appender:
    """Appends lines to one file, from one event loop.

    Args:
        path: the file; made with its folder at the first line.
        told: hears of every commit.
        create: False when it must be there already.
        most_lines: of a commit that is not waited for; time alone bounds it when the lines come slowly.
    """

    def __init__(self, path: Path, told: Told, *, create: bool = True, most_lines: int = COMMIT_LINES) -> None:
        self.path = path
        self._most_lines = most_lines
        self._flags = os.O_WRONLY | os.O_APPEND | (os.O_CREAT if create else 0) | getattr(os, "O_BINARY", 0)
        self._file: int | None = None
        self._size = 0
        self._torn = False
        self._tell = told
        self._lines: list[bytes] = []
        self._tags: list[Any] = []  # one for each line
        self._flushing: list[asyncio.Future[None]] = []
        self._committer: asyncio.Task[None] | None = None
        self._full = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")

    def add(self, line: bytes, tag: Any = None) -> None:
        """Write a line, which ends with its newline, in the next commit."""
        if not self._lines and not self._flushing:
            self._committer = asyncio.create_task(self._commit())
        self._lines.append(line)
        self._tags.append(tag)
        if len(self._lines) >= self._most_lines:
            self._full.set()

    async def flush(self) -> None:
        """Commit what was added so far, now. Errors are told as ever; this raises none."""
        if not self._lines and not self._flushing:
            self._committer = asyncio.create_task(self._commit())  # commits before it are done when it is
        done = asyncio.get_running_loop().create_future()
        self._flushing.append(done)
        self._full.set()
        await done

    async def aclose(self) -> None:
        """Commit what is buffered, and close the file."""
        self._full.set()
        if self._committer is not None:
            await asyncio.gather(self._committer, return_exceptions=True)
        self._thread.shutdown(wait=True)
        if self._file is not None:
            os.close(self._file)
            self._file = None

    async def _commit(self) -> None:
        try:
            async with asyncio.timeout(COMMIT_SECONDS):
                await self._full.wait()
        except TimeoutError:
            pass
        self._full.clear()
        # From here on lines belong to the next commit.
        lines, self._lines = self._lines, []
        tags, self._tags = self._tags, []
        flushing, self._flushing = self._flushing, []
        at: int | OSError
        try:
            at = await self._in_thread(b"".join(lines))
        except OSError as error:
            at = error
        self._tell(lines, tags, at)
        for done in flushing:
            if not done.done():
                done.set_result(None)

    async def _in_thread(self, lines: bytes) -> int:
        try:
            writing = asyncio.get_running_loop().run_in_executor(self._thread, self._append, lines)
        except RuntimeError:  # the interpreter is about to end, and starts nothing in threads any more
            return self._append(lines)
        return await writing

    def _append(self, lines: bytes) -> int:
        """Write and sync; the offset of the first line."""
        if not lines:
            return self._size
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self.path, self._flags, 0o644)
            self._size = os.fstat(self._file).st_size
            # Half a line that a crash left ends here, so that the first new one begins at a line's beginning.
            self._torn = self._size > 0
        if self._torn:
            lines = b"\n" + lines
        start = self._size + self._torn
        self._torn = True  # until all of it is written
        while lines:
            written = os.write(self._file, lines)
            lines = lines[written:]
            self._size += written
        os.fsync(self._file)
        self._torn = False
        return start
