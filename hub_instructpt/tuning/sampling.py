"""Which contexts a synthesizer is measured on, and which examples it is shown before them.

Keeps true: the choice depends on the contexts' words, the seed and nothing else, not on their order in the files; no
context is shown as an example before itself, or to measure on another that is measured on.
Does not know engines.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hub_instructpt.errors import InputError
from hub_instructpt.records import Example
from hub_instructpt.tuning.parts import Part, digest, rank, read

SHOWN = 256
"""Contexts of a dataset that examples are drawn from, besides those that are measured on."""


Ranked = tuple[int, int, Example]
"""An example with its rank and its place in the files, both negated: the worst is on top of a heap."""


@dataclass(frozen=True, slots=True)
class Case:
    """A context to measure on, with its gold pairs, and what is shown before it."""

    example: Example
    shots: Sequence[Example]
    asked: Sequence[int]  # the gold pairs whose instruction is given


def draw(
    part: Part,
    *,
    contexts: int,
    questions: int,
    num_shots: int,
    seed: int,
    counts: Counter[str],
    allowed: Callable[[int], bool] = lambda digest: True,
) -> list[Case]:
    """Cases of a dataset.

    Args:
        contexts: at most so many.
        questions: gold instructions given of each context, at most.
        num_shots: examples shown before each.
        allowed: whether a context, given by its digest, may be measured on; the others may be shown.

    Raises:
        InputError: no context may be measured on, or none is left to be shown.
    """
    tested: list[Ranked] = []
    shown: list[Ranked] = []
    seen: set[int] = set()
    for number, example in enumerate(read(part, counts)):
        key = digest(example["context"])
        if key in seen:
            counts["contexts/repeated"] += 1
            continue
        seen.add(key)
        entry = (-rank(key, seed), -number, example)
        if not allowed(key):
            _keep(shown, entry, SHOWN)
        elif (pushed_out := _keep(tested, entry, contexts)) is not None:
            _keep(shown, pushed_out, SHOWN)
    if not tested:
        raise InputError(f"{part.name} holds no context to measure on.")
    if num_shots and len(shown) < num_shots:
        raise InputError(
            f"{part.name} has {len(tested) + len(shown):,} contexts: too few to measure on {len(tested):,} and show "
            f"{num_shots} others before them.",
            advice=f"Ask for fewer with --contexts {max(1, len(tested) + len(shown) - num_shots)}, or leave it out.",
        )
    pool = [example for *_, example in sorted(shown, key=_order)]
    return [_case(example, -key, pool, questions, num_shots) for key, _, example in sorted(tested, key=_order)]


def _order(entry: Ranked) -> tuple[int, int]:
    return -entry[0], -entry[1]


def _keep(heap: list[Ranked], entry: Ranked, most: int) -> Ranked | None:
    """Keep the entries of lowest rank; gives back the one for which there is no room."""
    if len(heap) < most:
        heapq.heappush(heap, entry)
        return None
    return heapq.heappushpop(heap, entry)


def _case(example: Example, key: int, pool: Sequence[Example], questions: int, num_shots: int) -> Case:
    rng = random.Random(key)
    shots = rng.sample(pool, num_shots)
    numbers = range(len(example["pairs"]))
    return Case(example, shots, sorted(rng.sample(numbers, min(questions, len(numbers)))))
