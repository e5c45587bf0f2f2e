"""Converters of passages and dialogues: whole releases, rows as the Hub types them, and what is left out of them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from hub_instructpt.collection import Record
from hub_instructpt.collection.convert import convert
from hub_instructpt.collection.registry import get_source
from hub_instructpt.collection.spans import first_answer
from tests.collection import whole
from tests.conftest import DATA, needs_data


def converted(name: str, *rows: Any) -> tuple[list[Record], Counter[str]]:
    counts: Counter[str] = Counter()
    records = list(convert(get_source(name), rows, counts))
    whole.assert_sound(name, records)
    return records, counts


def pairs(records: list[Record]) -> list[tuple[str, str]]:
    return [(qa["Q"], qa["A"]) for record in records for qa in record["QA_list"]]


def left_out(counts: Counter[str]) -> dict[str, int]:
    return {key.partition("/")[2]: n for key, n in counts.items() if "rejected" in key or "cut" in key}


# Whole releases: (dataset, file, questions, records, pairs, why questions were left out, answers in their context) ---

STORIES = "FairyTaleQA/data-by-train-split/questions"
WHOLE = [
    ("HotpotQA", "HotpotQA/hotpot_dev_distractor_v1.json", 100, 100, 100, {}, 0.95),
    ("HotpotQA", "HotpotQA/amor_dev.jsonl", 100, 100, 100, {}, 0.6),
    ("HotpotQA", "HotpotQA/amor_test.jsonl", 500, 498, 498, {"empty_context": 2}, 0.6),
    ("Quac", "Quac/hf_dummy_sample/train_v0.2.json", 39, 5, 35, {"unanswerable": 4}, 1.0),
    ("Quac", "Quac/hf_dummy_sample/val_v0.2.json", 41, 5, 31, {"unanswerable": 10}, 1.0),
    ("Quac", "Quac/quac_sample.json", 12, 1, 6, {"repeated_on_context": 6}, 1.0),
    ("CoQA", "CoQA/hf_dummy_sample/coqa-train-v1.0.json", 20, 1, 19, {"unanswerable": 1}, 0.5),
    ("CoQA", "CoQA/task918_coqa_answer_generation.cnn_only.json", 95, 22, 95, {}, 0.6),
    ("QED", "QED/qed-dev.jsonlines", 1_355, 1_343, 1_355, {}, 0.9),
    ("FairyTaleQA", f"{STORIES}/train/*.csv", 8_548, 3_457, 8_546, {"repeated_on_context": 2}, 0.3),
    ("FairyTaleQA", f"{STORIES}/val/*.csv", 1_025, 410, 1_025, {}, 0.3),
    ("FairyTaleQA", f"{STORIES}/test/*.csv", 1_007, 394, 1_007, {}, 0.3),
    ("NarrativeQA", "NarrativeQA/grouped_emptycity.json", 1_000, 200, 1_000, {}, 0.25),
    ("TriviaQA", "TriviaQA/triviaqa-sample.tgz", 11, 11, 11, {}, 1.0),
    ("TriviaQA", "TriviaQA/hf_dummy_sample", 2, 2, 2, {}, 0.0),
    ("qasper", "qasper/dev_question_dict.json", 647, 622, 647, {}, 0.35),
    ("qasper", "qasper/hf_dummy_sample", 13, 2, 13, {}, 0.1),
    ("qasper", "qasper/test_1.csv", 270, 54, 81, {"unanswerable": 188, "empty_context": 1}, 0.0),
]


@needs_data
@pytest.mark.parametrize(("name", "file", "questions", "records", "kept", "without", "literal"), WHOLE)
def test_a_release_is_converted_whole(
    name: str, file: str, questions: int, records: int, kept: int, without: dict[str, int], literal: float
) -> None:
    got, counts = whole.converted(name, DATA / file)
    assert counts["questions/read"] == questions
    assert (len(got), len(pairs(got))) == (records, kept)
    assert left_out(counts) == without
    in_context = sum(qa["A"] in record["context"] for record in got for qa in record["QA_list"])
    assert in_context >= literal * kept


# Rows as the Hub types them ---------------------------------------------------------------------------------------


def test_the_first_answer_is_found_in_every_nesting() -> None:
    for answers in (["x", "y"], [{"text": "x"}], {"text": ["x", "y"], "answer_start": [0, 1]}):
        assert first_answer(answers) == "x"
    for none in ([], {"text": [], "answer_start": []}, {"text": []}):
        assert first_answer(none) == ""
    for wrong in (None, 3, "x", [1], [{}], {"text": ["x"], "answer_start": []}):
        with pytest.raises((TypeError, KeyError, ValueError)):
            first_answer(wrong)


def test_quac_is_read_in_both_nestings_and_as_released() -> None:
    row, record = get_source("Quac").example
    answers = row["answers"]
    as_list = [{"texts": t, "answer_starts": s} for t, s in zip(*answers.values(), strict=True)]
    qas = [
        {"question": question, "answers": [{"text": texts[0], "answer_start": 0}]}
        for question, texts in zip(row["questions"], answers["texts"], strict=True)
    ]
    released = {"title": "x", "paragraphs": [{"context": row["context"], "qas": qas}]}
    for form in (row, {**row, "answers": as_list}, released):
        records, counts = converted("Quac", form)
        assert records == [record]
        assert left_out(counts) == {"unanswerable": 1}
    _, counts = converted("Quac", {**row, "questions": row["questions"][:2]})
    assert left_out(counts) == {"malformed_ValueError": 1}


def test_doqa_groups_its_turns() -> None:
    row, _ = get_source("DoQA").example
    second = {**row, "question": "For how long?", "answers": [{"text": "CANNOTANSWER", "answer_start": 9}]}
    third = {
        **row,
        "question": "And in a box?",
        "answers": [{"text": "A box of wood does as well.", "answer_start": 9}],
    }
    records, counts = converted("DoQA", row, second, third)
    assert len(records) == 1
    assert pairs(records)[1] == ("And in a box?", "A box of wood does as well.")
    assert left_out(counts) == {"unanswerable": 1}


def test_coqa_leaves_out_stories_that_may_not_be_passed_on() -> None:
    row, record = get_source("CoQA").example
    questions = [{"input_text": question, "turn_id": 1} for question in row["questions"]]
    answers = [{"input_text": text, "turn_id": 1} for text in row["answers"]["input_text"]]
    released = {**row, "questions": questions, "answers": answers}
    assert converted("CoQA", released)[0] == [record]
    records, counts = converted("CoQA", {**row, "source": "race"}, {**row, "source": "mctest"}, row)
    assert records == [record]
    assert left_out(counts) == {"source_not_passed_on": 2, "unanswerable": 1}
    instance = {"input": "story: It rained. \nAll day. , question: When?", "output": ["All day"]}
    assert pairs(converted("CoQA", instance)[0]) == [("When?", "All day")]
    assert left_out(converted("CoQA", {"input": "no such thing", "output": ["x"]})[1]) == {"no_story": 1}


def test_topiocqa_shows_what_was_said_before() -> None:
    row, _ = get_source("TopiOCQA").example
    first = {**row, "Context": [], "Question": "where?"}
    records, counts = converted(
        "TopiOCQA",
        row,
        first,
        {**row, "Answer": "UNANSWERABLE"},
        {**row, "Gold_passage": None},
        {**row, "Answer": None},
    )
    assert [record["context"].count("\n") for record in records] == [4, 1]
    assert left_out(counts) == {"unanswerable": 1, "no_passage": 1, "malformed_AttributeError": 1}


def test_qed_joins_the_spans_of_its_first_answer() -> None:
    row, _ = get_source("QED").example
    for answers, expected in (
        ([[{"string": " a "}, {"string": "b"}], [{"string": "c"}]], "a, b"),
        ([{"string": "a"}, {"string": "c"}], "a"),
        ({"string": ["a", "c"], "start": [1, 2], "end": [2, 3]}, "a"),
        ([{"string": ["a", "b"]}], "a, b"),
    ):
        assert pairs(converted("QED", {**row, "original_nq_answers": answers})[0])[0][1] == expected
    assert left_out(converted("QED", {**row, "original_nq_answers": []})[1]) == {"no_answer": 1}


def test_fairytales_join_the_sections_of_a_question(tmp_path: Path) -> None:
    asked, told = tmp_path / "questions" / "train", tmp_path / "section-stories" / "train"
    asked.mkdir(parents=True)
    told.mkdir(parents=True)
    (told / "x-story.csv").write_text('section,text\n1,"One,\nup."\n2,Two.\n')
    (asked / "x-questions.csv").write_text(
        'question_id,cor_section,question,answer1,answer2\n1,1,Who?,him,her\n2,"1, 2",Why?,so,\n3,9,Where?,here,\n'
    )
    records, counts = whole.converted("FairyTaleQA", tmp_path)
    assert [record["context"] for record in records] == ["One,\nup.", "One,\nup.\n\nTwo."]
    assert pairs(records) == [("Who?", "him"), ("Why?", "so")]
    assert left_out(counts) == {"no_such_section": 1}
    copy = {"content": "One.", "question": "Who?", "answer": "him"}
    assert pairs(converted("FairyTaleQA", copy)[0]) == [("Who?", "him")]
    assert not converted("FairyTaleQA", {"question": "Who?"})[0]


def test_narratives_are_joined_with_their_summaries(tmp_path: Path) -> None:
    (tmp_path / "qaps.csv").write_text(
        "document_id,set,question,answer1,answer2\nd1,train,Who?,he,him\nd2,train,What?,it,\n"
    )
    (tmp_path / "third_party" / "wikipedia").mkdir(parents=True)
    (tmp_path / "third_party" / "wikipedia" / "summaries.csv").write_text(
        'document_id,set,summary\nd1,train,"He, sad."\n'
    )
    records, counts = whole.converted("NarrativeQA", tmp_path)
    assert (records[0]["context"], pairs(records)) == ("He, sad.", [("Who?", "he")])
    assert left_out(counts) == {"no_summary": 1}


def test_newsqa_is_read_in_all_its_forms() -> None:
    text = "The ferry left at nine, not at ten."
    table = {"story_id": "1", "story_text": text, "question": "When?"}
    rows: list[tuple[dict[str, Any], str | None]] = [
        ({**table, "answer_char_ranges": "18:22|15:22|15:22"}, "at nine"),
        ({**table, "answer_char_ranges": "4:9,18:22|4:9,18:22|None"}, "ferry, nine"),
        ({**table, "answer_char_ranges": "None|None|15:22"}, None),
        ({"text": text, "questions": [{"q": "When?", "consensus": {"s": 15, "e": 22}}]}, "at nine"),
        ({"text": text, "questions": [{"q": "When?", "consensus": {"noAnswer": True}}]}, None),
        ({"text": text, "questions": [{"q": "When?", "consensus": {"badQuestion": True}}]}, None),
        ({"context": text, "qas": [{"question": "When?", "answers": ["at nine", "nine"]}]}, "at nine"),
        ({"header": {"dataset": "NewsQA"}}, None),
    ]
    for row, expected in rows:
        records, counts = converted("NewsQA", row)
        assert [answer for _, answer in pairs(records)] == ([expected] if expected else [])
        assert bool(left_out(counts)) is (expected is None)
    assert left_out(converted("NewsQA", {**table, "answer_char_ranges": "1-2"})[1]) == {"malformed_ValueError": 1}


def test_hotpotqa_is_read_in_every_nesting() -> None:
    row, record = get_source("HotpotQA").example
    context = row["context"]
    as_pairs = [[t, s] for t, s in zip(context["title"], context["sentences"], strict=True)]
    as_structs = [{"title": t, "sentences": s} for t, s in as_pairs]
    for form in (as_pairs, as_structs):
        assert converted("HotpotQA", {**row, "context": form})[0] == [record]
    assert left_out(converted("HotpotQA", {**row, "context": []})[1]) == {"empty_context": 1}


def test_triviaqa_takes_pages_of_both_kinds_in_both_nestings() -> None:
    row, record = get_source("TriviaQA").example
    pages = [{"title": "Sandby", "wiki_context": row["entity_pages"]["wiki_context"][0]}]
    web = [{"title": "Arms", "search_context": "A heron."}]
    assert converted("TriviaQA", {**row, "entity_pages": pages})[0] == [record]
    both, _ = converted("TriviaQA", {**row, "entity_pages": pages, "search_results": web})
    assert both[0]["context"] == record["context"] + "\n\nArms\nA heron."
    _, counts = converted("TriviaQA", {**row, "entity_pages": [], "search_results": []}, {**row, "answer": None})
    assert left_out(counts) == {"no_evidence": 1, "hidden_test_label": 1}


def test_qasper_is_read_in_both_nestings_and_answers_in_each_kind() -> None:
    row, record = get_source("qasper").example
    kinds = [
        ({"extractive_spans": ["a", "b"], "yes_no": None, "free_form_answer": ""}, "a, b"),
        ({"extractive_spans": [], "yes_no": None, "free_form_answer": "words"}, "words"),
        ({"extractive_spans": [], "yes_no": False, "free_form_answer": ""}, "No"),
        ({"unanswerable": True, "extractive_spans": [], "yes_no": None, "free_form_answer": ""}, None),
    ]
    for answer, expected in kinds:
        as_list = {
            **row,
            "full_text": [{"section_name": None, "paragraphs": ["Two people count.", "They agree."]}],
            "qas": [{"question": "Who counts?", "answers": [{"answer": answer}]}],
        }
        records, counts = converted("qasper", as_list)
        assert [text for _, text in pairs(records)] == ([expected] if expected else [])
        assert left_out(counts) == ({} if expected else {"unanswerable": 1})
    assert "They agree." in record["context"]


@pytest.mark.parametrize(
    "name", ["CoQA", "DoQA", "FairyTaleQA", "HotpotQA", "NLQuAD", "NarrativeQA", "NewsQA", "QED", "Quac", "TopiOCQA",
             "TriviaQA", "qasper"],
)  # fmt: skip
def test_a_damaged_column_touches_no_other_row(name: str) -> None:
    row, record = get_source(name).example
    for column in row:
        for damage in (None, 7, [], "text", {}):
            records, counts = converted(name, row, {**row, column: damage})
            assert counts["rows/read"] == 2
            assert record["QA_list"][0] in [qa for got in records for qa in got["QA_list"]]
            assert "None" not in json.dumps([pair[1] for pair in pairs(records)])
        records, _ = converted(name, row, {key: value for key, value in row.items() if key != column})
        assert record["QA_list"][0] in [qa for got in records for qa in got["QA_list"]]
