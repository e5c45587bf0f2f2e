"""The schedule: which part gives the next text, so that the proportions asked for hold at every prefix.

Whatever is measured (texts count 1 each, or their tokens), each part j owns a share w_j of it. A part may go next when
it is not ahead of its share; of those, the one whose next text would be due first in an ideal mixture goes. (Routers
share a line this way; there it is called worst-case fair weighted fair queueing.)

Keeps true, at every prefix and for any number of parts: no part is ahead of its share by as much as one of its own
texts, and none is behind it by more than the longest text. All arithmetic is exact.
Does not know texts, only their sizes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction


class Schedule:
    """Takes turns.

    Args:
        weights: of the parts; any positive numbers.
        taken: what each part has given already, when a mixture goes on.
    """

    def __init__(self, weights: Sequence[Fraction], taken: Sequence[int] = ()) -> None:
        scale = math.lcm(*(weight.denominator for weight in weights))
        whole = [int(weight * scale) for weight in weights]
        common = math.gcd(*whole)
        self._weights = [weight // common for weight in whole]
        self.taken = list(taken) or [0] * len(weights)
        self._active = list(range(len(weights)))

    @property
    def active(self) -> Sequence[int]:
        """Parts that still take turns."""
        return self._active

    def due(self) -> list[int]:
        """Parts that are not ahead of their share. Empty only when no part is left."""
        total = sum(self.taken[part] for part in self._active)
        weight = sum(self._weights[part] for part in self._active)
        return [part for part in self._active if self.taken[part] * weight <= self._weights[part] * total]

    def first(self, sizes: Mapping[int, int]) -> int:
        """Of some parts with the sizes of their next texts, the one to go next."""
        best = -1
        for part in sizes:
            # (taken + size) / weight, compared without dividing
            if (
                best < 0
                or (self.taken[part] + sizes[part]) * self._weights[best]
                < (self.taken[best] + sizes[best]) * self._weights[part]
            ):
                best = part
        return best

    def take(self, part: int, size: int) -> None:
        """`part` has given a text of this size."""
        self.taken[part] += size

    def drop(self, part: int) -> None:
        """`part` takes no more turns; the others share among themselves."""
        self._active.remove(part)
