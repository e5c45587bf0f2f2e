"""Runs through a fleet of real HTTP servers, each a process: killed, restarted, full, added, removed, and all gone.

The doubles answer without a model and wait a little, so that what happens happens half way. The client is the command
line in a process of its own, or the fleet in this one.
"""

from __future__ import annotations

import asyncio
import json
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from benchmarks.simulator.driving import options_of, simulating, stats
from hub_instructpt import Augment
from hub_instructpt.engines import Fleet
from hub_instructpt.engines.retries import RetryPolicy
from hub_instructpt.journal import believed
from hub_instructpt.records import Completion, SamplingParams
from hub_instructpt.runs.manifest import Manifest
from tests.conftest import environment, run_cli, topics, write_jsonl
from tests.doubles.plain_http import ask, wait_until_idle
from tests.doubles.process import Double, running

DOUBLE = "tests.doubles.tgi"
SLOW = ("--instant", "--fixed-delay", "0.05", "--max-concurrent-requests", "4")
SHORT = SamplingParams(24)


def free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


@pytest.fixture(scope="module")
def servers() -> Iterator[list[str]]:
    """Three servers of the same model, each of which takes four requests at a time and 50 ms for each."""
    with ExitStack() as stack:
        yield [stack.enter_context(running(DOUBLE, *SLOW)) for _ in range(3)]


@pytest.fixture
def fleet(servers: list[str]) -> Iterator[list[str]]:
    """The servers, with clean counters and no faults."""
    for url in servers:
        ask(url, "/_double/reset", {})
    yield servers
    for url in servers:
        ask(url, "/_double/reset", {})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A corpus of 240 texts."""
    rows = [{"title": f"{row['title']} {part}", "text": f"{part}. {row['text']}"}
            for part in range(4) for row in topics(60, 200)]  # fmt: skip
    return write_jsonl(tmp_path / "corpus.jsonl", rows)


def command(path: Path, out: Path, *engines: str, **options: object) -> list[str]:
    words = ["augment", str(path), "--out", str(out), "--num-shots", "3", "--max-new-tokens", "24"]
    words += ["--rows-per-shard", "60", *(word for url in engines for word in ("--engine", url))]
    return words + [str(word) for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value)]


def started(arguments: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "hub_instructpt", *arguments], text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(),
    )  # fmt: skip


def wait_until(true: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def generated(*urls: str) -> int:
    return sum(int(ask(url, "/_double/state").json["generate"]) for url in urls)


def shards(out: Path) -> list[bytes]:
    return [(out / shard.path).read_bytes() for shard in Manifest.load(out).shards]


def written(out: Path) -> int:
    """Answers that survived: rows of sealed shards, and whole lines in the journals of the others."""
    sealed = {shard.index: shard.num_source_rows for shard in Manifest.load(out).shards}
    journals = [path for path in out.glob("journal/*.jsonl") if int(path.stem.rpartition("-")[2]) not in sealed]
    lines = (line for path in journals for line in path.read_bytes().splitlines(keepends=True))
    return sum(sealed.values()) + sum(believed(line) is not None for line in lines)


@pytest.fixture(scope="module")
def expected(servers: list[str], tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], list[bytes]]:
    """The shards of an undisturbed run through one server."""
    known: list[list[bytes]] = []

    def run(path: Path) -> list[bytes]:
        if not known:
            out = tmp_path_factory.mktemp("expected") / "out"
            with running(DOUBLE, "--instant") as url:
                assert run_cli(*command(path, out, url)).returncode == 0
            known.append(shards(out))
        return known[0]

    return run


def test_three_servers_do_the_work_of_one_to_the_same_bytes_and_status_says_how_they_did(
    fleet: list[str], path: Path, tmp_path: Path, expected: Any
) -> None:
    done = run_cli(*command(path, tmp_path / "out", *fleet))
    assert done.returncode == 0, done.stderr
    assert shards(tmp_path / "out") == expected(path)
    assert generated(*fleet) == 240
    for url in fleet:
        state = ask(url, "/_double/state").json
        assert (state["generate"] > 60, state["max_in_flight"]) == (True, 4)
    said = run_cli("status", tmp_path / "out").stdout
    for url in fleet:
        assert f"{url}: up" in said
    assert "held up by" in said
    told = json.loads(run_cli("status", tmp_path / "out", "--json").stdout)["servers"]
    assert [one["address"] for one in told] == fleet
    assert sum(one["answered"] for one in told) == 240
    assert Manifest.load(tmp_path / "out").command is not None
    assert "127.0.0.1" not in str(Manifest.load(tmp_path / "out").command)


def test_chains_stay_with_their_server(fleet: list[str], path: Path, tmp_path: Path) -> None:
    assert run_cli(*command(path, tmp_path / "out", *fleet)).returncode == 0
    stayed = moved = 0
    for url in fleet:
        prompts = [e["body"]["inputs"] for e in ask(url, "/_double/log").json if e["route"] == "/generate"]
        for prompt in prompts:
            if prompt.count("<CON>") > 1:
                first = prompt.rpartition("</END></s><s>")[0]  # the prompt before, and what was answered
                before = any(first.startswith(other) and first != other for other in prompts)
                stayed, moved = stayed + before, moved + (not before)
    assert stayed > 100
    assert moved <= 20  # at the end, when no new chain is left to keep a server busy


def test_a_server_that_is_killed_and_comes_back_loses_nothing(path: Path, tmp_path: Path, expected: Any) -> None:
    port = free_port()
    first, again = Double(DOUBLE, *SLOW, "--port", port), []
    with running(DOUBLE, *SLOW) as other:
        process = started(command(path, tmp_path / "out", first.url, other))
        wait_until(lambda: generated(first.url) > 20)
        first.kill()
        wait_until(lambda: generated(other) > 100)
        again.append(Double(DOUBLE, *SLOW, "--port", port))
        try:
            _, errors = process.communicate(timeout=60)
            assert process.returncode == 0, errors
            assert shards(tmp_path / "out") == expected(path)
            assert generated(again[0].url) > 5
            assert generated(other) + generated(again[0].url) < 240
        finally:
            again[0].stop()
    assert errors.count("set aside") == 1
    assert "is back" in errors


def test_a_client_that_is_killed_goes_on_with_its_fleet_and_asks_for_nothing_twice(
    fleet: list[str], path: Path, tmp_path: Path, expected: Any
) -> None:
    out = tmp_path / "out"
    process = started(command(path, out, *fleet))
    wait_until(lambda: generated(*fleet) > 100)
    process.kill()
    process.communicate()
    for url in fleet:
        wait_until_idle(url)
        ask(url, "/_double/reset", {})
    kept = written(out)
    assert kept > 20  # a disk that is slow to commit may have lost many, but not all
    done = run_cli(*command(path, out, *fleet[:2]))  # and with fewer servers
    assert done.returncode == 0, done.stderr
    assert shards(out) == expected(path)
    assert generated(*fleet) == 240 - kept


def test_one_that_is_always_full_keeps_nobody_from_working(
    fleet: list[str], path: Path, tmp_path: Path, expected: Any
) -> None:
    ask(fleet[0], "/_double/faults", {"kind": "status", "status": 429})
    done = run_cli(*command(path, tmp_path / "out", *fleet))
    assert done.returncode == 0, done.stderr
    assert shards(tmp_path / "out") == expected(path)
    assert generated(*fleet[1:]) == 240
    assert "refused" in run_cli("status", tmp_path / "out").stdout


def test_one_that_fails_at_everything_is_set_aside(fleet: list[str], path: Path, tmp_path: Path, expected: Any) -> None:
    ask(fleet[0], "/_double/faults", {"kind": "status", "status": 500})
    done = run_cli(*command(path, tmp_path / "out", *fleet))
    assert done.returncode == 0, done.stderr
    assert shards(tmp_path / "out") == expected(path)
    assert "set aside" in done.stderr
    assert len([e for e in ask(fleet[0], "/_double/log").json if e["route"] == "/generate"]) < 60


def test_when_all_are_killed_everything_ends_with_one_error_that_names_them() -> None:
    """The bound is a minute by default, and shorter here: so it is the fleet itself that is asked, in this process."""
    doubles = [Double(DOUBLE, *SLOW) for _ in range(2)]
    urls = [double.url for double in doubles]
    corpus = [row["text"] for row in topics(60, 200)]

    async def main() -> list[Any]:
        engine = Fleet(urls, retry=RetryPolicy(unreachable_seconds=1.0), connect_seconds=0.2)
        try:
            await engine.connect()
            asking = [asyncio.create_task(engine.complete(f"<s> {text}", SHORT)) for text in corpus]
            await asyncio.sleep(0.12)
            for double in doubles:
                double.kill()
            return await asyncio.gather(*asking, return_exceptions=True)
        finally:
            await engine.aclose()

    began = time.monotonic()
    answers = asyncio.run(main())
    assert time.monotonic() - began < 10
    failed = [answer for answer in answers if not isinstance(answer, Completion)]
    assert 0 < len(failed) < len(corpus)
    assert all(url in str(one) for one in failed for url in urls)


def test_one_that_is_not_there_is_a_warning_and_one_of_another_model_is_wrong_use(
    fleet: list[str], path: Path, tmp_path: Path
) -> None:
    done = run_cli(*command(path, tmp_path / "out", "http://127.0.0.1:9", fleet[0], limit=6))
    assert done.returncode == 0, done.stderr
    assert "No server answers at http://127.0.0.1:9" in done.stderr
    with running(DOUBLE, "--instant", "--model-id", "org/other") as other:
        done = run_cli(*command(path, tmp_path / "other", fleet[0], other))
    assert done.returncode == 2
    assert all(word in done.stderr for word in (fleet[0], other, "'org/other'", "one model"))


def test_engines_are_added_and_removed_while_the_run_goes_on(
    fleet: list[str], path: Path, tmp_path: Path, expected: Any
) -> None:
    file = tmp_path / "engines.txt"
    file.write_text(f"# ours\n{fleet[0]}\n")
    ask(fleet[0], "/_double/faults", {"kind": "slow", "seconds": 0.4})
    process = started(command(path, tmp_path / "out", engines_file=file))
    wait_until(lambda: generated(fleet[0]) > 10)
    file.write_text(f"{fleet[0]}\nnonsense\n")
    time.sleep(2.5)
    file.write_text(f"{fleet[1]}\n{fleet[2]}\n")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert shards(tmp_path / "out") == expected(path)
    assert generated(*fleet) == 240
    assert all(generated(url) > 10 for url in fleet)
    assert "'nonsense' names no engine" in errors
    assert f"{fleet[0]} is no longer named" in errors


def test_map_takes_a_fleet_and_a_file_of_engines(fleet: list[str], tmp_path: Path) -> None:
    file = tmp_path / "engines.txt"
    file.write_text(f"{fleet[1]}\n{fleet[2]}\n")
    batch = {"text": [row["text"] for row in topics(48, 200)]}
    one = Augment(fleet[0], max_new_tokens=24, journal=False)(batch)
    assert Augment(fleet, max_new_tokens=24, journal=False)(batch)["pairs"] == one["pairs"]
    before = generated(fleet[0])
    assert Augment(f"@{file}", max_new_tokens=24, journal=False)(batch)["pairs"] == one["pairs"]
    assert generated(fleet[0]) == before
    assert min(generated(url) for url in fleet[1:]) > 10


def test_a_server_that_queues_is_given_as_many_as_make_it_faster_and_concurrency_fixes_that(tmp_path: Path) -> None:
    """A simulated server with 96 places that refuses nothing: 32, to begin with, are too few, and 4 much too few.

    It is slow enough that the client has time to spare, or else it would be the client that is measured.
    """
    corpus = write_jsonl(tmp_path / "corpus.jsonl", [{"text": f"[doc {i}] {row['text']}"}
                                                     for i, row in enumerate(topics(60, 100) * 10)])  # fmt: skip
    options = options_of("--kind", "openai", "--batch", "96", "--faster", "4", "--mean-tokens", "30")
    most = {}
    for name, more in (("found", {}), ("fixed", {"concurrency": 4, "limit": 60})):
        with simulating(options) as (url,):
            done = run_cli(*command(corpus, tmp_path / name, url, **more))
            assert done.returncode == 0, done.stderr
            most[name] = stats(url)["most_in_flight"]
    assert 48 <= most["found"] <= 256
    assert most["fixed"] == 4


def test_a_stopped_run_lets_go_of_its_fleet_quickly(fleet: list[str], path: Path, tmp_path: Path) -> None:
    process = started(command(path, tmp_path / "out", *fleet))
    wait_until(lambda: generated(*fleet) > 30)
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "Stopped." in errors
    assert time.monotonic() - began < 5
    for url in fleet:
        wait_until(lambda url=url: not ask(url, "/_double/state").json["in_flight"])


def test_more_connections_than_a_process_may_open_at_first_are_asked_for(path: Path, tmp_path: Path) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with running(DOUBLE, "--instant", "--fixed-delay", "0.3", "--max-concurrent-requests", "200") as url:
        done = subprocess.run(
            ["/bin/sh", "-c", 'ulimit -S -n 100; exec "$@"', "sh", sys.executable, "-m", "hub_instructpt",
             *command(path, tmp_path / "out", url, num_shots=1)],
            capture_output=True, text=True, env=environment(), check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert ask(url, "/_double/state").json["max_in_flight"] == 200
    assert ("may open" in done.stderr) == (hard < 456)
