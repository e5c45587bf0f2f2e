"""Encoded examples on disk: a file of token ids that is mapped into memory, and an index of it.

    FOLDER/ids.int32    FOLDER/index.npz    FOLDER/done.json (key, counts), written last

Keeps true: a store is whole or not there; it belongs to the key that it was made with. Memory holds the index only,
some 24 bytes an example. Does not know what the ids mean, or torch.
"""

from __future__ import annotations

import json
import shutil
from array import array
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hub_instructpt.errors import RunError
from hub_instructpt.runs.files import write_text
from hub_instructpt.tuning.encoding import Encoded

IDS, INDEX, DONE = "ids.int32", "index.npz", "done.json"
Ints = npt.NDArray[np.int64]


class Store:
    """Examples in groups, such as `train/squad`; each known by its number within its group."""

    def __init__(self, folder: Path) -> None:
        done = json.loads((folder / DONE).read_text("utf-8"))
        self.counts: Counter[str] = Counter(done["counts"])
        self.key: str = done["key"]
        with np.load(folder / INDEX) as index:
            self._begin, self._end, self._bar, self._group = (index[name] for name in ("begin", "end", "bar", "group"))
        size = int(self._end[-1]) if len(self._end) else 0
        self._ids: npt.NDArray[np.int32] = np.memmap(folder / IDS, np.int32, "r", shape=(size,)) if size else _NONE
        self._members = {name: np.flatnonzero(self._group == at) for at, name in enumerate(done["groups"])}

    @property
    def groups(self) -> list[str]:
        """Names of the groups."""
        return list(self._members)

    def lengths(self, group: str) -> list[int]:
        """Tokens of the examples of a group; of one that is not there, none."""
        members = self._members.get(group, _NOBODY)
        found: list[int] = (self._end[members] - self._begin[members]).tolist()
        return found

    def learnt(self, group: str) -> int:
        """Tokens of a group that carry loss."""
        members = self._members.get(group, _NOBODY)
        return int((self._end[members] - self._begin[members] - self._bar[members]).sum())

    def sequence(self, group: str, examples: Iterable[int]) -> tuple[list[int], list[int]]:
        """Examples joined: their ids, and their labels, which are the ids where there is loss and -100 elsewhere."""
        ids: list[int] = []
        labels: list[int] = []
        for number in examples:
            at = self._members[group][number]
            own = self._ids[self._begin[at] : self._end[at]].tolist()
            bar = int(self._bar[at])
            ids += own
            labels += [NO_LOSS] * bar + own[bar:]
        return ids, labels


NO_LOSS = -100
"""The label of a token without loss, for torch's cross entropy."""
_NONE: npt.NDArray[np.int32] = np.empty(0, np.int32)
_NOBODY: Ints = np.empty(0, np.int64)


def is_made(folder: Path, key: str) -> bool:
    """Whether there is a store of this key."""
    try:
        done: Any = json.loads((folder / DONE).read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(done, dict) and done.get("key") == key


def make(folder: Path, key: str, examples: Iterable[tuple[str, Encoded]], counts: Counter[str]) -> Store:
    """Write a store, in the place of whatever is there.

    Args:
        examples: each with its group.
        counts: kept beside them; read when the last example has come.

    Raises:
        RunError: it can not be written.
    """
    shutil.rmtree(folder, ignore_errors=True)
    groups: dict[str, int] = {}
    end, bar, group = array("q"), array("i"), array("i")
    size = 0
    try:
        folder.mkdir(parents=True)
        with (folder / IDS).open("wb") as stream:
            for name, example in examples:
                stream.write(array("i", example.ids).tobytes())
                size += len(example.ids)
                end.append(size)
                bar.append(example.bar)
                group.append(groups.setdefault(name, len(groups)))
        ends = np.array(end, np.int64)
        begins = np.concatenate([np.zeros(1, np.int64), ends[:-1]])[: len(ends)]
        np.savez(folder / INDEX, begin=begins, end=ends, bar=np.array(bar, np.int64), group=np.array(group, np.int64))
    except OSError as error:
        raise RunError(
            f"{folder} can not be written: {error.strerror or error}.", advice="Make room, then run the same again."
        ) from None
    write_text(folder / DONE, json.dumps({"key": key, "groups": list(groups), "counts": dict(counts)}))
    return Store(folder)
