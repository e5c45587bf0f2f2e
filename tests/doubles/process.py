"""Run a double as a process of its own.

    with running("tests.doubles.hub", "--page-size", "2") as url: ...

What it does: starts `python -m MODULE --port 0 ...`, waits for the line with its address, and ends it afterwards.

What it keeps true: the double's output is read all the while, so it never blocks on a full pipe; a double that dies
before it is ready, or takes too long, fails with what it wrote to stderr; it is gone when the block is left, however.

What it does not know: a test process that is itself killed outright leaves its doubles behind.
"""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parents[2]
KEPT_LINES = 200


class Double:
    """A started double: its address, and the ways to end it."""

    def __init__(self, module: str, *args: str, timeout: float = 60, env: Mapping[str, str] | None = None) -> None:
        self.module = module
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, "--port", "0", *args],
            cwd=ROOT, env={**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._stderr: deque[str] = deque(maxlen=KEPT_LINES)
        self._ready: queue.Queue[str | None] = queue.Queue()
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self._readers = [
            threading.Thread(target=self._read_stdout, args=(self.process.stdout,), daemon=True),
            threading.Thread(target=self._stderr.extend, args=(self.process.stderr,), daemon=True),
        ]
        for reader in self._readers:
            reader.start()
        self.url = self._wait(timeout)

    def _read_stdout(self, stream: IO[str]) -> None:
        for line in stream:
            if line.startswith("http://"):
                self._ready.put(line.strip())
        self._ready.put(None)

    def _wait(self, timeout: float) -> str:
        try:
            url = self._ready.get(timeout=timeout)
        except queue.Empty:
            self.stop()
            raise TimeoutError(f"{self.module} was not ready after {timeout} s\n{self.stderr}") from None
        if url is None:
            self.stop()
            raise RuntimeError(f"{self.module} ended with status {self.process.returncode}\n{self.stderr}")
        return url

    @property
    def stderr(self) -> str:
        """The last lines it wrote there."""
        return "".join(self._stderr)

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        self._reap()

    def stop(self) -> None:
        """Ask it to end, and insist after a while."""
        self.process.terminate()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self._reap()

    def _reap(self) -> None:
        self.process.wait()
        for reader in self._readers:
            reader.join(timeout=5)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()


@contextmanager
def running(module: str, *args: str, timeout: float = 60, env: Mapping[str, str] | None = None) -> Iterator[str]:
    """The address of a double that runs as long as the block does."""
    double = Double(module, *args, timeout=timeout, env=env)
    try:
        yield double.url
    finally:
        double.stop()
