"""Cloze pairs made from raw text, for pre-training only: they teach copying and the wire format, not how to ask.

Keeps true: a cloze pair comes from one sentence of the context, its answer stands in that sentence.
Does not know: the real question sets. The last stages of training use no cloze pair, and the model that is shipped
writes its pairs by itself: nothing here runs when it is used.
"""

from __future__ import annotations

import random
import re

from training.passages import Example, Pair, sentence_spans

_NAME = r"[A-Z][\w'’.-]*(?: (?:of |the )?[A-Z][\w'’-]*)*"
_NUMBER = r"\d[\d,.]*\d|\d"
_WORDS = r"[a-z]{4,}(?: [a-z]{4,})?"
_SPAN = re.compile(rf"(?<![\w-])(?:{_NAME}|{_NUMBER}|{_WORDS})(?![\w-])")


def _asked_word(answer: str, rng: random.Random) -> str:
    if re.fullmatch(r"1\d{3}|20\d{2}", answer):
        return "what year"
    if answer[0].isdigit():
        return "how many"
    if answer[0].isupper():
        return rng.choice(("who", "what", "which"))
    return "what"


def cloze_pair(context: str, begin: int, end: int, rng: random.Random) -> Pair | None:
    sentence = context[begin:end].rstrip()
    spans = [m for m in _SPAN.finditer(sentence) if m.start() > 0 and len(m.group().split()) <= 5]
    if len(sentence.split()) < 6 or not spans:
        return None
    named = [m for m in spans if not m.group()[0].islower()]
    chosen = rng.choice(named if named and rng.random() < 0.75 else spans)
    before = " ".join(sentence[: chosen.start()].split(" ")[-9:])
    after = " ".join(sentence[chosen.end() :].split(" ")[:9]).rstrip(" .!?,;:\"'")
    asked = f"{before}{_asked_word(chosen.group(), rng)}{after}?".strip()
    answer = chosen.group().rstrip(".")
    return Pair(asked[0].upper() + asked[1:], answer, begin + chosen.start())


def cloze(text: str, rng: random.Random, max_pairs: int = 5) -> Example:
    spans = sentence_spans(text)
    chosen = sorted(rng.sample(spans, min(len(spans), rng.randint(2, max_pairs))))
    pairs = [pair for pair in (cloze_pair(text, begin, end, rng) for begin, end in chosen) if pair]
    return Example(text, pairs)


def scrambled(text: str, rng: random.Random) -> Example:
    """The words of the text in no order; each pair asks with a run of them and answers with the words that follow.

    Nothing but looking back can answer it, so the attention heads that copy form early.
    """
    words = text.split()
    rng.shuffle(words)
    context, starts = "", []
    for word in words:
        starts.append(len(context) + bool(context))
        context += (" " if context else "") + word
    pairs: list[Pair] = []
    at = 0
    while at + 8 <= len(words) and len(pairs) < 4:
        first = at + rng.randrange(0, 6)
        middle = first + rng.randint(4, 9)
        last = middle + rng.randint(1, 4)
        if last > len(words):
            break
        pairs.append(Pair(" ".join(words[first:middle]), " ".join(words[middle:last]), starts[middle]))
        at = last
    return Example(context, pairs)
