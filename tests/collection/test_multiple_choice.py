"""Converters of multiple choice: rows as the Hub types them, releases as they lie, and what is wrong with some."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from hub_instructpt.collection.choices import right_option, unlettered
from hub_instructpt.collection.convert import convert
from hub_instructpt.collection.files import table_rows
from hub_instructpt.collection.linear import last_question
from hub_instructpt.collection.nested import structs
from hub_instructpt.collection.reading import open_files
from hub_instructpt.collection.registry import get_source
from hub_instructpt.collection.source import Record, Rejected
from tests.collection.test_sources import assert_read_as_written
from tests.conftest import DATA, needs_data


def converted(name: str, *rows: Any) -> tuple[list[Record], Counter[str]]:
    counts: Counter[str] = Counter()
    records = list(convert(get_source(name), rows, counts))
    for record in records:
        assert_read_as_written(record)
    return records, counts


def from_files(name: str, place: Path) -> tuple[list[Record], Counter[str]]:
    source, counts = get_source(name), Counter[str]()
    rows = [row for part in open_files(source, str(place)).parts for row in part.rows]
    records = list(convert(source, rows, counts))
    for record in records:
        assert_read_as_written(record)
    return records, counts


def pairs(records: list[Record]) -> list[tuple[str, str]]:
    return [(qa["Q"], qa["A"]) for record in records for qa in record["QA_list"]]


# What all of them use ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "bare"),
    [
        (["A)21", "B) 3", "C)x"], ["21", "3", "x"]),
        (["(A) one", "(B) two"], ["one", "two"]),
        (["A. one", "B. two"], ["one", "two"]),
        (["A cat", "B cat"], ["A cat", "B cat"]),
        (["B) one", "A) two"], ["B) one", "A) two"]),
        (["one", "B) two"], ["one", "B) two"]),
    ],
)
def test_letters_before_options_are_left_off_only_where_they_count(options: list[str], bare: list[str]) -> None:
    assert unlettered(options) == bare


def test_the_right_option_is_told_by_letter_or_number() -> None:
    for right in ("B", "b", " (B) ", 1, "1"):
        assert right_option(["x", "y"], right) == "y"
    for hidden in ("", " ", -1, "-1"):
        with pytest.raises(Rejected, match="hidden_test_label"):
            right_option(["x", "y"], hidden)
    for absent in ("C", 2, "7", -2, "?"):
        with pytest.raises(Rejected, match="no_such_option"):
            right_option(["x", "y"], absent)
    for wrong in (None, 1.0, True, ["A"], "AB"):
        with pytest.raises(TypeError):
            right_option(["x", "y"], wrong)


def test_both_nestings_of_a_sequence_are_one() -> None:
    rows = [{"text": "x", "label": "A"}, {"text": "y", "label": "B"}]
    assert structs({"text": ["x", "y"], "label": ["A", "B"]}) == structs(rows) == rows
    for wrong in ("text", None, ["x"], {"text": ["x"], "label": []}, {"text": 3}):
        with pytest.raises((TypeError, ValueError)):
            structs(wrong)


def test_what_is_asked_is_the_last_question_of_a_problem() -> None:
    assert last_question("He has 3. She has 4. How many? Count well.") == "How many? Count well."
    assert last_question("Find x.") == "Find x."
    assert last_question("Is 1.5 more? It is 2.") == "Is 1.5 more? It is 2."


# Real data --------------------------------------------------------------------------------------------------------


@needs_data
@pytest.mark.parametrize(
    ("file", "questions", "left_out"), [("dev.json", 254, 1), ("test.json", 254, 7), ("aqua_train.tsv", 2_728, 65)]
)
def test_aqua_rat_is_converted_whole(file: str, questions: int, left_out: int) -> None:
    records, counts = from_files("AQUA_RAT_yes_opt", DATA / "AQUA_RAT_yes_opt" / file)
    assert counts["questions/read"] == questions
    assert counts["questions_rejected/unusable_options"] == left_out  # two options that read the same
    for question, answer in pairs(records):
        assert "\nOptions:\n- " in question
        assert not answer.rstrip().endswith(("nswer: A", "nswer: B"))


@needs_data
def test_ecqa_is_converted_whole() -> None:
    records, counts = from_files("ECQA", DATA / "ECQA" / "ecqa_train.tsv")
    assert counts["questions/read"] == 7_112
    assert counts["questions_rejected/unusable_options"] == 97
    assert len(pairs(records)) == 7_015
    assert all("\nTherefore, the answer is " in answer for _, answer in pairs(records))


@needs_data
def test_quartz_is_read_as_released() -> None:
    records, counts = from_files("QuaRTz", DATA / "QuaRTz" / "hf_dummy_sample")
    assert counts["questions/read"] == len(pairs(records)) == 6


# Rows of the Hub, and of releases ---------------------------------------------------------------------------------

EXAM = {"article": "Text.", "questions": ["Who?", "When?"], "options": [["a", "b"], ["c", "d"]], "answers": ["B", "A"]}


@pytest.mark.parametrize("name", ["race", "race_c"])
def test_an_examination_is_read_by_question_and_by_article(name: str, tmp_path: Path) -> None:
    flat = [
        {"example_id": "1", "article": "Text.", "question": "Who?", "options": ["a", "b"], "answer": "B"},
        {"example_id": "1", "article": "Text.", "question": "When?", "options": ["c", "d"], "answer": "A"},
    ]
    (tmp_path / "RACE" / "train" / "middle").mkdir(parents=True)
    (tmp_path / "RACE" / "train" / "middle" / "1.txt").write_text(json.dumps(EXAM))
    records, _ = converted(name, *flat)
    assert pairs(records) == [("Who?\nOptions:\n- a\n- b", "b"), ("When?\nOptions:\n- c\n- d", "c")]
    assert converted(name, EXAM)[0] == from_files(name, tmp_path)[0] == records


def test_one_wrong_label_of_an_article_costs_one_question() -> None:
    records, counts = converted("race", {**EXAM, "answers": ["E", "A"]}, {**EXAM, "answers": ["A"]})
    assert pairs(records) == [("When?\nOptions:\n- c\n- d", "c"), ("Who?\nOptions:\n- a\n- b", "a")]
    assert counts["questions_rejected/no_such_option"] == 1
    assert counts["rows_cut/malformed_ValueError"] == 1


def test_mctest_joins_its_stories_with_their_answers(tmp_path: Path) -> None:
    ask = ["one: Who sang?", "a cat", "a dog", "a cow", "nobody"]
    again = ["multiple: Why?", "joy", "fear", "hunger", "habit"]
    story = "A cat sang.\\newlineIt was glad."
    (tmp_path / "mc500.train.tsv").write_text("\t".join(["id0", "Author: x", story, *ask, *again]) + "\nhalf a line\n")
    (tmp_path / "mc500.train.ans").write_text("A\tA\n")
    records, counts = from_files("mctest", tmp_path)
    assert records[0]["context"] == "A cat sang.\nIt was glad."
    assert pairs(records) == [
        ("Who sang?\nOptions:\n- a cat\n- a dog\n- a cow\n- nobody", "a cat"),
        ("Why?\nOptions:\n- joy\n- fear\n- hunger\n- habit", "joy"),
    ]
    assert counts["rows_rejected/fields_missing"] == 1
    (tmp_path / "mc500.train.ans").unlink()
    assert from_files("mctest", tmp_path)[1]["rows_rejected/hidden_test_label"] == 2


def test_reclor_takes_its_label_as_a_number_or_as_text() -> None:
    row = {"context": "C.", "question": "Q?", "answers": ["a", "b"], "id_string": "x"}
    records, counts = converted("ReClor", {**row, "label": 1}, {**row, "question": "R?", "label": "0"}, row)
    assert [answer for _, answer in pairs(records)] == ["b", "a"]
    assert counts["rows_rejected/hidden_test_label"] == 1


def test_logiqa_is_read_in_all_its_forms(tmp_path: Path) -> None:
    options = ["A.one", "B.two", "C.three", "D.four"]
    (tmp_path / "Train.txt").write_text("\nb\nText.\nWhich?\n" + "\n".join(options) + "\n")
    forms = [
        {"context": "Text.", "query": "Which?", "options": ["one", "two", "three", "four"], "correct_option": "1"},
        {"text": "Text.", "question": "Which?", "options": ["one", "two", "three", "four"], "answer": 1, "id": 3},
        {
            "passage": "Text.",
            "question": "Which?",
            "options": ["(A)one", "(B)two", "(C)three", "(D)four"],
            "label": "B",
        },
    ]
    expected = [("Which?\nOptions:\n- one\n- two\n- three\n- four", "two")]
    assert pairs(from_files("LogiQA", tmp_path)[0]) == expected
    for form in forms:
        assert pairs(converted("LogiQA", form)[0]) == expected
    (tmp_path / "Train.txt").write_text(json.dumps(forms[1]) + "\n")
    assert pairs(from_files("LogiQA", tmp_path)[0]) == expected


def test_dream_is_read_by_question_and_as_released(tmp_path: Path) -> None:
    asked = {"question": "When?", "choice": ["now", "later"], "answer": "later"}
    (tmp_path / "dev.json").write_text(json.dumps([[["M: Now?", "W: Later."], [asked], "1-1"], "rubbish"]))
    records, counts = from_files("dream", tmp_path)
    assert records == converted("dream", {"dialogue": ["M: Now?", "W: Later."], **asked})[0]
    assert records[0]["context"] == "M: Now?\nW: Later."
    assert counts["rows_rejected/not_a_dialogue"] == 1


def test_multirc_takes_the_first_right_candidate_in_all_its_forms() -> None:
    candidates = [("nobody", 0), ("Ann", 1), ("Ann and Bo", 1)]
    flat = [{"paragraph": "P.", "question": "Who?", "answer": a, "label": label} for a, label in candidates]
    eraser = [{"passage": "P.", "query_and_answer": f"Who? || {a}", "label": bool(n)} for a, n in candidates]
    answers = [{"text": a, "label": label} for a, label in candidates]
    whole = {"idx": 0, "passage": {"text": "P.", "questions": [{"question": "Who?", "answers": answers}]}}
    for rows in (flat, eraser, [whole]):
        records, counts = converted("multirc", *rows)
        assert pairs(records) == [("Who?", "Ann")]
        assert counts["questions_rejected/wrong_candidate"] == counts["questions_rejected/repeated_on_context"] == 1
    assert converted("multirc", {**flat[0], "label": -1})[1]["questions_rejected/hidden_test_label"] == 1


@pytest.mark.parametrize("name", ["QuaRTz", "QASC"])
def test_labelled_choices_are_read_in_every_nesting(name: str) -> None:
    facts = {"para": "P.", "fact1": "P.", "fact2": "F.", "combinedfact": "PF."}
    choices = [{"text": "x", "label": "A"}, {"text": "y", "label": "B"}]
    forms = [
        {"question": "Q?", "choices": choices, "answerKey": "B", **facts},
        {"question": "Q?", "choices": {"text": ["x", "y"], "label": ["A", "B"]}, "answerKey": "B", **facts},
        {"question": {"stem": "Q?", "choices": choices}, "answerKey": "B", **facts},
    ]
    got = [pairs(converted(name, form)[0]) for form in forms]
    assert got[0] == got[1] == got[2]
    assert got[0][0][1].endswith("y")
    _, counts = converted(name, {**forms[0], "answerKey": ""}, {**forms[0], "answerKey": "Z"})
    assert counts["rows_rejected/hidden_test_label"] == counts["rows_rejected/no_such_option"] == 1


def test_tab_separated_reasons_have_their_line_breaks_back(tmp_path: Path) -> None:
    path = tmp_path / "aqua_train.tsv"
    path.write_text('Find "x".\\nOptions:\\n(A) 1\\n(B) 2\t(B)\tx = 2\\nAnswer: B\n')
    (row,) = table_rows(header=("question", "answer", "rationale"))(path)
    ((question, answer),) = pairs(converted("AQUA_RAT_yes_opt", row)[0])
    assert question == 'Find "x".\nOptions:\n- 1\n- 2\nLet\'s think step by step.'
    assert answer == "x = 2\nTherefore, the answer is 2"


@pytest.mark.parametrize(
    "name", ["AQUA_RAT_yes_opt", "CosmosQA", "ECQA", "LogiQA", "QASC", "QuaRTz", "ReClor", "dream", "mctest", "multirc",
             "quail", "race", "race_c"],
)  # fmt: skip
@pytest.mark.parametrize("damage", ["missing", "none", "number", "empty"])
def test_a_damaged_column_is_counted_and_touches_no_other_row(name: str, damage: str) -> None:
    row, record = get_source(name).example
    for column in row:
        other: Any = {"missing": None, "none": None, "number": 7, "empty": []}[damage]
        damaged = {key: value for key, value in row.items() if key != column}
        if damage != "missing":
            damaged[column] = other
        records, counts = converted(name, damaged, row)
        assert counts["rows/read"] == 2
        assert record["QA_list"][0] in [qa for got in records for qa in got["QA_list"]]
        rejected = sum(number for reason, number in counts.items() if "rejected/" in reason or "cut/" in reason)
        assert rejected + len(pairs(records)) == 2
        assert not [text for pair in pairs(records) for text in pair if "None\n" in f"{text}\n" or "[" in text]
