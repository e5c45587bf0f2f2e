"""An engine is asked what a synthesizer is measured by: pairs of a context, and answers to its gold instructions.

Both prompts are in the wire format; that of an answer ends after `<ANS>`, so the engine writes the response and its
`</END>`. Examples are shown before them as the published few-shot prompts show them.

Keeps true: decoding is greedy; what is left out of a prompt because it does not fit, and every request that fails, is
counted. Only when the engine as a whole is gone does it raise. Does not know datasets or files.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from hub_instructpt.engines.base import Engine
from hub_instructpt.errors import EngineUnavailable, RequestFailed
from hub_instructpt.markup import MARKERS, format_prompt, neutralise, parse_completion
from hub_instructpt.records import Completion, EngineInfo, Example, Pair, SamplingParams
from hub_instructpt.tuning import metrics
from hub_instructpt.tuning.sampling import Case

_MARKER = re.compile("|".join(map(re.escape, MARKERS)))
_MOST_CUTS = 12


@dataclass(slots=True)
class Answer:
    """A response to a gold instruction. `closed` tells that its `</END>` came."""

    instruction: str
    gold: str
    response: str
    closed: bool
    f1: float
    exact: bool


@dataclass(slots=True)
class Measured:
    """What became of one case. `pairs` is None where the engine failed on it."""

    case: Case
    completion: str = ""
    pairs: list[Pair] | None = None
    dropped: Counter[str] = field(default_factory=Counter)
    quality: float = 0.0
    coverage: float = 0.0
    answers: list[Answer] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


class Examiner:
    """Asks an engine about cases.

    Args:
        pairs: the engine that writes pairs.
        answers: the engine that answers; the same one, maybe behind another journal.
        max_new_tokens: token limit of the pairs of a context.
        max_answer_tokens: token limit of an answer.
    """

    def __init__(self, pairs: Engine, answers: Engine, *, max_new_tokens: int, max_answer_tokens: int) -> None:
        self.pairs, self.answers = pairs, answers
        self.for_pairs = SamplingParams(max_new_tokens)
        self.for_answers = SamplingParams(max_answer_tokens)

    async def examine(self, case: Case) -> Measured:
        """The pairs of a context, and the answers to its gold instructions, with their scores."""
        found = Measured(case)
        gold = [case.example["pairs"][number] for number in case.asked]
        _, *answers = await asyncio.gather(self._write(found), *(self._answer(found, pair) for pair in gold))
        found.answers = [answer for answer in answers if answer is not None]
        return found

    async def _write(self, found: Measured) -> None:
        completion = await self._ask(self.pairs, self.for_pairs, found, "", "pairs")
        if completion is None:
            return
        parsed = parse_completion(completion.text)
        found.completion, found.dropped = completion.text, parsed.dropped
        found.pairs = [pair for pair in parsed.pairs if pair["instruction"]]
        found.dropped["empty_instruction"] += len(parsed.pairs) - len(found.pairs)
        found.quality, found.coverage = metrics.pair_scores(found.pairs, found.case.example["pairs"])

    async def _answer(self, found: Measured, gold: Pair) -> Answer | None:
        completion = await self._ask(self.answers, self.for_answers, found, gold["instruction"], "answers")
        if completion is None:
            return None
        response, closed = read_answer(completion.text)
        ours, theirs = metrics.final_answer(response), metrics.final_answer(gold["response"])
        return Answer(
            gold["instruction"],
            gold["response"],
            response,
            closed,
            metrics.token_f1(ours, theirs),
            metrics.exact_match(ours, theirs),
        )

    async def _ask(
        self, engine: Engine, sampling: SamplingParams, found: Measured, instruction: str, what: str
    ) -> Completion | None:
        info = await engine.connect()
        try:
            prompt = await fitted(engine, info, info.input_budget(sampling), found.case, instruction, found.counts)
            completion = await engine.complete(prompt, sampling)
        except EngineUnavailable:
            raise
        except RequestFailed as failure:
            found.counts[f"{what}_failed/{failure.reason}"] += 1
            return None
        found.counts["tokens/prompt"] += completion.prompt_tokens or 0
        found.counts["tokens/generated"] += completion.generated_tokens or 0
        return completion


def read_answer(completion: str) -> tuple[str, bool]:
    """The response at the beginning of a completion, and whether it was ended by `</END>`."""
    marker = _MARKER.search(completion)
    if marker is None:
        return completion.strip(), False
    return completion[: marker.start()].strip(), marker[0] == "</END>"


async def fitted(
    engine: Engine, info: EngineInfo, budget: int, case: Case, instruction: str, counts: Counter[str]
) -> str:
    """A prompt that fits into `budget` tokens: the first examples go first, then the end of the context.

    Raises:
        RequestFailed: not even the instruction fits.
    """
    context, shots = case.example["context"], list(case.shots)
    size = await _size(engine, prompt := _prompt(context, shots, instruction, info), budget)
    while size > budget and shots:
        del shots[0]
        counts["prompts/shots_left_out"] += 1
        size = await _size(engine, prompt := _prompt(context, shots, instruction, info), budget)
    counts["prompts/all"] += 1
    counts["prompts/shots_shown"] += len(shots)
    if size > budget:
        counts["prompts/context_cut"] += 1
    for _ in range(_MOST_CUTS):
        if size <= budget:
            return prompt
        keep = int(len(context) * budget / size * 0.95)
        context = context[:keep].rpartition(" ")[0] or context[:keep]
        size = await _size(engine, prompt := _prompt(context, [], instruction, info), budget)
    raise RequestFailed("A prompt does not fit at all.", reason="does_not_fit", attempts=0, passing=False)


def _prompt(context: str, shots: Sequence[Example], instruction: str, info: EngineInfo) -> str:
    prompt = format_prompt(context, shots, bos=info.bos, eos=info.eos, special_tokens=info.special_tokens)
    if not instruction:
        return prompt
    # No blank after the marker: it belongs to the first token of the response.
    asked, _ = neutralise(instruction, (info.bos, info.eos, *info.special_tokens))
    return f"{prompt}<QUE> {asked} <ANS>"


async def _size(engine: Engine, prompt: str, budget: int) -> int:
    most = len(prompt.encode()) + 8  # a token stands for at least one byte: most prompts need no asking
    return most if most <= budget else await engine.count_tokens(prompt)
