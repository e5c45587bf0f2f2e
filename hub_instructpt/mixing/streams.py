"""Streams: the texts of a part, shuffled and as often as they are asked for, with their sizes.

Keeps true: the order depends on the part, the seed and the buffer's size only, so that a mixture which goes on finds
its place by passing over what was taken; memory holds one buffer and one batch. What is left out is counted with a text
beside it, so that no count is lost or made twice. Each epoch has an order, and a collection styles, of its own.
Does not know other parts, or shards.
"""

from __future__ import annotations

import math
import random
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import xxhash

from hub_instructpt.errors import InputError, RunError
from hub_instructpt.mixing.forms import Part
from hub_instructpt.mixing.rows import Content
from hub_instructpt.mixing.tokens import Ids, Tokenizer

BATCH_TEXTS = 128
BATCH_CHARACTERS = 1_000_000


@dataclass(slots=True)
class Item:
    """A text, its size in tokens where they are counted, and the rows that were left out beside it."""

    text: str
    num_tokens: int = 0
    ids: Ids | None = None
    left_out: Counter[str] | None = None


class Stream:
    """The texts of a part.

    Args:
        part: where they come from.
        seed: of the mixture.
        buffer: how many texts the shuffle holds; 1 leaves the order as it is.
        tokenizer: counts their tokens.
        pack: whether their token ids are needed as well.
        repeats: how often the part is given whole; None for as often as it is begun `again`.
    """

    def __init__(
        self,
        part: Part,
        seed: int,
        buffer: int,
        tokenizer: Tokenizer | None = None,
        *,
        pack: bool = False,
        repeats: Fraction | None = None,
    ) -> None:
        self.part, self.tokenizer, self.pack, self.repeats = part, tokenizer, pack, repeats
        self._seed, self._buffer = seed, max(buffer, 1)
        self._ready: deque[Item] = deque()
        self._refused: Counter[str] = Counter()
        self._given = False
        self.epoch = 0
        self._contents = self._shuffled(0)

    def peek(self) -> Item | None:
        """The next text of this epoch; None when there is none."""
        if not self._ready:
            self._fill()
        return self._ready[0] if self._ready else None

    def pop(self) -> Item:
        """Take the text that `peek` has shown."""
        return self._ready.popleft()

    @property
    def more_epochs(self) -> bool:
        """Whether another repeat was asked for."""
        return self.repeats is not None and self.epoch + 1 < math.ceil(self.repeats)

    def again(self) -> None:
        """Begin the next epoch.

        Raises:
            InputError: the epoch that ended gave nothing at all.
        """
        if not self._given:
            raise self.empty()
        self._given = False
        self.epoch += 1
        self._contents = self._shuffled(self.epoch)

    def empty(self) -> InputError:
        """The error of a part without a single usable text."""
        why = ", ".join(f"{number:,} {reason.replace('_', ' ')}" for reason, number in self._refused.most_common())
        return InputError(f"The part {self.part.facts.name} gives no text{f' ({why})' if why else ''}.")

    @property
    def given(self) -> bool:
        """Whether this epoch has given any text."""
        return self._given

    def skip(self, number: int) -> None:
        """Pass over texts that are in sealed shards already.

        Raises:
            RunError: the part does not hold as many, so it is not what it was.
        """
        while number:
            if self._next() is not None:
                number -= 1
            elif self._given:
                self.again()
            else:
                raise RunError(
                    f"The part {self.part.facts.name} is not as it was: it gives no text any more.",
                    advice="Restore it, or start again with another --out.",
                )

    # -- one epoch ---------------------------------------------------------------------------------------------------

    def _fill(self) -> None:
        items: list[Item] = []
        characters = 0
        while len(items) < BATCH_TEXTS and characters < BATCH_CHARACTERS and (found := self._next()) is not None:
            content, left_out = found
            text = self.part.write(content, self._epoch_seed(self.epoch))
            characters += len(text)
            items.append(Item(text, left_out=left_out))
        if self.tokenizer is not None and items:
            texts = [item.text for item in items]
            if self.pack:
                for item, ids in zip(items, self.tokenizer.encode(texts), strict=True):
                    item.ids, item.num_tokens = ids, len(ids)
            else:
                for item, count in zip(items, self.tokenizer.count(texts), strict=True):
                    item.num_tokens = count
        self._ready.extend(items)

    def _next(self) -> tuple[Content, Counter[str] | None] | None:
        found = next(self._contents, None)
        self._given |= found is not None
        return found

    def _shuffled(self, epoch: int) -> Iterator[tuple[Content, Counter[str] | None]]:
        """Contents in the order of an epoch, each with the rows that were left out before it."""
        left_out: Counter[str] = Counter()
        waiting: Content | None = None
        kept = _thinned(None if self.repeats is None else min(self.repeats - epoch, Fraction(1)))
        # One text is held back, so that what is left out after the last one can go with it.
        for content in self._in_order(epoch, left_out):
            if not next(kept):
                continue
            if waiting is not None:
                yield waiting, (Counter(left_out) if left_out else None)
                left_out.clear()
            waiting = content
        if waiting is not None:
            yield waiting, (Counter(left_out) if left_out else None)
        else:
            self._refused = left_out

    def _in_order(self, epoch: int, left_out: Counter[str]) -> Iterator[Content]:
        seed = self._epoch_seed(epoch)
        rng = random.Random(seed)
        buffer: list[Content] = []
        for row in self.part.rows(seed):
            content, problem = self.part.content(row)
            if problem is not None:
                left_out[problem] += 1
            elif len(buffer) < self._buffer:
                buffer.append(content)
            else:
                place = rng.randrange(self._buffer)
                buffer[place], content = content, buffer[place]
                yield content
        rng.shuffle(buffer)
        buffer.reverse()
        while buffer:
            yield buffer.pop()

    def _epoch_seed(self, epoch: int) -> int:
        return xxhash.xxh32_intdigest(f"{self._seed}/{self.part.facts.name}/{epoch}".encode())


def _thinned(share: Fraction | None) -> Iterator[bool]:
    """Which of many are kept, so that `share` of them are, evenly: rounded up, so that a few are never none."""
    if share is None or share >= 1:
        while True:
            yield True
    number = 0
    while True:
        yield math.ceil((number + 1) * share) > math.ceil(number * share)
        number += 1
