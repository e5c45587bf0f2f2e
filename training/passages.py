"""Training examples: a context of a wanted length and the pairs whose answers stand in it.

Keeps true: a context is cut between sentences only; every answer of an example stands literally in its context; pairs
follow the order of their answers in the text, so that "what to ask next" is something a small model can learn.
Does not know: token ids (it is given a function that measures text), models.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from hub_instructpt.collection import Record

Measure = Callable[[list[str]], list[int]]  # the length in tokens of each text

_SENTENCE_END = re.compile(r"""(?<=[.!?])["')\]]*\s+(?=["'(\[]*[A-Z0-9])|\n+""")
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Pair:
    question: str
    answer: str
    start: int  # where the answer stands in the context


@dataclass
class Passage:
    """A context with its sentences measured once."""

    text: str
    pairs: list[Pair]
    sentences: list[tuple[int, int]] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Example:
    context: str
    pairs: list[Pair]


def sentence_spans(text: str) -> list[tuple[int, int]]:
    spans, start = [], 0
    for match in _SENTENCE_END.finditer(text):
        spans.append((start, match.end()))
        start = match.end()
    spans.append((start, len(text)))
    return [(a, b) for a, b in spans if text[a:b].strip()]


def _words(text: str) -> set[str]:
    return {word.casefold() for word in _WORD.findall(text)}


def locate(context: str, sentences: list[tuple[int, int]], question: str, answer: str) -> Pair | None:
    """The pair with its answer as the text spells it; of several places, that whose sentence is most like the question.

    Converted records keep no offsets, and the first occurrence of a short answer is often not the one that was meant.
    """
    wanted = answer.strip().rstrip(".").strip()
    if not wanted or not question.strip():
        return None
    asked = _words(question)
    best: tuple[int, int] | None = None
    for match in re.finditer(rf"(?<!\w){re.escape(wanted)}(?!\w)", context, re.IGNORECASE):
        start = match.start()
        near = next((context[a:b] for a, b in sentences if a <= start < b), "")
        score = len(asked & _words(near))
        if best is None or score > best[0]:
            best = (score, start)
    if best is None:
        return None
    return Pair(question.strip(), context[best[1] : best[1] + len(wanted)], best[1])


def passages(records: Iterable[Record], measure: Measure, max_answer_words: int = 12) -> list[Passage]:
    """Passages with at least one short literal answer."""
    found = []
    for record in records:
        text = record["context"]
        sentences = sentence_spans(text)
        located = [locate(text, sentences, qa["Q"], qa["A"]) for qa in record["QA_list"]]
        pairs = [pair for pair in located if pair and len(pair.answer.split()) <= max_answer_words]
        if pairs:
            lengths = measure([text[a:b] for a, b in sentences])
            found.append(Passage(text, sorted(pairs, key=lambda pair: pair.start), sentences, lengths))
    return found


def plain_passages(texts: Iterable[str], measure: Measure) -> list[Passage]:
    found = []
    for text in texts:
        spans = sentence_spans(text)
        found.append(Passage(text, [], spans, measure([text[a:b] for a, b in spans])))
    return found


def window(passage: Passage, budget: int, rng: random.Random) -> Example:
    """The passage, or whole sentences of it around one of its answers, within `budget` tokens (at least one)."""
    if sum(passage.lengths) <= budget:
        first, last = 0, len(passage.sentences) - 1
    else:
        if passage.pairs:
            place = rng.choice(passage.pairs).start
            first = next(i for i, (_, b) in enumerate(passage.sentences) if place < b)
        else:
            first = rng.randrange(len(passage.sentences))
        last, left = first, budget - passage.lengths[first]
        while True:
            sides = []
            if first > 0 and passage.lengths[first - 1] <= left:
                sides.append(-1)
            if last + 1 < len(passage.sentences) and passage.lengths[last + 1] <= left:
                sides.append(1)
            if not sides:
                break
            if rng.choice(sides) < 0:
                first -= 1
                left -= passage.lengths[first]
            else:
                last += 1
                left -= passage.lengths[last]
    begin, end = passage.sentences[first][0], passage.sentences[last][1]
    text = passage.text[begin:end].rstrip()
    pairs = [
        Pair(pair.question, pair.answer, pair.start - begin)
        for pair in passage.pairs
        if begin <= pair.start and pair.start + len(pair.answer) <= begin + len(text)
    ]
    return Example(text, pairs)


def join(examples: list[Example]) -> Example:
    text, pairs = "", []
    for example in examples:
        text += "\n" if text else ""
        pairs += [Pair(pair.question, pair.answer, pair.start + len(text)) for pair in example.pairs]
        text += example.context
    return Example(text, pairs)


def example(group: list[Passage], first: Passage, budget: int, rng: random.Random, max_pairs: int = 6) -> Example:
    """An example of about `budget` tokens with two pairs or more, where needed from several passages of one group.

    Most contexts of the SQuAD part have one question; alone they would teach the model to stop after one pair.
    """
    parts: list[Example] = []
    lonely = len(first.pairs) == 1
    share = budget // rng.choice((2, 3)) if lonely else budget
    parts.append(window(first, share, rng))
    while sum(len(part.pairs) for part in parts) < 2 or (lonely and len(parts) < budget // share):
        if len(parts) == 4:
            break
        parts.append(window(rng.choice(group), budget // 3 if not lonely else share, rng))
    joined = join(parts)
    kept = joined.pairs
    if len(kept) > max_pairs:
        kept = sorted(rng.sample(kept, max_pairs), key=lambda pair: pair.start)
    return Example(joined.context, kept)
