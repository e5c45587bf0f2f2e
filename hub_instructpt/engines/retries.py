"""When to ask a server again, and how long to wait before.

Three kinds of trouble have three bounds, because they mean different things:

    busy         429: the server is full. Waiting is right; bounded by time.
    unreachable  no connection: it may be restarting. Bounded by time; then the engine as a whole is gone.
    error        424, 5xx, a timeout, a cut or unreadable answer. It may be this very prompt: bounded by attempts.

A fourth, `asleep`, has its bound elsewhere (waking.py): it is the server's sleep that lasts, whoever waits for it.

Keeps true: waits are jittered, so that requests which failed together do not come back together; 4xx answers that
speak about the request itself are never asked again. Does not know HTTP clients or prompts.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field
from typing import Literal

TroubleKind = Literal["busy", "unreachable", "asleep", "error"]


def is_passing(status: int) -> bool:
    """Whether an HTTP status tells of trouble that may pass; proxies have many numbers for that."""
    return status in (408, 424, 425) or (status >= 500 and status not in (501, 505))


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Bounds on asking again.

    Args:
        max_attempts: tries of one prompt that end in an error, the first included.
        busy_seconds: how long one prompt may go on being refused by a full server.
        unreachable_seconds: how long a server may be away before it counts as gone.
        first_wait_seconds: the first wait is about this long; each later one about twice the one before.
        longest_wait_seconds: no wait is longer.
    """

    max_attempts: int = 5
    busy_seconds: float = 1800.0
    unreachable_seconds: float = 60.0
    first_wait_seconds: float = 0.25
    longest_wait_seconds: float = 8.0


@dataclass(slots=True)
class Retries:
    """The tries of one prompt."""

    policy: RetryPolicy
    attempts: int = 0
    _errors: int = 0
    _since: dict[TroubleKind, float] = field(default_factory=dict)
    _in_a_row: int = 0
    _asleep_at: int | None = None

    def is_asleep(self, answers: int) -> bool:
        """Whether the server may be asleep, after so many answers to anybody.

        It is not when others were answered since this prompt first met the sign of sleep: then it is the prompt.
        """
        if self._asleep_at is None:
            self._asleep_at = answers
        return self._asleep_at == answers

    def next_wait(self, trouble: TroubleKind, *, weight: int = 1, asked_for_seconds: float = 0.0) -> float | None:
        """Seconds to wait before the next try, or None when the bound is reached.

        Args:
            trouble: what the try ended in.
            weight: how many errors it counts for; a timeout has cost minutes already and counts double.
            asked_for_seconds: a Retry-After of the server, if it sent one.
        """
        policy = self.policy
        now = time.monotonic()
        if trouble == "error":
            self._errors += weight
            self._since.clear()
            if self._errors >= policy.max_attempts:
                return None
        elif trouble != "asleep":
            bound = policy.busy_seconds if trouble == "busy" else policy.unreachable_seconds
            # A full server is there, and one that is away is not full: each bound is on one kind without a break.
            self._since = {trouble: self._since.get(trouble, now)}
            if now - self._since[trouble] >= bound:
                return None
        ceiling = min(policy.longest_wait_seconds, policy.first_wait_seconds * 2.0**self._in_a_row)
        self._in_a_row += 1
        return max(random.uniform(0.5, 1.0) * ceiling, min(asked_for_seconds, 60.0))
