"""Metrics against values worked out by hand, and against what SQuAD's scorer is known to do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub_instructpt.records import Pair
from hub_instructpt.tuning import metrics

TEXT = st.text(st.sampled_from("ab the an, .'é\n1"), max_size=30)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The Denver Broncos!", "denver broncos"),
        ("a  an\tthe\n x", "x"),
        ("U.S. state-of-the-art", "us stateoftheart"),  # punctuation goes before articles, and nothing takes its place
        ("Theatre and another", "theatre and another"),  # articles are whole words only
        ("“The” café", "“ ” café"),  # only ASCII punctuation goes
        ("the", ""),
        ("42,000", "42000"),
    ],
)
def test_texts_are_normalised_as_by_squads_scorer(text: str, expected: str) -> None:
    assert metrics.normalised(text) == expected


@pytest.mark.parametrize(
    ("prediction", "gold", "f1", "exact"),
    [
        ("Denver Broncos", "the Denver Broncos", 1.0, True),
        ("Broncos", "Denver Broncos", 2 / 3, False),  # precision 1, recall 1/2
        ("in the year 1907", "1907", 1 / 2, False),  # three words (in, year, 1907): precision 1/3, recall 1
        ("b b c", "b c c", 2 / 3, False),  # shared words count as often as both have them: b, c
        ("Paris", "London", 0.0, False),
        ("", "London", 0.0, False),
        ("The", "a.", 1.0, True),  # no word is left on either side
        ("300 a day", "300 per day", 2 * (2 / 2) * (2 / 3) / (2 / 2 + 2 / 3), False),
    ],
)
def test_token_f1_is_that_of_the_words(prediction: str, gold: str, f1: float, exact: bool) -> None:
    assert metrics.token_f1(prediction, gold) == pytest.approx(f1)
    assert metrics.exact_match(prediction, gold) is exact


@given(TEXT, TEXT)
def test_f1_is_symmetric_bounded_and_one_for_equal_texts(one: str, other: str) -> None:
    score = metrics.token_f1(one, other)
    assert 0.0 <= score <= 1.0
    assert score == metrics.token_f1(other, one)
    assert metrics.token_f1(one, one) == 1.0
    assert score == 1.0 or not metrics.exact_match(one, other)


def pair(instruction: str, response: str) -> Pair:
    return {"instruction": instruction, "response": response}


def test_pairs_are_scored_each_against_the_one_that_it_is_most_like() -> None:
    gold = [pair("When did it open?", "1907"), pair("Who built it?", "Ada Mill")]
    written = [pair("When did it open?", "1909"), pair("When was it?", "1907"), pair("Is it blue?", "no")]
    # Words of the gold pairs: {when did it open 1907}, {who built it ada mill}.
    # 1. {when did it open 1909}: 4 of 5 and 5 shared = 0.8; {… it …}: 0.2         → 0.8
    # 2. {when was it 1907}: when, it, 1907 of 4 and 5 = 2·3/9                     → 2/3
    # 3. {is it blue no}: it, of 4 and 5 = 2/9 with either                         → 2/9
    quality, coverage = metrics.pair_scores(written, gold)
    assert quality == pytest.approx((0.8 + 2 / 3 + 2 / 9) / 3)
    # The second gold pair shares only `it`: with 1. 0.2, with 2. 2/9, with 3. 2/9.
    assert coverage == pytest.approx((0.8 + 2 / 9) / 2)
    assert metrics.pair_scores(gold, gold) == (1.0, 1.0)
    assert metrics.pair_scores([], gold) == (0.0, 0.0)


def test_of_a_reasoned_answer_the_end_counts() -> None:
    assert metrics.final_answer("300 a day make 3000.\nTherefore, the answer is 3000") == "3000"
    assert metrics.final_answer("3000") == "3000"


def test_an_answer_stands_in_a_text_whatever_its_case_and_white_space() -> None:
    assert metrics.stands_in("Marble  creek", "It opened at Marble\nCreek in 1907.")
    assert not metrics.stands_in("1908", "It opened in 1907.")


@pytest.mark.parametrize(
    ("instruction", "response", "kind"),
    [
        ("When?", "1907", "free_form"),
        ("Is it open?", "Yes.", "yes_no"),
        ("Which?\nOptions:\n- a mill\n- a lake", "a lake", "options"),
        ("How many?\nLet's think step by step.", "2 and 2.\nTherefore, the answer is 4", "chain_of_thought"),
        (
            "Which?\nOptions:\n- yes\n- no\nLet's think step by step.",
            "It is shut.\nTherefore, the answer is no",
            "options_chain_of_thought",
        ),
        ("Is it?\nOptions:\n- yes\n- no", "no", "options"),
    ],
)
def test_kinds_of_pairs(instruction: str, response: str, kind: str) -> None:
    assert metrics.kind_of(pair(instruction, response)) == kind
