"""Several processes make one run; a signal stops each of them soon; a disk that takes nothing is said in one line.

Held here: what a worker makes, who may work beside whom, and what is refused; stopping once and twice, also when an
engine hangs; a disk that is full or read-only, where one can be mounted.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub_instructpt.engines.tgi import TGIEngine
from hub_instructpt.errors import InputError, RunDirectoryError, SettingsError
from hub_instructpt.runs.locks import is_being_written, only_writer
from hub_instructpt.runs.manifest import BESIDE, Manifest, Settings, SourceFacts
from hub_instructpt.runs.runner import augment_source
from hub_instructpt.runs.share import ALONE, Worker
from hub_instructpt.runs.sources import Source, open_files
from hub_instructpt.runs.verify import verify
from tests.cli_cases import cases
from tests.conftest import environment, run_cli, topics, write_jsonl
from tests.doubles.plain_http import ask
from tests.doubles.process import running


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with running("tests.doubles.tgi", "--instant") as url:
        yield url


@pytest.fixture
def fast(server: str) -> Iterator[str]:
    ask(server, "/_double/reset", {})
    yield server
    ask(server, "/_double/reset", {})


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [{"text": text} for text in (None, " ", *(row["text"] for row in topics(20, 100)))]
    return write_jsonl(tmp_path_factory.mktemp("corpus") / "corpus.jsonl", rows)


def make(path: Path, url: str, out: Path, worker: Worker = ALONE, **changes: Any) -> Manifest:
    asked: dict[str, Any] = {
        "text_column": "text", "keep_columns": [], "num_shots": 1, "max_new_tokens": 24, "temperature": 0.0,
        "top_p": 1.0, "rows_per_shard": 2, "limit": None, "seed": 0,
    } | changes  # fmt: skip
    return augment_source(open_files([path], "text", []), TGIEngine(url), Settings(**asked), out, worker=worker)


def shard_bytes(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((out / "data").iterdir())}


# -- shares ------------------------------------------------------------------------------------------------------------


@given(st.integers(1, 9), st.integers(0, 99))
def test_each_shard_is_somebodys(of: int, shard: int) -> None:
    for begin in (0, 1):  # schedulers count from 0 or from 1
        workers = [Worker.parse(f"{index}/{of}") for index in range(begin, begin + of)]
        assert sum(worker.has(shard) for worker in workers) == 1


@pytest.mark.parametrize("text", ["", "1", "3/2", "1/0", "-1/2", "a/b", "1/2/3", "0x1/2", "1.0/2", "0/0"])
def test_a_share_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="is not I/N"):
        Worker.parse(text)


def test_workers_of_any_number_make_the_bytes_of_one_process(path: Path, fast: str, tmp_path: Path) -> None:
    whole = make(path, fast, tmp_path / "whole")
    ask(fast, "/_double/reset", {})
    out = tmp_path / "shared"
    # The first shard holds no text at all; worker 0 of 11 has that and no other.
    assert not make(path, fast, out, Worker(0, 11)).finished
    assert [shard.index for shard in Manifest.load(out).shards] == [0]
    for worker in (Worker(1, 4), Worker(1, 4), Worker(0, 2)):
        assert not make(path, fast, out, worker).finished
    assert [shard.index for shard in Manifest.load(out).shards] == [0, 1, 2, 4, 5, 6, 8, 9, 10]
    assert verify(out).notes == ["The run is not finished: 18 of 22 source rows are sealed."]
    last = make(path, fast, out, Worker(2, 3))  # shards 2, 5 and 8 are there
    assert not last.finished
    last = make(path, fast, out)
    assert last.finished
    assert ask(fast, "/_double/state").json["generate"] == 20
    assert shard_bytes(out) == shard_bytes(tmp_path / "whole")
    assert last.counts == whole.counts
    assert [shard.evidence for shard in last.shards] == [shard.evidence for shard in whole.shards]
    assert whole.evidence is not None
    assert not (out / BESIDE).exists()
    assert not verify(out).findings


@pytest.mark.parametrize("number", [9, 10])
@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4, 5, 6), (6, 5, 4, 3, 2, 1, 0), (6, 0, 5, 1, 4, 2, 3)])
def test_a_source_that_does_not_tell_its_length_ends_all_the_same(
    fast: str, tmp_path: Path, number: int, order: tuple[int, ...]
) -> None:
    """Shards 5 and 6 of these workers lie behind the end; so does what is left when all is sealed."""

    def raw_rows(start: int) -> Iterator[dict[str, Any]]:
        yield from ({"text": f"row {index}"} for index in range(start, number))

    source = Source(SourceFacts(kind="hub", name="lab/corpus", revision="a" * 40), "text", {}, raw_rows)
    settings = Settings(
        text_column="text", keep_columns=[], num_shots=1, max_new_tokens=24, temperature=0.0, top_p=1.0,
        rows_per_shard=2, limit=None, seed=0,
    )  # fmt: skip

    def work(worker: Worker) -> Manifest:
        return augment_source(source, TGIEngine(fast), settings, tmp_path / "out", worker=worker)

    finished = [work(Worker(index, 7)).finished for index in order]
    assert finished == [set(range(5)) <= set(order[: at + 1]) for at in range(7)]
    manifest = Manifest.load(tmp_path / "out")
    assert (manifest.num_rows, manifest.rows_sealed) == (number, number)
    manifest.finished, manifest.num_rows = False, None  # as a kill between the last shard and the end leaves it
    manifest.save(tmp_path / "out")
    assert work(ALONE).finished
    assert ask(fast, "/_double/state").json["generate"] == number
    assert not verify(tmp_path / "out").findings


def test_workers_on_the_command_line(path: Path, fast: str, tmp_path: Path) -> None:
    command = ["augment", path, "--engine", fast, "--out", tmp_path / "out", "--rows-per-shard", 6]
    found = cases([[*command, "--worker", share] for share in ("1/2", "2/2", "2/2", "3/2")])
    assert [status for status, _, _ in found] == [0, 0, 0, 2]
    assert "Worker 1/2 is done. Of the whole run so far: 10 rows in 2 shards" in found[0][2]
    assert "22 rows, " in found[1][1]
    assert found[2][1] == found[1][1]
    assert "'3/2' is not I/N" in found[3][2]
    assert Manifest.load(tmp_path / "out").finished


def test_who_may_work_beside_whom(path: Path, fast: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with only_writer(out, Worker(0, 3)):
        assert is_being_written(out)
        assert not make(path, fast, out, Worker(1, 3)).finished
        for worker in (Worker(0, 3), Worker(0, 2), ALONE):
            with pytest.raises(RunDirectoryError, match=rf"Another process is writing .*\(process {os.getpid()} on "):
                make(path, fast, out, worker)
    with only_writer(out), pytest.raises(RunDirectoryError, match="Another process"):
        make(path, fast, out, Worker(2, 3))
    (out / ".lock-0-of-2").write_text("4711 a-host-that-died\n")  # left behind: in nobody's way
    assert not make(path, fast, out, Worker(0, 3)).finished
    assert make(path, fast, out, Worker(2, 3)).finished


def test_a_worker_of_another_run_is_refused(path: Path, fast: str, tmp_path: Path) -> None:
    make(path, fast, tmp_path / "out", Worker(0, 11))
    with pytest.raises(RunDirectoryError, match="--rows-per-shard was 2, now it is 3"):
        make(path, fast, tmp_path / "out", Worker(1, 11), rows_per_shard=3)


def test_rows_without_texts_alone_are_a_mistake_of_one_process_and_the_lot_of_a_worker(
    path: Path, fast: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="No row read has a usable text"):
        make(path, fast, tmp_path / "one", limit=2)
    make(path, fast, tmp_path / "two", Worker(0, 50))
    assert Manifest.load(tmp_path / "two").shards[0].num_rows == 0


# -- signals -----------------------------------------------------------------------------------------------------------


def _started(command: list[str], url: str, asked: int) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "hub_instructpt", *command],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment(),
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while ask(url, "/_double/state").json["generate"] < asked:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return process


@pytest.mark.parametrize(
    ("signals", "said"),
    [
        ([signal.SIGINT], "Stopped. "),
        ([signal.SIGTERM], "Stopped. "),
        ([signal.SIGTERM, signal.SIGINT], "Stopped at once. "),
    ],
)
def test_a_signal_stops_a_run_soon_and_two_at_once(
    path: Path, fast: str, tmp_path: Path, signals: list[signal.Signals], said: str
) -> None:
    ask(fast, "/_double/faults", {"kind": "slow", "seconds": 120, "after": 9})
    out = tmp_path / "out"
    command = ["augment", str(path), "--engine", fast, "--out", str(out), "--max-new-tokens", "24"]
    process = _started(command, fast, 9)
    time.sleep(0.3)
    began = time.monotonic()
    for number in signals:
        process.send_signal(number)
    told = process.communicate(timeout=30)[1]
    assert time.monotonic() - began < 10
    assert process.returncode == 1
    assert f"hub-instructpt: {said}" in told.splitlines()[-1]
    assert "the same command goes on" in told
    assert "Traceback" not in told
    assert not is_being_written(out)
    ask(fast, "/_double/faults", method="DELETE")
    assert run_cli(*command).returncode == 0


# -- disks -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 96 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a disk can not be mounted here")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_disk_is_said_in_one_line_and_nothing_answered_is_asked_again(
    path: Path, fast: str, small_disk: Path, tmp_path: Path
) -> None:
    filler, out = small_disk / "filler", small_disk / "out"
    filler.write_bytes(b"x" * 64_000)
    command = ["augment", path, "--engine", fast, "--out", out, "--max-new-tokens", 24, "--rows-per-shard", 4]
    done = run_cli(*command)
    assert done.returncode == 1
    assert "can not be written: No space left on device. Make room" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    asked = ask(fast, "/_double/state").json["generate"]
    filler.unlink()
    done = run_cli(*command)
    assert done.returncode == 0, done.stderr
    lost = ask(fast, "/_double/state").json["generate"] - 20
    assert 0 <= lost <= asked
    make(path, fast, tmp_path / "whole", rows_per_shard=4)
    assert shard_bytes(out) == shard_bytes(tmp_path / "whole")


def test_a_read_only_disk_is_refused_before_anything_is_asked(path: Path, fast: str, small_disk: Path) -> None:
    (small_disk / "out").mkdir()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    found = cases([["augment", path, "--engine", fast, "--out", small_disk / name] for name in ("out", "new")])
    assert [status for status, _, _ in found] == [2, 2]
    assert all("Read-only file system" in err for _, _, err in found)
    assert ask(fast, "/_double/state").json["generate"] == 0
