"""squad: the whole of its dev part, the copies of its train part, and rows as the Hub gives them."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from hub_instructpt.collection.convert import convert
from hub_instructpt.collection.registry import get_source
from tests.collection.whole import converted
from tests.conftest import DATA, needs_data


@needs_data
@pytest.mark.parametrize(
    ("file", "questions", "records", "pairs"),
    [
        # Three questions stand on their paragraph twice but for the case of letters, and 35 to the letter.
        ("dev-v1.1.rebuilt.json", 10_570, 2_067, 10_532),
        ("train_part_routerlens.json", 4_330, 3_902, 4_330),
        ("grouped_emptycity.json", 5_000, 1_000, 4_996),
    ],
)
def test_a_release_is_converted_whole(file: str, questions: int, records: int, pairs: int) -> None:
    found, counts = converted("squad", DATA / "squad" / file)
    assert counts["questions/read"] == questions
    assert (len(found), counts["pairs/kept"]) == (records, pairs)
    assert all(qa["A"] in record["context"] for record in found for qa in record["QA_list"])


ROW: dict[str, Any] = {"id": "a", "title": "Mill", "context": "The mill is old.", "question": "What is old?"}


@pytest.mark.parametrize(
    "answers",
    [
        {"text": ["The mill", "mill"], "answer_start": [0, 4]},
        [{"text": "The mill", "answer_start": 0}, {"text": "mill", "answer_start": 4}],
    ],
)
def test_of_several_gold_answers_the_first_is_taken_in_either_nesting(answers: Any) -> None:
    [record] = convert(get_source("squad"), [{**ROW, "answers": answers}])
    assert record["QA_list"] == [{"Q": "What is old?", "A": "The mill"}]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"answers": {"text": [], "answer_start": []}}, "questions_rejected/empty_answer"),
        ({"answers": []}, "questions_rejected/empty_answer"),
        ({"answers": {"text": [None]}}, "questions_rejected/not_text"),
        ({"answers": {"text": [["The mill"]]}}, "questions_rejected/not_text"),
        ({"answer": 7}, "questions_rejected/not_text"),
        ({"answers": "The mill"}, "rows_rejected/malformed_TypeError"),
        ({"answers": None}, "rows_rejected/malformed_TypeError"),
        ({}, "rows_rejected/malformed_KeyError"),
        ({"context": None, "answers": {"text": ["a"]}}, "questions_rejected/not_text"),
        ({"paragraphs": 3}, "rows_rejected/malformed_TypeError"),
    ],
)
def test_a_malformed_row_is_counted_with_its_reason(changes: dict[str, Any], reason: str) -> None:
    counts: Counter[str] = Counter()
    good = {**ROW, "answers": {"text": ["The mill"]}}
    assert len(list(convert(get_source("squad"), [{**ROW, **changes}, good], counts))) == 1
    assert counts[reason] == 1
