"""How many requests a server that queues whatever comes should have: as many as make it faster, and not many more.

Such a server (vLLM, SGLang, llama.cpp) never says that it is full. Up to its knee, more requests in flight mean more
tokens a second; above it they only wait longer. The knee is found by climbing: raise the number, measure, and keep it
if the server gave more.

What is measured is the throughput by Little's law, requests in flight over seconds for each, from the answers to one
round of requests that were all sent after the last change. Outputs are long-tailed, so the mean latency of a round says
more about which texts were in it than about the server. A line through (tokens, seconds) of the answers says what the
server takes for an output of *one* length, the mean of all so far; that is what rounds are compared by, and the
scatter around the line tells how far they can be. Latency relative to an idle server (TCP Vegas, gradient limits) does
not serve here: a larger batch makes every token slower, and is still what fills the server.

    climb   double while that brings at least a twentieth of what it could; then stay a quarter above where it stopped
    hold    now and then try a quarter more; keep it if it brings at least 3 %
    ease    where a quarter of the time passes before the first token, by that line, or answers take a quarter longer
            than when the number was found: try fewer, and keep that if nothing is lost by it

What waits in a server's queue makes nothing faster, and at the end of a run, or where another server has room, it is
waited for. So this is of use also where a server tells how many it takes (TGI's permits are more than its batch has
room for): it starts there and eases.

Too few cost throughput and too many only make requests wait, so in doubt it stays above. Keeps true: the number stays
within its bounds; rounds in which the server was not kept full say nothing and change nothing.
Does not know clocks, slots or what a request is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

GROWTH = 2.0
STEP = 1.25
HEADROOM = 1.25
WORTHWHILE = 0.05
MIN_GAIN = 1.03
SLOWER = 1.25
QUEUED = 0.25
SOME_QUEUED = 1.3
LEAST_ANSWERS = 16
CAREFUL_ROUNDS = 2.0
HELD = 4
MOST_HELD = 32
SHARE_FULL = 0.9

Phase = Literal["climb", "hold", "raise", "lower"]


@dataclass(slots=True)
class _Round:
    """Answers to requests that were sent at one limit, as sums over (tokens, seconds), and how many were in flight."""

    began: float | None = None
    slot_seconds_before: float = 0.0
    in_flight: float = 0.0
    number: int = 0
    tokens: float = 0.0
    seconds: float = 0.0
    tokens_squared: float = 0.0
    product: float = 0.0
    seconds_squared: float = 0.0

    def add(self, tokens: float, seconds: float) -> None:
        self.number += 1
        self.tokens += tokens
        self.seconds += seconds
        self.tokens_squared += tokens * tokens
        self.product += tokens * seconds
        self.seconds_squared += seconds * seconds

    def latency(self, tokens: float) -> tuple[float, float]:
        """Seconds for an output of so many tokens, and the standard error of that."""
        n, mean_tokens, mean_seconds = self.number, self.tokens / self.number, self.seconds / self.number
        slope, spread, together = self._line()
        scatter = self.seconds_squared / n - mean_seconds**2 - 2 * slope * together + slope**2 * spread
        seconds = mean_seconds + slope * (tokens - mean_tokens)
        # Far from the mean of a round a line says little; the mean itself is always above zero.
        return max(seconds, 0.05 * mean_seconds), math.sqrt(max(0.0, scatter) / n)

    def waiting_share(self) -> float:
        """Share of the time that passes before the first token, by the line; 0 where there is none."""
        slope, spread, _ = self._line()
        waiting = self.seconds - slope * self.tokens
        return min(1.0, max(0.0, waiting / self.seconds)) if spread > 0 and self.seconds > 0 else 0.0

    def _line(self) -> tuple[float, float, float]:
        """Seconds a token, and the variance and covariance that they come from."""
        mean_tokens, mean_seconds = self.tokens / self.number, self.seconds / self.number
        spread = self.tokens_squared / self.number - mean_tokens**2
        if spread <= 1e-9 * mean_tokens**2:
            return 0.0, 0.0, 0.0
        together = self.product / self.number - mean_tokens * mean_seconds
        return max(0.0, together / spread), spread, together


class Knee:
    """Finds a limit for requests in flight, from the answers to them.

    Args:
        start: the first limit.
        maximum: it is never more.
        slowest: seconds; where answers take longer in the mean, fewer are sent, whatever that costs.
    """

    def __init__(self, start: int, maximum: int, *, slowest: float = math.inf) -> None:
        self.maximum, self.slowest = max(1, maximum), slowest
        self.limit = max(1, min(start, self.maximum))
        self.phase: Phase = "climb"
        self._all_answers, self._all_tokens = 0, 0.0
        self._since = 0
        self._round = _Round()
        self._before: tuple[int, _Round] | None = None
        self._settled: _Round | None = None  # how fast answers came when the limit was found
        self._patience = self._held = HELD
        self._queued = QUEUED

    def answered(
        self, slot: int, taken: int, seconds: float, tokens: float, *, now: float, slot_seconds: float
    ) -> bool:
        """Take an answer into account.

        Args:
            slot: the number of its request, counted as they are sent.
            taken: the number of the request that was sent last.
            seconds: from sending to answer.
            tokens: generated; something in proportion to them will do.
            now: a clock's time.
            slot_seconds: requests in flight, integrated over that time.

        Returns:
            Whether the limit has changed.
        """
        self._all_answers += 1
        self._all_tokens += tokens
        done = self._round
        if slot <= self._since:
            return False
        if done.began is None:  # the very first round begins when its first request is sent
            done.began = now - seconds
        done.add(tokens, seconds)
        rounds = 1.0 if self.phase == "climb" else CAREFUL_ROUNDS
        if done.number < max(LEAST_ANSWERS, rounds * self.limit) or now <= done.began:
            return False
        before = self.limit
        done.in_flight = (slot_seconds - done.slot_seconds_before) / (now - done.began)
        if done.in_flight >= SHARE_FULL * self.limit and done.seconds > 0:
            self._judge(done)
        self._round, self._since = _Round(now, slot_seconds), taken
        return self.limit != before

    def _judge(self, done: _Round) -> None:
        if done.seconds > self.slowest * done.number and self.limit > 1:
            self.phase, self._before, self._settled = "hold", None, None
            self._set(min(self.limit - 1, self.limit / STEP))
            return
        match self.phase:
            case "climb":
                self._climb(done)
            case "hold":
                self._hold(done)
            case "raise" | "lower":
                self._compare(done)

    def _gain(self, done: _Round) -> tuple[float, float]:
        """Throughput now against that at the limit before, and how much of it may be chance."""
        assert self._before is not None
        other = self._before[1]
        usual = self._all_tokens / self._all_answers
        (now, error), (then, other_error) = done.latency(usual), other.latency(usual)
        return done.in_flight * then / (other.in_flight * now), math.hypot(error / now, other_error / then)

    def _climb(self, done: _Round) -> None:
        if self._before is not None:
            limit = self._before[0]
            gain, error = self._gain(done)
            if gain + error < 1 + WORTHWHILE * (self.limit / limit - 1):
                # So many at the latency of before would have given as much.
                self._set(max(limit, min(self.limit, limit * max(gain, 1.0) * HEADROOM)))
                self.phase = "hold"
                return
        self._before = self.limit, done
        if self.limit == self.maximum:
            self.phase, self._settled, self._held = "hold", done, 0
        else:
            self._set(self.limit * GROWTH)

    def _hold(self, done: _Round) -> None:
        self._settled = self._settled or done
        self._before = self.limit, done
        slower, waiting = self._is_slower(done, self._settled), done.waiting_share()
        if self._held > 0 and not slower:
            self._held -= 1
        elif self.limit > 1 and (slower or waiting > self._queued):
            # Those that do not wait are what it works on.
            target = self.limit * (1 - waiting) * SOME_QUEUED if waiting > self._queued else self.limit / STEP
            self.phase, self._settled = "lower", done
            self._set(min(self.limit - 1, max(target, self.limit / 2)))
        elif self.limit < self.maximum:
            self.phase = "raise"
            self._set(max(self.limit + 1, self.limit * STEP))

    def _is_slower(self, done: _Round, settled: _Round) -> bool:
        usual = self._all_tokens / self._all_answers
        (now, error), (then, other_error) = done.latency(usual), settled.latency(usual)
        return now - 2 * error > SLOWER * (then + 2 * other_error)

    def _compare(self, done: _Round) -> None:
        assert self._before is not None
        gain, error = self._gain(done)
        worth = gain >= MIN_GAIN + error if self.phase == "raise" else gain >= 1 / MIN_GAIN + error
        if not worth and self.phase == "lower":
            # It was no queue: long prompts, or a server that answers at one pace whatever it has.
            self._queued = max(self._queued, self._before[1].waiting_share() + 0.1)
        if not worth:
            self._set(self._before[0])
            self.phase, self._patience = "hold", min(MOST_HELD, 2 * self._patience)
            self._held = self._patience
            return
        self._before, self._settled = (self.limit, done), done
        self._patience = self._held = HELD
        if self.phase == "raise" and self.limit < self.maximum:
            self._set(max(self.limit + 1, self.limit * STEP))
        else:
            self.phase, self._held = "hold", 0 if done.waiting_share() > self._queued else HELD

    def _set(self, limit: float) -> None:
        self.limit = max(1, min(self.maximum, round(limit)))
