"""What refusals (429) say about how many requests a server takes from us.

A full server admits some and refuses what comes on top; a gateway that limits rates, or a flaky one, refuses some of
whatever comes. Fewer requests in flight help against the first, and only cost time with the second. The difference: of
requests that were sent when as many or more were in flight, a full server refuses nearly all, the other a share.

    refused     n requests that were sent before it are still in flight: they were admitted. Where most requests that
                had so many ahead of them are refused too, n is what the server takes, and the ceiling goes a tenth
                below it, so that others who share the server get in. Else it stays.
    answered    one more place a round, then two, four, …, until it refuses again

Keeps true: the ceiling lies between 1 and the maximum; a refusal costs a round trip, so in doubt it stays high.
Does not know clocks or what the requests are.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from itertools import takewhile

SURE = 2.0
"""Standard errors by which refusals must be the more frequent; five of five are."""
SHARED = 0.9
LEAST_REMEMBERED = 32


@dataclass(slots=True)
class _Sent:
    number: int
    ahead: int
    refused: bool = False


class Ceiling:
    """How many requests may be in flight, as far as refusals tell.

    Args:
        maximum: it is never higher.
    """

    def __init__(self, maximum: int) -> None:
        self.maximum = maximum
        self.value = float(maximum)
        self._flying: dict[int, _Sent] = {}  # in the order in which they were sent
        self._latest: deque[_Sent] = deque()
        self._taken = 0
        self._growth, self._round_ends = 1.0, 0

    def sent(self, number: int) -> None:
        """Request `number` is sent; numbers rise."""
        one = self._flying[number] = _Sent(number, len(self._flying))
        self._taken = number
        self._latest.append(one)
        while len(self._latest) > max(LEAST_REMEMBERED, 2 * self.value):
            self._latest.popleft()

    def left(self, number: int) -> None:
        """Request `number` is no longer in flight, however it ended."""
        self._flying.pop(number, None)

    def answered(self, number: int) -> None:
        """The server has worked on request `number`."""
        if self.value >= self.maximum:
            return
        self.value = min(self.maximum, self.value + self._growth / self.value)
        if number > self._round_ends:
            self._round_ends = self._taken
            self._growth = max(1.0, min(2 * self._growth, self.value / 4))

    def refused(self, number: int) -> None:
        """The server was full for request `number`, or said so."""
        one = self._flying.pop(number, None)
        if one is None:
            return
        one.refused = True
        admitted = sum(1 for _ in takewhile(lambda other: other < number, self._flying))
        alike = [other.refused for other in self._latest if other.ahead >= admitted]
        if 2 * sum(alike) - len(alike) > SURE * math.sqrt(len(alike)):
            self.value = max(1.0, min(self.value, SHARED * admitted))
            self._growth, self._round_ends = 1.0, self._taken
