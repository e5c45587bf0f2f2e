"""A synthesizer pushed to a model repo and used from there, and a collection read from the Hub by its id.

Through the command line and the real huggingface_hub, against a double of the Hub over HTTP.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from hub_instructpt.engines.local import TINY_SYNTHESIZER
from hub_instructpt.runs.files import sha256
from hub_instructpt.tuning.card import write_card
from hub_instructpt.tuning.facts import BaseFacts, DataFacts, FileFacts, Machine, TunedOn, TuningFacts, TuningSettings
from tests.cli_cases import cases
from tests.conftest import topics, write_jsonl
from tests.doubles.plain_http import ask

pytestmark = pytest.mark.xdist_group("push")


def synthesizer(folder: Path, **changes: Any) -> Path:
    """A folder as `tune` leaves it, with the tiny synthesizer as its model."""
    folder.mkdir()
    files = []
    for name in (
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ):
        shutil.copy(TINY_SYNTHESIZER / name, folder)
        path = folder / name
        files.append(FileFacts(path=name, num_bytes=path.stat().st_size, sha256=sha256(path)))
    facts = TuningFacts(
        base=BaseFacts(name="lab/base", sha="0" * 40, num_parameters=3_000_384, dtype="float16"),
        settings=TuningSettings(),
        data=DataFacts(name="lab/collection", digest="xxh3_128:0", datasets=[TunedOn(name="squad", seen=True)]),
        machine=Machine(device="cpu", processes=1, versions={"torch": "2"}),
        sequences_per_step=4,
        **{"steps": 10, "steps_done": 10, "finished_at": "2026-11-21T08:00:00+00:00", "license": "cc-by-4.0",
           "log": [{"step": 1.0, "loss": 2.0}], "files": files, **changes},
    )  # fmt: skip
    facts.save(folder)
    write_card(folder)
    (folder / ".work").mkdir()
    (folder / "notes.txt").write_text("mine")
    return folder


def listed(hub: str, repo: str) -> set[str]:
    found = ask(hub, f"/api/models/{repo}/tree/main?recursive=true").json
    return {entry["path"] for entry in found if entry["type"] == "file"}


def test_a_synthesizer_is_pushed_to_a_model_repo_and_used_from_there(hub: str, tmp_path: Path) -> None:
    folder = synthesizer(tmp_path / "synth")
    with (folder / "README.md").open("a") as card:
        card.write("\nA word of mine.\n")
    unfinished = synthesizer(tmp_path / "unfinished", finished_at=None)
    corpus = write_jsonl(tmp_path / "corpus.jsonl", topics(2, 200))
    first, again, refused, used, status, card_again = cases(
        [
            ["push", folder, "lab/synth"],
            ["push", folder, "lab/synth"],
            ["push", unfinished, "lab/other"],
            ["augment", corpus, "--engine", "local:lab/synth", "--out", tmp_path / "run", "--max-new-tokens", 8],
            ["status", folder],
            ["card", folder],
        ],
        HF_ENDPOINT=hub, HF_TOKEN="hf_write",
    )  # fmt: skip
    assert first[0] == 0, first[2]
    assert first[1].startswith(f"{hub}/lab/synth (commit ")
    assert "--engine local:lab/synth" in first[1]
    assert "nothing has changed since" in again[1]
    assert refused[0] == 2
    assert "Run the same `hub-instructpt tune` again, which goes on from there." in refused[2]
    assert used[0] == 0, used[2]
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["engine"]["model_id"] == "lab/synth"
    assert (status[0], card_again[0]) == (0, 0)
    assert "finished" in status[1]
    assert listed(hub, "lab/synth") == {
        ".gitattributes", "README.md", "tuning.json", "config.json", "generation_config.json", "model.safetensors",
        "tokenizer.json", "tokenizer_config.json", "loss.svg",
    }  # fmt: skip
    card = ask(hub, "/lab/synth/resolve/main/README.md").text
    assert "A word of mine." in card
    assert "base_model: lab/base" in card
    assert 'AutoTokenizer.from_pretrained("lab/synth")' in card


def test_a_collection_on_the_hub_is_measured_on_by_its_id(hub: str, tmp_path: Path) -> None:
    rows = [
        {"id": f"{at}", "title": "a", "context": f"The mill number {at} stands by the river.",
         "question": "Where does it stand?", "answers": {"text": ["by the river"], "answer_start": [23]}}
        for at in range(6)
    ]  # fmt: skip
    release = write_jsonl(tmp_path / "squad.jsonl", rows)
    options = ["--contexts", 2, "--questions", 1, "--max-new-tokens", 8, "--max-answer-tokens", 8]
    done = cases(
        [
            ["collect", "squad", "--from", release, "--out", tmp_path / "collection"],
            ["push", tmp_path / "collection", "lab/collection"],
            ["evaluate-synthesizer", "local", "--data", "lab/collection", *options, "--out", tmp_path / "scores"],
            ["evaluate-synthesizer", "local", "--data", "lab/nothing", *options],
        ],
        HF_ENDPOINT=hub, HF_TOKEN="hf_write",
    )  # fmt: skip
    assert [status for status, _, _ in done] == [0, 0, 0, 2], done
    assert "There is no dataset lab/nothing on the Hub" in done[3][2]
    results = json.loads((tmp_path / "scores" / "results.json").read_text())
    assert (results["data"], results["datasets"][0]["name"]) == ("lab/collection", "squad")
