"""Runs on Ray: a real cluster of several nodes on this machine, the real command, and a node lost in the middle.

Held here: the same bytes as one process makes, whoever dies; nothing answered is asked again; all tasks together ask no
more at once than one process would; one place tells how far it is, what failed, and that it was stopped.
The double answers without a model: what is held here are runs, not completions.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hub_instructpt.runs.locks import is_being_written
from hub_instructpt.runs.manifest import Manifest
from tests.conftest import environment, run_cli, topics, write_jsonl
from tests.doubles.plain_http import ask
from tests.doubles.process import running

pytest.importorskip("ray", reason="Ray, an extra, is not installed: pip install 'hub-instructpt[ray]'")

pytestmark = [pytest.mark.xdist_group("ray"), pytest.mark.timeout(300)]

PLACES = 12
"""Requests that the server takes at once."""
TEXTS = 60


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The control of a cluster of three nodes with one CPU each."""
    with running("tests.doubles.ray_cluster", "--nodes", "3", timeout=200) as url:
        yield url


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A server that takes no more at once."""
    with running("tests.doubles.tgi", "--instant", "--max-concurrent-requests", str(PLACES)) as url:
        yield url


@pytest.fixture
def slow(server: str) -> Iterator[str]:
    """The server, so slow that all nodes are at work before the work is done, however busy the machine is."""
    ask(server, "/_double/reset", {})
    ask(server, "/_double/faults", {"kind": "slow", "seconds": 4.0})
    yield server
    ask(server, "/_double/reset", {})


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of 60 texts and a row without one."""
    rows: list[dict[str, Any]] = list(topics(TEXTS, 200))
    rows.insert(7, {"title": "no text", "text": None})
    return write_jsonl(tmp_path_factory.mktemp("corpus") / "corpus.jsonl", rows)


def command(path: Path, url: str, out: Path, *more: object) -> list[str]:
    return [
        "augment", str(path), "--engine", url, "--out", str(out), "--keep-column", "title", "--num-shots", "2",
        "--max-new-tokens", "40", "--rows-per-shard", "4", *map(str, more),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def whole(path: Path, server: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The corpus, augmented by one process."""
    out = tmp_path_factory.mktemp("whole") / "out"
    assert run_cli(*command(path, server, out)).returncode == 0
    return files_of(out)


def files_of(out: Path) -> dict[str, bytes]:
    """All that a corpus consists of, and what was lost on the way."""
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.glob("*/*")) if path.is_file()}


def address_of(cluster: str) -> str:
    return str(ask(cluster, "/").json["address"])


def begun(arguments: list[str], server: str, far_enough: Callable[[dict[str, Any]], bool]) -> subprocess.Popen[str]:
    """A command that is at work, as far as the state of the server must tell."""
    process = subprocess.Popen(
        [sys.executable, "-m", "hub_instructpt", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(),
    )  # fmt: skip
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline and process.poll() is None:
        if far_enough(ask(server, "/_double/state").json):
            return process
        time.sleep(0.02)
    process.kill()
    raise AssertionError(f"it never got there: {process.communicate()[1]}")


def test_a_node_that_is_lost_costs_no_byte_and_no_answer(
    cluster: str, slow: str, path: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    arguments = command(path, slow, out, "--ray", address_of(cluster))
    # With more in flight than two of them may have, all three nodes are at work.
    process = begun(arguments, slow, lambda state: state["in_flight"] > 2 * PLACES // 3 and state["answered"] >= 4)
    assert ask(cluster, "/remove", {}).json["nodes"] == 2
    ask(slow, "/_double/faults", method="DELETE")
    told = process.communicate(timeout=120)[1]
    assert process.returncode == 0, told
    assert files_of(out) == whole
    manifest = Manifest.load(out)
    assert manifest.finished
    assert manifest.counts["texts/all"] == TEXTS
    state = ask(slow, "/_double/state").json
    assert state["max_in_flight"] <= PLACES
    # What the lost node had in flight or not yet on disk is asked again: at most its share of the requests.
    assert TEXTS < state["generate"] <= TEXTS + PLACES // 3
    assert f"| {TEXTS + 1}/{TEXTS + 1} [" in told
    assert f"pairs={manifest.counts['pairs/kept']}" in told
    assert not is_being_written(out)
    assert run_cli("verify", out).returncode == 0


def test_what_is_stopped_on_ray_goes_on_without_it(
    cluster: str, slow: str, path: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    arguments = command(path, slow, out, "--concurrency", 6)
    process = begun([*arguments, "--ray", address_of(cluster)], slow, lambda state: state["answered"] >= 10)
    assert json.loads(run_cli("status", out, "--json").stdout)["state"] == "running"
    process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    told = process.communicate(timeout=30)[1]
    assert time.monotonic() - began < 10
    assert process.returncode == 1
    assert told.splitlines()[-1].startswith("hub-instructpt: Stopped. What was answered is kept")
    assert "Traceback" not in told
    ask(slow, "/_double/faults", method="DELETE")
    before = ask(slow, "/_double/state").json
    assert before["max_in_flight"] <= 6
    assert run_cli(*arguments).returncode == 0
    assert files_of(out) == whole
    after = ask(slow, "/_double/state").json
    assert after["generate"] <= TEXTS + 6
    assert before["generate"] < TEXTS


def test_a_driver_that_is_killed_leaves_nobody_in_the_way(
    cluster: str, slow: str, path: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    arguments = [*command(path, slow, out), "--ray", address_of(cluster)]
    process = begun(arguments, slow, lambda state: state["answered"] >= 40)
    process.kill()
    process.communicate()
    ask(slow, "/_double/faults", method="DELETE")
    done = run_cli(*arguments)
    assert done.returncode == 0, done.stderr
    assert files_of(out) == whole
    # What was in flight is asked again, and what was answered and, on a busy machine, not yet written: not most of it.
    assert ask(slow, "/_double/state").json["generate"] <= TEXTS + 3 * PLACES


def test_failures_are_judged_over_all_tasks(cluster: str, server: str, path: Path, tmp_path: Path) -> None:
    ask(server, "/_double/reset", {})
    ask(server, "/_double/faults", {"kind": "status", "status": 422, "share": 0.5})
    done = run_cli(*command(path, server, tmp_path / "out", "--ray", address_of(cluster)))
    ask(server, "/_double/reset", {})
    assert done.returncode == 1
    assert "The engine failed on " in done.stderr.splitlines()[-1]
    assert "status_422" in done.stderr.splitlines()[-1]


def test_augment_is_a_callable_for_ray_data(cluster: str, server: str, path: Path) -> None:
    ask(server, "/_double/reset", {})
    program = f"""
import json, ray
from hub_instructpt import Augment
ray.init({address_of(cluster)!r}, log_to_driver=False)
rows = [json.loads(line) for line in open({str(path)!r})]
augment = Augment({server!r}, max_new_tokens=40, journal=False)
for batch_format in ("pyarrow", "default"):
    ds = ray.data.from_items(rows).map_batches(augment, batch_format=batch_format, batch_size=None)
    rows_of_it = sorted(ds.take_all(), key=lambda row: row["title"])
    texts = [row["text"] if isinstance(row["text"], str) else None for row in rows_of_it]  # as an array, None is NaN
    print(json.dumps([sorted(rows_of_it[0]), list(zip(texts, (row["pairs"] for row in rows_of_it)))]))
"""
    quiet = environment(RAY_DATA_DISABLE_PROGRESS_BARS="1")
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=quiet, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    as_tables, as_arrays = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[[")]
    assert as_tables == as_arrays
    names, rows = as_tables
    assert names == ["example_id", "pairs", "shot_index", "text", "title"]
    assert len(rows) == TEXTS + 1
    assert all(bool(pairs) == bool(text) for text, pairs in rows)


def test_without_a_cluster_it_says_what_to_do(path: Path, server: str, tmp_path: Path) -> None:
    done = run_cli(*command(path, server, tmp_path / "out", "--ray", "127.0.0.1:9"), RAY_ADDRESS="")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("hub-instructpt: There is no Ray cluster at 127.0.0.1:9")
    assert "ray start --head" in done.stderr
