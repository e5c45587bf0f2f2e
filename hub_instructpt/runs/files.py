"""Files that are whole or not there.

Keeps true: after `write_whole` returns, the content and its name survive a crash; a reader never sees half a file, also
where several processes write the same one.
Does not know what the files mean.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

from hub_instructpt.errors import RunError


@contextlib.contextmanager
def write_whole(path: Path) -> Iterator[Path]:
    """Write a file: the caller fills the temporary file that this gives, in the same folder, then it takes its name.

    The temporary name begins with a dot, which `datasets` never reads as data.

    Raises:
        RunError: the disk is full, or the folder refuses it.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        yield temporary
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise RunError(
            f"{path} can not be written: {_what(error)}.",
            advice="Make room or mend the folder, then run the same again: what was answered is kept.",
        ) from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _what(error: OSError) -> str:
    # The number says it; pyarrow puts words of its own around.
    return os.strerror(error.errno) if error.errno else error.strerror or type(error).__name__


def is_temporary(path: Path) -> bool:
    """Whether a file is one that `write_whole` left when its process was killed."""
    return path.name.startswith(".") and path.name.endswith(".tmp")


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
