"""The arithmetic of continuous batching, and the time that a perfect client needs.

A server works in steps. A step takes in waiting requests as far as the batch and the prefill budget allow, and gives
every running request one token. It takes

    step_seconds + step_seconds_per_sequence x running + prefill_seconds_per_token x tokens taken in

Output lengths are log-normal, cut at a maximum: many short, some ten to twenty times the mean. They are drawn by the
number of the document, so every client, and the bound, meets the same work.

Keeps true: no clock is read here; the same work always takes the same time.
Does not know HTTP.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

CHARACTERS_PER_TOKEN = 4


@dataclass(frozen=True)
class Speed:
    """How fast a server is, and how much it takes at a time. `max_waiting` None means an endless queue."""

    step_seconds: float = 0.020
    step_seconds_per_sequence: float = 0.0002
    prefill_seconds_per_token: float = 0.00001
    max_batch: int = 64
    max_prefill_tokens: int = 8192
    max_waiting: int | None = None

    def slower(self, factor: float) -> Speed:
        return replace(
            self,
            step_seconds=self.step_seconds * factor,
            step_seconds_per_sequence=self.step_seconds_per_sequence * factor,
            prefill_seconds_per_token=self.prefill_seconds_per_token * factor,
        )


@dataclass(frozen=True)
class Lengths:
    """Output lengths in tokens."""

    mean: float = 60.0
    sigma: float = 1.0
    longest: int = 1024
    seed: int = 0

    def of(self, document: int) -> int:
        draw = random.Random(self.seed * 1_000_003 + document)
        drawn = draw.lognormvariate(math.log(self.mean) - self.sigma**2 / 2, self.sigma)
        return max(4, min(self.longest, round(drawn)))


class Work(Protocol):
    """A request: how long its prompt and its answer are."""

    prompt_tokens: int
    output_tokens: int


W = TypeVar("W", bound=Work)


class Batch(Generic[W]):
    """One server's running batch and its queue, step by step."""

    def __init__(self, speed: Speed) -> None:
        self.speed = speed
        self.steps = 0
        self.waiting: deque[W] = deque()
        self.running: dict[int, W] = {}
        self._ends: list[tuple[int, int]] = []
        self._number = 0

    def __len__(self) -> int:
        return len(self.running) + len(self.waiting)

    def add(self, work: W) -> None:
        self.waiting.append(work)

    def drop(self, work: W) -> None:
        """Forget a request whose client has left."""
        for number, one in self.running.items():
            if one is work:
                del self.running[number]
                return
        if work in self.waiting:
            self.waiting.remove(work)

    def clear(self) -> list[W]:
        """Forget everything.

        Returns:
            What was there.
        """
        lost = [*self.running.values(), *self.waiting]
        self.waiting.clear()
        self.running.clear()
        self._ends.clear()
        return lost

    def step(self) -> tuple[float, list[W]]:
        """Work for one step.

        Returns:
            The seconds that it takes, and what is finished after it.
        """
        taken_in = 0
        while self.waiting and len(self.running) < self.speed.max_batch:
            tokens = self.waiting[0].prompt_tokens
            if taken_in and taken_in + tokens > self.speed.max_prefill_tokens:
                break
            work = self.waiting.popleft()
            taken_in += tokens
            self._number += 1
            self.running[self._number] = work
            heapq.heappush(self._ends, (self.steps + work.output_tokens, self._number))
        self.steps += 1
        seconds = (
            self.speed.step_seconds
            + self.speed.step_seconds_per_sequence * len(self.running)
            + self.speed.prefill_seconds_per_token * taken_in
        )
        finished = []
        while self._ends and self._ends[0][0] <= self.steps:
            work_done = self.running.pop(heapq.heappop(self._ends)[1], None)
            if work_done is not None:
                finished.append(work_done)
        return seconds, finished


@dataclass(slots=True)
class Text:
    """A text of a chain, as the bound sees it. `following` comes when it is answered."""

    prompt_tokens: int
    output_tokens: int
    following: Text | None = None


@dataclass(frozen=True, slots=True)
class Death:
    """Server `server` dies when `after` requests are answered in all, and is back `away_seconds` later, if ever."""

    server: int
    after: int
    away_seconds: float | None = None


def perfect_seconds(speeds: Sequence[Speed], chains: Sequence[Text], death: Death | None = None) -> float:
    """Seconds that a perfect client needs: no time passes between a free place in any batch and the next request there.

    What a dying server had begun is begun again elsewhere at that very moment. The client knows no lengths beforehand:
    like any real one it gives out chains in their order.
    """
    batches: list[Batch[Text]] = [Batch(speed) for speed in speeds]
    queue: deque[Text] = deque(chains)
    clock = [(0.0, index) for index in range(len(speeds))]
    heapq.heapify(clock)
    asleep: set[int] = set()
    answered, end = 0, 0.0
    dead_until = 0.0
    while clock:
        now, index = heapq.heappop(clock)
        batch = batches[index]
        if death is not None and index == death.server and answered >= death.after:
            queue.extendleft(reversed(batch.clear()))
            for other in asleep:
                heapq.heappush(clock, (now, other))
            asleep.clear()
            dead_until = math.inf if death.away_seconds is None else now + death.away_seconds
            death = None
            if dead_until < math.inf:
                heapq.heappush(clock, (dead_until, index))
            continue
        while queue and len(batch) < batch.speed.max_batch:
            batch.add(queue.popleft())
        if not len(batch):
            asleep.add(index)
            continue
        seconds, finished = batch.step()
        for text in finished:
            answered += 1
            end = max(end, now + seconds)
            if text.following is not None:
                batch.waiting.appendleft(text.following)
        heapq.heappush(clock, (now + seconds, index))
    return end


def full_batches_seconds(speeds: Sequence[Speed], chains: Sequence[Text]) -> float:
    """Seconds below which nobody comes: all work done in full batches everywhere, with no end that runs dry."""
    tokens, prefill = 0, 0
    for first in chains:
        text: Text | None = first
        while text is not None:
            tokens, prefill, text = tokens + text.output_tokens, prefill + text.prompt_tokens, text.following
    share = prefill / max(tokens, 1)  # prompt tokens taken in for each one put out
    rate = 0.0
    for speed in speeds:
        step = speed.step_seconds + speed.step_seconds_per_sequence * speed.max_batch
        rate += speed.max_batch / (step + speed.prefill_seconds_per_token * share * speed.max_batch)
    return tokens / rate
