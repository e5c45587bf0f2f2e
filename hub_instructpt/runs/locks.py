"""Who writes to a run directory: one process, or the workers of one run.

    .lock                one process that has the directory for itself
    .lock-3-of-8         worker 3 of 8
    .lock-manifest       whoever writes the manifest, for a moment

Keeps true: each lock has one holder; workers of one number go together, and with nothing else. A lock dies with the
process that holds it, so a file left behind by a killed run is in nobody's way.
Does not know what is written. Where a file system has no locks, nobody is kept out.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from hub_instructpt.errors import RunDirectoryError
from hub_instructpt.runs.share import ALONE, Worker

MANIFEST_SECONDS = 60.0


@contextlib.contextmanager
def only_writer(folder: Path, worker: Worker = ALONE) -> Iterator[None]:
    """Be the only process that writes to `folder`, or the only one that is this worker.

    Raises:
        RunDirectoryError: when another one is, or when the folder can not be written to.
    """
    path = folder / _name(worker)
    holder = _holder(path)  # trying to take the lock may empty the file
    lock = FileLock(path, blocking=False)
    try:
        lock.acquire()
    except Timeout:
        raise _taken(folder, holder) from None
    except OSError as error:
        raise RunDirectoryError(
            f"{folder} can not be written to: {error.strerror or error}.", advice="Give another --out."
        ) from None
    try:
        _refuse_others(folder, worker)
        with contextlib.suppress(OSError):
            path.write_text(f"{os.getpid()} {socket.gethostname()}\n")
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def writing_manifest(folder: Path) -> Iterator[None]:
    """Be the only one who reads the manifest to change it; waits for others.

    Raises:
        RunDirectoryError: another process has been at it for a minute.
    """
    try:
        with FileLock(folder / ".lock-manifest", timeout=MANIFEST_SECONDS):
            yield
    except Timeout:
        raise RunDirectoryError(
            f"Another process has held the manifest of {folder} for {MANIFEST_SECONDS:.0f} s.",
            advice="Look whether one hangs there, then run the same again: what was answered is kept.",
        ) from None


def is_being_written(folder: Path) -> bool:
    """Whether a process holds a lock of `folder` at this moment."""
    return any(_is_held(path) for path in folder.glob(".lock*") if path.name != ".lock-manifest")


def _refuse_others(folder: Path, worker: Worker) -> None:
    for path in folder.glob(".lock*"):
        goes_together = worker.of > 1 and path.name.endswith(f"-of-{worker.of}")
        if path.name in (_name(worker), ".lock-manifest") or goes_together:
            continue
        holder = _holder(path)
        if _is_held(path):
            raise _taken(folder, holder)


def _taken(folder: Path, holder: str) -> RunDirectoryError:
    return RunDirectoryError(
        f"Another process is writing to {folder}{holder}.",
        advice="Wait for it, or give another --out.",
    )


def _is_held(path: Path) -> bool:
    lock = FileLock(path, blocking=False)
    try:
        lock.acquire()
    except (Timeout, OSError):
        return True
    lock.release()
    return False


def _name(worker: Worker) -> str:
    return ".lock" if worker.of == 1 else f".lock-{worker.index}-of-{worker.of}"


def _holder(path: Path) -> str:
    try:
        pid, host = path.read_text().split()
    except (OSError, ValueError):
        return ""
    return f" (process {pid} on {host})"
