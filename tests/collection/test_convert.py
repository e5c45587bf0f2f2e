"""Rows become records that hold what they promise, and what they can not hold is counted and named.

Held here by properties: whatever a converter yields, what comes out is read at the other end as it was written.
"""

from __future__ import annotations

import dataclasses
import io
import json
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub_instructpt.collection import Question, Rejected, json_stream
from hub_instructpt.collection.convert import Conversion, Part, convert, written
from hub_instructpt.collection.ledger import NAMED
from hub_instructpt.collection.registry import get_source
from hub_instructpt.rendering.questions import read_pair
from tests.collection.whole import assert_read_as_written

CUES = ["\nOptions:\n- ", "\n- ", "\nLet's think step by step.", "\nTherefore, the answer is ", "Options:", "\n", "- "]
PIECES = [*CUES, "<QUE>", "<ANS>", "</END>", "<CON>", "</CON>", "<", "END>", "a", "B", " ", "é", "\ud800", "\u2028", ""]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=5).map("".join)
ANY = st.builds(Question, st.sampled_from(["A mill.", "A barn.", ""]), TEXTS, TEXTS, st.lists(TEXTS, max_size=3), TEXTS)
OPTIONS = st.lists(TEXTS, min_size=1)
FITTING = st.builds(
    lambda q, o, r, at: Question("A mill.", q, o[at % len(o)], o, r), TEXTS, OPTIONS, TEXTS, st.integers(0)
)
QUESTIONS = ANY | FITTING


def source(questions: Any) -> Any:
    return dataclasses.replace(get_source("squad"), questions=questions)


@given(QUESTIONS)
@settings(max_examples=400)
def test_what_is_written_is_read_as_it_was_meant(question: Question) -> None:
    try:
        asked, answer = written(question)
    except Rejected:
        return
    read = read_pair({"instruction": asked, "response": answer})
    options = tuple(" ".join(option.split()) for option in question.options)
    meant = " ".join(question.answer.split()) if options else question.answer.strip()
    assert (read.instruction, read.response) == (question.question.strip(), meant)
    assert (read.options, read.reasoning) == (options, question.rationale.strip())


@given(st.lists(st.lists(QUESTIONS | st.just(Rejected("unanswerable")), max_size=4), max_size=8))
@settings(deadline=None)
def test_records_keep_their_promise_and_nothing_vanishes(rows: list[list[Question | Rejected]]) -> None:
    counts: Counter[str] = Counter()
    records = list(convert(source(lambda row: iter(row["questions"])), [{"questions": row} for row in rows], counts))
    for record in records:
        assert record["context"].strip()
        assert record["QA_list"]
        assert_read_as_written(record)
    assert len({record["context"] for record in records}) == len(records)
    rejected = sum(number for key, number in counts.items() if key.startswith("questions_rejected/"))
    assert sum(map(len, rows)) == counts["questions/read"] == counts["pairs/kept"] + rejected
    assert counts["rows/read"] == len(rows)


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        (Question(" ", "q", "a"), "empty_context"),
        (Question("c", "\n", "a"), "empty_question"),
        (Question("c", "q", ""), "empty_answer"),
        (Question("c", "q", "yes </END>"), "marker_in_text"),
        (Question("c <CON>", "q", "a"), "marker_in_text"),
        (Question("c", "q\nOptions:\n- a\n- b", "a"), "cue_in_text"),
        (Question("c", "q", "so\nTherefore, the answer is a"), "cue_in_text"),
        (Question("c", "q", "a", rationale="x\nTherefore, the answer is b"), "cue_in_text"),
        (Question("c", "q", "a", ["a"]), "unusable_options"),
        (Question("c", "q", "a", ["a", "a "]), "unusable_options"),
        (Question("c", "q", "a", ["a", ""]), "unusable_options"),
        (Question("c", "q", "a", ["b", "c"]), "answer_not_an_option"),
        (Question("c", 7, "a"), "not_text"),  # type: ignore[arg-type]
        (Question("c", "q", None), "not_text"),  # type: ignore[arg-type]
        (Question("c", "q", "a", ["a", 3]), "not_text"),  # type: ignore[list-item]
    ],
)
def test_a_question_that_can_not_be_used_says_why(question: Question, reason: str) -> None:
    with pytest.raises(Rejected) as caught:
        written(question)
    assert caught.value.reason == reason


def test_what_is_left_out_is_named_by_file_row_and_question() -> None:
    def questions(row: dict[str, Any]) -> Iterator[Question | Rejected]:
        yield Question(row["context"], "one", "1")
        yield Question(row["context"], "ONE", "2")
        if row["last"] is None:
            raise Rejected("hidden")
        yield Rejected("unanswerable")
        yield Question(row["context"], "last", row["last"]["text"])

    rows: list[Any] = [
        {"id": "a", "context": "c", "last": {"text": "x"}},
        {"id": 7, "last": 1},
        Rejected("not_json"),
        {"id": "d", "context": "d", "last": "text"},
        {"id": "e", "context": "e", "last": None},
        {"context": "f", "last": {"text": "\ud800"}},
    ]
    with Conversion(source(questions)) as conversion:
        for part in (Part("one.json", rows[:2]), Part("two.json", rows[2:])):
            for _ in conversion.read(part):
                pass
        assert len(list(conversion.records())) == 4
    named = [json.loads(line) for line in conversion.ledger.lines().splitlines()]
    assert [(each["what"], each["reason"], each["file"], each["row"], each.get("id")) for each in named] == [
        ("questions_rejected", "unanswerable", "one.json", 0, "a"),
        ("rows_rejected", "malformed_KeyError", "one.json", 1, 7),
        ("rows_rejected", "not_json", "two.json", 0, None),
        ("questions_rejected", "unanswerable", "two.json", 1, "d"),
        ("rows_cut", "malformed_TypeError", "two.json", 1, "d"),
        ("rows_cut", "hidden", "two.json", 2, "e"),
        ("questions_rejected", "unanswerable", "two.json", 3, None),
        ("questions_rejected", "invalid_unicode", "two.json", 3, None),
        ("questions_rejected", "repeated_on_context", "one.json", 0, None),
        ("questions_rejected", "repeated_on_context", "two.json", 1, None),
        ("questions_rejected", "repeated_on_context", "two.json", 2, None),
        ("questions_rejected", "repeated_on_context", "two.json", 3, None),
    ]
    assert named[1]["detail"].startswith("KeyError 'context' at test_convert.py:")
    assert conversion.counts["rows_cut/malformed_TypeError"] == 1


def test_the_names_of_what_is_left_out_are_bounded_and_the_counts_are_not() -> None:
    with Conversion(get_source("squad")) as conversion:
        for _ in conversion.read(Part("rows", [{}] * (NAMED * 3))):
            pass
        assert conversion.counts["rows_rejected/malformed_KeyError"] == NAMED * 3
        assert len(conversion.ledger.entries) == NAMED


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)


DOCUMENTS = st.lists(JSON, max_size=4) | st.dictionaries(st.text(max_size=3), JSON, max_size=4)


@given(DOCUMENTS, JSON, st.integers(1, 9), st.sampled_from([None, 1]))
@settings(deadline=None)
def test_a_document_read_item_by_item_is_the_document(value: Any, other: Any, block: int, indent: int | None) -> None:
    text = json.dumps({"other": other, "data": value, "more": other}, indent=indent)
    before, json_stream.BLOCK = json_stream.BLOCK, block
    try:
        found = list(json_stream.items(io.StringIO(text), ("data",)))
    finally:
        json_stream.BLOCK = before
    assert found == (list(value.items()) if isinstance(value, dict) else [(None, item) for item in value])


def read_whole(text: str) -> list[Any] | None:
    """Items of a document by the standard library; None where it is none, or has a key twice."""

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs):
            raise ValueError
        return dict(pairs)

    try:
        value = json.loads(text, object_pairs_hook=members)
    except ValueError:
        return None
    return list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else None


@given(st.text(st.sampled_from('[]{}",:1ae\\ \n'), max_size=12))
def test_what_is_a_document_is_read_and_what_is_none_never_ends_in_another_error(text: str) -> None:
    whole = read_whole(text)
    try:
        found = [item for _, item in json_stream.items(io.StringIO(text))]
    except ValueError:
        found = None
    # What follows a document is not looked at.
    assert found == whole or whole is None


def test_a_hundred_thousand_questions_take_less_than_ten_seconds_of_one_core() -> None:
    number = 20_000
    rows = [
        {"context": f"{at // 5} {'words ' * 120}", "question": f"What is {at}?", "answers": {"text": ["words"]}}
        for at in range(number)
    ]
    began = time.process_time()
    assert sum(1 for _ in convert(get_source("squad"), rows)) == number // 5
    assert time.process_time() - began < 10 * number / 100_000
