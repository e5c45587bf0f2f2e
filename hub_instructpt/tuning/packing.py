"""Which examples stand together in a sequence, and which sequences are trained on, in which order.

A sequence joins several examples of one dataset, so that all but the first are few-shot examples. In an epoch as many
sequences are drawn as the data would fill; a dataset of n of them gets a share in proportion to n ** alpha, and none is
gone through more than `max_repeats` times. With alpha = 1 everything is seen once; with 0 every dataset gets the same;
in between small datasets are seen more often, large ones in part, and other examples of them in the next epoch.

Keeps true: a sequence holds examples of one dataset and no more than `max_length` tokens; within a pass over a dataset
each example comes once; everything follows from lengths, settings and seed. Does not know what the examples are.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

OPEN = 16
"""Sequences that are filled at a time: an example that does not fit into one may fit into another."""

Sequence_ = tuple[int, ...]


def pack(lengths: Sequence[int], order: Sequence[int], max_length: int) -> list[Sequence_]:
    """Join examples into sequences, each into the first open one that has room for it.

    Args:
        lengths: tokens of each example, none above `max_length`.
        order: the examples, by their number.

    Returns:
        Sequences of numbers of examples, in the order in which they were opened.
    """
    done: list[list[int]] = []
    opened: list[tuple[list[int], int]] = []
    for number in order:
        length = lengths[number]
        if not 0 < length <= max_length:
            raise ValueError(f"an example of {length} tokens does not go into {max_length}")
        at = next((at for at, (_, used) in enumerate(opened) if used + length <= max_length), None)
        if at is None:
            members: list[int] = []
            done.append(members)
            if len(opened) == OPEN:
                del opened[max(range(OPEN), key=lambda each: opened[each][1])]  # the fullest
            opened.append((members, 0))
            at = len(opened) - 1
        members, used = opened[at]
        members.append(number)
        opened[at] = (members, used + length)
    return [tuple(members) for members in done]


def passes(lengths: Sequence[int], max_length: int, seed: str) -> Iterator[Sequence_]:
    """Sequences of a dataset for ever: pass after pass, each time in another order. Nothing, of no examples."""
    rng = random.Random(seed)
    order = list(range(len(lengths)))
    while order:
        rng.shuffle(order)
        packed = pack(lengths, order, max_length)
        rng.shuffle(packed)
        yield from packed


def quotas(sizes: Mapping[str, int], alpha: float, max_repeats: float) -> dict[str, int]:
    """Sequences of each dataset in an epoch.

    Args:
        sizes: sequences of one pass over each.
    """
    total = float(sum(sizes.values()))
    found: dict[str, float] = {}
    left = {name: size for name, size in sizes.items() if size}
    while left:
        weights = {name: size**alpha for name, size in left.items()}
        whole = sum(weights.values())
        over = [name for name, size in left.items() if total * weights[name] / whole > size * max_repeats]
        if not over:
            found |= {name: total * weight / whole for name, weight in weights.items()}
            break
        for name in over:  # what they can not take goes to the others
            found[name] = left.pop(name) * max_repeats
            total -= found[name]
    return {name: max(1, round(found[name])) if size else 0 for name, size in sizes.items()}


@dataclass(frozen=True, slots=True)
class Plan:
    """The sequences of a training, in order: each with its dataset, and its examples by their number there."""

    sequences: list[tuple[str, Sequence_]]
    quotas: dict[str, int]
    sizes: dict[str, int]
    per_epoch: int


def plan(
    lengths: Mapping[str, Sequence[int]],
    *,
    max_length: int,
    per_step: int,
    epochs: float,
    max_steps: int | None,
    alpha: float,
    max_repeats: float,
    seed: int,
) -> Plan:
    """Plan a training.

    Args:
        lengths: tokens of the examples of each dataset.
        per_step: sequences of one step; a training has whole steps only, and at least one.
        max_steps: ends before the epochs do, or after: they go on.
    """
    sizes = {name: len(pack(each, range(len(each)), max_length)) for name, each in lengths.items()}
    wanted = quotas(sizes, alpha, max_repeats)
    per_epoch = sum(wanted.values())
    steps = max_steps or max(1, round(per_epoch * epochs / per_step))
    streams = {name: passes(each, max_length, f"{seed} {name}") for name, each in lengths.items()}
    sequences: list[tuple[str, Sequence_]] = []
    rng = random.Random(seed)
    while len(sequences) < steps * per_step and per_epoch:
        epoch = [(name, next(streams[name])) for name, number in wanted.items() for _ in range(number)]
        rng.shuffle(epoch)
        sequences += epoch
    return Plan(sequences[: steps * per_step], wanted, sizes, per_epoch)
