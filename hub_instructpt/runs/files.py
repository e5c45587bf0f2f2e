"""Files that are whole or not there, and a directory with one writer.

Keeps true: after `write_whole` returns, the content and its name survive a crash; a reader never sees half a file.
The lock dies with the process that holds it, so one left behind by a killed run is not in the way.
Does not know what the files mean.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from hub_instructpt.errors import RunDirectoryError, RunError


@contextlib.contextmanager
def write_whole(path: Path) -> Iterator[Path]:
    """Write a file: the caller fills the temporary file that this gives, in the same folder, then it takes its name.

    The temporary name begins with a dot, which `datasets` never reads as data.

    Raises:
        RunError: the disk is full, or the folder refuses it.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        yield temporary
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise RunError(
            f"{path} can not be written: {error.strerror or error}.",
            advice="Make room or mend the folder, then run the same again: what was answered is kept.",
        ) from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole."""
    with write_whole(path) as temporary:
        temporary.write_text(text, "utf-8")


def sync_folder(folder: Path) -> None:
    """Make names in `folder` survive a crash. Where folders can not be synced (Windows), it does nothing."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def sha256(path: Path) -> str:
    """Hexadecimal sha256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextlib.contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Be the only process that writes to `folder`.

    Raises:
        RunDirectoryError: when another one is, or when the folder can not be written to.
    """
    path = folder / ".lock"
    holder = _holder(path)  # trying to take the lock may empty the file
    lock = FileLock(path, blocking=False)
    try:
        lock.acquire()
    except Timeout:
        raise RunDirectoryError(
            f"Another process is writing to {folder}{holder}.", advice="Wait for it, or give another --out."
        ) from None
    except OSError as error:
        raise RunDirectoryError(
            f"{folder} can not be written to: {error.strerror or error}.", advice="Give another --out."
        ) from None
    try:
        with contextlib.suppress(OSError):
            path.write_text(f"{os.getpid()} {socket.gethostname()}\n")
        yield
    finally:
        lock.release()


def is_being_written(folder: Path) -> bool:
    """Whether a process holds the lock of `folder` at this moment."""
    path = folder / ".lock"
    if not path.exists():
        return False
    lock = FileLock(path, blocking=False)
    try:
        lock.acquire()
    except (Timeout, OSError):
        return True
    lock.release()
    return False


def _holder(path: Path) -> str:
    try:
        pid, host = path.read_text().split()
    except (OSError, ValueError):
        return ""
    return f" (process {pid} on {host})"
