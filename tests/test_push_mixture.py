"""A mixture is pushed, inspected and loaded as a run is: one commit, both configs, the rows that were mixed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq

from tests.conftest import environment, run_cli, topics, write_jsonl

LOAD = """
import json, sys
from datasets import load_dataset
texts = load_dataset("tester/mixed", split="train")
packed = load_dataset("tester/mixed", "packed", split="train")
print(json.dumps([texts["text"][:], sorted(set(texts["source"])), {len(ids) for ids in packed["input_ids"]} == {64}]))
"""


def test_a_mixture_is_pushed_and_loaded_in_both_forms(hub: str, tmp_path: Path) -> None:
    rows = topics(24, 300)
    one = write_jsonl(tmp_path / "one.jsonl", rows[:12])
    two = write_jsonl(tmp_path / "two.jsonl", rows[12:])
    out = tmp_path / "mixed"
    mixed = run_cli("mix", one, two, "--out", out, "--pack", 64, "--tokenizer", "local", "--rows-per-shard", 10)
    assert mixed.returncode == 0, mixed.stderr
    told = run_cli("status", out).stdout
    assert "finished" in told
    assert "24, in 3 shards" in told
    (out / "README.md").unlink()
    assert run_cli("card", out).stdout.strip() == str(out / "README.md")
    settings = {"HF_ENDPOINT": hub, "HF_TOKEN": "hf_write", "HF_HOME": str(tmp_path / "home")}
    pushed = run_cli("push", out, "tester/mixed", **settings)
    assert pushed.returncode == 0, pushed.stderr
    loaded = subprocess.run(
        [sys.executable, "-c", LOAD], capture_output=True, text=True, env=environment(**settings), check=False
    )
    assert loaded.returncode == 0, loaded.stderr
    texts, sources, fits = json.loads(loaded.stdout)
    mine = [row["text"] for path in sorted((out / "data").iterdir()) for row in pq.read_table(path).to_pylist()]
    assert texts == mine
    assert sources == ["one", "two"]
    assert fits
    checked = run_cli("verify", "tester/mixed", **settings)
    assert checked.returncode == 0, checked.stdout
    again = run_cli("push", out, "tester/mixed", **settings)
    assert again.returncode == 0
    assert "commit" in again.stdout
