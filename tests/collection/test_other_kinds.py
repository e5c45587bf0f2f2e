"""Converters of tables, scenes, reports, abstracts and toy stories: whole releases, and rows as the Hub types them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from hub_instructpt.collection import Record
from hub_instructpt.collection.convert import convert
from hub_instructpt.collection.registry import get_source
from tests.collection import whole
from tests.conftest import DATA, needs_data


def converted(name: str, *rows: Any) -> tuple[list[Record], Counter[str]]:
    counts: Counter[str] = Counter()
    records = list(convert(get_source(name), rows, counts))
    whole.assert_sound(name, records)
    return records, counts


def pairs(records: list[Record]) -> list[tuple[str, str]]:
    return [(qa["Q"], qa["A"]) for record in records for qa in record["QA_list"]]


# Whole releases: (dataset, file, questions, records, pairs, why questions were left out) ---------------------------

WTQ = "WikiTableQuestions"
WHOLE = [
    ("ROPES", "ROPES/train-v1.0.json", 10_924, 1_410, 10_924, {}),
    ("ROPES", "ROPES/dev-v1.0.json", 1_688, 203, 1_688, {}),
    ("COVID_QA", "COVID_QA/200423_covidQA.json", 1_380, 98, 1_360, {"repeated_on_context": 20}),
    ("PubMedQA_no_opt", "PubMedQA_no_opt/ori_pqal.json", 1_000, 1_000, 1_000, {}),
    ("PubMedQA_yes_opt", "PubMedQA_no_opt/ori_pqal.json", 1_000, 1_000, 1_000, {}),
    ("WikiTableQuestions", "WikiTableQuestions/training.tsv", 14_152, 1_677, 14_152, {}),
    ("WikiTableQuestions", "WikiTableQuestions/random-split-1-train.tsv", 11_321, 1_332, 11_321, {}),
    ("WikiTableQuestions", "WikiTableQuestions/random-split-1-dev.tsv", 2_831, 346, 2_831, {}),
    ("WikiTableQuestions", f"{WTQ}/pristine-unseen-tables.tsv", 4_344, 421, 4_343, {"repeated_on_context": 1}),
    ("SpartQA", "SpartQA/human_train.json", 616, 37, 575, {"no_right_candidate": 41}),
    ("SpartQA", "SpartQA/human_dev.json", 132, 13, 130, {"no_right_candidate": 2}),
    ("SpartQA", "SpartQA/human_test.json", 379, 36, 364, {"no_right_candidate": 14, "empty_question": 1}),
    ("ConvFinQA", "ConvFinQA/convfinqa_dataset.json", 1_490, 218, 1_467, {"repeated_on_context": 23}),
]


@needs_data
@pytest.mark.parametrize(("name", "file", "questions", "records", "kept", "left_out"), WHOLE)
def test_a_release_is_converted_whole(
    name: str, file: str, questions: int, records: int, kept: int, left_out: dict[str, int]
) -> None:
    got, counts = whole.converted(name, DATA / file)
    assert counts["questions/read"] == questions
    assert (len(got), len(pairs(got))) == (records, kept)
    assert {key: n for key, n in counts.items() if "rejected" in key or "cut" in key} == {
        f"questions_rejected/{reason}": number for reason, number in left_out.items()
    }


@needs_data
def test_babi_is_converted_whole() -> None:
    _, counts = whole.converted("bAbI", DATA / "bAbI" / "qa15_basic-deduction_test.txt")
    assert counts["questions/read"] == 1_000
    assert counts["rows/read"] == 250  # four questions a story
    _, counts = whole.converted("bAbI", DATA / "bAbI" / "qa1_single-supporting-fact_test.txt")
    assert (counts["rows/read"], counts["questions/read"]) == (200, 1_000)


@needs_data
def test_every_answer_of_babi_is_true_of_what_was_told_before_it() -> None:
    records, _ = whole.converted("bAbI", DATA / "bAbI" / "qa1_single-supporting-fact_test.txt")
    for record in records:
        for qa in record["QA_list"]:
            who = qa["Q"].removeprefix("Where is ").rstrip("? ")
            last = [line for line in record["context"].split("\n") if line.startswith(who)][-1]
            assert last.rstrip(".").endswith(f"the {qa['A']}")


# Rows as the Hub types them ---------------------------------------------------------------------------------------


def test_babi_is_read_in_both_nestings_and_with_types_by_name() -> None:
    lines = [
        {"id": "1", "type": 0, "text": "Ann went to the attic.", "supporting_ids": [], "answer": ""},
        {"id": "2", "type": 1, "text": "Where is Ann?", "supporting_ids": ["1"], "answer": "attic"},
        {"id": "3", "type": 0, "text": "Ann went to the cellar.", "supporting_ids": [], "answer": ""},
        {"id": "4", "type": 1, "text": "Where is Ann?", "supporting_ids": ["3"], "answer": "cellar"},
    ]
    named = [{**line, "type": ["context", "question"][line["type"]]} for line in lines]  # type: ignore[call-overload]
    columns = {name: [line[name] for line in lines] for name in lines[0]}
    for story in (lines, named, columns):
        records, _ = converted("bAbI", {"story": story})
        assert [record["context"].count("\n") for record in records] == [0, 1]
        assert pairs(records) == [("Where is Ann?", "attic"), ("Where is Ann?", "cellar")]


@pytest.mark.parametrize("name", ["ROPES", "COVID_QA"])
def test_answers_are_read_in_both_nestings_and_may_be_missing(name: str) -> None:
    row, record = get_source(name).example
    as_list = [{"text": text} for text in row["answers"]["text"]]
    assert converted(name, {**row, "answers": as_list})[0] == [record]
    for none in ([], {"text": []}, {"text": [], "answer_start": []}):
        records, counts = converted(name, {**row, "answers": none})
        assert not records
        assert sum(n for key, n in counts.items() if key.startswith("questions_rejected/")) == 1
    impossible = {**row, "is_impossible": True}
    assert bool(converted(name, impossible)[0]) is (name == "ROPES")


@pytest.mark.parametrize("name", ["PubMedQA_no_opt", "PubMedQA_yes_opt"])
def test_abstracts_are_read_in_both_nestings_and_without_labels(name: str) -> None:
    row, record = get_source(name).example
    nested = row["context"]
    parts = zip(nested["contexts"], nested["labels"], strict=True)
    as_list = [{"contexts": text, "labels": label} for text, label in parts]
    assert converted(name, {**row, "context": as_list})[0] == [record]
    bare, _ = converted(name, {**row, "context": {"contexts": nested["contexts"]}})
    assert bare[0]["context"] == "\n\n".join(nested["contexts"])
    for wrong in ({"contexts": "text"}, {"contexts": None}, "text", None):
        records, counts = converted(name, {**row, "context": wrong})
        assert not records
        assert sum(n for key, n in counts.items() if key.startswith("rows_rejected/malformed")) == 1


def test_what_pubmed_does_not_decide_is_counted() -> None:
    row, _ = get_source("PubMedQA_yes_opt").example
    _, counts = converted("PubMedQA_yes_opt", {**row, "final_decision": ""}, {**row, "final_decision": "perhaps"})
    assert counts["rows_rejected/hidden_test_label"] == counts["questions_rejected/answer_not_an_option"] == 1


def test_tables_have_a_line_a_row_whatever_stands_in_their_cells(tmp_path: Path) -> None:
    (tmp_path / "csv" / "200-csv").mkdir(parents=True)
    cells = '"Name","Chart\nUK"\n"a|b","say \\"hi\\""\n"","–"\n'
    (tmp_path / "csv" / "200-csv" / "0.csv").write_text(cells)
    (tmp_path / "training.tsv").write_text(
        "id\tutterance\tcontext\ttargetValue\n"
        'nt-0\twho is "it"?\tcsv/200-csv/0.csv\ta\\pb|x\\ny\n'
        "nt-1\tand?\tcsv/200-csv/9.csv\t1\n"
        "nt-2\tcut off\n"
    )
    records, counts = whole.converted("WikiTableQuestions", tmp_path)
    assert records[0]["context"] == 'Name | Chart UK\na¦b | say "hi"\n | –'
    assert pairs(records) == [('who is "it"?', "a|b, x\ny")]
    assert counts["rows_rejected/no_such_table"] == counts["rows_rejected/fields_missing"] == 1


def test_one_right_candidate_makes_options_and_several_make_a_list() -> None:
    ask = {"question": "Where?", "candidate_answers": ["left", "right", "above"]}
    rows = [
        {"story": "S1.", **ask, "answer": [1]},
        {"story": "S2.", **ask, "answer": ["above", "left"]},
        {"story": "S3.", **ask, "answer": "2"},
        {"story": "S4.", **ask, "answer": 7},
        {"story": ["S5."], "question": "Is it?", "candidate_answers": None, "answer": "No"},
        {"story": ["S6."], **ask, "answer": []},
        {"story": ["S7."], **ask, "answer": [None]},
    ]
    records, counts = converted("SpartQA", *rows)
    options = "Where?\nOptions:\n- left\n- right\n- above"
    assert pairs(records) == [(options, "right"), ("Where?", "above, left"), (options, "above"), ("Is it?", "No")]
    assert counts["questions_rejected/no_such_option"] == counts["questions_rejected/no_right_candidate"] == 1
    assert counts["rows_rejected/malformed_TypeError"] == 1


def test_reports_are_read_by_conversation_and_by_turn() -> None:
    page = {"pre_text": ["Before .", "More ."], "post_text": ["After ."], "table": [["", "2009"], ["rents", "12"]]}
    asked, programs = ["what were rents?", "and twice that?"], ["12", "multiply(12, const_2)"]
    said = {"dialogue_break": asked, "turn_program": programs, "exe_ans_list": [12.0, "yes"]}
    turn = {"cur_dial": asked, "cur_program": programs[1], "exe_ans": 24.5, "turn_ind": 1, "dialogue_break": asked}
    whole_one, _ = converted("ConvFinQA", {**page, "annotation": said})
    one_turn, _ = converted("ConvFinQA", {**page, "annotation": turn})
    assert whole_one[0]["context"] == one_turn[0]["context"] == "Before . More .\n\n| 2009\nrents | 12\n\nAfter ."
    think = "and twice that?\nLet's think step by step."
    assert pairs(whole_one) == [
        ("what were rents?", "12"),
        (think, "multiply(12, const_2)\nTherefore, the answer is yes"),
    ]
    assert pairs(one_turn) == [(think, "multiply(12, const_2)\nTherefore, the answer is 24.5")]
    _, counts = converted("ConvFinQA", {**page, "annotation": {**said, "exe_ans_list": [1.0]}}, {**page, "table": []})
    assert counts["rows_cut/malformed_ValueError"] == 1
    assert counts["rows_rejected/malformed_KeyError"] == 1


def test_tweets_without_answers_are_those_of_the_test_set() -> None:
    row, record = get_source("tweet_qa").example
    hidden = {key: value for key, value in row.items() if key != "Answer"}
    records, counts = converted("tweet_qa", row, hidden, {**row, "Answer": "a text"}, {**row, "Answer": [3]})
    assert records == [record]
    assert counts["rows_rejected/hidden_test_label"] == 1
    assert counts["rows_rejected/malformed_TypeError"] == 1
    assert counts["questions_rejected/not_text"] == 1
