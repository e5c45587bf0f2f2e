"""Runs in an object store, over HTTP: s3fs as the client, moto's S3 as the server.

`make test` runs this in an environment of its own (`.venvs/object-store`), since s3fs holds packages below the newest.
Elsewhere it is skipped. Held here: the same bytes as in a folder, whatever was killed or failed in between, with
several workers on machines of their own; what counts in the store is whole; `status`, `card` and `verify` read it.
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("s3fs", reason="only in the environment of the object stores")
pytest.importorskip("moto", reason="only in the environment of the object stores")

from hub_instructpt.runs.manifest import Manifest
from tests.cli_cases import cases
from tests.conftest import environment, topics, write_jsonl
from tests.doubles.plain_http import ask
from tests.doubles.process import running

URL = "s3://bucket/corpora/run"
BAD = (3, 17)
TEXTS = 39


@pytest.fixture(scope="module")
def tgi() -> Iterator[str]:
    with running("tests.doubles.tgi", "--instant") as url:
        yield url


@pytest.fixture(scope="module")
def slow_tgi() -> Iterator[str]:
    with running("tests.doubles.tgi", "--instant", "--fixed-delay", "0.1", "--max-concurrent-requests", "4") as url:
        yield url


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with running("tests.doubles.s3") as url:
        yield url


@pytest.fixture
def s3(server: str, tgi: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty S3, and the environment that leads there."""
    ask(server, "/_double/reset", {})
    ask(tgi, "/_double/reset", {})
    for name, value in (
        ("AWS_ENDPOINT_URL", server), ("AWS_ACCESS_KEY_ID", "someone"), ("AWS_SECRET_ACCESS_KEY", "hushhush"),
        ("AWS_DEFAULT_REGION", "us-east-1"), ("AWS_EC2_METADATA_DISABLED", "true"),
    ):  # fmt: skip
        monkeypatch.setenv(name, value)
    yield server
    ask(server, "/_double/reset", {})
    ask(tgi, "/_double/reset", {})


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of 40 rows: one has no text, and a server can be told to fail on two others."""
    rows: list[dict[str, Any]] = [
        {"text": f"{'plutonium' if i in BAD else 'bread'} {i}: {row['text']}"}
        for i, row in enumerate(topics(40, 150))
    ]  # fmt: skip
    rows[9]["text"] = None
    return write_jsonl(tmp_path_factory.mktemp("corpus") / "corpus.jsonl", rows)


@pytest.fixture(scope="module")
def whole(path: Path, tgi: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "out"
    assert cases([command(path, tgi, f"file://{out}")])[0][0] == 0
    return out


def command(path: Path, tgi: str, out: object = URL, *more: object) -> list[object]:
    return [
        "augment", path, "--engine", tgi, "--out", out, "--num-shots", 2, "--max-new-tokens", 18, "--rows-per-shard", 4,
        "--max-failed-share", 0.5, *more,
    ]  # fmt: skip


def faults(s3: str, *told: dict[str, Any]) -> None:
    ask(s3, "/_double/faults", list(told))


def log(s3: str) -> list[str]:
    answered: list[str] = ask(s3, "/_double/log").json
    return answered


def stored(s3: str, url: str = URL) -> dict[str, bytes]:
    """Everything that the bucket holds below a URL."""
    import boto3

    client = boto3.client("s3", endpoint_url=s3)
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    found = client.list_objects_v2(Bucket=bucket, Prefix=prefix + "/").get("Contents", [])
    read = {
        one["Key"].removeprefix(prefix + "/"): client.get_object(Bucket=bucket, Key=one["Key"])["Body"].read()
        for one in found
    }
    client.close()
    return read


def generated(url: str) -> int:
    return int(ask(url, "/_double/state").json["generate"])


def check(s3: str, whole: Path) -> None:
    """The store holds what the folder does, and a note of each shard."""
    held = stored(s3)
    for folder in ("data", "ledger"):
        here = {f"{folder}/{file.name}": file.read_bytes() for file in (whole / folder).iterdir()}
        assert {name: content for name, content in held.items() if name.startswith(folder)} == here
    local, remote = Manifest.load(whole), Manifest.parse(held["manifest.json"], "there")
    assert remote.finished
    assert [(one.path, one.sha256, one.counts) for one in remote.shards] == [
        (one.path, one.sha256, one.counts) for one in local.shards
    ]
    notes = [f"shards/train-{shard.index:05d}.json" for shard in local.shards]
    assert sorted(name for name in held if name.startswith("shards/")) == notes
    assert not [name for name in held if name.startswith("journal/")]
    card = held["README.md"].decode()
    assert f"num_examples: {sum(shard.num_rows for shard in local.shards)}" in card
    assert in_order(log(s3))


def in_order(answered: list[str]) -> bool:
    """Whether each note came after the data that it is of."""
    first = {line: number for number, line in reversed(list(enumerate(answered)))}
    notes = [line for line in first if line.startswith("PUT corpora/run/shards/")]
    data = [line.replace("/shards/", "/data/").replace(".json", ".parquet") for line in notes]
    return all(first[one] < first[note] for note, one in zip(notes, data, strict=True))


def spooled(home: Path) -> list[str]:
    """What is left in the spools of a machine, besides the manifests."""
    return [path.name for path in home.rglob("train-*")]


def test_a_run_in_a_store_is_that_of_a_folder_and_a_copy_of_it_is_one(
    path: Path, tgi: str, s3: str, whole: Path, tmp_path: Path
) -> None:
    home = {"HF_HOME": str(tmp_path / "home")}
    again = command(path, tgi)
    found = cases([again, again, ["status", URL], ["verify", URL], ["card", URL]], **home)
    assert [status for status, _, _ in found] == [0] * 5, found
    assert f"10 shards in {URL}, card in {URL}/README.md." in found[0][1]
    assert "python -c \"import fsspec; fsspec.filesystem('s3').get('bucket/corpora/run'" in found[0][1]
    assert generated(tgi) == TEXTS
    check(s3, whole)
    assert not spooled(tmp_path)
    copy = tmp_path / "copy"  # what lies there is a run directory
    for name, content in stored(s3).items():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes(content)
    local = cases([["status", whole], ["verify", whole], ["verify", copy], command(path, tgi, copy), ["verify", copy]])
    assert [status for status, _, _ in local] == [0] * 5, local
    assert generated(tgi) == TEXTS
    pick = ("state", "rows sealed", "pairs", "rows left out", "texts without")
    lines = [[line for line in told.splitlines() if line.startswith(pick)] for told in (found[2][1], local[0][1])]
    assert lines[0] == lines[1]
    assert found[3][1] == local[1][1]
    assert found[4][1] == f"{URL}/README.md\n"


class Machine:
    """A worker with a cache of its own, as on another host."""

    def __init__(self, home: Path, *arguments: object) -> None:
        self.errors = (home.parent / f"{home.name}.err").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "hub_instructpt", *map(str, arguments)],
            stdout=subprocess.DEVNULL, stderr=self.errors, env=environment(HF_HOME=str(home)),
        )  # fmt: skip

    def end(self, *, kill: bool = False) -> int:
        if kill:
            self.process.kill()
        status = self.process.wait(timeout=60)
        self.errors.close()
        return status


def test_workers_on_machines_of_their_own_killed_and_shared_out_anew(
    path: Path, slow_tgi: str, s3: str, whole: Path, tmp_path: Path
) -> None:
    draw = random.Random(7)
    ask(slow_tgi, "/_double/reset", {})
    faults(s3, {"kind": "delay", "seconds": 0.15, "method": "PUT", "match": "/(data|shards)/", "times": 1000})
    machines = [
        Machine(tmp_path / f"machine{i}", *command(path, slow_tgi, URL, "--worker", f"{i}/3")) for i in range(3)
    ]
    deadline = time.monotonic() + 30
    while not any("PUT" in line and "/data/" in line for line in log(s3)) and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(draw.uniform(0, 0.5))
    for machine in machines:
        machine.end(kill=True)
        time.sleep(draw.uniform(0, 0.2))
    assert in_order(log(s3))
    faults(s3)
    machines = [
        Machine(tmp_path / f"machine{i}", *command(path, slow_tgi, URL, "--worker", f"{i}/2")) for i in range(2)
    ]
    errors = [(tmp_path / f"machine{i}.err") for i in range(2)]
    assert [machine.end() for machine in machines] == [0] * 2, [file.read_text() for file in errors]
    check(s3, whole)


def test_a_machine_that_is_taken_away_leaves_its_answers(
    path: Path, slow_tgi: str, s3: str, whole: Path, tmp_path: Path
) -> None:
    ask(slow_tgi, "/_double/reset", {})
    machine = Machine(tmp_path / "machine", *command(path, slow_tgi))
    deadline = time.monotonic() + 60
    while generated(slow_tgi) < 10 and time.monotonic() < deadline:
        time.sleep(0.02)
    machine.process.terminate()
    assert machine.end() == 1
    assert "What was answered is kept" in (tmp_path / "machine.err").read_text()
    assert any(name.startswith("journal/") for name in stored(s3))
    assert Machine(tmp_path / "another", *command(path, slow_tgi)).end() == 0
    assert generated(slow_tgi) <= TEXTS + 4  # what was in flight
    check(s3, whole)


def test_a_store_that_fails_now_and_then_is_asked_again(
    path: Path, tgi: str, s3: str, whole: Path, tmp_path: Path
) -> None:
    faults(
        s3,
        {"kind": "status", "status": 500, "method": "PUT", "match": "/data/", "times": 3},
        {"kind": "cut", "method": "PUT", "match": "/data/train-00002", "times": 2},
        {"kind": "status", "status": 503, "method": "PUT", "match": "/shards/", "times": 2},
        {"kind": "cut", "method": "PUT", "match": "/ledger/", "times": 1},
        {"kind": "status", "status": 500, "method": "GET", "match": "manifest", "times": 1},
    )
    status, _, err = cases([command(path, tgi)], HF_HOME=str(tmp_path / "home"))[0]
    assert status == 0, err
    check(s3, whole)


def test_a_store_that_refuses_ends_the_run_and_loses_nothing(
    path: Path, tgi: str, s3: str, whole: Path, tmp_path: Path
) -> None:
    faults(s3, {"kind": "status", "status": 403, "method": "PUT", "match": "/data/train-0000[3-9]", "times": 99})
    home = {"HF_HOME": str(tmp_path / "home")}
    status, _, err = cases([command(path, tgi)], **home)[0]
    assert status == 1
    assert err.splitlines()[-1].startswith(f"hub-instructpt: {URL}: can not write data/train-00003.parquet: Permission")
    assert "hushhush" not in err
    found = cases([["status", URL], ["verify", URL]], **home)
    assert "not finished; the same commands go on" in found[0][1]
    assert "12 of 40" in found[0][1]
    assert found[1][0] == 0, found[1]
    faults(s3)
    assert cases([command(path, tgi)], **home)[0][0] == 0
    check(s3, whole)
    assert generated(tgi) == TEXTS  # none of them twice
    assert not spooled(tmp_path)


def test_what_is_wrong_from_the_start_is_one_line(path: Path, tgi: str, s3: str, tmp_path: Path) -> None:
    found = cases(
        [
            command(path, tgi, "s3://nowhere/run"),
            command(path, tgi, "hf://datasets/lab/corpus"),
            command(path, tgi, "odd://bucket/run"),
            command(path, tgi, "gs://bucket/run"),
            ["status", URL],
            ["push", URL, "lab/corpus"],
            ["render", URL, "--out", tmp_path / "out"],
            ["mix", URL, "--out", tmp_path / "out"],
            ["mix", path, "--out", URL],
            command(path, tgi, URL, "--push-to", "lab/corpus"),
            ["augment", URL, "--out", tmp_path / "out"],
        ],
        HF_HOME=str(tmp_path / "home"),
    )
    assert [status for status, _, _ in found] == [2] * 11, found
    said = [err.splitlines()[-1] for _, _, err in found]
    assert "Is there such a bucket?" in said[0]
    assert "Use a bucket, hf://buckets/" in said[1]
    assert "odd://bucket/run can not be opened" in said[2] or "Protocol not known" in said[2]
    assert said[3].endswith("Install it: pip install gcsfs")
    assert (
        said[4]
        == f"hub-instructpt: {URL} holds no run: there is no manifest.json. Make one with `hub-instructpt augment`."
    )
    assert "`push` needs a folder" in said[5]
    assert "`render` needs a folder" in said[6]
    assert f"{URL} is a URL, and sources are read from disk or from the Hub" in said[7]
    assert "`mix` needs a folder" in said[8]
    assert "--push-to pushes from a folder" in said[9]
    assert f"{URL} is a URL, and sources are read from disk or from the Hub" in said[10]
    assert generated(tgi) == 0


def test_what_failed_for_a_passing_reason_is_asked_again_from_another_machine(
    path: Path, tgi: str, s3: str, whole: Path, tmp_path: Path
) -> None:
    ask(tgi, "/_double/faults", {"kind": "poison", "match": "plutonium", "status": 503})
    assert cases([command(path, tgi)], HF_HOME=str(tmp_path / "one"))[0][0] == 0
    assert {name for name in stored(s3) if name.startswith("journal/")} == {
        f"journal/train-{index // 4:05d}.jsonl" for index in BAD
    }
    ask(tgi, "/_double/faults", method="DELETE")
    ask(tgi, "/_double/reset", {})
    again = ["retry", URL, "--engine", tgi]
    found = cases([again, ["verify", URL], again], HF_HOME=str(tmp_path / "two"))
    assert [status for status, _, _ in found] == [0, 0, 0], found
    assert found[0][1].startswith("2 of 2 texts that had failed are answered: +")
    assert found[2][1] == "Nothing in this run failed for a reason that may pass.\n"
    assert generated(tgi) == 2 + sum(index % 2 == 0 for index in BAD)  # and the second of a chain, shown other pairs
    check(s3, whole)
    assert not spooled(tmp_path)


def test_another_run_is_refused_and_damage_is_mended(
    path: Path, tgi: str, s3: str, whole: Path, tmp_path: Path
) -> None:
    import boto3

    assert cases([command(path, tgi)], HF_HOME=str(tmp_path / "one"))[0][0] == 0
    status, _, err = cases([command(path, tgi, URL, "--seed", 9)], HF_HOME=str(tmp_path / "two"))[0]
    assert (status, f"{URL} holds another run: --seed was 0, now it is 9." in err) == (2, True), err
    client = boto3.client("s3", endpoint_url=s3)
    client.delete_object(Bucket="bucket", Key="corpora/run/data/train-00004.parquet")
    client.put_object(Bucket="bucket", Key="corpora/run/data/train-00006.parquet", Body=b"short")
    client.close()
    before = generated(tgi)
    found = cases([["verify", URL], command(path, tgi, URL, "--worker", "0/2"), ["verify", URL]], HF_HOME=str(tmp_path))
    assert [status for status, _, _ in found] == [1, 0, 0], found
    assert found[0][1].splitlines() == [
        "data/train-00004.parquet: it is missing",
        f"data/train-00006.parquet: it has 5 bytes instead of {(whole / 'data/train-00006.parquet').stat().st_size:,}",
    ]
    assert f"{URL}/data/train-00004.parquet is missing; it is made anew: its 4 texts are asked again." in found[1][2]
    assert generated(tgi) - before == 8
    check(s3, whole)
