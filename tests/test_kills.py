"""Kill -9 at any moment, of any process, any number of times: the same bytes, nothing lost or doubled.

Real processes, killed at random moments: while they start, in the middle of requests, of commits, of sealing. After
each kill what is on disk is counted against what the server was asked: whatever was committed is never asked again.

    make test    eight kills in each of four runs
    make soak    500 kills in all (SOAK_KILLS)
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from hub_instructpt.journal import Journal
from hub_instructpt.runs.manifest import Manifest
from hub_instructpt.runs.verify import verify
from tests.conftest import environment, topics, write_jsonl
from tests.doubles.plain_http import ask
from tests.doubles.process import running

KILLS = -(-int(os.environ.get("SOAK_KILLS", "32")) // 4)
IN_FLIGHT = 4
ANSWERS_A_KILL = 9


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    flags = ("--instant", "--fixed-delay", "0.05", "--max-concurrent-requests", str(IN_FLIGHT))
    with running("tests.doubles.tgi", *flags) as url:
        yield url


@dataclass
class Killing:
    """A run of several workers that is killed again and again."""

    url: str
    command: list[str]
    out: Path
    workers: int
    draw: random.Random
    kills: int = 0
    asked_again: list[int] = field(default_factory=list)
    running: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)

    def until_done(self, kills: int) -> None:
        """Start what does not run, kill one of it, and so on; then let it end."""
        while self.kills < kills:
            self._start()
            asked, committed = generated(self.url), self._committed()
            self._wait_for_a_moment()
            alive = [index for index, process in self.running.items() if process.poll() is None]
            if not alive:
                break
            victim = self.running.pop(self.draw.choice(alive))
            victim.send_signal(signal.SIGKILL)
            victim.wait()
            self.kills += 1
            if self.workers == 1:  # nobody else asks or commits meanwhile
                self.asked_again.append((generated(self.url) - asked) - (self._committed() - committed))
        self._start()
        for process in self.running.values():
            assert process.wait(timeout=120) == 0

    def _start(self) -> None:
        for index in range(self.workers):
            process = self.running.get(index)
            if process is not None and process.poll() is not None:
                assert process.returncode == 0
            if process is None:
                share = [] if self.workers == 1 else ["--worker", f"{index}/{self.workers}"]
                self.running[index] = subprocess.Popen(
                    [sys.executable, "-m", "hub_instructpt", *self.command, str(self.out), *share],
                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment(),
                )  # fmt: skip

    def _wait_for_a_moment(self) -> None:
        if self.draw.random() < 0.2:  # while it starts, perhaps
            time.sleep(self.draw.uniform(0, 1.5))
            return
        goal = answered(self.url) + self.draw.randint(1, ANSWERS_A_KILL)
        deadline = time.monotonic() + 60
        while answered(self.url) < goal and any(process.poll() is None for process in self.running.values()):
            assert time.monotonic() < deadline
            time.sleep(0.005)
        time.sleep(self.draw.uniform(0, 0.08))

    def _committed(self) -> int:
        """Texts that are answered for on disk."""
        if not (self.out / "manifest.json").exists():
            return 0
        sealed = {shard.index: shard.counts["texts/all"] for shard in Manifest.load(self.out).shards}
        journals = (path for path in (self.out / "journal").glob("*.jsonl") if int(path.stem[6:]) not in sealed)
        return sum(sealed.values()) + sum(len(Journal(path)._answers) for path in journals)


def generated(url: str) -> int:
    """Requests for a completion that were let in: two workers share the server's places, and learn of it by 429."""
    state = ask(url, "/_double/state").json
    return int(state["generate"] - state["statuses"].get("429", 0))


def answered(url: str) -> int:
    return int(ask(url, "/_double/state").json["answered"])


def shard_bytes(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((out / "data").iterdir())}


@pytest.mark.timeout(300 + 6 * KILLS)
@pytest.mark.parametrize(
    ("shots", "workers", "resumed_by", "per_shard"), [(1, 1, 1, 25), (3, 1, 1, 7), (1, 2, 2, 5), (2, 3, 2, 11)],
)  # fmt: skip
def test_killed_over_and_over_a_run_ends_with_the_bytes_of_one_that_never_was(
    server: str, tmp_path: Path, shots: int, workers: int, resumed_by: int, per_shard: int
) -> None:
    number = KILLS * ANSWERS_A_KILL + 60
    some = [row["text"][:120] for row in topics(60)]
    rows = [{"text": f"{i} {some[i % len(some)]}"} for i in range(number)]
    path = write_jsonl(tmp_path / "corpus.jsonl", rows)
    command = [
        "augment", str(path), "--engine", server, "--max-new-tokens", "24", "--num-shots", str(shots),
        "--rows-per-shard", str(per_shard), "--out",
    ]  # fmt: skip
    ask(server, "/_double/reset", {})
    done = subprocess.run(
        [sys.executable, "-m", "hub_instructpt", *command, str(tmp_path / "whole")],
        capture_output=True, env=environment(), check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert generated(server) == number
    ask(server, "/_double/reset", {})

    draw = random.Random(100 * shots + workers)
    out = tmp_path / "killed"
    killing = Killing(server, command, out, workers, draw)
    if resumed_by == workers:
        killing.until_done(KILLS)
        kills = killing.kills
    else:
        # Half of the kills with so many workers; then all of them are gone, and others take over.
        for _ in range(KILLS // 2):
            killing._start()
            killing._wait_for_a_moment()
            victim = killing.running.pop(draw.choice(list(killing.running)))
            victim.kill()
            victim.wait()
        left = [process for process in killing.running.values() if process.poll() is None]
        for process in left:
            process.kill()
            process.wait()
        others = Killing(server, command, out, resumed_by, draw)
        others.until_done(KILLS - KILLS // 2)
        kills = KILLS // 2 + len(left) + others.kills
    assert kills >= KILLS - 1
    asked = generated(server)

    # What was in flight at a kill is unanswered; as much again and a little may be answered and not on disk yet.
    assert number <= asked <= number + kills * 3 * IN_FLIGHT
    if killing.asked_again:
        assert max(killing.asked_again) <= 3 * IN_FLIGHT
        assert asked == number + sum(killing.asked_again)  # whatever was committed was not asked again
    manifest = Manifest.load(out)
    assert manifest.finished
    assert shard_bytes(out) == shard_bytes(tmp_path / "whole")
    gathered = [[shard.evidence for shard in Manifest.load(at).shards] for at in (out, tmp_path / "whole")]
    assert gathered[0] == gathered[1]
    assert all(gathered[0])
    rows_kept = [row for shard in manifest.shards for row in pq.read_table(out / shard.path)["source_rows"].to_pylist()]
    assert [index for some in rows_kept for index in some] == list(range(number))
    report = verify(out)
    assert (report.findings, report.notes) == ([], [])
