"""Plain questions: what is made of a sentence, and what every pair keeps to whatever the text is."""

from __future__ import annotations

import random
import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import topics
from training import english
from training.passages import sentence_spans
from training.plain import LONGEST_ANSWER, MOST, QUESTION, Asker, people

ASKER = Asker(frozenset({"Mary"}))
ASKING = {"what", "who", "whom", "when", "where", "how", "many", "year", "percentage", "place"}


def asked(sentence: str) -> list[tuple[str, str]]:
    return [(pair.question, pair.answer) for pair in ASKER.pairs(sentence, 0, len(sentence))]


@pytest.mark.parametrize(("sentence", "question", "answer"), [
    ("The reading room was heated by iron stoves.", "What was the reading room heated by?", "iron stoves"),
    ("The reading room was heated by two iron stoves.", "What was heated by two iron stoves?", "The reading room"),
    ("Mary Ellis worked there for thirty years.", "Who worked there for thirty years?", "Mary Ellis"),
    ("The library holds 42,000 books.", "The library holds how many books?", "42,000"),
    ("The library was opened in 1907 by the mayor.", "When was the library opened by the mayor?", "1907"),
    ("In 1907 the mill was opened by the mayor.", "In what year the mill was opened by the mayor?", "1907"),
    ("The bridge is in Marble Creek near the mill.", "Where is the bridge near the mill?", "Marble Creek"),
    ("The old mill is a museum that opens early.", "What is the old mill?", "a museum"),
    ("A cup of tea was given to Mary Ellis.", "A cup of tea was given to whom?", "Mary Ellis"),
    ("About 12% of all readers were children.", "About what percentage of all readers were children?", "12%"),
    ("The old king took the sword from the wall.", "Who took the sword from the wall?", "The old king"),
    ("However, the room was painted by Mary Ellis.", "Who was the room painted by?", "Mary Ellis"),
])  # fmt: skip
def test_a_question_is_its_sentence_turned_round_as_little_as_can_be(sentence: str, question: str, answer: str) -> None:
    assert (question, answer) in asked(sentence)


@pytest.mark.parametrize(("sentence", "pairs"), [
    ("The mill by the bridge was opened in 1907 by the mayor of the village.", [
        ("When was the mill by the bridge opened by the mayor of the village?", "1907"),
        ("The mill by the bridge was opened in 1907 by the mayor of what?", "the village"),
    ]),
    ("Of the rooms in the mill nobody had seen the last of the stoves.", [
        ("Of the rooms in the mill nobody had seen the last of what?", "the stoves"),
    ]),
    ("They bought two stoves in 1907 and three lamps from the miller.", [
        ("They bought how many stoves in 1907 and three lamps from the miller?", "two"),
        ("They bought two stoves in 1907 and three lamps from whom?", "the miller"),
    ]),
    ('It was "too old" for the children and nobody could improve its quick bread.', [
        ('It was "too old" for the children and nobody could improve what?', "its quick bread"),
    ]),
])  # fmt: skip
def test_a_sentence_is_asked_about_at_one_place_first_at_its_beginning(
    sentence: str, pairs: list[tuple[str, str]]
) -> None:
    assert asked(sentence) == pairs


@pytest.mark.parametrize("sentence", [
    '"Sit down," said the king to Mary Ellis.', "Was the room heated by two iron stoves?", "He slept.", "",
    "In 1907: a library, a mill, a bridge.", "the reading room was heated by two iron stoves.", "x = y in 1907.",
])  # fmt: skip
def test_what_is_no_plain_sentence_is_left_alone(sentence: str) -> None:
    assert asked(sentence) == []


WORDS = st.sampled_from(re.findall(
    r"\S+", "The the king Mary Ellis library is was were has opened in by of and that 1907 two 42,000 12% books stoves"
    " room Creek Marble who which , . ( ) ; \" However, In a an at near called with for",
))  # fmt: skip


@given(st.lists(WORDS, max_size=60).map(" ".join) | st.text(max_size=200), st.integers(0, 9))
def test_whatever_the_text_a_pair_keeps_its_promises(text: str, seed: int) -> None:
    item = ASKER.ask(text, random.Random(seed))
    assert item.context == text
    assert len(item.pairs) <= MOST
    assert item.pairs == sorted(item.pairs, key=lambda pair: pair.start)
    for pair in item.pairs:
        assert text[pair.start : pair.start + len(pair.answer)] == pair.answer
        assert pair.answer.casefold() not in pair.question.casefold()
        assert pair.question.endswith("?")
        assert QUESTION[0] <= len(pair.question.split()) <= QUESTION[1]
        assert 0 < len(pair.answer.split()) <= LONGEST_ANSWER
        (sentence,) = [text[a:b] for a, b in sentence_spans(text) if a <= pair.start < b]
        left, said = Counter(_words(sentence)), Counter(_words(pair.question))
        assert not {word for word in said - left if word not in ASKING}, "a word that does not come from the sentence"
        assert english.ASKS.search(pair.question)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def test_english_prose_has_pairs_and_the_same_seed_makes_the_same() -> None:
    texts = [row["text"] for row in topics(40, 1200)]
    made = [ASKER.ask(text, random.Random(3)).pairs for text in texts]
    assert made == [ASKER.ask(text, random.Random(3)).pairs for text in texts]
    assert sum(map(bool, made)) > 5


def test_people_are_who_answers_who() -> None:
    pairs = [
        {"Q": "Who opened it?", "A": "Mary Ellis"}, {"Q": "Where is it?", "A": "Marble Creek"},
        {"Q": "Who bought Marble?", "A": "Marble Ltd"}, {"Q": "who?", "A": ""},
    ]  # fmt: skip
    assert people({"set": [{"context": "", "QA_list": pairs}]}) == {"Mary"}
