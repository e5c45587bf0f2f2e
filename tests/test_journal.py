"""The journal: answered once, asked once, whatever is killed, torn or damaged.

Held here: what `put` has returned for is on disk; a file that was cut or damaged anywhere gives back what is whole and
nothing else; many answers share one fsync; a run killed over and over ends with the same bytes as one that was not, and
asks again only for what no disk had seen.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub_instructpt.appending import COMMIT_LINES
from hub_instructpt.errors import RunError
from hub_instructpt.journal import Journal, JournaledEngine
from hub_instructpt.records import Completion, EngineInfo, SamplingParams
from hub_instructpt.runs.manifest import Manifest
from tests.conftest import environment, run_cli, topics, write_jsonl
from tests.doubles.plain_http import ask
from tests.doubles.process import running

completions = st.builds(
    Completion,
    st.text(),
    st.sampled_from(["stop", "length", None]),
    st.none() | st.integers(0, 2**31),
    st.none() | st.integers(0, 2**31),
)


def write(path: Path, answers: dict[str, Completion]) -> None:
    async def main() -> None:
        journal = Journal(path)
        await asyncio.gather(*(journal.put(prompt, answer) for prompt, answer in answers.items()))
        await journal.aclose()

    asyncio.run(main())


@settings(max_examples=25, deadline=None)
@given(first=st.dictionaries(st.text(), completions, max_size=8), more=st.dictionaries(st.text(), completions))
def test_what_was_put_is_read_back(first: dict[str, Completion], more: dict[str, Completion]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "journal", "j.jsonl")
        write(path, first)
        write(path, more)
        journal = Journal(path)
        for prompt, answer in {**first, **more}.items():
            assert journal.get(prompt) == answer
        assert journal.get("never asked, \N{SNOWMAN}") is None
        assert journal.damaged == 0


@settings(max_examples=40, deadline=None)
@given(data=st.data(), number=st.integers(1, 6))
def test_a_torn_or_damaged_file_gives_back_what_is_whole(data: st.DataObject, number: int) -> None:
    answers = {f"prompt {i}": Completion(f"answer {i}\n", "stop", i, i) for i in range(number)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "j.jsonl")
        write(path, answers)
        whole = path.read_bytes()
        cut = data.draw(st.integers(0, len(whole)))
        harmed = bytearray(whole[:cut])
        for at in data.draw(st.lists(st.integers(0, max(cut - 1, 0)), max_size=2)):
            if harmed:
                harmed[at] ^= data.draw(st.integers(1, 255))
        path.write_bytes(harmed)
        journal = Journal(path)
        for prompt, answer in answers.items():
            assert journal.get(prompt) in (answer, None)
        # What is written after the damage is read back whole.
        write(path, {"later": Completion("x", "stop")})
        assert Journal(path).get("later") == Completion("x", "stop")


def test_many_answers_share_one_fsync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: (synced.append(handle), real(handle)))
    write(tmp_path / "j.jsonl", {f"p{i}": Completion("x") for i in range(10 * COMMIT_LINES)})
    assert 1 <= len(synced) <= 11


def test_an_answer_is_on_disk_when_put_returns(tmp_path: Path) -> None:
    async def main() -> None:
        journal = Journal(tmp_path / "j.jsonl")
        await journal.put("p", Completion("x"))
        assert Journal(tmp_path / "j.jsonl").get("p") == Completion("x")  # while the first is still open
        await journal.remove()
        assert not (tmp_path / "j.jsonl").exists()

    asyncio.run(main())


def test_a_disk_that_takes_nothing_is_an_error_of_ours(tmp_path: Path) -> None:
    async def main() -> None:
        journal = Journal(tmp_path / "folder")
        (tmp_path / "folder").mkdir()  # nobody can write to it as to a file, not even root
        with pytest.raises(RunError, match="can not be written"):
            await journal.put("p", Completion("x"))
        await journal.aclose()

    asyncio.run(main())


class Counting:
    """An engine that counts what it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def connect(self) -> EngineInfo:
        return EngineInfo("test", "m", None, 100, 200, 4)

    async def complete(self, prompt: str, sampling: SamplingParams) -> Completion:
        self.asked.append(prompt)
        await asyncio.sleep(0)
        return Completion(prompt.upper(), "stop")

    async def count_tokens(self, text: str) -> int:
        return len(text)

    async def aclose(self) -> None: ...


def test_a_journaled_engine_asks_once(tmp_path: Path) -> None:
    async def main() -> list[str]:
        engine = Counting()
        for _ in range(2):
            journaled = JournaledEngine(engine, Journal(tmp_path / "j.jsonl"))
            got = await asyncio.gather(*(journaled.complete(p, SamplingParams()) for p in "abc"))
            assert [completion.text for completion in got] == ["A", "B", "C"]
            await journaled.aclose()
        return engine.asked

    assert asyncio.run(main()) == ["a", "b", "c"]


def test_a_run_killed_over_and_over_ends_with_the_same_bytes_and_asks_nothing_twice(tmp_path: Path) -> None:
    number, in_flight, draw = 60, 4, random.Random(7)
    rows = [{"text": f"{i} {row['text']}"} for i, row in enumerate(topics(number))]
    path = write_jsonl(tmp_path / "corpus.jsonl", rows)
    flags = ("--instant", "--fixed-delay", "0.05", "--max-concurrent-requests", str(in_flight))
    with running("tests.doubles.tgi", *flags) as url:
        command = ["augment", str(path), "--engine", url, "--max-new-tokens", "24", "--rows-per-shard", "25", "--out"]
        assert run_cli(*command, tmp_path / "whole").returncode == 0
        ask(url, "/_double/reset", {})
        out, kills = tmp_path / "killed", 0
        while True:
            process = subprocess.Popen(
                [sys.executable, "-m", "hub_instructpt", *command, str(out)],
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment(),
            )  # fmt: skip
            before = ask(url, "/_double/state").json["answered"]
            # Wait until it has got somewhere, then kill it at any moment.
            deadline = time.monotonic() + 60
            while process.poll() is None and ask(url, "/_double/state").json["answered"] < before + 6:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            time.sleep(draw.uniform(0, 0.1))
            if process.poll() is not None:
                assert process.returncode == 0
                break
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
        asked = ask(url, "/_double/state").json["generate"]
    assert kills >= 3
    # At a kill, what is in flight is unanswered, and as much again may be answered and not yet on disk.
    assert number <= asked <= number + kills * 3 * in_flight
    assert Manifest.load(out).finished
    for shard in sorted((tmp_path / "whole" / "data").iterdir()):
        assert (out / "data" / shard.name).read_bytes() == shard.read_bytes()
