"""Servers that fail, one way at a time: what it costs a whole run of `hub-instructpt augment`.

    python -m benchmarks.faults [--documents 1600] [--permits 32] [--delay 0.4] [--only "429,restart"]

The server is the tests' double of text-generation-inference, in a process of its own: each answer takes it so many
seconds, so many at a time. A perfect client keeps every place taken, asks again at once, and loses only what a fault
itself takes: the work for an answer that is thrown away, the wait until a stall is known to be one, the time that a
server is gone. `perfect` is the least time by that reckoning, from the faults that struck; `lost` is what the run took
beyond the faultless one; `perfect lost` what a perfect client would. Rows are right when they carry the same pairs as
in the faultless run.
"""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks.documents import write_documents
from hub_instructpt.runs.manifest import Manifest
from tests.doubles.plain_http import ask
from tests.doubles.process import Double

START_SECONDS = 1.0
"""The double takes about so long to start."""


@dataclass(frozen=True)
class Scenario:
    """A way to fail.

    Attributes:
        fault: what the double is told.
        cost: seconds of one place that each struck request takes, beyond an answer.
        timeout: the client's.
        gone: seconds in which there is no server.
    """

    name: str
    fault: dict[str, Any] | None = None
    cost: float = 0.0
    timeout: float = 300.0
    gone: float = 0.0


def scenarios(delay: float, permits: int, gone: float = 10.0) -> list[Scenario]:
    stall, slow = 5 * delay, 10 * delay
    burst: dict[str, Any] = {"kind": "status", "every": 10 * permits, "burst": permits, "late": True}
    return [
        Scenario("none"),
        Scenario("20 % 429", {"kind": "status", "status": 429, "share": 0.2}),
        Scenario("bursts of 424", {**burst, "status": 424}, delay),
        Scenario("bursts of 500", {**burst, "status": 500}, delay),
        Scenario("10 % resets in mid-body", {"kind": "reset_in_body", "share": 0.1}, delay),
        Scenario("2 % stalls past the timeout", {"kind": "stall", "share": 0.02}, stall, timeout=stall),
        Scenario("10 % wrong JSON", {"kind": "wrong_json", "share": 0.1, "late": True}, delay),
        Scenario("5 % empty text", {"kind": "empty_text", "share": 0.05}, delay),
        Scenario(f"server away for {gone:g} s", gone=gone),
        Scenario("1 in 100 ten times slower", {"kind": "slow", "seconds": slow - delay, "share": 0.01}, slow - delay),
    ]


@dataclass(frozen=True)
class Outcome:
    """What became of a run. `perfect` are the seconds that a perfect client needs."""

    scenario: Scenario
    rows: dict[str, Any]
    requests: int
    seconds: float
    perfect: float
    failed: int


class Server:
    """The double, which can be taken away for a while; it counts over its lives."""

    def __init__(self, permits: int, delay: float) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        flags = ("--instant", "--fixed-delay", str(delay), "--max-concurrent-requests", str(permits), "--port", port)
        self._start = lambda: Double("tests.doubles.tgi", *flags)
        self._double = self._start()
        self.url, self.permits, self.delay = self._double.url, permits, delay
        self._requests = 0
        self.gone = 0.0

    def reset(self) -> None:
        """Forget faults and counts."""
        ask(self.url, "/_double/reset", {})
        self._requests, self.gone = 0, 0.0

    @property
    def requests(self) -> int:
        return self._requests + int(ask(self.url, "/_double/state").json["generate"])

    @property
    def struck(self) -> int:
        return sum(fault["struck"] for fault in ask(self.url, "/_double/faults", method="GET").json)

    def go_away(self, seconds: float) -> None:
        """As a power cut would have it."""
        self._requests = self.requests
        self._double.kill()
        gone = time.monotonic()
        time.sleep(max(0.0, seconds - START_SECONDS))
        self._double = self._start()
        self.gone += time.monotonic() - gone

    def close(self) -> None:
        self._double.stop()


def by_command_line(documents: Path, folder: Path, url: str, timeout: float, rows_per_shard: int) -> None:
    """Augment as a user does."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "hub_instructpt", "augment", str(documents), "--out", str(folder)),
            *("--engine", url, "--timeout", str(timeout), "--rows-per-shard", str(rows_per_shard)),
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(done.stderr[-500:])


def run(
    scenario: Scenario, server: Server, documents: Path, number: int, folder: Path,
    augment: Callable[[Path, Path, str, float, int], None] = by_command_line,
) -> Outcome:  # fmt: skip
    """One run against one fault."""
    permits, delay = server.permits, server.delay
    server.reset()
    ended = threading.Event()

    def take_away() -> None:
        while server.requests < number // 4:
            if ended.wait(0.05):
                return
        server.go_away(scenario.gone)

    away = threading.Thread(target=take_away)
    if scenario.fault is not None and ask(server.url, "/_double/faults", scenario.fault).status != 200:
        raise RuntimeError(f"the double refuses {scenario.fault}")
    if scenario.gone:
        away.start()
    try:
        augment(documents, folder, server.url, scenario.timeout, max(number // 4, 1))
    finally:
        ended.set()
        if scenario.gone:
            away.join()
    # What is in flight when a server dies is lost.
    lost = server.struck * scenario.cost + (permits * delay if scenario.gone else 0.0)
    manifest = Manifest.load(folder)
    failed = sum(n for name, n in manifest.counts.items() if name.startswith("texts_without_pairs/failed"))
    perfect = (number * delay + lost) / permits + server.gone
    return Outcome(scenario, rows_of(folder), server.requests, manifest.seconds, perfect, failed)


def rows_of(folder: Path) -> dict[str, Any]:
    """Pairs of every text."""
    found = {}
    for path in sorted((folder / "data").glob("*.parquet")):
        for row in pq.read_table(path).to_pylist():
            found |= {example["context"]: example["pairs"] for example in row["examples"]}
    return found


def table(outcomes: list[Outcome]) -> str:
    """As Markdown."""
    base = outcomes[0]
    lines = [
        "| fault | rows right | requests | time | ratio | lost | perfect lost |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in outcomes:
        right = sum(one.rows.get(text) == pairs for text, pairs in base.rows.items())
        lost, least = one.seconds - base.seconds, one.perfect - base.perfect
        lines.append(
            f"| {one.scenario.name} | {right:,} of {len(base.rows):,} | {one.requests:,} | {one.seconds:.1f} s | "
            f"{one.seconds / base.seconds:.2f} | {lost:.1f} s | {least:.1f} s |"
        )
    return "\n".join(lines)


def measure(number: int, permits: int, delay: float, only: str = "") -> list[Outcome]:
    """Every scenario whose name holds one of the words of `only`, the faultless one first."""
    outcomes = []
    words = [word.strip() for word in only.split(",") if word.strip()]
    with tempfile.TemporaryDirectory() as name:
        documents = Path(name) / "documents.jsonl"
        write_documents(number, documents)
        with closing(Server(permits, delay)) as server:
            for index, scenario in enumerate(scenarios(delay, permits)):
                if index and words and not any(word in scenario.name for word in words):
                    continue
                outcomes.append(run(scenario, server, documents, number, Path(name) / str(index)))
                one = outcomes[-1]
                shown = {"fault": scenario.name, "seconds": one.seconds, "requests": one.requests, "failed": one.failed}
                print(json.dumps(shown), file=sys.stderr, flush=True)
    return outcomes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=1600)
    parser.add_argument("--permits", type=int, default=32)
    parser.add_argument("--delay", type=float, default=0.4)
    parser.add_argument("--only", default="", help="words of the faults' names")
    given = parser.parse_args()
    print(table(measure(given.documents, given.permits, given.delay, given.only)))


if __name__ == "__main__":
    main()
