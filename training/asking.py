"""Rough questions made from sentences of raw text, for training the *answers* only.

The words of a real question are some of the words around its answer, in another order, after a question word. These are
made so; they are no good English, so no loss is ever taken on them: they teach to find the place and to copy the span.

Keeps true: the answer stands in the sentence that the words come from.
Does not know: the real question sets; nothing here runs when the model is used.
"""

from __future__ import annotations

import random
import re

from training.passages import Example, Pair, sentence_spans

_NAME = re.compile(r"(?<![\w-])[A-Z][\w'’.-]*(?: (?:of |the |de |and )?[A-Z][\w'’-]*){0,4}(?![\w-])")
_UNIT = r"(?: (?:million|billion|percent|per cent|years|days|km|miles))?"
_NUMBER = re.compile(rf"(?<![\w.,-])(?:[$£€]?\d[\d,.]*\d%?{_UNIT}|\d%?(?![\w-]))")
_TOKEN = re.compile(r"[\w'’-]+|[^\w\s]")
SMALL = frozenset(
    re.findall(
        r"\w+",
        """a an the and or but nor so yet of in on at by to from with for into onto over under as than that which who
        whom whose this these those it its he she they them his her their him we our you your i me my is are was
        were be been being has have had do does did will would can could may might shall should must not no there
        here when where while if then because since until after before during between about against through also
        only very more most such some any each all both other one up down out off again even just""",
    )
)
_BE = frozenset(("is", "are", "was", "were", "has", "had", "have", "can", "could", "will", "would", "may"))
_YEAR = re.compile(r"1\d{3}|20\d{2}")


def _runs(sentence: str) -> list[tuple[int, int]]:
    """Runs of up to four words with no small word or stop between them."""
    found: list[tuple[int, int]] = []
    run: list[re.Match[str]] = []
    for token in [*_TOKEN.finditer(sentence), None]:
        word = token is not None and token.group()[0].isalnum() and token.group().casefold() not in SMALL
        if word and token is not None and (not run or sentence[run[-1].end() : token.start()] == " "):
            run.append(token)
            continue
        if 0 < len(run) <= 4 and sum(len(part.group()) for part in run) > 3:
            found.append((run[0].start(), run[-1].end()))
        run = [token] if word and token is not None else []
    return found


def _answers(sentence: str, rng: random.Random) -> tuple[int, int] | None:
    kinds = [
        [m.span() for m in _NAME.finditer(sentence) if m.group().casefold() not in SMALL and len(m.group()) > 1],
        [m.span() for m in _NUMBER.finditer(sentence)],
        _runs(sentence),
    ]
    weights = [w if spans else 0.0 for w, spans in zip((0.4, 0.2, 0.4), kinds, strict=True)]
    if not any(weights):
        return None
    begin, end = rng.choice(rng.choices(kinds, weights)[0])
    while end > begin and sentence[end - 1] in ".,'’-":
        end -= 1
    return (begin, end) if end > begin else None


def _question_word(answer: str, before: str, rng: random.Random) -> str:
    previous = before.split()[-1].casefold() if before.split() else ""
    if _YEAR.fullmatch(answer):
        return rng.choice(("When", "What year", "In what year"))
    if answer[0].isdigit() or answer[0] in "$£€":
        return rng.choice(("How many", "How much", "What")) if not answer.endswith("%") else "What percentage"
    if answer[0].isupper():
        if previous in ("in", "at", "from", "near") and rng.random() < 0.6:
            return "Where"
        return rng.choice(("Who", "What", "Which", "Who", "What"))
    return rng.choice(("What", "What", "What", "Why", "How", "What kind of"))


def _kept(words: list[str], drop: float, rng: random.Random) -> list[str]:
    return [w for w in words if rng.random() > (min(0.9, 1.6 * drop) if w.casefold() in SMALL else drop)]


def _base(word: str) -> str:
    for ending in ("ied", "ed", "es", "s"):
        if word.endswith(ending) and len(word) > len(ending) + 3:
            return word[: -len(ending)] + ("y" if ending == "ied" else "")
    return word


def rough_pair(context: str, begin: int, end: int, rng: random.Random) -> Pair | None:
    sentence = context[begin:end].rstrip()
    if len(sentence.split()) < 5:
        return None
    span = _answers(sentence, rng)
    if span is None:
        return None
    answer, before, after = sentence[span[0] : span[1]], sentence[: span[0]], sentence[span[1] :]
    left = [w for w in _TOKEN.findall(before) if w[0].isalnum()][-rng.randint(4, 12) :]
    right = [w for w in _TOKEN.findall(after) if w[0].isalnum()][: rng.randint(4, 12)]
    drop = rng.uniform(0.05, 0.45)
    left, right = _kept(left, drop, rng), _kept(right, drop, rng)
    if len(left) + len(right) < 2:
        return None
    asked = _question_word(answer, before, rng).split()
    helper = next((w for w in [*right[:3], *left[-4:]] if w.casefold() in _BE), None)
    if helper:
        (right if helper in right else left).remove(helper)
        asked.append(helper.casefold())
    elif rng.random() < 0.5:
        asked.append("did")
        left, right = [_base(w) for w in left], [_base(w) for w in right]
    parts = [left, right] if rng.random() < 0.7 else [right, left]
    body = [word for part in parts for word in part]
    if body and not _NAME.fullmatch(body[0]):
        body[0] = body[0].lower()
    if rng.random() < 0.15:
        rng.shuffle(body)
    text = " ".join([*body, *[w.lower() for w in asked]]) if rng.random() < 0.15 else " ".join([*asked, *body])
    return Pair(text + "?", answer, begin + span[0])


def rough(text: str, rng: random.Random, max_pairs: int = 12) -> Example:
    """Questions on sentences drawn with repetition, in no order: the place can only be found by the words."""
    spans = sentence_spans(text)
    wanted = rng.randint(4, max_pairs)
    drawn = [rough_pair(text, *rng.choice(spans), rng) for _ in range(wanted)]
    pairs = {(pair.start, pair.answer): pair for pair in drawn if pair}
    return Example(text, list(pairs.values()))
