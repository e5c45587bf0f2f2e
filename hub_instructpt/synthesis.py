"""Synthesis: texts in, each with its pairs out.

The unit is a chain of up to M texts (M-shot): the prompt of a text carries the earlier texts of its chain with their
pairs, and a text without pairs ends its chain. Chains are independent; many are in flight, and they come back in the
order in which they went in (in_order.py), so that one slow answer idles nothing.

Keeps true: a text that fails is an outcome with a reason, never an exception and never a lost neighbour; every string
neutralised, context cut and pair dropped is counted. Only when the engine as a whole is gone, or when too large a
share of the texts fails, does it raise.
Does not know rows, files or servers.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from hub_instructpt.engines.base import Engine, capacity_of, pinned
from hub_instructpt.errors import EngineError, EngineUnavailable, RequestFailed, SettingsError
from hub_instructpt.in_order import in_order
from hub_instructpt.markup import format_prompt, neutralise, parse_completion
from hub_instructpt.records import Completion, EngineInfo, Example, FinishReason, Loss, Pair, SamplingParams

# No tokenizer turns more characters than this into one token of ordinary text; a server refuses bodies above 2 MB.
MAX_CHARACTERS_PER_TOKEN = 32
MAX_CHARACTERS_SENT = 450_000

# Counting tokens costs a request: so often is tried how much of a text fits that is too long as a whole.
MAX_CUTS_TRIED = 5


@dataclass(slots=True)
class Synthesis:
    """What became of one text.

    `shot_index` counts from 0 within an M-shot example: a 0 begins a new one. `counts` has keys `group/name`, such as
    `pairs_dropped/unfinished`; they add up over texts. `failure` is the reason why the engine gave nothing, if so.
    `losses` tells of what was lost one by one.
    """

    pairs: list[Pair] = field(default_factory=list)
    shot_index: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    failure: str | None = None
    finish_reason: FinishReason | None = None
    losses: list[Loss] = field(default_factory=list)


class FailureBudget:
    """Stops a run whose engine fails too often, instead of burning a night.

    A few failures are outcomes; more than `max_share` of all texts, and more than `floor` of them, are trouble. So are
    failures alone, without a single answer.
    """

    def __init__(self, max_share: float = 0.05, floor: int = 10) -> None:
        if not 0.0 <= max_share <= 1.0:
            raise SettingsError(f"max_failed_share must lie between 0 and 1, not {max_share}.")
        self.max_share, self.floor = max_share, floor
        self.texts = 0
        self.reasons: Counter[str] = Counter()

    def remember(self, counts: Mapping[str, int]) -> None:
        """Take in the counts of earlier processes, so that a run in two parts is judged like one in one."""
        self.texts += counts.get("texts/all", 0)
        for key, number in counts.items():
            if key.startswith("texts_without_pairs/failed_"):
                self.reasons[key.partition("failed_")[2]] += number

    def record(self, outcome: Synthesis) -> None:
        """Count an outcome.

        Raises:
            EngineError: when too many have failed.
        """
        self.texts += 1
        if outcome.failure is None:
            return
        self.reasons[outcome.failure] += 1
        self.judge()

    def judge(self) -> None:
        """Raise when too many have failed."""
        if self.reasons.total() > max(self.floor, self.max_share * self.texts):
            raise self._error()

    def check(self) -> None:
        """Raise when nothing but failures came so far."""
        if self.texts and self.reasons.total() == self.texts:
            raise self._error()

    def _error(self) -> EngineError:
        reasons = ", ".join(f"{reason}: {count:,}" for reason, count in self.reasons.most_common(3))
        return EngineError(
            f"The engine failed on {self.reasons.total():,} of {self.texts:,} texts ({reasons}).",
            advice="Look at the server's log, then run the same again: what was answered is kept.",
        )


def running_in(engine: Engine, info: EngineInfo) -> Callable[[], int]:
    """How many chains run at once: as many as the engine takes, now, and as many again that wait for a place.

    Those do what costs no engine: their prompts are written, their pairs parsed and journaled. So a place that comes
    free is taken at once, and an engine that sorts what waits has something to sort.
    """
    return lambda: 2 * capacity_of(engine, info) + 16


class Synthesizer:
    """Asks an engine for the pairs of texts.

    Args:
        engine: the engine, connected or not.
        sampling: how completions are drawn.
        num_shots: M, the largest number of texts in one chain.
    """

    def __init__(self, engine: Engine, sampling: SamplingParams, num_shots: int = 1) -> None:
        if num_shots < 1:
            raise SettingsError(f"num_shots must be at least 1, not {num_shots}.")
        self.engine, self.sampling, self.num_shots = engine, sampling, num_shots

    async def stream(self, chains: AsyncIterable[Sequence[str]]) -> AsyncGenerator[list[Synthesis], None]:
        """Outcomes of chains of texts, chain by chain, in the order given.

        Twice as many chains are worked on as the engine takes requests; those that are done early wait in memory
        (in_order.py). Closing the iterator cancels what is in flight.
        """
        info = await self.engine.connect()
        info.input_budget(self.sampling)  # an impossible token limit is an error before the first request

        async def work() -> AsyncGenerator[tuple[Sequence[str], Coroutine[Any, Any, list[Synthesis]]], None]:
            async for texts in chains:
                yield texts, self.chain(texts)

        async with aclosing(in_order(work(), running_in(self.engine, info), _characters)) as results:
            async for _, outcomes in results:
                yield outcomes

    async def chain(self, texts: Sequence[str]) -> list[Synthesis]:
        """Outcomes of one chain of texts, each shown the ones before it."""
        examples: list[Example] = []
        outcomes: list[Synthesis] = []
        engine = self.engine if len(texts) == 1 else pinned(self.engine)
        asked: set[str] = set()  # by the M-shot example so far, shown in the prompt or not
        for text in texts:
            outcome, shown = await self._synthesize(engine, text, examples, asked)
            if outcome.pairs and shown:
                outcome.shot_index = outcomes[-1].shot_index + 1
            else:
                asked = set()
            asked |= {pair["instruction"].lower() for pair in outcome.pairs}
            examples = examples[len(examples) - shown :]
            examples = [*examples, {"context": text, "pairs": outcome.pairs}] if outcome.pairs else []
            outcomes.append(outcome)
        return outcomes

    async def _synthesize(
        self, engine: Engine, text: str, examples: list[Example], asked: set[str]
    ) -> tuple[Synthesis, int]:
        """The outcome of one text, and how many of the examples its prompt could show."""
        outcome = Synthesis()
        info = await self.engine.connect()
        try:
            context, examples, prompt = await self._fit(text, examples, info)
            outcome.counts["contexts/cut"] += len(context) < len(text)
            completion = await engine.complete(prompt, self.sampling)
        except EngineUnavailable:
            raise
        except RequestFailed as failure:
            outcome.failure = failure.reason
            outcome.counts[f"texts_without_pairs/failed_{failure.reason}"] += 1
            outcome.losses.append(_failed(failure))
            return outcome, 0
        broken = neutralise(context, (info.bos, info.eos, *info.special_tokens))[1]
        outcome.counts["contexts/neutralised"] += broken > 0
        outcome.finish_reason = completion.finish_reason
        outcome.counts[f"finish_reason/{completion.finish_reason or 'unknown'}"] += 1
        outcome.counts["tokens/prompt"] += completion.prompt_tokens or 0
        outcome.counts["tokens/generated"] += completion.generated_tokens or 0
        parsed = parse_completion(completion.text)
        outcome.pairs = _kept(parsed.pairs, asked if examples else set(), parsed.dropped)
        outcome.counts["pairs/kept"] += len(outcome.pairs)
        if parsed.dropped or not outcome.pairs:
            _count_losses(outcome, completion, parsed.dropped)
        return outcome, len(examples)

    # -- fitting a prompt into the server's limits ---------------------------------------------------------------

    async def _fit(self, text: str, examples: list[Example], info: EngineInfo) -> tuple[str, list[Example], str]:
        """A prompt that fits: the oldest examples go first, and then the end of the text.

        Returns:
            The context and the examples that the prompt shows, and the prompt.
        """
        budget = info.input_budget(self.sampling)
        # Above this, counting costs more than it tells; the cut text is counted all the same.
        context = _cut_at_space(text, min(len(text), budget * MAX_CHARACTERS_PER_TOKEN, MAX_CHARACTERS_SENT))
        too_many, too_few = len(examples) + 1, -1
        shown = len(examples)
        # Halving finds the largest number of examples that fits: a long chain does not ask once for each of them.
        best: tuple[str, list[Example], str] | None = None
        while too_many - too_few > 1:
            latest = examples[len(examples) - shown :]
            prompt = self._prompt(context, latest, info)
            size = await self._size(prompt, budget)
            if size <= budget:
                best, too_few = (context, latest, prompt), shown
            else:
                too_many = shown
            shown = (too_many + too_few) // 2
        if best is None:
            context = await self._cut(context, size, budget, info)
            best = context, [], self._prompt(context, [], info)
        return best

    async def _cut(self, text: str, size: int, budget: int, info: EngineInfo) -> str:
        """The longest beginning of `text` that fits, or nearly; `size` are the tokens of the whole."""
        fits, exceeds, length = self._sure_to_fit(text, budget, info), len(text), len(text)
        best, wanted = _cut_at_space(text, fits), budget * 0.97
        fitting, exceeding, before = 0, size, 0
        for tried in range(MAX_CUTS_TRIED):
            # Tokens are spread unevenly over a text. What was measured last says how dense they are thereabouts. Where
            # that leads out of what is known, or nowhere near soon, the line between both ends does, or their middle.
            near = (tried < 3 or budget * 0.6 < size < budget * 1.2) and size != before
            length = int(length * wanted / max(size, 1))
            if not fits < length < exceeds or not near:
                between = (exceeds - fits) * (wanted - fitting) / (exceeding - fitting) if fitting else 0.0
                length = fits + int(between) if between >= 1 else max(fits + 1, math.isqrt(max(fits, 1) * exceeds))
            if exceeds - fits <= max(1, fits // 20):
                break
            context = _cut_at_space(text, length)
            before, size = size, await self._size(self._prompt(context, [], info), budget)
            if size > budget:
                exceeds, exceeding = length, size
                continue
            best, fits, fitting = context, length, size
            if size >= budget * 0.93:
                break
        if not best:
            raise RequestFailed("A text does not fit at all.", reason="does_not_fit", attempts=0, passing=False)
        return best

    def _sure_to_fit(self, text: str, budget: int, info: EngineInfo) -> int:
        """How many characters of `text` fit without asking."""
        fits, exceeds = 0, min(len(text), budget) + 1
        while exceeds - fits > 1:
            middle = (fits + exceeds) // 2
            if _most_tokens(self._prompt(text[:middle], [], info)) <= budget:
                fits = middle
            else:
                exceeds = middle
        return fits

    def _prompt(self, context: str, examples: list[Example], info: EngineInfo) -> str:
        return format_prompt(context, examples, bos=info.bos, eos=info.eos, special_tokens=info.special_tokens)

    async def _size(self, prompt: str, budget: int) -> int:
        most = _most_tokens(prompt)  # most texts are known to fit without asking
        return most if most <= budget else await self.engine.count_tokens(prompt)


def _kept(pairs: list[Pair], asked: set[str], dropped: Counter[str]) -> list[Pair]:
    """Drop what the published rules let through and no corpus wants, and count it."""
    kept = []
    for pair in pairs:
        if not pair["instruction"]:
            dropped["empty_instruction"] += 1
        elif pair["instruction"].lower() in asked:
            dropped["repeated_in_chain"] += 1
        else:
            kept.append(pair)
    return kept


def _count_losses(outcome: Synthesis, completion: Completion, dropped: Counter[str]) -> None:
    answered: dict[str, Any] = {"finish_reason": completion.finish_reason, "completion": completion.text}
    for reason, number in dropped.items():
        if number:
            outcome.counts[f"pairs_dropped/{reason}"] += number
            outcome.losses.append(Loss("pair", reason, number, **answered))
    if not outcome.pairs:
        why = "empty_completion" if not completion.text.strip() else "no_pair_parsed"
        outcome.counts[f"texts_without_pairs/{why}"] += 1
        outcome.losses.append(Loss("text", why, 0, **answered))


def _failed(failure: RequestFailed) -> Loss:
    kind, _, status = failure.reason.partition("status_")
    return Loss(
        "text", f"failed_{failure.reason}", 0, failure.attempts,
        status=int(status) if not kind and status.isdecimal() else None, passing=failure.passing,
    )  # fmt: skip


def _characters(texts: Sequence[str]) -> int:
    return sum(map(len, texts))


def _most_tokens(prompt: str) -> int:
    # A token stands for at least one byte; the few on top are what tokenizers put in front.
    return len(prompt.encode()) + 8


def _cut_at_space(text: str, keep: int) -> str:
    """The first `keep` characters or a few fewer, so that no word is cut where there are words."""
    for end in range(keep, keep - max(24, min(keep // 10, 200)), -1):
        if end <= 0:
            break
        if end >= len(text) or text[end].isspace():
            return text[:end]
    return text[:keep]
