"""Puts words that nobody has seen in the place of some words of an example: made-up names, and such as stand in code.

    Mary Ellis worked there.   Who worked there?        "dor_tevi()" Ellis worked there.   Who worked there?

What a small model has often seen it writes from memory instead of copying, and what it has not, it spells wrong. These
words can only be copied, and only matching them tells where an answer stands.

Keeps true: a word is replaced wherever it stands alone, in context, questions and answers alike; answers stay literal.
Does not know: tokens; which words matter for the sense.
"""

from __future__ import annotations

import random
import re
from bisect import bisect_right

from training.passages import Example, Pair

MOST = 4  # different words of an example
_WORD = re.compile(r"(?<![\w'’-])[A-Za-z]{4,}(?![\w'’-])")
_THING = re.compile(r"\b(?:[Tt]he|[Aa]n?|of|by|with|from|into|in|on|to|his|her|its) ([A-Za-z]{4,})(?![\w'’-])")
_ONSETS = [*"bcdfghjklmnprstvwz", "br", "ch", "cr", "dr", "fl", "gr", "kl", "pr", "sh", "sk", "st", "th", "tr"]
_VOWELS = [*"aeiouaeio", "ai", "ea", "ou"]
_CODAS = ["", "", "", *"lmnrstx", "nd", "rk", "st"]
_DRESSES = ('"{}"', "“{}”", "*{}*", "`{}`", "{}()", '"{}()"', "__{}__", '"__{}__()"', ".{}", '"{}="', "<{}>", "({})")


def invented(rng: random.Random) -> str:
    """A word of one to three syllables, mostly two."""
    syllables = range(rng.choice((1, 2, 2, 3)))
    return "".join(rng.choice(_ONSETS) + rng.choice(_VOWELS) + rng.choice(_CODAS) for _ in syllables)


def _name(like: str, rng: random.Random) -> str:
    chance = rng.random()
    if chance < 0.4:
        return invented(rng).capitalize() if like[0].isupper() else invented(rng)
    if chance < 0.5:
        return f"{invented(rng).upper()[:4]}-{rng.randint(1, 999)}"
    parts = [invented(rng) for _ in range(rng.choice((1, 1, 1, 2, 2, 3)))]
    joined = rng.choice(("_".join(parts), ".".join(parts), "".join(part.capitalize() for part in parts)))
    return rng.choice(_DRESSES).format(joined) if rng.random() < 0.7 else joined


def strange(item: Example, rng: random.Random) -> Example:
    """The example with up to MOST of the words of its pairs replaced; as it is if it has none that can be."""
    said = {word for pair in item.pairs for word in _WORD.findall(f"{pair.question}\n{pair.answer}")}
    usable = sorted(said & set(_THING.findall(item.context)))
    chosen = rng.sample(usable, min(len(usable), rng.randint(1, MOST)))
    names = {word: _name(word, rng) for word in chosen}

    def renamed(text: str) -> str:
        return _WORD.sub(lambda found: names.get(found[0], found[0]), text)

    ends, moved = [0], [0]
    for found in _WORD.finditer(item.context):
        if found[0] in names:
            ends.append(found.end())
            moved.append(moved[-1] + len(names[found[0]]) - len(found[0]))
    context = renamed(item.context)
    pairs = [
        Pair(renamed(pair.question), renamed(pair.answer), pair.start + moved[bisect_right(ends, pair.start) - 1])
        for pair in item.pairs
    ]
    # A word may stand alone at an end of an answer, and in the context have a "'s" there.
    literal = all(context.startswith(pair.answer, pair.start) for pair in pairs)
    return Example(context, pairs) if literal else item
