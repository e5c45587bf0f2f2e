r"""Examples in the wire format, as token ids of a base model: what is read, and what is learnt.

    <s> <CON> {context} </CON>\n\n | <QUE> {instruction} <ANS> {response} </END>\n\n<QUE> … </END></s>
    no loss                        | loss

The begin and the end of a sequence are the strings of the base's own tokenizer, written into the text; none is added.

Keeps true: up to the bar the ids are exactly those of the prompt as an engine gets it, so that what is learnt is what
will be asked for. Where the tokenizer would join characters across the bar, the two sides are tokenised apart, and it
is counted. No token before the bar carries loss, every token after it does. An example fits into `max_length` tokens:
of one that does not, the context's end is cut, then the last pairs are left out, and both are counted.
Does not know datasets, files or torch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hub_instructpt.errors import SettingsError
from hub_instructpt.markup import format_context, format_pairs
from hub_instructpt.records import Example, Pair
from hub_instructpt.tuning.metrics import final_answer, stands_in

PAIRS_SHARE = 4
"""A context may be as long as leaves a quarter of the tokens to its pairs, if they need so many."""
_MOST_CUTS = 12


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids of an example. Those from `bar` on carry loss."""

    ids: list[int]
    bar: int


class Encoder:
    """Writes and tokenises examples for a base model.

    Args:
        tokenizer: of transformers; fast or slow.
        max_length: tokens of an example, at most.

    Attributes:
        counts: what was joined across the bar, cut, and left out.

    Raises:
        SettingsError: the tokenizer has no end-of-sequence token.
    """

    def __init__(self, tokenizer: Any, max_length: int) -> None:
        if not tokenizer.eos_token:
            raise SettingsError(
                "The base's tokenizer has no end-of-sequence token, so pairs would have no end.",
                advice="Set eos_token in its tokenizer config.",
            )
        self.tokenizer, self.max_length = tokenizer, max_length
        self.bos, self.eos = str(tokenizer.bos_token or ""), str(tokenizer.eos_token)
        self.extra = (self.bos, self.eos, *tokenizer.all_special_tokens)
        self.counts: Counter[str] = Counter()

    def encode(self, examples: Sequence[Example]) -> list[Encoded | None]:
        """Examples as token ids, each with its bar; None for one of which no pair fits."""
        prompts = [self._prompt(example["context"]) for example in examples]
        pairs = [self._pairs(example["pairs"]) for example in examples]
        found: list[Encoded | None] = list(self._joined(prompts, pairs))
        for number, each in enumerate(found):
            if each is not None and len(each.ids) > self.max_length:
                found[number] = self._shortened(examples[number], each)
        kept = [each for each in found if each is not None]
        self.counts["examples/encoded"] += len(kept)
        self.counts["tokens/all"] += sum(len(each.ids) for each in kept)
        self.counts["tokens/with_loss"] += sum(len(each.ids) - each.bar for each in kept)
        return found

    def _prompt(self, context: str) -> str:
        return format_context(context, bos=self.bos, extra=self.extra)

    def _pairs(self, pairs: Sequence[Pair]) -> str:
        return format_pairs(pairs, self.extra) + self.eos

    def _tokens(self, texts: Sequence[str]) -> list[list[int]]:
        found: list[list[int]] = self.tokenizer(
            list(texts), add_special_tokens=False, return_attention_mask=False, verbose=False
        )["input_ids"]
        return found

    def _joined(self, prompts: Sequence[str], pairs: Sequence[str]) -> list[Encoded]:
        before = self._tokens(prompts)
        whole = self._tokens([prompt + rest for prompt, rest in zip(prompts, pairs, strict=True)])
        found = []
        for prompt, ids, rest in zip(before, whole, pairs, strict=True):
            if ids[: len(prompt)] != prompt:
                self.counts["examples/tokenised_apart"] += 1
                ids = prompt + self._tokens([rest])[0]
            found.append(Encoded(ids, len(prompt)))
        return found

    # -- what does not fit -----------------------------------------------------------------------------------------

    def _shortened(self, example: Example, whole: Encoded) -> Encoded | None:
        context, pairs = example["context"], list(example["pairs"])
        room = self.max_length - min(len(whole.ids) - whole.bar, self.max_length // PAIRS_SHARE)
        if whole.bar > room:
            context = self._cut(context, whole.bar, room)
            self.counts["contexts/cut"] += 1
            left = [pair for pair in pairs if self._can_be_answered(pair, context, example["context"])]
            self.counts["pairs_left_out/answer_cut_off"] += len(pairs) - len(left)
            pairs = left
        fitting = self._most_pairs(context, pairs)
        left_out = len(pairs) - (fitting[1] if fitting else 0)
        self.counts["pairs_left_out/no_room"] += left_out
        if fitting is None:
            self.counts["examples_left_out/no_pair_fits"] += 1
            return None
        return fitting[0]

    def _cut(self, context: str, size: int, room: int) -> str:
        """The beginning of a context whose prompt has no more than `room` tokens; empty if there is none."""
        for _ in range(_MOST_CUTS):
            if size <= room:
                return context
            keep = int(len(context) * room / size * 0.98)
            context = context[:keep].rpartition(" ")[0] or context[:keep]
            size = len(self._tokens([self._prompt(context)])[0])
        return context if size <= room else ""

    def _can_be_answered(self, pair: Pair, context: str, whole: str) -> bool:
        """Whether cutting the context has not taken the answer away, as far as that can be seen."""
        answer = final_answer(pair["response"])
        return stands_in(answer, context) or not stands_in(answer, whole)

    def _most_pairs(self, context: str, pairs: Sequence[Pair]) -> tuple[Encoded, int] | None:
        """The example with as many of its first pairs as fit, and their number."""
        if not context:
            return None
        prompt, best = self._prompt(context), None
        fits, exceeds = 0, len(pairs) + 1
        while exceeds - fits > 1:
            middle = (fits + exceeds) // 2
            (found,) = self._joined([prompt], [self._pairs(pairs[:middle])])
            if len(found.ids) <= self.max_length:
                best, fits = (found, middle), middle
            else:
                exceeds = middle
        return best
