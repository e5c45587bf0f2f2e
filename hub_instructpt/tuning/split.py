"""What is trained on and what is held out: some contexts of every dataset, and whole datasets that are named.

Keeps true: a context that is held out anywhere is trained on nowhere, whichever dataset it stands in and whatever its
case and white space; the choice depends on the contexts' words and the seed, not on their order.
Does not know tokens.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from hub_instructpt.errors import SettingsError
from hub_instructpt.tuning.parts import Part, digest, rank, read

LARGEST_SHARE = 0.1
"""Of a dataset's contexts, that are held out: a small dataset is for learning first of all."""

Use = Literal["train", "measure", "leave_out"]


@dataclass(frozen=True, slots=True)
class Split:
    """Digests of contexts that are not trained on.

    Attributes:
        measured: by dataset, the contexts that are measured on while training.
        unseen: datasets that are held out whole.
        barred: contexts that must not be trained on.
    """

    measured: dict[str, frozenset[int]]
    unseen: frozenset[str]
    barred: frozenset[int]

    def use(self, dataset: str, context: str) -> Use:
        """What an example is for."""
        key = digest(context)
        if key in self.measured[dataset]:
            return "measure"
        return "leave_out" if dataset in self.unseen or key in self.barred else "train"


def split(
    parts: Sequence[Part],
    *,
    hold_out: Sequence[str],
    contexts: int,
    seed: int,
    tick: Callable[[int], None] = lambda records: None,
) -> Split:
    """Choose what is held out.

    Args:
        hold_out: datasets that are not trained on at all.
        contexts: held out of each other dataset, at most, and measured on of each that is held out.
        tick: called with the number of examples read since the last call.

    Raises:
        SettingsError: there is no dataset to hold out of that name, or none is left to train on.
    """
    names = [part.name for part in parts]
    for name in hold_out:
        if name not in names:
            raise SettingsError(
                f"--hold-out {name[:100]}: there is no such dataset.", advice=f"It is {', '.join(names)}."
            )
    if set(names) <= set(hold_out):
        raise SettingsError("Every dataset is held out, so none is left to train on.", advice="Hold out fewer.")
    measured: dict[str, frozenset[int]] = {}
    barred: set[int] = set()
    for part in parts:
        keys = set[int]()
        for example in read(part):
            keys.add(digest(example["context"]))
            tick(1)
        whole = part.name in hold_out
        most = min(contexts, len(keys) if whole else int(len(keys) * LARGEST_SHARE))
        measured[part.name] = frozenset(heapq.nsmallest(most, keys, key=lambda key: rank(key, seed)))
        barred |= keys if whole else measured[part.name]
    return Split(measured, frozenset(hold_out), frozenset(barred))
