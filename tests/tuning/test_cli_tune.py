"""`hub-instructpt tune` as people use it: end to end, killed and resumed, stopped, with adapters, and misused.

The base is a random model of a few thousand weights with the tiny synthesizer's tokenizer: what it learns in some steps
is little, but it is learnt, saved, resumed and used as a large one would be.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from hub_instructpt.engines.local import TINY_SYNTHESIZER
from hub_instructpt.tuning.facts import TuningFacts
from tests.cli_cases import cases
from tests.conftest import environment, run_cli, topics, write_jsonl
from tests.tuning.collections import write_collection
from tests.tuning.tokenizers import bundled

# Several starts of torch, which a busy machine takes its time for; and one worker makes what the tests look at.
pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("tune")]
QUICK = ["--max-length", 256, "--batch-tokens", 512, "--learning-rate", "3e-3", "--eval-contexts", 4, "--cpu"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random causal LM."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("base") / "random-llama"
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(bundled()), hidden_size=24, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=512, bos_token_id=1, eos_token_id=2, rope_theta=5e5,
        tie_word_embeddings=True,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(TINY_SYNTHESIZER / name, folder)
    return folder


def weights(folder: Path) -> dict[str, Any]:
    from safetensors.numpy import load_file

    return {name: value.tobytes() for name, value in load_file(folder / "model.safetensors").items()}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_collection(tmp_path_factory.mktemp("data") / "collection", {"one": 60, "two": 40, "other": 20})


TUNE = [*QUICK, "--max-steps", 20, "--hold-out", "other"]
LONG = [*QUICK, "--max-steps", 60, "--save-every", 4, "--eval-every", 20, "--score-contexts", 0]
LORA = [*QUICK, "--max-steps", 40, "--save-every", 4, "--score-contexts", 0, "--lora", "--lora-rank", 4]
WRONG: list[tuple[str, list[object], str]] = [
    ("no model", ["--base", "EMPTY"], "No causal LM can be loaded from"),
    ("too long", ["--max-length", 4096], "--max-length 4,096 is more than random-llama takes"),
    ("hold out", [*QUICK, "--hold-out", "three"], "It is one, other, two."),
    ("dataset", [*QUICK, "--dataset", "three"], "It holds one, other, two."),
    ("nothing", [*QUICK, "--epochs", 0], "Nothing would be learnt."),
    ("too short", [*QUICK, "--max-length", 32], "holds no example to learn from"),
]


@dataclass
class Done:
    """What a command left behind."""

    out: Path
    status: int
    shown: str
    said: str


@pytest.fixture(scope="module")
def done(base: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Done]:
    """Every tuning that nobody stops, one after the other in one process: starting one takes longer than the tuning."""
    folder = tmp_path_factory.mktemp("out")
    corpus = write_jsonl(folder / "corpus.jsonl", topics(3, 200))
    (folder / "taken").mkdir()
    (folder / "taken" / "file").touch()
    synth, lora = folder / "synth", folder / "lora"
    measure = ["--tuned", synth, "--contexts", 2, "--num-shots", 1, "--max-new-tokens", 16, "--max-answer-tokens", 8]

    def tune(*options: object, out: Path) -> tuple[Path, list[object]]:
        with_base = options if "--base" in options else ("--base", base, *options)
        return out, ["tune", data, *(folder if each == "EMPTY" else each for each in with_base), "--out", out]

    commands: dict[str, tuple[Path, list[object]]] = {
        "synth": tune(*TUNE, "--score-contexts", 2, "--license", "cc-by-4.0", out=synth),
        "again": tune(*TUNE, "--score-contexts", 2, out=synth),
        "other settings": tune(*TUNE, "--alpha", 0.7, out=synth),
        "taken": tune(*TUNE, out=folder / "taken"),
        "augment": (folder / "run", ["augment", corpus, "--engine", f"local:{synth}", "--out", folder / "run",
                                     "--max-new-tokens", 16]),
        "measure": (synth, ["evaluate-synthesizer", f"local:{synth}", "--data", data, *measure]),
        "long": tune(*LONG, out=folder / "long"),
        "lora": tune(*LORA, out=lora),
        "augment with lora": (folder / "run2", ["augment", corpus, "--engine", f"local:{lora}", "--out",
                                                folder / "run2", "--max-new-tokens", 8]),
        "checkpointing": tune(*QUICK, "--max-steps", 2, "--eval-contexts", 0, "--lora", "--gradient-checkpointing",
                              out=folder / "checkpointing"),
        "no number": tune(*QUICK, "--learning-rate", "1e30", "--warmup-steps", 0, "--max-steps", 30,
                          out=folder / "nan"),
        "nowhere": (folder / "none", ["tune", folder / "nowhere", "--base", base, "--out", folder / "none"]),
        **{name: tune(*options, out=folder / name) for name, options, _ in WRONG},
    }  # fmt: skip
    results = cases([command for _, command in commands.values()])
    return {
        name: Done(out, *result) for (name, (out, _)), result in zip(commands.items(), results, strict=True)
    }  # fmt: skip


def test_a_base_becomes_a_synthesizer(base: Path, done: dict[str, Done]) -> None:
    result = done["synth"]
    out = result.out
    assert result.status == 0, result.said
    assert "other: held out whole." in result.shown
    facts = TuningFacts.load(out)
    assert (facts.steps, facts.steps_done, facts.kind) == (20, 20, "synthesizer")
    for name in ("loss", "seen_loss", "unseen_loss"):
        assert len(facts.curve(name)) >= 5
        assert facts.curve(name)[-1][1] < facts.curve(name)[0][1]
    assert facts.curve("seen_loss")[0][0] == facts.curve("unseen_loss")[0][0] == 0  # what the base is worth
    assert {each.name: (each.seen, each.examples, len(each.held_out)) for each in facts.data.datasets} == {
        "one": (True, 56, 4), "two": (True, 36, 4), "other": (False, 0, 4),
    }  # fmt: skip
    assert not (out / ".work").exists()
    # Config and tokenizer are those of the base, byte for byte; of the rest, nothing tells where it was made.
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        assert (out / name).read_bytes() == (base / name).read_bytes()
    assert {file.path for file in facts.files} <= {path.name for path in out.iterdir()}
    for name in ("tuning.json", "README.md", "generation_config.json", "config.json", "loss.svg", "scores.svg"):
        assert str(base.parent.parent) not in (out / name).read_text()
    assert weights(out).keys() == weights(base).keys()
    assert weights(out) != weights(base)


def test_the_same_again_does_nothing_and_something_else_is_refused(done: dict[str, Done]) -> None:
    assert done["again"].status == 0
    assert "Tuning" not in done["again"].said
    assert done["other settings"].status == 2
    assert "--alpha was 0.5, now it is 0.7" in done["other settings"].said
    assert done["taken"].status == 2
    assert "holds file and no tuning" in done["taken"].said


def test_a_tuned_model_is_used_and_measured_as_any_engine(done: dict[str, Done]) -> None:
    for name in ("augment", "measure", "augment with lora"):
        assert done[name].status == 0, done[name].said
    manifest = json.loads((done["augment"].out / "manifest.json").read_text())
    assert manifest["engine"]["model_id"] == "synth"
    evaluations = TuningFacts.load(done["synth"].out).evaluations
    assert [each.settings.num_shots for each in evaluations] == [0, 1]
    for evaluation in evaluations:
        assert [(each.name, each.seen, each.contexts) for each in evaluation.datasets] == [
            ("one", True, 2), ("other", False, 2), ("two", True, 2),
        ]  # fmt: skip


def test_the_card_says_what_it_was_made_of_and_what_it_scores(done: dict[str, Done]) -> None:
    card = (done["synth"].out / "README.md").read_text()
    metadata = yaml.safe_load(card.split("---")[1])
    assert (metadata["license"], metadata["library_name"]) == ("cc-by-4.0", "transformers")
    assert "base_model" not in metadata  # a folder is no id on the Hub
    for words in (
        "1 example shown before each text", "![Loss over training steps](loss.svg)", "Held out whole: other.",
        "no example shown before each text", "![Scores by dataset](scores.svg)", "all weights",
        "Tuned on data with unclear or unknown terms:** one, two.",
        "hub-instructpt tune collection --base random-llama --max-length 256",
    ):  # fmt: skip
        assert words in card
    rows = [line for line in card.splitlines() if line.startswith(("| one |", "| two |", "| other |"))]
    assert len(rows) == 2 + 2 * 3


def test_adapters_are_trained_and_merged(base: Path, done: dict[str, Done]) -> None:
    out = done["lora"].out
    assert done["lora"].status == 0, done["lora"].said
    before, after = weights(base), weights(out)
    assert {name for name in after if after[name] != before[name]} == {name for name in before if "proj" in name}
    assert not list(out.glob("*adapter*"))
    assert "low-rank adapters" in (out / "README.md").read_text()
    checkpointing = done["checkpointing"]
    assert checkpointing.status == 0, checkpointing.said
    assert "No scores: There is nothing to measure on: nothing was held out." in checkpointing.said


def test_wrong_use_says_what_to_do(done: dict[str, Done]) -> None:
    for name, _, words in [*WRONG, ("nowhere", [], "is not there")]:
        assert done[name].status == 2, (name, done[name].said)
        assert words in done[name].said, name


def test_a_loss_that_is_no_number_ends_with_an_error(done: dict[str, Done]) -> None:
    assert done["no number"].status == 1
    assert "the training has broken down. Take a lower --learning-rate" in done["no number"].said
    assert not (done["no number"].out / "model.safetensors").exists()


def test_a_killed_tuning_goes_on_to_the_same_weights(
    base: Path, data: Path, done: dict[str, Done], tmp_path: Path
) -> None:
    out = tmp_path / "killed"
    command = ["tune", data, "--base", base, *LONG, "--out", out]
    ended(signal.SIGKILL, out, command)
    assert 4 <= steps_saved(out) < 60
    half_written = out / ".work" / "checkpoint-59"
    half_written.mkdir()
    (half_written / "model.safetensors").write_bytes(b"torn")
    after = run_cli(*command, timeout=240)
    assert after.returncode == 0, after.stderr
    assert "steps are done already; going on from there." in after.stderr
    assert weights(out) == weights(done["long"].out)
    ours, theirs = TuningFacts.load(out), TuningFacts.load(done["long"].out)
    assert ours.log == theirs.log
    assert ours.data == theirs.data
    assert not (out / ".work").exists()


def test_a_stopped_tuning_saves_its_step_and_goes_on(
    base: Path, data: Path, done: dict[str, Done], tmp_path: Path
) -> None:
    out = tmp_path / "stopped"
    command = ["tune", data, "--base", base, *LORA, "--out", out]
    status, words = ended(signal.SIGTERM, out, command)
    assert status == 1
    assert "of 40 steps. They are kept; the same command goes on from there." in words
    assert run_cli(*command, timeout=240).returncode == 0
    assert weights(out) == weights(done["lora"].out)


def ended(number: signal.Signals, out: Path, command: list[object]) -> tuple[int, str]:
    """Run a command, and end it with a signal when it has saved its first checkpoint: its status and stderr."""
    with subprocess.Popen(
        [sys.executable, "-m", "hub_instructpt", *map(str, command)],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment(),
    ) as child:  # fmt: skip
        while not steps_saved(out) and child.poll() is None:
            time.sleep(0.002)
        child.send_signal(number)
        _, words = child.communicate(timeout=240)
    return child.returncode, words


def steps_saved(out: Path) -> int:
    return max((int(path.parent.name[11:]) for path in out.glob(".work/checkpoint-*/complete")), default=0)


def test_two_processes_train_one_model(base: Path, data: Path, done: dict[str, Done], tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ["tune", data, "--base", base, *TUNE, "--score-contexts", 0, "--out", out]
    with subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m",
         "hub_instructpt", *map(str, command)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment(), start_new_session=True,
    ) as child:  # fmt: skip
        try:
            shown, _ = child.communicate(timeout=240)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            raise
    assert child.returncode == 0, shown
    assert shown.count("Use it:") == 1
    facts, alone = TuningFacts.load(out), TuningFacts.load(done["synth"].out)
    assert (facts.machine.processes, facts.sequences_per_step, facts.steps_done) == (2, 2, 20)
    assert facts.data == alone.data
    for (step, ours), (_, theirs) in zip(facts.curve("loss"), alone.curve("loss"), strict=True):
        assert ours == pytest.approx(theirs, rel=2e-3), step
