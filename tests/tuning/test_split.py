"""What is held out is trained on nowhere, and what is read of a collection is counted."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from hub_instructpt.errors import InputError, SettingsError
from hub_instructpt.tuning.parts import digest, open_parts, read
from hub_instructpt.tuning.split import split
from tests.tuning.collections import record, write_collection, write_part


def same_text(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same contexts, written in another way."""
    return [{**row, "context": f"  {row['context'].upper()}\n"} for row in rows]


def test_a_context_that_is_held_out_is_trained_on_nowhere(tmp_path: Path) -> None:
    rows = [record("one", number) for number in range(40)]
    write_part(tmp_path, "one", rows)
    write_part(tmp_path, "two", same_text(rows[:30]) + [record("two", number) for number in range(10)])
    write_part(tmp_path, "whole", [*same_text(rows[30:]), record("whole", 1)])
    parts = open_parts(tmp_path)
    chosen = split(parts, hold_out=["whole"], contexts=3, seed=0)
    uses = {
        (part.name, chosen.use(part.name, example["context"]), digest(example["context"]))
        for part in parts
        for example in read(part)
    }
    by_use = {use: {key for _, each, key in uses if each == use} for use in ("train", "measure", "leave_out")}
    assert by_use["train"]
    assert not by_use["train"] & by_use["measure"]
    assert Counter(name for name, use, _ in uses if use == "measure") == {"one": 3, "two": 3, "whole": 3}
    assert not any(name == "whole" for name, use, _ in uses if use == "train")
    whole = {digest(row["context"]) for row in [*rows[30:], record("whole", 1)]}
    assert not by_use["train"] & whole


def test_a_small_dataset_gives_a_tenth_at_most(tmp_path: Path) -> None:
    parts = open_parts(write_collection(tmp_path, {"small": 25, "tiny": 9}))
    chosen = split(parts, hold_out=[], contexts=64, seed=0)
    assert {name: len(keys) for name, keys in chosen.measured.items()} == {"small": 2, "tiny": 0}
    assert split(parts, hold_out=[], contexts=64, seed=1).measured["small"] != chosen.measured["small"]


def test_datasets_to_hold_out_must_be_there_and_one_must_be_left(tmp_path: Path) -> None:
    parts = open_parts(write_collection(tmp_path, {"one": 3, "two": 3}))
    with pytest.raises(SettingsError, match=r"--hold-out three: there is no such dataset\. It is one, two\."):
        split(parts, hold_out=["three"], contexts=1, seed=0)
    with pytest.raises(SettingsError, match="none is left to train on"):
        split(parts, hold_out=["two", "one"], contexts=1, seed=0)


def test_what_is_no_record_is_counted_with_its_reason(tmp_path: Path) -> None:
    good = record("part", 1)
    lines = [
        good, "not json", [1], {"context": "a"}, {**good, "context": " \n"}, {**good, "context": None},
        {**good, "QA_list": []}, {**good, "QA_list": [{"Q": "When?", "A": ""}, {"Q": 1, "A": "a"}, "x"]},
        {**good, "QA_list": [{"Q": "\ud800?", "A": "a"}, {"Q": " ", "A": "a"}]},
    ]  # fmt: skip
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(each if isinstance(each, str) else json.dumps(each) for each in lines) + "\n\n")
    counts: Counter[str] = Counter()
    (part,) = open_parts(path)
    found = list(read(part, counts))
    assert part.name == "rows"
    assert [len(example["pairs"]) for example in found] == [2]
    assert counts == {
        "records/read": 9,
        "records_rejected/not_json": 2,  # JSON that is no Unicode is none for us
        "records_rejected/not_a_record": 2,
        "records_rejected/no_context": 2,
        "records_rejected/no_pairs": 2,
        "pairs/read": 5,
        "pairs_rejected/empty_or_no_text": 3,
    }


def test_a_collection_is_read_with_and_without_its_manifest(tmp_path: Path) -> None:
    folder = write_collection(tmp_path / "data", {"one": 5, "Two": 3})
    assert [part.name for part in open_parts(folder)] == ["one", "Two"]
    assert [part.name for part in open_parts(folder, ["Two"])] == ["Two"]
    (part,) = open_parts(folder / "one")
    assert (part.name, len(list(read(part)))) == ("one", 5)
    (folder / "one" / "shard" / "00001.jsonl").unlink()
    assert len(list(read(open_parts(folder / "one")[0]))) == 3
    with pytest.raises(InputError, match="holds no fine-tuning collection"):
        open_parts(tmp_path / "nothing")
