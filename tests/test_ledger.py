"""What did not make it is data; what failed for passing reasons is asked again; a run is what its manifest says.

Held here: ledger, counts and shards agree; `retry` asks for what failed and for nothing else, also in chains, without
the source, killed, and when it fails again; `verify` finds every kind of harm and names the file.
"""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hub_instructpt.runs.ledger import read_ledger
from hub_instructpt.runs.manifest import Manifest
from hub_instructpt.runs.verify import verify
from tests.cli_cases import cases
from tests.conftest import environment, run_cli, topics, write_jsonl
from tests.doubles.plain_http import ask
from tests.doubles.process import running

BAD = (3, 4, 17)


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
    """A corpus of 24 rows: two have no text, and a server can be told to fail on three others."""
    rows: list[dict[str, Any]] = [
        {"title": str(i), "text": f"{'plutonium' if i in BAD else 'bread'} {i}: {row['text']}"}
        for i, row in enumerate(topics(24, 150))
    ]
    rows[9]["text"] = None
    rows[20]["text"] = f"a lone \ud800 surrogate {rows[20]['text']}"
    rows[21]["text"] = " "
    return write_jsonl(tmp_path_factory.mktemp("corpus") / "corpus.jsonl", rows)


def command(path: Path, url: str, out: Path, shots: int = 2) -> list[object]:
    return [
        "augment", path, "--engine", url, "--out", out, "--keep-column", "title", "--num-shots", shots,
        "--max-new-tokens", 18, "--rows-per-shard", 5, "--max-failed-share", 0.5,
    ]  # fmt: skip


def poison(url: str, status: int) -> None:
    ask(url, "/_double/faults", {"kind": "poison", "match": "plutonium", "status": status})


def generated(url: str) -> int:
    return int(ask(url, "/_double/state").json["generate"])


def shard_bytes(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((out / "data").glob("*.parquet"))}


def whole(path: Path, url: str, out: Path, shots: int = 2) -> Path:
    assert cases([command(path, url, out, shots)])[0][0] == 0
    return out


@pytest.fixture(scope="module")
def once(path: Path, server: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("once") / "out"
    ask(server, "/_double/reset", {})
    poison(server, 500)
    status, _, told = cases([command(path, server, out)])[0]
    ask(server, "/_double/reset", {})
    assert status == 0, told
    assert "2 rows had no usable text and 3 texts failed" in told
    assert "hub-instructpt retry" in told
    return out


@pytest.fixture
def failed(once: Path, tmp_path: Path) -> Path:
    """A run in which three texts failed for a reason that may pass."""
    return Path(shutil.copytree(once, tmp_path / "out"))


def test_the_ledger_tells_row_by_row_what_the_manifest_counts(failed: Path) -> None:
    manifest = Manifest.load(failed)
    lines = [
        json.loads(line)
        for file in sorted((failed / "ledger").iterdir())
        for line in file.read_text().splitlines()
    ]  # fmt: skip
    assert [line["row"] for line in lines] == sorted(line["row"] for line in lines)
    lost = {line["row"]: line for line in lines if line["what"] != "pair"}
    for row in BAD:
        assert lost[row] == {
            "row": row, "what": "text", "reason": "failed_status_500", "number": 0, "attempts": 5, "status": 500,
            "finish_reason": None, "completion": None, "passing": True,
        }  # fmt: skip
    assert lost[9]["reason"] == "null"
    assert lost[21]["reason"] == "empty"
    dropped = [line for line in lines if line["what"] == "pair"]
    assert dropped
    assert all(line["completion"] and line["finish_reason"] for line in dropped)
    counted: Counter[str] = Counter()
    group = {"row": "rows_rejected", "text": "texts_without_pairs", "pair": "pairs_dropped"}
    for line in lines:
        counted[f"{group[line['what']]}/{line['reason']}"] += line["number"] if line["what"] == "pair" else 1
    assert counted == {key: n for key, n in manifest.counts.items() if key.partition("/")[0] in group.values()}
    assert [shard.index for shard in manifest.shards if shard.retryable] == [0, 3]
    assert sorted(path.name for path in (failed / "journal").iterdir()) == ["train-00000.jsonl", "train-00003.jsonl"]


def test_the_ledger_loads_as_a_dataset(failed: Path, tmp_path: Path) -> None:
    code = (
        "import datasets, sys\n"
        "d = datasets.load_dataset('json', data_files=sys.argv[1], split='train', cache_dir=sys.argv[2])\n"
        "print(sorted(d.column_names), len(d))"
    )
    arguments = [sys.executable, "-c", code, str(failed / "ledger" / "*.jsonl"), str(tmp_path / "cache")]
    done = subprocess.run(arguments, capture_output=True, text=True, env=environment(), check=False)
    columns = ["attempts", "completion", "finish_reason", "number", "passing", "reason", "row", "status", "what"]
    number = sum(len(list(read_ledger(failed, index))) for index in range(5))
    assert done.stdout.strip() == f"{columns} {number}", done.stderr


@pytest.mark.parametrize("shots", [1, 2])
def test_retry_asks_for_what_failed_and_for_nothing_else(path: Path, fast: str, tmp_path: Path, shots: int) -> None:
    out = tmp_path / "out"
    poison(fast, 503)
    assert cases([command(path, fast, out, shots)])[0][0] == 0
    ask(fast, "/_double/faults", method="DELETE")
    ask(fast, "/_double/reset", {})
    moved = path.rename(path.with_suffix(".away"))  # the source is not needed
    try:
        status, told, err = cases([["retry", out, "--engine", fast]])[0]
    finally:
        moved.rename(path)
    assert status == 0, err
    assert told.startswith("3 of 3 texts that had failed are answered: +")
    # A text that comes after one of them in its chain is shown other pairs now.
    assert generated(fast) == len(BAD) + (shots == 2)
    assert shard_bytes(out) == shard_bytes(whole(path, fast, tmp_path / "whole", shots))
    assert Manifest.load(out).counts == Manifest.load(tmp_path / "whole").counts
    assert Manifest.load(out).finished
    assert not (out / "journal").exists()
    assert not verify(out).findings


def test_what_fails_for_good_is_not_asked_again(path: Path, fast: str, tmp_path: Path) -> None:
    poison(fast, 422)
    assert cases([command(path, fast, tmp_path / "out")])[0][0] == 0
    ask(fast, "/_double/reset", {})
    assert "Nothing in this run failed" in cases([["retry", tmp_path / "out", "--engine", fast]])[0][1]
    assert generated(fast) == 0
    assert {loss.status for _, loss in read_ledger(tmp_path / "out", 0) if loss.what == "text"} == {422}


def test_what_fails_again_stays_as_it_was(failed: Path, fast: str) -> None:
    before = shard_bytes(failed)
    poison(fast, 500)
    status, told, err = cases([["retry", failed, "--engine", fast, "--max-failed-share", 0.9]])[0]
    assert (status, told) == (0, "0 of 3 texts that had failed are answered: +0 pairs.\n")
    assert "3 texts failed again" in err
    assert shard_bytes(failed) == before
    ask(fast, "/_double/faults", method="DELETE")
    found = cases([["retry", failed, "--engine", fast]] * 2)
    assert "3 of 3 texts" in found[0][1]
    assert found[1][1] == "Nothing in this run failed for a reason that may pass.\n"


def test_retry_needs_the_same_model_and_to_be_told_where_it_is(failed: Path) -> None:
    with running("tests.doubles.tgi", "--instant", "--model-id", "lab/other") as url:
        found = cases([["retry", failed], ["retry", failed, "--engine", url]])
    assert [status for status, _, _ in found] == [2, 2]
    assert "Name it: --engine" in found[0][2]
    assert "now it is 'lab/other'" in found[1][2]


def test_retry_without_the_journal_says_so_and_asks_for_the_whole_shard(failed: Path, fast: str, path: Path) -> None:
    shutil.rmtree(failed / "journal")
    status, _, err = cases([["retry", failed, "--engine", fast]])[0]
    assert status == 0
    assert "train-00000.jsonl is gone: all 5 texts of its shard are asked again" in err
    assert generated(fast) == 10
    assert shard_bytes(failed) == shard_bytes(whole(path, fast, failed.with_name("whole")))


def test_a_retry_that_is_killed_leaves_whole_shards_and_goes_on(path: Path, fast: str, failed: Path) -> None:
    before, draw = shard_bytes(failed), random.Random(3)
    with running("tests.doubles.tgi", "--instant", "--fixed-delay", "0.2", "--max-concurrent-requests", "1") as slow:
        for _ in range(3):
            process = subprocess.Popen(
                [sys.executable, "-m", "hub_instructpt", "retry", str(failed), "--engine", slow],
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment(),
            )  # fmt: skip
            deadline = time.monotonic() + 30
            while process.poll() is None and not generated(slow) and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(draw.uniform(0, 0.6))
            process.send_signal(signal.SIGKILL)
            process.wait()
            assert set(shard_bytes(failed)) == set(before)
            found = verify(failed).findings
            assert all("train-00000" in line or "train-00003" in line for line in found), found
    url = fast
    done = run_cli(*command(path, url, failed))  # whatever the kill left between a shard and its note
    assert done.returncode == 0, done.stderr
    assert run_cli("retry", failed, "--engine", url).returncode == 0
    assert shard_bytes(failed) == shard_bytes(whole(path, url, failed.with_name("whole")))
    assert not verify(failed).findings


# -- verify ------------------------------------------------------------------------------------------------------------


def _rewritten(file: Path, change: Callable[[pa.Table], pa.Table], out: Path) -> None:
    """Change a shard, and let the manifest tell of the new file: only its content tells now."""
    from hub_instructpt.runs.files import sha256

    pq.write_table(change(pq.read_table(file)), file)
    manifest = Manifest.load(out)
    for shard in manifest.shards:
        if shard.path.endswith(file.name):
            shard.num_bytes, shard.sha256 = file.stat().st_size, sha256(file)
    manifest.save(out)


def _fewer_rows(table: pa.Table) -> pa.Table:
    return table.slice(1)


def _other_order(table: pa.Table) -> pa.Table:
    return table.take(list(reversed(range(table.num_rows))))


def _no_text(table: pa.Table) -> pa.Table:
    return table.drop_columns(["text"])


HARM: dict[str, tuple[Callable[[Path, Path], object], str]] = {
    "altered": (lambda out, file: file.write_bytes(file.read_bytes()[:-9] + b"x" * 9), "altered since it was sealed"),
    "shorter": (lambda out, file: file.write_bytes(file.read_bytes()[:-9]), "bytes instead of"),
    "missing": (lambda out, file: file.unlink(), "it is missing"),
    "fewer": (lambda out, file: _rewritten(file, _fewer_rows, out), "the manifest says"),
    "order": (lambda out, file: _rewritten(file, _other_order, out), "not in order"),
    "columns": (lambda out, file: _rewritten(file, _no_text, out), "other columns"),
    "ledger": (lambda out, file: (out / "ledger/train-00001.jsonl").unlink(), "tells of 0 rows_rejected/null"),
    "torn": (lambda out, file: (out / "ledger/train-00001.jsonl").write_text('{"row":'), "no line of a ledger"),
    "foreign": (lambda out, file: shutil.copy(file, out / "data/train-00099.parquet"), "does not know it"),
}


@pytest.mark.parametrize("harm", HARM)
def test_verify_names_what_is_not_as_it_was(failed: Path, harm: str) -> None:
    do, said = HARM[harm]
    do(failed, failed / "data/train-00001.parquet")
    findings = verify(failed).findings
    assert said in "\n".join(findings)
    assert all("train-00001" in line or "train-00099" in line for line in findings)


def test_verify_on_the_command_line(failed: Path, tmp_path: Path) -> None:
    (failed / "data/train-00001.parquet").rename(tmp_path / "away")
    (tmp_path / "empty").mkdir()
    harmed = Path(shutil.copytree(failed, tmp_path / "harmed"))
    (tmp_path / "away").rename(failed / "data/train-00001.parquet")
    found = cases([["verify", folder] for folder in (failed, harmed, tmp_path / "empty", tmp_path / "nothing")])
    assert [status for status, _, _ in found] == [0, 1, 2, 2]
    assert found[0][1] == _whole_report(failed)
    assert found[1][1] == "data/train-00001.parquet: it is missing\n"
    assert found[1][2].startswith("hub-instructpt: 1 things are not as the manifest says. ")


def _whole_report(out: Path) -> str:
    manifest = Manifest.load(out)
    rows = sum(shard.num_rows for shard in manifest.shards)
    pairs = manifest.counts["pairs/kept"]
    return f"{len(manifest.shards)} shards, {rows} rows, {pairs} pairs: everything is as the manifest says.\n"


def test_verify_finds_a_gap_in_a_finished_run_and_none_in_one_that_goes_on(failed: Path) -> None:
    manifest = Manifest.load(failed)
    del manifest.shards[2]
    manifest.save(failed)
    told = verify(failed).findings
    assert told[0] == "data/train-00002.parquet: the manifest of a finished run lacks it"
    assert "does not know it" in told[1]
    manifest.finished = False
    manifest.save(failed)
    report = verify(failed)
    assert not report.findings
    assert report.notes == ["The run is not finished: 19 of 24 source rows are sealed."]
