"""A tuned synthesizer is pushed as a model repo, and used from there by its name.

Through the real huggingface_hub and transformers, against a double of the Hub over HTTP. The model is a random one.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from hub_instructpt.engines.local import TINY_SYNTHESIZER
from hub_instructpt.runs.files import sha256
from hub_instructpt.tuning.card import write_card
from hub_instructpt.tuning.facts import BaseFacts, DataFacts, FileFacts, Machine, TunedOn, TuningFacts, TuningSettings
from tests.conftest import run_cli, topics, write_jsonl
from tests.doubles.plain_http import ask
from tests.push_cases import client
from tests.tuning.tokenizers import bundled

pytestmark = pytest.mark.xdist_group("push")


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as `tune` leaves it."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("tuned") / "synthesizer"
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(bundled()), hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=1024, bos_token_id=1, eos_token_id=2, tie_word_embeddings=True,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(TINY_SYNTHESIZER / name, folder)
    files = [
        FileFacts(path=path.name, num_bytes=path.stat().st_size, sha256=sha256(path))
        for path in sorted(folder.iterdir())
    ]
    facts = TuningFacts(
        base=BaseFacts(name="random-llama", sha=None, num_parameters=70_000, dtype="float32"),
        settings=TuningSettings(), sequences_per_step=4, steps=2, steps_done=2, finished_at="2026-11-21T00:00:00+00:00",
        data=DataFacts(name="collection", digest="0" * 16, datasets=[TunedOn(name="squad", seen=True, examples=2)]),
        machine=Machine(device="CPU", processes=1, versions={}), files=files, license="apache-2.0",
        log=[{"step": 1, "loss": 8.0}, {"step": 2, "loss": 7.5}],
    )  # fmt: skip
    facts.save(folder)
    write_card(folder)
    return folder


def test_a_synthesizer_is_pushed_and_used_from_there(hub: str, tuned: Path, tmp_path: Path) -> None:
    settings = {"HF_ENDPOINT": hub, "HF_TOKEN": "hf_write", "HF_HOME": str(tmp_path / "home")}
    done = run_cli("push", tuned, "tester/synthesizer", **settings)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{hub}/tester/synthesizer (commit ")
    assert "--engine local:tester/synthesizer" in done.stdout
    found = ask(hub, "/api/models/tester/synthesizer").json
    assert {each["rfilename"] for each in found["siblings"]} == {
        ".gitattributes", "README.md", "tuning.json", "config.json", "generation_config.json", "model.safetensors",
        "tokenizer.json", "tokenizer_config.json", "loss.svg",
    }  # fmt: skip
    assert found["cardData"]["pipeline_tag"] == "text-generation"
    assert "loss.svg" in ask(hub, "/tester/synthesizer/resolve/main/README.md").text
    rows = write_jsonl(tmp_path / "rows.jsonl", topics(2, 100))
    used = run_cli(
        "augment", rows, "--engine", "local:tester/synthesizer", "--max-new-tokens", 4, "--out", tmp_path / "run",
        **settings,
    )  # fmt: skip
    assert used.returncode == 0, used.stderr
    engine = json.loads((tmp_path / "run" / "manifest.json").read_text())["engine"]
    assert (engine["model_id"], engine["model_sha"]) == ("tester/synthesizer", found["sha"])


def test_a_second_push_replaces_what_is_stale_and_keeps_what_is_not_ours(hub: str, tuned: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(tuned, other)
    (other / "generation_config.json").unlink()
    facts = TuningFacts.load(other)
    facts.files = [each for each in facts.files if each.path != "generation_config.json"]
    facts.save(other)
    unfinished = tmp_path / "unfinished"
    shutil.copytree(tuned, unfinished)
    facts.finished_at = None
    facts.save(unfinished)
    client(
        """
        repo = "tester/synthesizer"
        assert hub.push(run, repo).changed and not hub.push(run, repo).changed
        def page():
            return api.hf_hub_download(repo, "README.md")
        mine = open(page()).read() + "\\nMy own words.\\n"
        control("commit", {"repo": repo, "type": "model", "files": {"README.md": mine, "picture.svg": "<svg/>"}})
        assert hub.push(part, repo).changed
        files = api.list_repo_files(repo)
        assert "generation_config.json" not in files and {"picture.svg", "loss.svg", "config.json"} <= set(files)
        assert "My own words." in open(page()).read()
        control("commit", {"repo": "tester/theirs", "type": "model", "files": {"config.json": "{}"}})
        refused(1, ["another model", "config.json"], run, "tester/theirs")
        control("commit", {"repo": "tester/data", "files": {"README.md": "x"}})
        refused(1, ["is a dataset"], run, "tester/data")
        refused(2, ["not finished", "tune"], here / "unfinished", repo)
        refused(2, ["can not be a config"], run, repo, "--config-name", "x")
        done = hub.gather("Together", [hub.Item(repo, note="The synthesizer")])
        assert "hub-instructpt:begin links" in open(page()).read(), done
        assert not hub.push(part, repo).changed
        """,
        hub, tuned, other, tmp_path,
    )  # fmt: skip


def test_what_it_says_of_itself(tuned: Path) -> None:
    told = run_cli("status", tuned)
    assert told.returncode == 0, told.stderr
    assert "finished" in told.stdout
    assert "squad" in told.stdout
    assert run_cli("card", tuned).stdout.strip() == str(tuned / "README.md")
    assert run_cli("verify", tuned).returncode == 2
