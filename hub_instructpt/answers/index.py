"""Where answers stand: an index of segments in 16 bytes an answer, and answers read from disk one by one.

The first 8 bytes of a prompt's digest find the line; the whole digest in the line decides, and its checksum.

Keeps true: what is given back was written for that prompt and is whole; a segment that was deleted or damaged since is
as if it had never been. Memory does not grow with the length of answers.
Does not know who writes segments, or what prompts say.
"""

from __future__ import annotations

import contextlib
import os
from array import array
from collections import OrderedDict
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hub_instructpt.answers import segments
from hub_instructpt.journal import believed
from hub_instructpt.records import Completion

MOST_OPEN = 64
MOST_RECENT = 2**16
"""Answers added since the arrays were sorted: in a dict they take ten times the memory."""
_KEY = slice(25, 57)  # of the line: checksum, tab, {"key":"
_OFFSET_BITS = 40
_FIRST_READ = 4096
_READING = os.O_RDONLY | getattr(os, "O_BINARY", 0)


class Index:
    """Answers of some segments, by the digests of their prompts: 128-bit integers.

    Attributes:
        damaged: lines that could not be believed.
    """

    def __init__(self) -> None:
        self.damaged = 0
        self._paths: list[Path] = []
        self._number: dict[Path, int] = {}
        self._keys: npt.NDArray[np.uint64] = np.empty(0, np.uint64)  # sorted
        self._places: npt.NDArray[np.uint64] = np.empty(0, np.uint64)
        self._sorted = 0  # of them; asking an array takes ten times as long
        self._recent: dict[int, int] = {}
        self._most_recent = MOST_RECENT
        self._open: OrderedDict[int, int] = OrderedDict()  # files, by the number of their segment

    def __len__(self) -> int:
        return self._sorted + len(self._recent)

    def read(self, folder: Path) -> None:
        """Take in every segment of a folder. What can not be read is left out."""
        keys, places = array("Q"), array("Q")
        for path in sorted(folder.glob("*.jsonl")):
            with contextlib.suppress(OSError):
                self._scan(path, keys, places)
        self._sort(np.frombuffer(keys, np.uint64), np.frombuffer(places, np.uint64))

    def _scan(self, path: Path, keys: array[int], places: array[int]) -> None:
        base = self.number(path) << _OFFSET_BITS
        for at, line, whole in segments.lines(path):
            if at == 0:
                if segments.read_header(line) is None:
                    return
            elif whole and (key := _prefix(line[_KEY])) is not None:
                keys.append(key)
                places.append(base + at)
            else:
                self.damaged += 1

    def number(self, path: Path) -> int:
        """What `add` calls a segment."""
        number = self._number.setdefault(path, len(self._paths))
        if number == len(self._paths):
            self._paths.append(path)
        return number

    def add(self, key: int, segment: int, offset: int) -> None:
        """Note an answer that was just written."""
        self._recent[key >> 64] = segment << _OFFSET_BITS | offset
        if len(self._recent) >= self._most_recent:
            number = len(self._recent)
            keys = np.fromiter(self._recent.keys(), np.uint64, number)
            places = np.fromiter(self._recent.values(), np.uint64, number)
            self._recent = {}
            self._sort(keys, places)

    def find(self, key: int) -> Completion | None:
        """The answer to a prompt, if a segment holds it."""
        prefix = key >> 64
        place = self._recent.get(prefix)
        if place is not None and (found := self._fetch(place, key)) is not None:
            return found
        if not self._sorted:
            return None
        # An answer may stand there twice, when two processes asked for it at a time.
        at = int(self._keys.searchsorted(np.uint64(prefix)))
        while at < self._sorted and int(self._keys[at]) == prefix:
            if (found := self._fetch(int(self._places[at]), key)) is not None:
                return found
            at += 1
        return None

    def close(self) -> None:
        """Close the files; they are opened again when needed."""
        while self._open:
            os.close(self._open.popitem()[1])

    # -- within ------------------------------------------------------------------------------------------------------

    def _sort(self, keys: npt.NDArray[np.uint64], places: npt.NDArray[np.uint64]) -> None:
        keys, places = np.concatenate([self._keys, keys]), np.concatenate([self._places, places])
        order = np.argsort(keys, kind="stable")
        self._keys, self._places, self._sorted = keys[order], places[order], len(order)
        self._most_recent = max(MOST_RECENT, self._sorted // 8)

    def _fetch(self, place: int, key: int) -> Completion | None:
        number, offset = place >> _OFFSET_BITS, place & ((1 << _OFFSET_BITS) - 1)
        try:
            line = _line_at(self._file(number), offset)
        except OSError:
            return None
        answer = believed(line)
        return answer[1] if answer is not None and int(answer[0], 16) == key else None

    def _file(self, number: int) -> int:
        handle = self._open.get(number)
        if handle is None:
            if len(self._open) >= MOST_OPEN:
                os.close(self._open.popitem(last=False)[1])
            handle = self._open[number] = os.open(self._paths[number], _READING)
        else:
            self._open.move_to_end(number)
        return handle


def _prefix(digits: bytes) -> int | None:
    try:
        return int(digits[:16], 16) if len(digits) == 32 else None
    except ValueError:
        return None


def _line_at(handle: int, offset: int) -> bytes:
    size = _FIRST_READ
    while True:
        os.lseek(handle, offset, os.SEEK_SET)
        found = os.read(handle, size)
        end = found.find(b"\n")
        if end >= 0:
            return found[: end + 1]
        if len(found) < size:
            return b""
        size *= 4
