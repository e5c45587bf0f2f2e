"""A 36th dataset is one file: copied from the template, found by its entry point, collected by its name.

Held here: what is wrong with a declaration is said by file and field, and one that is broken keeps no other from use.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli_cases import cases
from tests.collection.plugins import TEMPLATE, dataset, installed
from tests.conftest import run_cli

ROW = {
    "passage": "The old mill grinds oats.",
    "question": "What is ground?",
    "options": ["oats", "rye"],
    "label": 0,
}


def test_a_dataset_of_another_package_is_collected_by_its_name(tmp_path: Path) -> None:
    path = installed(tmp_path, cellar=dataset("cellar"))
    (tmp_path / "cellar").mkdir()
    rows = [ROW, {**ROW, "question": "And what not?", "label": 1}, {**ROW, "label": -1}, {"passage": 3}]
    (tmp_path / "cellar" / "my_dataset-train.json").write_text(json.dumps({"data": rows}))
    out = tmp_path / "out"
    done = run_cli("collect", "Cellar", "--data", tmp_path, "--out", out, PYTHONPATH=path)
    assert done.returncode == 0, done.stderr
    assert "4 rows of my_dataset-train.json gave 1 records, 2 pairs" in done.stdout
    [record] = map(json.loads, (out / "cellar/shard/00000.jsonl").read_text().splitlines())
    assert record == {
        "context": "The old mill grinds oats.",
        "QA_list": [
            {"Q": "What is ground?\nOptions:\n- oats\n- rye", "A": "oats"},
            {"Q": "And what not?\nOptions:\n- oats\n- rye", "A": "rye"},
        ],
        "QA_type": "multiple-choice",
        "rc_name": "cellar",
    }
    named = [json.loads(line) for line in (out / "cellar/rejected.jsonl").read_text().splitlines()]
    assert [(entry["reason"], entry["row"]) for entry in named] == [("hidden_test_label", 2), ("malformed_KeyError", 3)]
    assert named[1]["detail"].startswith("KeyError 'label' at some_cellar.py:")
    assert "cellar " in run_cli("collect", "--list", PYTHONPATH=path).stdout
    assert run_cli("collect", "--verify", out).returncode == 0


BROKEN = {
    "name": ('name="my_dataset"', 'name="my dataset"', "name: 'my dataset' can not be"),
    "title": ("Questions about passages, each with two options.", "", "title: must be one sentence"),
    "homepage": ("https://example.org/my_dataset", "example.org", "homepage: must be an address"),
    "repo": ("my-name/my_dataset", "my_dataset", "hub.repo_id: 'my_dataset' is not NAMESPACE/NAME"),
    "configs": ("configs=(None,)", 'configs="raw"', "hub.configs: must be a list of names"),
    "revision": ("revision=None", 'revision="a b"', "hub.revision: 'a b' is no commit"),
    "rows": ("num_rows=1_000", "num_rows=0", "hub.num_rows: must be"),
    "hub_id": ('"cc-by-4.0"', '"cc by"', "licence.hub_id: 'cc by' is none that the Hub knows"),
    "marks": ('"cc-by-4.0"', '"cc-by-nc-4.0"', "licence.non_commercial: must be set for cc-by-nc-4.0"),
    "note": ("share_alike=False", "redistributable=False", "licence.note: must say why"),
    "citation": ("@misc{", "{", "citation: must be BibTeX"),
    "qa_type": ('qa_type="multiple-choice"', 'qa_type="quiz"', "qa_type: must be one of extractive"),
    "pattern": ("my_dataset-*.json", "../*.json", "release: '../*.json' is no pattern"),
    "example": ('"label": 1', '"label": 0', "example: its row becomes {'context'"),
    "rejected": ('"label": 1', '"label": -1', "(rows_rejected/hidden_test_label), not its record"),
    "no_source": ("SOURCE = Source(", "OTHER = Source(", "can not be loaded: NameError"),
    "syntax": ("SOURCE = ", "SOURCE == = ", "can not be loaded: SyntaxError"),
    "foreign_name": ('name="my_dataset"', 'name="other"', "example: its row becomes"),
}


def test_what_is_wrong_with_a_declaration_is_said_by_file_and_field(tmp_path: Path) -> None:
    codes = {}
    for name, (old, new, _) in BROKEN.items():
        assert old in TEMPLATE, name
        codes[name] = TEMPLATE.replace(old, new, 1)
    path = installed(tmp_path, **codes)
    commands = [["collect", name, "--out", tmp_path / "out"] for name in BROKEN]
    for (name, (_, _, words)), (status, out, err) in zip(
        BROKEN.items(), cases([*commands], PYTHONPATH=path), strict=True
    ):
        assert (status, out) == (2, ""), (name, out, err)
        assert err.startswith(f"hub-instructpt: the entry point {name} (some_{name}:SOURCE)"), err
        assert words in err, (name, err)
    [(status, out, err)] = cases([["collect", "--list"]], PYTHONPATH=path)
    assert status == 0
    assert "squad" in out
    assert err.count("Left out: the entry point") == len(BROKEN)


def test_two_datasets_of_one_name_are_refused(tmp_path: Path) -> None:
    path = installed(tmp_path, squad=dataset("squad"))
    [(status, _, err), (listed, _, told)] = cases(
        [["collect", "squad", "--out", tmp_path / "out"], ["collect", "--list"]], PYTHONPATH=path
    )
    assert (status, listed) == (2, 0)
    assert "Two datasets are called 'squad': in dataset_scripts/squad.py and in the entry point squad " in err
    assert "Two datasets are called 'squad'" in told


@pytest.mark.parametrize("name", ["sqad", "SQUAD2", "squad!"])
def test_a_name_that_is_none_is_answered_with_what_may_be_meant(name: str, tmp_path: Path) -> None:
    done = run_cli("collect", name, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "Did you mean squad" in done.stderr
    assert not (tmp_path / "out").exists()
