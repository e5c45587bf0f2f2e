"""Checkpoints that are whole, and those that a kill left half-written.

    WORK/checkpoint-N/complete    written when everything else in it is on disk

Keeps true: a checkpoint without its mark is never gone on from. Does not know what is in one.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from hub_instructpt.runs.files import sync_folder, write_text

COMPLETE = "complete"


def complete(folder: Path) -> None:
    """Mark a checkpoint as whole, once its files would survive a crash."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
    sync_folder(folder)
    write_text(folder / COMPLETE, "")


def newest(work: Path) -> Path | None:
    """The newest checkpoint that is whole; what a kill left of others is removed."""
    found: list[tuple[int, Path]] = []
    for path in work.glob("checkpoint-*"):
        number = path.name.rpartition("-")[2]
        if number.isdecimal() and (path / COMPLETE).exists():
            found.append((int(number), path))
        else:
            shutil.rmtree(path, ignore_errors=True)
    return max(found)[1] if found else None
