"""A collection is pushed and loaded by everybody, dataset by dataset; what must not be passed on stays here.

Against a double of the Hub over HTTP, by the real huggingface_hub and datasets.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.collection.plugins import dataset, installed
from tests.conftest import environment, run_cli, write_jsonl

pytestmark = pytest.mark.xdist_group("push")

LOAD = """
import json, sys
from datasets import get_dataset_config_names, load_dataset
found = {name: load_dataset("tester/ft", name, split="train") for name in get_dataset_config_names("tester/ft")}
print(json.dumps({name: [rows.num_rows, rows[0]] for name, rows in found.items()}))
"""
SECRET = {
    'Licence("CC BY 4.0", "cc-by-4.0", share_alike=False, non_commercial=False)': (
        'Licence("Research only", "other", redistributable=False, note="Its publisher forbids copies.")'
    )
}


def rows(number: int, word: str) -> list[dict[str, object]]:
    return [
        {"passage": f"The {word} {at} is old.", "question": f"What is {at}?", "options": [word, "new"], "label": 0}
        for at in range(number)
    ]


def test_a_collection_is_pushed_and_loaded_and_what_is_forbidden_is_not(hub: str, tmp_path: Path) -> None:
    path = installed(tmp_path, mill=dataset("mill"), barn=dataset("barn"), diary=dataset("diary", SECRET))
    out = tmp_path / "out"
    for number, name in enumerate(("mill", "barn", "diary"), 3):
        (tmp_path / name).mkdir()
        write_jsonl(tmp_path / name / "train.jsonl", rows(number, name))
    settings = {"HF_ENDPOINT": hub, "HF_TOKEN": "hf_write", "HF_HOME": str(tmp_path / "home"), "PYTHONPATH": path}
    made = run_cli("collect", "mill", "barn", "diary", "--data", tmp_path, "--out", out, **settings)
    assert made.returncode == 0, made.stderr
    assert "diary: Research only (must not be passed on). Its publisher forbids copies." in made.stderr

    refused = run_cli("push", out, "tester/ft", **settings)
    assert refused.returncode == 2
    assert "diary: Research only. Its publisher forbids copies." in refused.stderr
    assert "--leave-out diary" in refused.stderr
    pushed = run_cli("push", out, "tester/ft", "--leave-out", "diary", **settings)
    assert pushed.returncode == 0, pushed.stderr
    assert 'load_dataset("tester/ft", "barn", split="train")' in pushed.stdout

    loaded = subprocess.run(
        [sys.executable, "-c", LOAD], capture_output=True, text=True, env=environment(**settings), check=False
    )
    assert loaded.returncode == 0, loaded.stderr
    found = json.loads(loaded.stdout)
    assert {name: number for name, (number, _) in found.items()} == {"mill": 3, "barn": 4}
    assert found["mill"][1] == json.loads((out / "mill/shard/00000.jsonl").read_text().splitlines()[0])

    checked = run_cli("verify", "tester/ft", **settings)
    assert checked.returncode == 0, checked.stdout
    again = run_cli("push", out, "tester/ft", "--leave-out", "diary", **settings)
    assert "nothing has changed" in again.stdout, again.stderr
    fewer = run_cli("push", out, "tester/ft", "--leave-out", "diary", "--leave-out", "mill", **settings)
    assert fewer.returncode == 0, fewer.stderr
    listed = (
        "from huggingface_hub import HfApi; print(*sorted(HfApi().list_repo_files('tester/ft', repo_type='dataset')))"
    )
    there = subprocess.run(
        [sys.executable, "-c", listed], capture_output=True, text=True, env=environment(**settings), check=True
    )
    assert there.stdout.split() == [
        ".gitattributes", "README.md", "barn/json/valid.json", "barn/shard/00000.jsonl", "figures/funnel.svg",
        "figures/lengths.svg", "figures/pairs.svg", "manifest.json",
    ]  # fmt: skip


def test_a_dataset_that_is_not_there_can_not_be_left_out(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "rows.jsonl", rows(2, "mill"))
    path = installed(tmp_path, mill=dataset("mill"))
    run_cli("collect", "mill", "--from", tmp_path / "rows.jsonl", "--out", tmp_path / "out", PYTHONPATH=path)
    done = run_cli("push", tmp_path / "out", "tester/ft", "--leave-out", "barn")
    assert done.returncode == 2
    assert "holds no dataset 'barn'. It holds mill." in done.stderr
