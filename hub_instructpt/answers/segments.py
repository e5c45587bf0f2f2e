"""Segments: append-only files of answers, each with at most one writer, together no larger than a bound.

A segment is a journal file (journal.py) whose first line says whose answers it holds. A process appends to a segment
that nobody writes to any more, or begins one; many short calls thus leave few files.

Keeps true: a segment is written by whoever holds its lock, and deleted only by whoever holds its lock; the lock dies
with its process. What is too much goes oldest first, before more is written: all segments together, the ones being
written counted at their full size, stay below the bound. Files of another format are left alone until they are old
enough to go.
Does not know prompts, engines or event loops.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import xxhash
from filelock import FileLock, Timeout

from hub_instructpt.records import EngineInfo, SamplingParams

FORMAT = 1
DEFAULT_MAX_BYTES = 4 * 2**30
MOST_SEGMENT_BYTES = 64 * 2**20
SEGMENTS_IN_BOUND = 16
"""A segment is at most this part of the bound: so much at a time is forgotten."""

_LOCK_SECONDS = 10.0
_held: set[FileLock] = set()  # a lock that is garbage lets go, also of what the parent of this fork holds


def default_folder() -> Path:
    """The folder of answers, by the rules of `huggingface_hub.cached_assets_path` and the environment as it is now."""
    home = os.environ.get("XDG_CACHE_HOME", os.path.join(os.path.expanduser("~"), ".cache"))
    home = _expanded(os.environ.get("HF_HOME", os.path.join(home, "huggingface")))
    assets = os.environ.get("HUGGINGFACE_ASSETS_CACHE", os.path.join(home, "assets"))
    return Path(_expanded(os.environ.get("HF_ASSETS_CACHE", assets))).expanduser() / "hub-instructpt" / "answers"


def _expanded(path: str) -> str:
    return os.path.expandvars(os.path.expanduser(path))


# -- whose answers -----------------------------------------------------------------------------------------------------


def is_known(info: EngineInfo) -> bool:
    """Whether the engine tells its model: answers of a model that nobody knows could be given for another's."""
    return info.model_sha is not None or info.model_id not in ("", "unknown")


def owner(info: EngineInfo, sampling: SamplingParams) -> dict[str, Any]:
    """What an answer depends on besides its prompt."""
    return {
        "format": FORMAT,
        "model_id": info.model_id,
        "model_sha": info.model_sha,
        "sampling": sampling.as_dict(),
    }


def folder_of(root: Path, owned: dict[str, Any]) -> Path:
    """Where the segments of one owner lie."""
    return root / xxhash.xxh3_128_hexdigest(orjson.dumps(owned, option=orjson.OPT_SORT_KEYS))


def header(owned: dict[str, Any]) -> bytes:
    """The first line of a segment."""
    body = orjson.dumps(owned, option=orjson.OPT_SORT_KEYS)
    return b"%s\t%s\n" % (xxhash.xxh3_64_hexdigest(body).encode(), body)


def read_header(line: bytes) -> dict[str, Any] | None:
    """Whose answers follow; None for a line that is none, or one of another format."""
    checksum, _, body = line.rstrip(b"\n").partition(b"\t")
    if not line.endswith(b"\n") or xxhash.xxh3_64_hexdigest(body).encode() != checksum:
        return None
    owned: Any = orjson.loads(body)
    return owned if isinstance(owned, dict) and owned.get("format") == FORMAT else None


# -- writing -----------------------------------------------------------------------------------------------------------


class Segment:
    """A segment that this process writes to, until `release`."""

    def __init__(self, path: Path, lock: FileLock, room: int) -> None:
        self.path, self.room = path, room
        self._lock = lock

    def release(self) -> None:
        """Let others write to it, or delete it."""
        _let_go(self._lock)


def take(root: Path, owned: dict[str, Any], max_bytes: int) -> Segment:
    """A segment to append to: one that has room and no writer, or a new one. Makes room for it first.

    Raises:
        OSError: the folder can not be written to, or other processes write to as much as the bound allows.
    """
    most = min(MOST_SEGMENT_BYTES, max_bytes // SEGMENTS_IN_BOUND)
    folder = folder_of(root, owned)
    folder.mkdir(parents=True, exist_ok=True)
    with _everything(root):
        for path, size, _ in _oldest_first(folder):
            # A damaged first line would hide every answer that follows it.
            if size < most * 3 // 4 and _owner_in(path) == owned and (lock := _locked(path)) is not None:
                break
        else:
            folder.mkdir(exist_ok=True)
            path, size = folder / f"{secrets.token_hex(8)}.jsonl", 0
            lock = _locked(path)
            if lock is None:
                raise OSError(f"{path} can not be locked")
        try:
            _make_room(root, most, max_bytes, path)
            if not size:
                path.write_bytes(header(owned))
        except BaseException:
            if not size:
                _delete(path, lock)
            _let_go(lock)
            raise
    return Segment(path, lock, most - size)


def _make_room(root: Path, most: int, max_bytes: int, taken: Path) -> None:
    """Delete the oldest segments that nobody writes to, until there is room for `taken` to grow to `most`."""
    others = [(path, size) for path, size, _ in _oldest_first(root) if path != taken]
    total = most + sum(size for _, size in others)
    written = {path for path, _ in others if _is_written(path)}
    total += sum(max(most - size, 0) for path, size in others if path in written)  # they may grow so far
    for path, size in others:
        if total <= max_bytes:
            return
        if path not in written and (lock := _locked(path)) is not None:
            _delete(path, lock)
            total -= size
    if total > max_bytes:
        raise OSError("other processes write to as much as journal_max_bytes allows")


# -- seeing and clearing -----------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Held:
    """What the segments of one owner hold; `owner` is empty where their format is not known."""

    owner: dict[str, Any]
    segments: int = 0
    being_written: int = 0
    answers: int = 0
    damaged: int = 0
    bytes: int = 0


def survey(root: Path) -> list[Held]:
    """What is there, by owner; the largest first. Reads every segment."""
    found: dict[Path, Held] = {}
    for path, size, _ in _oldest_first(root):
        with contextlib.suppress(FileNotFoundError):
            owned = _owner_in(path)
            held = found.setdefault(path.parent, Held(owned or {}))
            held.owner = held.owner or owned or {}
            held.segments += 1
            held.bytes += size
            alive = _is_written(path)
            held.being_written += alive
            if owned is None:
                continue
            answers, damaged = _count(path)
            held.answers += answers
            held.damaged += damaged
    return sorted(found.values(), key=lambda held: -held.bytes)


def clear(root: Path) -> tuple[int, int]:
    """Delete every segment that nobody writes to.

    Returns:
        Bytes that were freed, and segments that stay because a process writes to them.

    Raises:
        OSError: something can not be deleted.
    """
    freed = stay = 0
    if not root.is_dir():
        return 0, 0
    with _everything(root):
        for path, size, _ in list(_oldest_first(root)):
            if (lock := _locked(path)) is None:
                stay += 1
                continue
            _delete(path, lock)
            freed += size
        for orphan in root.glob("*/.*.lock"):  # of a segment that somebody else deleted
            if not orphan.with_name(f"{orphan.stem[1:]}.jsonl").exists():
                orphan.unlink()
        for folder in root.iterdir():
            with contextlib.suppress(OSError):  # it is none, or a segment in it is being written
                folder.rmdir()
    return freed, stay


def lines(path: Path, start: int = 0) -> Iterator[tuple[int, bytes, bool]]:
    """Lines of a segment behind its header: offset, the line, and whether it is whole.

    A last line without an end is not given: it is being written, or was torn.
    """
    with path.open("rb", buffering=2**20) as stream:
        stream.seek(start)
        at = start
        for line in stream:
            if line.endswith(b"\n") and len(line) > 1:
                yield at, line, xxhash.xxh3_64_hexdigest(line[17:-1]).encode() == line[:16]
            at += len(line)


def _count(path: Path) -> tuple[int, int]:
    """Whole answers of a segment, and lines that are torn or damaged."""
    answers = damaged = 0
    for at, _, whole in lines(path):
        answers += whole and at > 0
        damaged += not whole
    with path.open("rb") as stream:
        stream.seek(-1, os.SEEK_END)
        torn = stream.read(1) != b"\n" and not _is_written(path)
    return answers, damaged + torn


def _owner_in(path: Path) -> dict[str, Any] | None:
    with path.open("rb") as stream:
        return read_header(stream.readline(2**16))


def _oldest_first(root: Path) -> Iterator[tuple[Path, int, float]]:
    """Segments under a folder: path, size and when it was last written."""
    found = []
    for path in root.rglob("*.jsonl"):
        with contextlib.suppress(FileNotFoundError):
            known = path.stat()
            found.append((path, known.st_size, known.st_mtime))
    yield from sorted(found, key=lambda one: (one[2], one[0]))


# -- locks -------------------------------------------------------------------------------------------------------------


def _lock_path(path: Path) -> Path:
    return path.with_name(f".{path.stem}.lock")


def _locked(path: Path) -> FileLock | None:
    """The lock of a segment, taken; None when another process holds it."""
    lock = FileLock(_lock_path(path), thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return None
    _held.add(lock)
    return lock


def _is_written(path: Path) -> bool:
    if not _lock_path(path).exists():
        return False
    try:
        lock = _locked(path)
    except OSError:  # a folder that is read-only has no writer
        return False
    if lock is not None:
        _let_go(lock)
    return lock is None


def _let_go(lock: FileLock) -> None:
    with contextlib.suppress(OSError):
        lock.release()
    _held.discard(lock)


def _delete(path: Path, lock: FileLock) -> None:
    """Delete a segment whose lock is held: the segment first, so that a lock never has two files."""
    path.unlink(missing_ok=True)
    _lock_path(path).unlink(missing_ok=True)
    _let_go(lock)


@contextlib.contextmanager
def _everything(root: Path) -> Iterator[None]:
    """Be the only process that takes or deletes segments.

    Raises:
        OSError: the folder can not be written to, or another process does not let go.
    """
    try:
        with FileLock(root / ".lock", timeout=_LOCK_SECONDS, thread_local=False):
            yield
    except Timeout:
        raise OSError("another process does not let go of the folder's lock") from None
