"""Who writes to a run directory: one process, the workers of one run, or one process with others that do its work.

    .lock                one process that has the directory for itself
    .lock-3-of-8         worker 3 of 8
    .lock-part-3         whoever works in place 3 for the process that has the directory
    .lock-manifest       whoever writes the manifest, for a moment

Keeps true: each lock has one holder; workers of one number go together, and with nothing else. A lock dies with the
process that holds it, so a file left behind by a killed run is in nobody's way.
Does not know what is written. Where a file system has no locks, nobody is kept out.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from hub_instructpt.errors import RunDirectoryError
from hub_instructpt.runs.share import ALONE, Worker

MANIFEST_SECONDS = 60.0
PART_SECONDS = 120.0
"""How long a part waits for the one before it in its place, which may have been cut off and not know it yet; a network
file system may take a minute and a half to believe that a machine is gone."""

ORPHAN_SECONDS = 45.0


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


@contextlib.contextmanager
def part_writer(folder: Path, place: int, owner: str) -> Iterator[None]:
    """Be the only one who works in a place, for the process that has the directory; waits for whoever was there before.

    Args:
        owner: what `owner_of` gave there.

    Raises:
        RunDirectoryError: this is not the directory that the owner has; or the one before does not go away.
    """
    here = owner_of(folder)
    if here is None or (here and here != owner):  # emptied, while somebody else tries to take it
        raise RunDirectoryError(
            f"{folder} on {socket.gethostname()} is not the run directory of process {owner.replace(' ', ' on ')}.",
            advice="Give an --out on storage that every machine of the run sees under the same path.",
        )
    path = folder / f".lock-part-{place}"
    try:
        with FileLock(path, timeout=PART_SECONDS):
            with contextlib.suppress(OSError):
                path.write_text(f"{os.getpid()} {socket.gethostname()}\n")
            yield
    except Timeout:
        raise _taken(folder, _holder(path)) from None


def owner_of(folder: Path) -> str | None:
    """Who has the directory, or had it last; None where nobody ever had."""
    try:
        return (folder / _name(ALONE)).read_text().strip()
    except OSError:
        return None


def is_being_written(folder: Path) -> bool:
    """Whether a process holds a lock of `folder` at this moment."""
    return any(_is_held(path) for path in folder.glob(".lock*") if path.name != ".lock-manifest")


def _refuse_others(folder: Path, worker: Worker) -> None:
    for path in sorted(folder.glob(".lock*")):
        goes_together = worker.of > 1 and path.name.endswith(f"-of-{worker.of}")
        if path.name in (_name(worker), ".lock-manifest") or goes_together:
            continue
        holder = _holder(path)
        # Those who worked for a process that is gone go as well, as soon as they see it.
        until = time.monotonic() + (ORPHAN_SECONDS if path.name.startswith(".lock-part-") else 0.0)
        while _is_held(path):
            if time.monotonic() >= until:
                raise _taken(folder, holder)
            time.sleep(0.2)


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
