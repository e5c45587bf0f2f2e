"""Datasets are read from the Hub as they lie there: by config and split, at one commit, also where a repo still holds a
loading script and only the Hub's Parquet export of it can be read.

Against a double of the Hub over HTTP, by the real huggingface_hub and datasets.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.collection.plugins import dataset, installed
from tests.conftest import environment, run_cli

pytestmark = pytest.mark.xdist_group("push")

FILL = """
import io, json, sys
import pyarrow as pa, pyarrow.parquet as pq
from huggingface_hub import CommitOperationAdd, HfApi
api = HfApi()

def table(rows):
    stream = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), stream)
    return stream.getvalue()

def rows(word, number):
    return [
        {"passage": f"The {word} is old.", "question": f"What of {n}?", "options": ["old", "new"], "label": n % 2}
        for n in range(number)
    ]

def commit(repo, files, **where):
    operations = [CommitOperationAdd(path, content) for path, content in files.items()]
    return api.create_commit(repo, operations, repo_type="dataset", commit_message="x", **where).oid

def card(configs):
    files = [
        {"config_name": name, "data_files": [{"split": "train", "path": f"{name}/*.parquet"}]} for name in configs
    ]
    return f"---\\nconfigs: {json.dumps(files)}\\n---\\n".encode()

for repo in ("plain", "scripted", "lost"):
    api.create_repo(f"tester/{repo}", repo_type="dataset")
files = {"README.md": card(["a", "b"]), "a/0.parquet": table(rows("mill", 3)), "b/0.parquet": table(rows("barn", 2))}
first = commit("tester/plain", files)
commit("tester/plain", {"a/0.parquet": table(rows("mill", 5))})
commit("tester/lost", {"lost.py": b"import datasets"})
commit("tester/scripted", {"scripted.py": b"import datasets"})
api.create_branch("tester/scripted", branch="refs/convert/parquet", repo_type="dataset")
export = {"raw/train/0000.parquet": table(rows("inn", 4)), "raw/test/0000.parquet": table(rows("test", 9))}
export["big/partial-train/0000.parquet"] = table(rows("hall", 2))
commit("tester/scripted", export, revision="refs/convert/parquet")
print(first)
"""


def on_hub(repo: str, **hub: str) -> dict[str, str]:
    arguments = {"configs": "(None,)", "split": '"train"', "revision": "None", **hub}
    words = ", ".join(f"{name}={value}" for name, value in arguments.items())
    return {'Hub("my-name/my_dataset", configs=(None,), split="train", revision=None, num_rows=1_000)': (
        f'Hub("tester/{repo}", {words})'
    )}  # fmt: skip


def test_datasets_are_read_from_the_hub(hub: str, tmp_path: Path) -> None:
    path = installed(
        tmp_path,
        plain=dataset("plain", on_hub("plain", configs='("a", "b")', num_rows="5")),
        raw=dataset("raw", on_hub("scripted", configs='("raw",)')),
        big=dataset("big", on_hub("scripted", configs='("big",)', revision='"refs/convert/parquet"')),
        vague=dataset("vague", on_hub("scripted")),
        lost=dataset("lost", on_hub("lost")),
        gone=dataset("gone", on_hub("gone")),
    )
    settings = {
        "HF_ENDPOINT": hub, "HF_TOKEN": "hf_write", "HF_HOME": str(tmp_path / "home"), "PYTHONPATH": path,
    }  # fmt: skip
    filled = subprocess.run(
        [sys.executable, "-c", FILL], capture_output=True, text=True, env=environment(**settings), check=False
    )
    assert filled.returncode == 0, filled.stderr
    first, out = filled.stdout.strip(), tmp_path / "out"
    done = run_cli("collect", "plain", "raw", "big", "vague", "lost", "gone", "--out", out, **settings)
    assert done.returncode == 1
    assert "plain: 7 rows of tester/plain gave 2 records, 7 pairs." in done.stdout
    assert "5 rows were declared, 7 are there" in done.stderr
    assert "raw: 4 rows of tester/scripted gave 1 records, 4 pairs." in done.stdout
    assert "big: 2 rows of tester/scripted gave 1 records, 2 pairs." in done.stdout
    assert "vague failed: tester/scripted has several configs: big, raw. Declare which is read." in done.stderr
    assert "lost failed: tester/lost train holds a loading script" in done.stderr
    assert "gone failed: There is no dataset tester/gone on the Hub" in done.stderr
    facts = {each["name"]: each["source"] for each in json.loads((out / "manifest.json").read_text())["datasets"]}
    assert set(facts) == {"big", "plain", "raw"}
    assert facts["plain"]["config_name"] == "a, b"
    assert len(facts["raw"]["revision"]) == 40

    # What is finished is not asked for again: the Hub could be gone. Another revision is another dataset.
    offline = settings | {"HF_ENDPOINT": "http://127.0.0.1:9"}
    again = run_cli("collect", "plain", "raw", "--out", out, **offline)
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("is there already") == 2
    pinned = run_cli("collect", "plain", "--revision", first, "--out", out, **settings)
    assert "plain: 5 rows of tester/plain gave 2 records, 5 pairs." in pinned.stdout, pinned.stderr
    told = run_cli("collect", "--verify", out, **settings)
    assert told.returncode == 0, told.stdout
    nowhere = run_cli("collect", "plain", "--out", tmp_path / "other", **offline)
    assert nowhere.returncode == 1
    assert "does not answer" in nowhere.stderr
