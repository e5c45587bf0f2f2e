"""What a double has seen: counts for assertions, and the last requests in full.

Keeps true: a request counts when it arrives, and its status when it is answered; a prompt counts as asked even where
the answer was a refusal or a cut connection, and as answered only when its completion went out whole. So a prompt that
was answered twice was paid for twice.
Does not know: what the requests mean. Prompts appear as the sha256 of their UTF-8 text, so that a state stays small.
"""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.doubles.tgi_requests import Refusal

LOG_LENGTH = 2000


def digest(inputs: str) -> str:
    return hashlib.sha256(inputs.encode()).hexdigest()


class Ledger:
    """Counts since the start or the last reset."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.requests = 0
        self.generate = 0
        self.tokenize = 0
        self.answered = 0
        self.max_in_flight = 0
        self.statuses: Counter[str] = Counter()
        self.prompts: Counter[str] = Counter()
        self.answered_prompts: Counter[str] = Counter()
        self.bos: Counter[str] = Counter({"0": 0, "1": 0, "2": 0})
        self.log: deque[dict[str, Any]] = deque(maxlen=LOG_LENGTH)

    def arrived(self, entry: dict[str, Any], prompts: list[str], generates: bool) -> None:
        self.log.append(entry)
        if generates:
            self.generate += 1
            self.prompts.update(map(digest, prompts))
        elif entry["route"] == "/tokenize":
            self.tokenize += 1

    def left(self, entry: dict[str, Any], outcome: str, answered: list[str] | None) -> None:
        """Note how a request ended: its status, or "reset", "cut" or "disconnected" where none arrived.

        `answered` are the prompts whose completions went out whole, or None where none did.
        """
        entry["status"] = outcome
        self.statuses[outcome] += 1
        if answered is not None:
            self.answered += 1
            self.answered_prompts.update(map(digest, answered))

    def saw_prompt(self, ids: tuple[int, ...], bos_id: int | None) -> None:
        """Count how many BOS ids lead a prompt; one is right, two is the trap."""
        leading = next((i for i, token in enumerate(ids) if token != bos_id), len(ids))
        self.bos[str(leading)] += 1

    def state(self) -> dict[str, Any]:
        shown = ("requests", "generate", "tokenize", "max_in_flight", "answered", "statuses", "prompts",
                 "answered_prompts", "bos")  # fmt: skip
        return {name: getattr(self, name) for name in shown}


class Permits:
    """A semaphore without a waiting room: who finds no permit is refused at once."""

    def __init__(self, number: int, ledger: Ledger) -> None:
        self.number, self.held, self.ledger = number, 0, ledger

    @contextmanager
    def one(self) -> Iterator[None]:
        if self.held >= self.number:
            raise Refusal(429, "Model is overloaded", "overloaded")
        self.held += 1
        self.ledger.max_in_flight = max(self.ledger.max_in_flight, self.held)
        try:
            yield
        finally:
            self.held -= 1
