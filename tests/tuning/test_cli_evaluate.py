"""`hub-instructpt evaluate-synthesizer` as people use it: servers and the process, kills, and rubbish."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli_cases import cases
from tests.conftest import environment, run_cli
from tests.doubles.plain_http import ask
from tests.doubles.process import running
from tests.tuning.collections import record, write_collection, write_part

pytestmark = pytest.mark.xdist_group("evaluate-synthesizer")


@pytest.fixture(scope="module")
def openai() -> Iterator[str]:
    """A double of vLLM in front of the tiny synthesizer."""
    with running("tests.doubles.openai", "--kind", "vllm") as url:
        yield url


def test_servers_and_the_model_in_the_process_get_the_same_scores(tgi: str, openai: str, tmp_path: Path) -> None:
    folder = write_collection(tmp_path / "data", {"one": 6, "two": 4})
    options = ["--data", folder, "--contexts", 3, "--questions", 1, "--seen", "one", "--num-shots", 0]
    options += ["--max-new-tokens", 40, "--max-answer-tokens", 12]
    outs = [tmp_path / name for name in ("tgi", "openai", "local")]
    done = cases(
        [
            ["evaluate-synthesizer", engine, *options, "--out", out]
            for engine, out in zip((tgi, f"openai+{openai}", "local"), outs, strict=True)
        ]
    )
    found = [json.loads((out / "results.json").read_text()) for out in outs]
    for (status, shown, said), evaluation in zip(done, found, strict=True):
        assert status == 0, said
        assert shown.splitlines()[0].split()[:3] == ["dataset", "texts", "response"]
        assert [each["seen"] for each in evaluation["datasets"]] == [True, False]
        assert [each["contexts"] for each in evaluation["datasets"]] == [3, 3]
        assert str(tmp_path) not in json.dumps(evaluation)
    scores = [
        [{key: each[key] for key in each if key != "counts"} for each in evaluation["datasets"]] for evaluation in found
    ]
    assert scores[0] == scores[1] == scores[2]


def test_examples_are_shown_before_each_context(tgi: str, tmp_path: Path) -> None:
    folder = write_collection(tmp_path / "data", {"one": 8})
    command = [
        "evaluate-synthesizer",
        tgi,
        "--data",
        folder / "one",
        "--contexts",
        3,
        "--num-shots",
        2,
        "--questions",
        0,
    ]
    ((status, shown, said),) = cases([[*command, "--max-new-tokens", 40]])
    assert status == 0, said
    assert shown.splitlines()[1].split()[:4] == ["one", "–", "3", "–"]  # no instruction was given, so no response F1
    asked = [entry["body"]["inputs"] for entry in ask(tgi, "/_double/log").json if entry["route"] == "/generate"]
    assert [prompt.count("<CON>") for prompt in asked if "</CON>\n\n" in prompt] == [3, 3, 3]


def test_what_was_answered_before_a_kill_is_not_asked_again(tmp_path: Path) -> None:
    folder = write_collection(tmp_path / "data", {"one": 60})
    out = tmp_path / "out"
    with running("tests.doubles.tgi", "--instant", "--max-concurrent-requests", "2") as url:
        ask(url, "/_double/faults", {"kind": "slow", "seconds": 0.05})
        command = ["evaluate-synthesizer", url, "--data", folder, "--questions", "1", "--out", out]
        child = subprocess.Popen(
            [sys.executable, "-m", "hub_instructpt", *map(str, command)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment(),
        )  # fmt: skip
        until = time.monotonic() + 60
        while not _answered(out) >= 12 and time.monotonic() < until:
            time.sleep(0.05)
        child.send_signal(signal.SIGKILL)
        child.wait()
        kept = _answered(out)
        assert kept >= 12
        assert not (out / "results.json").exists()
        ask(url, "/_double/reset", {})
        done = run_cli(*command)
        assert done.returncode == 0, done.stderr
        asked = [entry for entry in ask(url, "/_double/log").json if entry["route"] == "/generate"]
        assert sum("</CON>" in entry["body"]["inputs"] for entry in asked) == 120 - kept
    assert json.loads((out / "results.json").read_text())["datasets"][0]["contexts"] == 60
    assert not (out / ".journal").exists()


def _answered(out: Path) -> int:
    """Whole lines in the journals."""
    return sum(path.read_bytes().count(b"\n{") + path.read_bytes().count(b"\t{") for path in out.glob(".journal/*"))


def test_wrong_use_says_what_to_do(tmp_path: Path) -> None:
    folder = write_collection(tmp_path / "data", {"one": 4})
    broken = write_part(tmp_path / "broken", "part", [record("part", 1)])
    (broken / "part" / "shard" / "00001.jsonl").write_text('{"context": 1, "QA_list": []}\nnot json\n')
    (tmp_path / "empty").mkdir()
    commands = [
        (["local", "--data", tmp_path / "nowhere"], 2, "is not there"),
        (["local", "--data", tmp_path / "empty"], 2, "holds no fine-tuning collection"),
        (["local", "--data", folder, "--dataset", "squad"], 2, "It holds one."),
        (["local", "--data", folder, "--seen", "squad"], 2, "there is no such dataset"),
        (["nonsense", "--data", folder], 2, "names no engine"),
        (["local", "--data", folder, "--num-shots", 4], 2, "too few to measure on 4 and show 4"),
        (["local", "--data", folder, "--max-new-tokens", 4000], 2, "max_new_tokens=4000"),
        (["local", "--data", broken, "--max-new-tokens", 8, "--questions", 0], 0, "1 records rejected: not json"),
    ]  # fmt: skip
    for (status, _, said), (command, wanted, words) in zip(
        cases([["evaluate-synthesizer", *command] for command, _, _ in commands]), commands, strict=True
    ):
        assert status == wanted, (command, said)
        assert words in said, (command, said)
