"""Plain questions, made from a sentence by turning as little of it round as English allows.

    The reading room was heated by iron stoves.   What was the reading room heated by?   iron stoves
    Mary Ellis worked there for thirty years.     Who worked there for thirty years?     Mary Ellis
    The library holds 42,000 books.               The library holds how many books?      42,000

People's questions are too many-sided for a model of a few million weights: what it takes from them is loops and
mistakes. To ask plainly is mostly copying, and that it can learn. From people it learns to answer.

Keeps true: an answer stands literally in its sentence and not in its question; a question's other words are the
sentence's, in nearly its order; the pairs of a text follow their sentences.
Does not know: grammar, beyond the lists of english.py. A sentence that fits none of the forms is left alone.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator, Mapping

from hub_instructpt.collection import Record
from training import english
from training.passages import Example, Pair, sentence_spans

MOST = 5  # pairs of a text
SENTENCE = (5, 30)  # words
QUESTION = (4, 25)
LONGEST_ANSWER = 7
LONG_TAIL = 5  # words after a comma, above which they are left away

Made = tuple[str, str, int]  # a question, its answer and where that stands in the sentence


def people(records: Mapping[str, Iterable[Record]]) -> frozenset[str]:
    """First words of names that answer people's questions with "who", and no others."""
    who: set[str] = set()
    other: set[str] = set()
    for rows in records.values():
        for pair in (pair for row in rows for pair in row["QA_list"]):
            first = pair["A"].split()[0] if pair["A"].split() else ""
            if first[:1].isupper() and len(first) > 2:
                (who if re.match(r"who\b", pair["Q"], re.IGNORECASE) else other).add(first)
    return frozenset(who - other - {"The", "His", "Her"})


class Asker:
    """Makes plain questions. `known` are first words of people's names."""

    def __init__(self, known: frozenset[str]) -> None:
        self.known = known

    def ask(self, text: str, rng: random.Random) -> Example:
        """The text with a pair for each sentence that can be asked about, MOST at most; two for each where few can."""
        found = [self.pairs(text, begin, end) for begin, end in sentence_spans(text)]
        usable = [pairs for pairs in found if pairs]
        if len(usable) > MOST:
            usable = [usable[i] for i in sorted(rng.sample(range(len(usable)), MOST))]
        kept: list[Pair] = []
        for pairs in usable:
            seen = {pair.answer.casefold() for pair in kept}
            fresh = [pair for pair in pairs if pair.answer.casefold() not in seen]
            kept += sorted(fresh[: 2 if len(usable) < 3 else 1], key=lambda pair: pair.start)
        return Example(text, kept)

    def pairs(self, text: str, begin: int, end: int) -> list[Pair]:
        """A pair of each form that fits a sentence, each with another answer; questions that begin by asking first."""
        sentence = text[begin:end].rstrip()
        if sentence[-1:] != "." or not sentence[0].isupper() or not english.fit(sentence):
            return []
        opening = english.OPENING.match(sentence)
        if opening:
            begin, sentence = begin + opening.end(), sentence[opening.end() :]
        sentence = sentence[:-1]
        if not SENTENCE[0] <= len(sentence.split()) <= SENTENCE[1]:
            return []
        kept: dict[str, Pair] = {}
        # Of a form the first that fits and no other: where it may be any of several, none is likely enough to be asked.
        for form in (self._turned, self._of_subject, self._of_number, self._of_last):
            for question, answer, at in form(sentence):
                asked = question.rstrip(" ,")
                if answer not in kept and _usable(asked, answer) and sentence[at - 1 : at] != "(":
                    kept[answer] = Pair(f"{asked[0].upper()}{asked[1:]}?", answer, begin + at)
                    break
        return list(kept.values())

    def _is_person(self, name: str) -> bool:
        words = name.split()
        if words[0].lower() in english.DETERMINERS:
            return words[-1].casefold() in english.PERSONS
        return words[0] in self.known or words[0] in english.TITLES

    def _of_subject(self, sentence: str) -> Iterator[Made]:
        """The subject is the answer: nothing is turned round."""
        found = english.SUBJECT.match(sentence)
        if found and not english.NO_SUBJECT.match(sentence) and found[1].split()[-1] not in english.ADVERBS:
            who = self._is_person(found[1]) or found[2].split()[0] in english.OF_PERSONS
            yield f"{'who' if who else 'what'} {_cut(found[2])}", found[1], 0

    def _turned(self, sentence: str) -> Iterator[Made]:
        """A form of "to be" or the like goes before its subject."""
        found = english.TURNING.match(sentence)
        if not found or english.CLAUSE.search(found[1]) or english.STARTING.match(sentence):
            return
        if found[1].split()[0] in english.EMPTY:
            return
        verb, rest, at = found[2], found[3], found.start(3)
        rest_of = f"{verb} {_lowered(found[1])}"
        if year := english.YEAR.search(rest):
            yield f"when {rest_of} {_without(rest, *year.span())}", year[1], at + year.start(1)
        count = english.COUNT.search(rest)
        if count and verb not in english.BE:
            yield f"how many {count[2]} {rest_of} {_without(rest, *count.span())}", count[1], at + count.start(1)
        if verb not in english.BE:
            return
        place = english.PLACE.search(rest)
        if place and len(rest[: place.start()].split()) < 3 and not self._is_person(place[1]):
            yield f"where {rest_of} {_without(rest, *place.span())}", place[1], at + place.start(1)
        if by := english.BY.search(rest):
            who = "who" if self._is_person(by[1]) else "what"
            yield f"{who} {rest_of} {_without(rest, *by.span(1))}", by[1], at + by.start(1)
        defined = english.DEFINED.match(rest)
        if defined and len(defined[1].split()) > 1:
            yield f"{'who' if self._is_person(found[1]) else 'what'} {rest_of}", defined[1], at

    def _of_number(self, sentence: str) -> Iterator[Made]:
        """The words that ask take a number's place, from the first on."""
        found = [("what year", *match.span(1)) for match in english.YEAR.finditer(sentence)]
        found += [("what percentage", *match.span(1)) for match in english.PERCENT.finditer(sentence)]
        for match in english.COUNT.finditer(sentence):
            before = sentence[: match.start()].split()
            if before and before[-1][0].islower() and before[-1] not in english.FIXED:
                found.append(("how many", *match.span(1)))
        for words, begin, end in sorted(found, key=lambda number: number[1]):
            yield _in_place(sentence, words, begin, end)

    def _of_last(self, sentence: str) -> Iterator[Made]:
        """The words that ask take a thing's or a name's place, from the last on."""
        things = {match.span(1) for form in (english.THING, english.LAST) for match in form.finditer(sentence)}
        names = {match.span() for match in english.NAMED.finditer(sentence)}
        for begin, end in sorted(things | names, reverse=True):
            before, answer = sentence[:begin].split(), sentence[begin:end]
            if len(before) < 2:
                continue
            last, person = before[-1], self._is_person(answer)
            if (begin, end) in things:
                yield _in_place(sentence, "whom" if person else "what", begin, end)
            elif last not in english.BEFORE_NAMES or english.DATE.match(answer):
                continue
            elif last in english.ARTICLES:
                if not person:
                    yield _in_place(sentence, "what", begin, end, len(last) + 1)
            elif person:
                yield _in_place(sentence, "whom" if last in english.BEFORE_WHOM else "who", begin, end)
            else:
                yield _in_place(sentence, "what place" if last in english.BEFORE_PLACES else "what", begin, end)


def _in_place(sentence: str, words: str, begin: int, end: int, article: int = 0) -> Made:
    """The sentence with words that ask instead of an answer and of the article before it, that many characters."""
    before = sentence[: begin - article]
    return f"{_lowered(before)}{words}{_cut(sentence[end:], before)}", sentence[begin:end], begin


def _usable(asked: str, answer: str) -> bool:
    words = asked.split()
    return (
        QUESTION[0] <= len(words) <= QUESTION[1]
        and words[-1] not in english.UNENDING
        and len(answer.split()) <= LONGEST_ANSWER
        and answer.casefold() not in asked.casefold()
        and english.balanced(asked)
        and english.balanced(answer)
    )


def _lowered(text: str) -> str:
    """Without the capital of a first word that is no name; it may stand in the middle now."""
    return text[:1].lower() + text[1:] if text.split(" ", 1)[0] in english.LOWERED else text


def _cut(rest: str, before: str = "") -> str:
    """A sentence's rest, without what a comma sets off where that is long, unless the main clause may still come."""
    head, comma, tail = rest.partition(", ")
    if not comma or len(tail.split()) <= LONG_TAIL or ", " in before or english.STARTING.match(before):
        return rest
    return head


def _without(rest: str, begin: int, end: int) -> str:
    """What is left of a sentence's rest around what was taken out."""
    after = rest[end:] if not rest[end:].startswith(",") else ""
    return f"{rest[:begin].strip().rstrip(',')} {_cut(after).strip()}".strip()
