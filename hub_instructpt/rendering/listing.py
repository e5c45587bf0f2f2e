"""Listing: marks that count (A, b, 3, iv), and the options of a question with the answer among them.

Keeps true: marks never run out (z, aa, bb, …). The options are in an order of their own for every question, and the
answer names the right one of them: by its label only where no option could be taken for a label.
Does not know templates of pairs, nor modes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Literal

from hub_instructpt.rendering.draws import Draws
from hub_instructpt.rendering.wording import Items

BULLETED = 0.25
BARE = 0.25
ANSWERS: tuple[Literal["label", "text", "both"], ...] = ("label", "text", "both")

OPTION_COUNTS = ("A", "a", "1", "i")
_ROMAN = ((100, "c"), (90, "xc"), (50, "l"), (40, "xl"), (10, "x"), (9, "ix"), (5, "v"), (4, "iv"), (1, "i"))
_AROUND = "()[]<>.:*`- "


def _letters(index: int) -> str:
    return chr(ord("a") + index % 26) * (index // 26 + 1)


def _roman(index: int) -> str:
    left, out = index + 1, ""
    for value, sign in _ROMAN:
        out += sign * (left // value)
        left %= value
    return out


COUNTS: dict[str, Callable[[int], str]] = {
    "A": lambda index: _letters(index).upper(),
    "a": _letters,
    "1": lambda index: str(index + 1),
    "i": _roman,
    "I": lambda index: _roman(index).upper(),
}


@lru_cache(maxsize=256)
def marks(count: str, number: int) -> tuple[str, ...]:
    """The first marks of a way to count; all differ."""
    return tuple(COUNTS[count](index) for index in range(number))


class OptionStyle:
    """How one text lists its options: by labels or by bullets, and what an answer shows of the right one."""

    __slots__ = ("_answer", "_bullet", "_labelled", "_start", "count", "item")

    def __init__(self, draws: Draws, items: Items) -> None:
        self._labelled = not draws.chance("options/bulleted", BULLETED)
        self._bullet = draws.pick("options/bullet", items.bullets)
        self._start = None if draws.chance("options/bare", BARE) else draws.pick("options/start", items.option_starts)
        self._answer = draws.pick("options/answer", ANSWERS)
        self.count = draws.pick("options/count", OPTION_COUNTS) if self._labelled else ""
        self.item = draws.pick("options/item", items.option_items)

    def show(self, options: Sequence[str], response: str) -> tuple[str, str]:
        """The list of the options, and the answer as it names the right one."""
        lines = [] if self._start is None else [self._start.source]
        labels = marks(self.count, len(options)) if self._labelled else ()
        if not labels or self._could_be_labels(options, labels):
            lines += [self._bullet.fill({"option": option}) for option in options]
            return "\n".join(lines), response
        shown = [self.item.item.fill({"n": n, "option": option}) for n, option in zip(labels, options, strict=True)]
        right = options.index(response)
        lines += shown
        if self._answer == "text":
            return "\n".join(lines), response
        answer = self.item.both if self._answer == "both" else self.item.label
        return "\n".join(lines), answer.fill({"n": labels[right], "option": response})

    def _could_be_labels(self, options: Sequence[str], labels: Sequence[str]) -> bool:
        taken = {_bare(label) for label in labels}
        taken |= {_bare(self.item.label.fill({"n": label})) for label in labels}
        return any(_bare(option) in taken for option in options)


def _bare(text: str) -> str:
    return text.strip(_AROUND).casefold()
