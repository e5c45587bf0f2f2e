"""Draws: every choice of a text, each by its name.

Keeps true: a draw depends on the seed, on the content of the example and on the draw's name, and on nothing else. So
draws are independent of each other, and a new one changes none of those that were there.
Does not know what is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import xxhash

from hub_instructpt.records import Example

T = TypeVar("T")
_ALL = 2**64


class Draws:
    """The draws of one M-shot example.

    Args:
        examples: contexts with their pairs; all of their content counts.
        seed: another seed gives other draws.
    """

    __slots__ = ("_base",)

    def __init__(self, examples: Sequence[Example], seed: int) -> None:
        strings = [str(seed)]
        for example in examples:
            strings += ("context", example["context"])
            for pair in example["pairs"]:
                strings += ("pair", pair["instruction"], pair["response"])
        # The lengths tell where one string ends, whatever stands in it.
        content = " ".join([str(len(string)) for string in strings]) + "\n" + "".join(strings)
        self._base = xxhash.xxh3_64_intdigest(content.encode("utf-8", "surrogatepass"))

    def _number(self, name: str) -> int:
        return xxhash.xxh3_64_intdigest(name.encode(), self._base)

    def pick(self, name: str, choices: Sequence[T]) -> T:
        """One of the choices, each as likely as the others."""
        return choices[self._number(name) % len(choices)]

    def chance(self, name: str, share: float) -> bool:
        """True for this share of all texts."""
        return self._number(name) < share * _ALL

    def weighted(self, name: str, shares: Sequence[tuple[float, T]]) -> T:
        """One of the choices, each for its share of all texts; the shares add up to 1."""
        left = self._number(name) / _ALL
        for share, choice in shares:
            left -= share
            if left < 0:
                return choice
        return shares[-1][1]

    def shuffled(self, name: str, items: Sequence[T]) -> list[T]:
        """The items in an order of their own; every order is as likely as the others."""
        keys = [self._number(f"{name}/{i}") for i in range(len(items))]
        return [items[i] for i in sorted(range(len(items)), key=keys.__getitem__)]
