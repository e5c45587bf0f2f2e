"""What an answer and a set of pairs are worth beside the gold ones: pure functions of texts.

    response F1     words that a generated answer shares with the gold one, both normalised as SQuAD's scorer does it
    pair quality    each generated pair against the gold pair that it is most like; the mean over generated pairs
    pair coverage   each gold pair against the generated pair that it is most like; the mean over gold pairs

A pair is its instruction and its response, as one text. Of an answer that was reasoned out, what counts is what stands
after `Therefore, the answer is`, on both sides.

Keeps true: every score lies in [0, 1]; equal texts score 1. Does not know engines or datasets.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

from hub_instructpt.records import Pair
from hub_instructpt.rendering.questions import THEREFORE, read_pair

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")


def normalised(text: str) -> str:
    """A text as SQuAD's scorer compares it: lower case, no ASCII punctuation, no English article, single spaces."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def final_answer(response: str) -> str:
    """What is answered in the end, where the response reasons; else the response."""
    return response.rpartition(THEREFORE)[2].strip()


def token_f1(prediction: str, gold: str) -> float:
    """F1 of the normalised words. Where either has none, such as `The`, it is 1 if both have none, else 0."""
    return _f1(_words(prediction), _words(gold))


def exact_match(prediction: str, gold: str) -> bool:
    """Whether both are the same text, normalised."""
    return normalised(prediction) == normalised(gold)


def _words(text: str) -> Counter[str]:
    return Counter(normalised(text).split())


def _f1(ours: Counter[str], theirs: Counter[str]) -> float:
    if not ours or not theirs:
        return float(ours == theirs)
    common = (ours & theirs).total()
    return 2 * common / (ours.total() + theirs.total())


def pair_scores(generated: Sequence[Pair], gold: Sequence[Pair]) -> tuple[float, float]:
    """Pair quality and pair coverage of one context. Without generated pairs both are 0.

    Args:
        gold: at least one pair.
    """
    if not generated:
        return 0.0, 0.0
    ours, theirs = [_pair_words(pair) for pair in generated], [_pair_words(pair) for pair in gold]
    scores = [[_f1(one, other) for other in theirs] for one in ours]
    quality = sum(map(max, scores)) / len(ours)
    coverage = sum(map(max, zip(*scores, strict=True))) / len(theirs)
    return quality, coverage


def _pair_words(pair: Pair) -> Counter[str]:
    return _words(f"{pair['instruction']} {pair['response']}")


def stands_in(answer: str, context: str) -> bool:
    """Whether an answer is a span of the context, case and white space folded."""
    return " ".join(answer.split()).casefold() in " ".join(context.split()).casefold()


def kind_of(pair: Pair) -> str:
    """What kind of pair it is: with options, reasoned out, both, answered with yes or no, or free-form."""
    question = read_pair(pair)
    if question.kind == "free_form" and normalised(question.response) in ("yes", "no"):
        return "yes_no"
    return question.kind
