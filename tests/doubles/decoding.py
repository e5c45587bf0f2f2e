"""From generated token ids to the text, tokens and finish reason that text-generation-inference would report.

Follows the shard (`text_generation_server/models/model.py` and `utils/tokens.py`), with its surprises: the whole text
is "" where the last token cuts a UTF-8 character; a stop string counts only where a token ends with it, and stays in
the text; reaching the token limit is said before an end-of-sequence token or a stop string is noticed.

Keeps true: the text is that of the ids up to the finish, special tokens skipped, nothing stripped.
Does not know: where the ids come from.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

CUT_CHARACTER = "\ufffd"
LEAD_TOKENS = 5
"""How many prompt tokens stand before the first generated one when it is decoded, so that its leading space shows."""


class Tokenizer(Protocol):
    """What is needed of a tokenizer here."""

    all_special_ids: list[int]

    def decode(self, token_ids: list[int], skip_special_tokens: bool = ...) -> str: ...


@dataclass(frozen=True)
class Token:
    """One generated token; `text` is "" until a UTF-8 character is complete."""

    id: int
    text: str
    logprob: float
    special: bool


@dataclass(frozen=True)
class Completion:
    """What became of one request."""

    text: str
    finish_reason: str
    generated_tokens: int
    tokens: tuple[Token, ...]
    seed: int | None = None
    queued_seconds: float = 0.0

    @property
    def mean_logprob(self) -> float:
        return sum(token.logprob for token in self.tokens) / max(len(self.tokens), 1)


class Detokenizer:
    """Gives the text of each token as it comes, the way a stream does."""

    def __init__(self, tokenizer: Tokenizer, prompt: Sequence[int]) -> None:
        self.tokenizer = tokenizer
        self.ids = list(prompt[-LEAD_TOKENS:])
        self.prefix, self.read = 0, len(self.ids)

    def text_of(self, token: int) -> str:
        self.ids.append(token)
        known = self.tokenizer.decode(self.ids[self.prefix : self.read], skip_special_tokens=False)
        now = self.tokenizer.decode(self.ids[self.prefix :], skip_special_tokens=False)
        if len(now) <= len(known) or now.endswith(CUT_CHARACTER):
            return ""
        self.prefix, self.read = self.read, len(self.ids)
        return now[len(known) :]


def full_text(tokenizer: Tokenizer, last_prompt_id: int, generated: Sequence[int]) -> str:
    """The whole answer, behind the last prompt token so that a leading space stays; "" if a character is cut."""
    before = tokenizer.decode([last_prompt_id], skip_special_tokens=True)
    after = tokenizer.decode([last_prompt_id, *generated], skip_special_tokens=True)
    return "" if after.endswith(CUT_CHARACTER) or len(after) <= len(before) else after[len(before) :]


class StopWatch:
    """Looks for stop strings at the end of the running text, of which only the last few hundred characters are kept."""

    def __init__(self, stop: Sequence[str]) -> None:
        self.patterns = [re.compile(re.escape(one) + "$") for one in stop]
        self.running = ""

    def stops_at(self, text: str) -> bool:
        self.running += text
        if len(self.running) > 300:
            self.running = self.running[-200:]
        return any(pattern.search(self.running) for pattern in self.patterns)


def report(
    tokenizer: Tokenizer,
    prompt: Sequence[int],
    generated: Sequence[int],
    logprobs: Sequence[float],
    *,
    eos_ids: set[int],
    limit: int,
    stop: Sequence[str] = (),
    details: bool = False,
) -> Completion:
    """Cut what a model generated at the first reason to finish, and say it as the server would.

    `generated` may run past that point (the model was batched with others) but must not end before it.
    """
    watch, detokenizer, special = StopWatch(stop), Detokenizer(tokenizer, prompt), set(tokenizer.all_special_ids)
    tokens: list[Token] = []
    reason, count = "length", min(limit, len(generated))
    for position, token in enumerate(generated[:limit], start=1):
        text = detokenizer.text_of(token) if details or stop else ""
        tokens.append(Token(token, text, logprobs[position - 1], token in special))
        stopped = bool(stop) and watch.stops_at(text)
        if position >= limit:
            break
        if token in eos_ids or stopped:
            reason, count = ("eos_token" if token in eos_ids else "stop_sequence"), position
            break
    text = full_text(tokenizer, prompt[-1], generated[:count])
    return Completion(text, reason, count, tuple(tokens))
