"""Segments: what stands in the journals of a spool, copied to a store piece by piece, for whoever goes on elsewhere.

    URL/journal/train-00001-3fa9c1d2-0004.jsonl    some whole lines of the journal of shard 1; gone when that is sealed
    URL/journal/train-00001.jsonl                  the journal of a sealed shard, some texts of which may be retried

Keeps true: a segment is written once and never changed, so nobody needs a lock; a journal in the spool holds all lines
that stood in the store when its shard was begun here. Lines carry checksums, so their order does not matter, nor does
one that is there twice. What was answered since the last copy is lost to other machines, and to no other.
Does not know what a line says.
"""

from __future__ import annotations

import os
import re
import secrets
from collections import defaultdict
from pathlib import Path

from hub_instructpt.errors import RunError
from hub_instructpt.runs.shards import journal_path
from hub_instructpt.runs.share import Worker
from hub_instructpt.runs.store import Store

JOURNAL = "journal"


class Segments:
    """The journals of one worker, in its spool and in a store.

    Args:
        folder: the spool.
    """

    def __init__(self, store: Store, folder: Path, worker: Worker) -> None:
        self.store, self.folder, self.worker = store, folder, worker
        self._name, self._number = secrets.token_hex(4), 0
        self._there: dict[int, list[str]] = defaultdict(list)
        self._sent: dict[int, int] = {}

    def begin(self, sealed: set[int]) -> int:
        """Bring what others have answered of this worker's shards into the spool; tells how many answers that were.

        Raises:
            RunError: the spool can not be written to, or the store does not answer.
        """
        for name in sorted(self.store.sizes(JOURNAL)):
            found = re.fullmatch(r"train-(\d{5,})(-\w+-\d+)?\.jsonl", name)
            if found and self.worker.has(int(found[1])) and (found[2] or int(found[1]) not in sealed):
                self._there[int(found[1])].append(f"{JOURNAL}/{name}")
        for index in [index for index in self._there if index in sealed]:
            self.drop(index)  # killed between its note and this
        gained = 0
        contents = self.store.read_all(path for paths in self._there.values() for path in paths)
        for index, paths in self._there.items():
            there = {line for _ in paths for line in (contents.pop(0) or b"").splitlines(keepends=True)}
            gained += self._bring(index, there)
        return gained

    def send(self) -> None:
        """Copy what was answered since the last time."""
        for path in sorted((self.folder / JOURNAL).glob("train-*.jsonl")):
            found = re.fullmatch(r"train-(\d{5,})", path.stem)
            if found is None or not self.worker.has(int(found[1])):
                continue
            index = int(found[1])
            try:
                with path.open("rb") as stream:
                    stream.seek(self._sent.get(index, 0))
                    new = stream.read()
            except FileNotFoundError:  # sealed meanwhile
                continue
            new = new[: new.rfind(b"\n") + 1]  # half a line is being written
            if new:
                self._write(index, new)
                self._sent[index] = self._sent.get(index, 0) + len(new)

    def drop(self, index: int, *, retryable: bool = False) -> None:
        """Remove the segments of a shard that is sealed, and its journal when nothing of it may be retried."""
        for path in self._there.pop(index, ()):
            if path != journal_path(index) or not retryable:
                self.store.remove(path)
        self._sent.pop(index, None)

    def _bring(self, index: int, there: set[bytes]) -> int:
        path = self.folder / journal_path(index)
        try:
            here = path.read_bytes().splitlines(keepends=True) if path.exists() else []
            gained = [line for line in there - set(here) if line.strip()]
            lost = [line for line in here if line not in there and line.endswith(b"\n")]
            if gained:
                path.parent.mkdir(exist_ok=True)
                torn = b"\n" if here and not here[-1].endswith(b"\n") else b""
                with path.open("ab") as stream:
                    stream.write(torn + b"".join(sorted(gained)))
                    stream.flush()
                    os.fsync(stream.fileno())
            if lost:
                self._write(index, b"".join(lost))
            self._sent[index] = path.stat().st_size if path.exists() else 0
        except OSError as error:
            raise RunError(
                f"{path} can not be written: {error.strerror or error}.", advice="Make room, then run the same again."
            ) from None
        return len(gained)

    def _write(self, index: int, lines: bytes) -> None:
        self._number += 1
        path = f"{JOURNAL}/train-{index:05d}-{self._name}-{self._number:04d}.jsonl"
        self._there[index].append(path)
        self.store.write(path, lines)
