"""Runs: rows become sealed shards in order, and whatever stops a run, the same command ends it to the same bytes.

Held here: the shards as pyarrow and `datasets` read them; counts that add up; kills and signals at several moments of
the real command; refusal of everything that is not this run; texts that fail, one, some or all; servers that are gone.
The double answers without a model: what is held here are runs, not completions.
"""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub_instructpt.engines.retries import RetryPolicy
from hub_instructpt.engines.tgi import TGIEngine
from hub_instructpt.errors import (
    EngineError,
    HubInstructPTError,
    InputError,
    RunDirectoryError,
    RunError,
    SettingsError,
)
from hub_instructpt.runs.locks import is_being_written, only_writer
from hub_instructpt.runs.manifest import Manifest, Settings
from hub_instructpt.runs.runner import Progress, augment_source
from hub_instructpt.runs.shards import OpenShard
from hub_instructpt.runs.sources import open_files
from tests.cli_cases import cases
from tests.conftest import environment, run_cli, topics, write_jsonl
from tests.doubles.plain_http import ask
from tests.doubles.process import Double, running

QUICK = RetryPolicy(max_attempts=2, unreachable_seconds=0.5, first_wait_seconds=0.01, longest_wait_seconds=0.05)
ASKED: dict[str, Any] = {
    "text_column": "text", "keep_columns": ["title"], "num_shots": 2, "max_new_tokens": 40, "temperature": 0.0,
    "top_p": 1.0, "rows_per_shard": 5, "limit": None, "seed": 3,
}  # fmt: skip


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with running("tests.doubles.tgi", "--instant") as url:
        yield url


@pytest.fixture
def fast(server: str) -> Iterator[str]:
    """A server that answers at once, with clean counters and no faults."""
    ask(server, "/_double/reset", {})
    yield server
    ask(server, "/_double/reset", {})


@pytest.fixture(scope="module")
def slow() -> Iterator[str]:
    """A server of the same model that answers about twenty times a second, so that a kill lands in the middle."""
    with running("tests.doubles.tgi", "--instant", "--fixed-delay", "0.1", "--max-concurrent-requests", "2") as url:
        yield url


def run(path: Path, url: str, out: Path, progress: Progress | None = None, **changes: Any) -> Manifest:
    asked = Settings(**{**ASKED, **changes})
    source = open_files([path], asked.text_column, asked.keep_columns)
    return augment_source(source, TGIEngine(url, retry=QUICK), asked, out, progress=progress)


def command(path: Path, url: str, out: Path) -> list[str]:
    return [
        "augment", str(path), "--engine", url, "--out", str(out), "--keep-column", "title", "--num-shots", "2",
        "--max-new-tokens", "40", "--rows-per-shard", "5", "--seed", "3",
    ]  # fmt: skip


def shard_bytes(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((out / "data").glob("*"))}


def rows_of(out: Path) -> list[dict[str, Any]]:
    return [row for shard in Manifest.load(out).shards for row in pq.read_table(out / shard.path).to_pylist()]


def generated(url: str) -> int:
    return int(ask(url, "/_double/state").json["generate"])


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of 23 texts and 2 rows without one."""
    rows: list[dict[str, Any]] = list(topics(23, 200))
    rows.insert(7, {"title": "no text", "text": None})
    rows.insert(12, {"title": "blank", "text": " "})
    return write_jsonl(tmp_path_factory.mktemp("corpus") / "corpus.jsonl", rows)


@pytest.fixture(scope="module")
def whole(path: Path, server: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus, augmented without any trouble."""
    out = tmp_path_factory.mktemp("whole") / "out"
    ask(server, "/_double/reset", {})
    run(path, server, out)
    return out


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "out"))


def cut_back(out: Path, shards: int) -> None:
    """Make a finished run one that was killed after so many shards."""
    manifest = Manifest.load(out)
    for shard in manifest.shards[shards:]:
        (out / shard.path).unlink()
    manifest.shards, manifest.finished = manifest.shards[:shards], False
    manifest.save(out)


# -- what is written -------------------------------------------------------------------------


def test_shards_hold_the_contracts_columns_in_source_order(whole: Path, path: Path) -> None:
    manifest = Manifest.load(whole)
    raw = [json.loads(line) for line in path.read_text().splitlines()]
    pair = pa.struct([("instruction", pa.string()), ("response", pa.string())])
    example = pa.struct([("context", pa.string()), ("pairs", pa.list_(pair)), ("title", pa.string())])
    for shard in manifest.shards:
        schema = pq.read_schema(whole / shard.path)
        assert schema.names == ["text", "examples", "source_rows", "num_pairs"]
        assert schema.types == [pa.string(), pa.list_(example), pa.list_(pa.int64()), pa.int32()]
    assert [shard.source_rows for shard in manifest.shards] == [(0, 5), (5, 10), (10, 15), (15, 20), (20, 25)]
    rows = rows_of(whole)
    usable = [index for index, row in enumerate(raw) if (row["text"] or "").strip()]
    assert [index for row in rows for index in row["source_rows"]] == usable
    for row in rows:
        assert [example["context"] for example in row["examples"]] == [raw[i]["text"] for i in row["source_rows"]]
        assert [example["title"] for example in row["examples"]] == [raw[i]["title"] for i in row["source_rows"]]
        assert row["num_pairs"] == sum(len(example["pairs"]) for example in row["examples"])
        assert 1 <= len(row["examples"]) <= 2
        assert row["examples"][0]["context"] in row["text"]
    assert {len(row["examples"]) for row in rows} == {1, 2}
    shards = [shard.path[5:] for shard in manifest.shards]
    kept = [".load.json", ".lock", ".lock-manifest", "data", "ledger", "manifest.json", *shards]
    lost = [path.name for path in (whole / "ledger").iterdir()]
    assert sorted(path.name for path in whole.rglob("*")) == sorted([*kept, *lost])
    assert {name.replace("jsonl", "parquet") for name in lost} <= set(shards)


def test_run_directories_load_as_datasets_also_with_leftovers_and_without_texts(
    copy: Path, whole: Path, fast: str, tmp_path: Path
) -> None:
    left = Path(shutil.copytree(whole, tmp_path / "left"))
    cut_back(left, 2)
    (left / "data" / ".train-00002.parquet.tmp").write_bytes(b"half a shard")
    (left / ".manifest.json.tmp").write_bytes(b"{")
    gaps = write_jsonl(
        tmp_path / "gaps.jsonl", [{"text": text, "title": None} for text in (None, " ", "a", "b", None, None, "c")]
    )
    manifest = run(gaps, fast, tmp_path / "gaps", rows_per_shard=2)
    assert [shard.num_rows for shard in manifest.shards] == [0, 1, 0, 1]
    assert manifest.shards[0].counts == {"rows/read": 2, "rows_rejected/empty": 1, "rows_rejected/null": 1}
    with pytest.raises(InputError, match=r"No row read has a usable text in 'text': 1 null, 1 empty\."):
        run(gaps, fast, tmp_path / "empty", limit=2)  # `datasets` could not load it
    assert Manifest.load(tmp_path / "empty").shards == []

    folders = [copy, left, tmp_path / "gaps"]
    assert [(status, err) for status, _, err in cases([["card", folder] for folder in folders])] == [(0, "")] * 3
    code = (
        "import datasets, json, sys\n"
        "for folder in sys.argv[2:]:\n"
        "    rows = datasets.load_dataset(folder, split='train', cache_dir=sys.argv[1])\n"
        "    print(json.dumps([rows.column_names, [i for some in rows['source_rows'] for i in some]]))"
    )
    arguments = [sys.executable, "-c", code, str(tmp_path / "cache"), *map(str, folders)]
    done = subprocess.run(arguments, capture_output=True, text=True, env=environment(), check=False)
    columns = ["text", "examples", "source_rows", "num_pairs"]
    expected = [[columns, [i for row in rows_of(folder) for i in row["source_rows"]]] for folder in folders]
    assert [json.loads(line) for line in done.stdout.splitlines()] == expected, done.stderr


texts = st.one_of(st.none(), st.just(" "), st.integers(0, 3), st.text(min_size=1, max_size=30))


@given(
    st.lists(texts, max_size=13).map(lambda rows: ["at least one", *rows]),
    st.integers(1, 6),
    st.integers(1, 3),
    st.none() | st.integers(1, 16),
)
@settings(max_examples=15, deadline=None)
def test_whatever_the_rows_are_the_counts_add_up(
    server: str, rows: list[Any], per_shard: int, num_shots: int, limit: int | None
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write_jsonl(Path(folder, "c.jsonl"), [{"text": text} for text in rows])
        changes = {"rows_per_shard": per_shard, "num_shots": num_shots, "limit": limit, "keep_columns": []}
        manifest = run(path, server, Path(folder, "out"), **changes)
        read = min(len(rows), limit or len(rows))
        counts = manifest.counts
        assert manifest.finished
        assert manifest.rows_sealed == counts["rows/read"] == read
        assert len(manifest.shards) == -(-read // per_shard)
        rejected = sum(number for name, number in counts.items() if name.startswith("rows_rejected/"))
        assert counts["rows/read"] == rejected + counts["texts/all"]
        written = rows_of(Path(folder, "out"))
        assert sum(len(row["examples"]) for row in written) == counts["texts/all"]
        assert sum(row["num_pairs"] for row in written) == counts["pairs/kept"]
        assert sum(shard.num_rows for shard in manifest.shards) == len(written)
        without = sum(n for name, n in counts.items() if name.startswith("texts_without_pairs/"))
        assert without == sum(not example["pairs"] for row in written for example in row["examples"])


def test_shards_are_numbered_in_order_also_when_sealing_one_takes_long(
    slow: str, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others are begun meanwhile, and end in files of their own."""
    seal, save = OpenShard.seal, Manifest.save

    def slowly(shard: OpenShard, *arguments: Any) -> Any:
        time.sleep(0.02)
        return seal(shard, *arguments)

    def saved(manifest: Manifest, folder: Path) -> None:
        time.sleep(0.1)  # between the shard's place in the manifest and its leaving the desk
        save(manifest, folder)

    monkeypatch.setattr(OpenShard, "seal", slowly)
    monkeypatch.setattr(Manifest, "save", saved)
    monkeypatch.setattr("hub_instructpt.runs.runner.running_in", lambda engine, info: lambda: 3)
    manifest = run(path, slow, tmp_path / "out", rows_per_shard=1)
    assert [shard.path for shard in manifest.shards] == [f"data/train-{i:05d}.parquet" for i in range(25)]
    assert [shard.source_rows for shard in manifest.shards] == [(i, i + 1) for i in range(25)]
    assert len(list((tmp_path / "out" / "data").iterdir())) == 25


# -- killed and stopped -------------------------------------------------------------------------


def started(path: Path, url: str, out: Path, sealed: int) -> subprocess.Popen[str]:
    """The real command, running, with at least so many shards sealed."""
    process = subprocess.Popen(
        [sys.executable, "-m", "hub_instructpt", *command(path, url, out)],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment(),
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if (out / "manifest.json").exists() and len(Manifest.load(out).shards) >= sealed:
            return process
        time.sleep(0.02)
    process.kill()
    raise AssertionError(f"it never got there: {process.communicate()[1]}")


@pytest.mark.parametrize(
    ("number", "sealed"),
    [(signal.SIGKILL, 0), (signal.SIGKILL, 2), (signal.SIGINT, 1), (signal.SIGTERM, 1)],
    ids=["killed-at-once", "killed-in-the-middle", "SIGINT", "SIGTERM"],
)
def test_a_run_that_was_stopped_goes_on_to_the_same_bytes(
    path: Path, whole: Path, slow: str, fast: str, tmp_path: Path, number: signal.Signals, sealed: int
) -> None:
    out = tmp_path / "out"
    ask(slow, "/_double/reset", {})
    process = started(path, slow, out, sealed)
    process.send_signal(number)
    told = process.communicate(timeout=30)[1]
    if number == signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
    else:
        assert process.returncode == 1
        assert told.splitlines()[-1].startswith("hub-instructpt: Stopped. What was answered is kept")
        assert "Traceback" not in told
    before = Manifest.load(out)
    assert not before.finished
    assert len(before.shards) >= sealed
    assert not is_being_written(out)
    assert (out / ".lock").exists()
    kept = {name: content for name, content in shard_bytes(out).items() if not name.startswith(".")}

    manifest = run(path, fast, out)  # another server of the same model
    assert manifest.finished
    assert shard_bytes(out) == shard_bytes(whole)
    assert all(shard_bytes(out)[name] == content for name, content in kept.items())
    # What was answered is not asked again, but for the answers of the last moment, which no disk had seen yet.
    unanswered = manifest.counts["texts/all"] - ask(slow, "/_double/state").json["answered"]
    assert unanswered <= generated(fast) <= unanswered + 4
    assert set(ask(fast, "/_double/state").json["prompts"].values()) <= {1}
    assert not (out / "journal").exists()


def test_there_is_one_writer_and_status_knows_of_it(path: Path, slow: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ask(slow, "/_double/faults", {"kind": "slow", "seconds": 120})
    process = started(path, slow, out, 0)
    try:
        assert json.loads(run_cli("status", out, "--json").stdout)["state"] == "running"
        with pytest.raises(RunDirectoryError, match=rf"Another process .*\(process {process.pid} on "):
            run(path, slow, out)
        with pytest.raises(RunDirectoryError, match=rf"\(process {process.pid} on "):
            run(path, slow, out)
        assert process.poll() is None
    finally:
        process.kill()
        process.communicate()
        ask(slow, "/_double/reset", {})
    assert json.loads(run_cli("status", out, "--json").stdout)["state"].startswith("stopped")


def test_a_shard_that_the_manifest_does_not_name_is_made_again(path: Path, whole: Path, fast: str, copy: Path) -> None:
    cut_back(copy, 2)
    (copy / "data/train-00002.parquet").write_bytes(b"sealed, but never named")
    (copy / "data/.train-00003.parquet.tmp").write_bytes(b"half")
    run(path, fast, copy)
    assert shard_bytes(copy) == shard_bytes(whole)


@given(st.integers(0, 5), st.integers(0, 5))
@settings(max_examples=8, deadline=None)
def test_a_run_may_be_cut_back_anywhere_and_more_than_once(
    path: Path, whole: Path, server: str, first: int, second: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copytree(whole, Path(folder, "out")))
        for shards in (first, second):
            cut_back(copy, shards)
            run(path, server, copy)
            assert shard_bytes(copy) == shard_bytes(whole)
            assert Manifest.load(copy).counts == Manifest.load(whole).counts


def test_a_finished_run_is_not_asked_for_again(path: Path, copy: Path, fast: str) -> None:
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file() and path.name != ".lock"}
    assert run(path, fast, copy).finished
    assert generated(fast) == 0
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file() and path.name != ".lock"} == before


# -- another run -------------------------------------------------------------------------

CHANGES: dict[str, Any] = {
    "keep_columns": [], "num_shots": 1, "max_new_tokens": 39, "temperature": 0.5, "top_p": 0.9,
    "rows_per_shard": 6, "limit": 20, "seed": 4, "text_column": "title",
}  # fmt: skip


def test_every_setting_that_changes_a_text_is_covered() -> None:
    assert CHANGES.keys() == ASKED.keys() == Settings.model_fields.keys() - {"prompt_format", "mode"}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_setting_is_refused_by_its_name(path: Path, fast: str, copy: Path, name: str) -> None:
    before = shard_bytes(copy)
    option = "--" + name.replace("_", "-").removesuffix("s" if name == "keep_columns" else "")
    with pytest.raises(RunDirectoryError, match=rf"another run: {option} was ") as caught:
        run(path, fast, copy, **{name: CHANGES[name]})
    assert caught.value.exit_status == 2
    assert shard_bytes(copy) == before
    assert generated(fast) == 0


def test_a_changed_source_is_refused_by_its_name(path: Path, fast: str, copy: Path, tmp_path: Path) -> None:
    changed = tmp_path / "corpus.jsonl"
    changed.write_text(path.read_text().replace("e", "E", 1))
    with pytest.raises(RunDirectoryError, match=r"its source file corpus.jsonl has changed since"):
        run(changed, fast, copy)
    renamed = tmp_path / "other.jsonl"
    shutil.copy(path, renamed)
    with pytest.raises(RunDirectoryError, match=r"name was 'corpus.jsonl', now it is 'other.jsonl'"):
        run(renamed, fast, copy)
    moved = tmp_path / "moved" / "corpus.jsonl"
    moved.parent.mkdir()
    shutil.copy(path, moved)
    assert run(moved, fast, copy).finished


def test_another_model_is_refused_by_its_name(path: Path, copy: Path) -> None:
    with (
        running("tests.doubles.tgi", "--instant", "--model-id", "lab/other") as url,
        pytest.raises(RunDirectoryError, match=r"the engine's model id was .* now it is 'lab/other'"),
    ):
        run(path, url, copy)


def test_a_first_try_that_sealed_nothing_stands_in_nobodys_way(path: Path, fast: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for wrong in ({"temperature": 9.0}, {"max_new_tokens": 100_000}):
        with pytest.raises(SettingsError):
            run(path, fast, out, **wrong)
        assert not (out / "manifest.json").exists()
    ask(fast, "/_double/faults", {"kind": "status", "status": 500})
    with pytest.raises(EngineError):
        run(path, fast, out)
    ask(fast, "/_double/faults", method="DELETE")
    assert run(path, fast, out, seed=99).settings.seed == 99


# -- directories -------------------------------------------------------------------------


def test_a_directory_that_holds_something_else_is_left_as_it_is(path: Path, fast: str, tmp_path: Path) -> None:
    for name in ("notes.txt", "data/photo.jpg", "data/train-00000.parquet", ".hidden"):
        out = tmp_path / name.replace("/", "-")
        (out / name).parent.mkdir(parents=True)
        (out / name).write_text("precious")
        with pytest.raises(RunDirectoryError, match="not empty"):
            run(path, fast, out)
        assert (out / name).read_text() == "precious"
    file = tmp_path / "file"
    file.write_text("precious")
    for out in (file, file / "below"):
        with pytest.raises(RunDirectoryError, match="can not be used"):
            run(path, fast, out)
    for name in (".lock", ".manifest.json.tmp"):
        out = tmp_path / f"empty{name}"
        out.mkdir()
        (out / name).write_text("of a killed run")
        assert run(path, fast, out, limit=1).finished


def test_what_others_put_beside_the_shards_stays(path: Path, fast: str, copy: Path) -> None:
    cut_back(copy, 1)
    (copy / "data/notes").mkdir()
    (copy / "data/notes.txt").write_text("mine")
    run(path, fast, copy)
    assert (copy / "data/notes.txt").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only for root")
def test_a_read_only_directory_is_refused(path: Path, fast: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir(mode=0o555)
    with pytest.raises(RunDirectoryError, match="can not be written to"):
        run(path, fast, out)


def test_a_full_disk_fails_in_one_line_and_the_same_command_goes_on(
    path: Path, whole: Path, fast: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    largest = max(len(content) for content in shard_bytes(whole).values())

    def fill() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest - 100, largest - 100))

    done = subprocess.run(
        [sys.executable, "-m", "hub_instructpt", *command(path, fast, out)],
        capture_output=True, text=True, env=environment(), preexec_fn=fill, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert re.search(r"can not be written: .*File too large.* Make room", done.stderr.splitlines()[-1]), done.stderr
    assert "Traceback" not in done.stderr
    assert not list(out.rglob("*.tmp"))
    run(path, fast, out)
    assert shard_bytes(out) == shard_bytes(whole)


def test_a_file_where_the_shards_belong_fails_in_words(path: Path, fast: str, copy: Path) -> None:
    cut_back(copy, 0)
    (copy / "data").rmdir()
    (copy / "data").write_text("")
    with pytest.raises(RunError, match="can not be made"):
        run(path, fast, copy)


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize(
    ("harm", "said"),
    [("altered", "was altered since"), ("shorter", r"has [\d,]+ bytes instead of"), ("missing", "is missing")],
)
def test_a_shard_that_is_not_as_it_was_sealed_is_said_and_made_anew(
    path: Path, whole: Path, fast: str, copy: Path, harm: str, said: str, finished: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    shard = copy / "data/train-00001.parquet"
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    changed: dict[str, Callable[[], object]] = {
        "altered": lambda: shard.write_bytes(content),
        "shorter": lambda: shard.write_bytes(content[:-1]),
        "missing": shard.unlink,
    }
    changed[harm]()
    if not finished:
        cut_back(copy, 4)
    assert run(path, fast, copy).finished
    assert re.search(rf"train-00001.parquet {said}.*its 4 texts are asked again", caplog.text)
    assert shard_bytes(copy) == shard_bytes(whole)
    assert Manifest.load(copy).counts == Manifest.load(whole).counts
    assert generated(fast) == (4 if finished else 9)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=5,
)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_damaged_manifest_is_an_error_of_ours(whole: Path, data: st.DataObject) -> None:
    content = (whole / "manifest.json").read_bytes()
    what = data.draw(st.sampled_from(["cut", "noise", "foreign", "field", "escape"]))
    if what == "cut":
        content = content[: data.draw(st.integers(0, len(content) - 3))]
    elif what == "noise":
        content = data.draw(st.binary(max_size=50))
    elif what == "foreign":
        content = json.dumps(data.draw(json_values)).encode()
    else:
        manifest = json.loads(content)
        if what == "escape":
            manifest["shards"][0]["path"] = data.draw(st.sampled_from(["../x.parquet", "/etc/passwd", "data/../x"]))
        else:
            manifest[data.draw(st.sampled_from(["format", "source", "settings", "engine", "shards"]))] = {"of": "2"}
        content = json.dumps(manifest).encode()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "manifest.json").write_bytes(content)
        with pytest.raises(HubInstructPTError) as caught:
            Manifest.load(Path(folder))
        assert "\n" not in str(caught.value)


def test_the_lock_goes_with_its_block(tmp_path: Path) -> None:
    assert not is_being_written(tmp_path)
    with only_writer(tmp_path):
        assert is_being_written(tmp_path)
        holder = (tmp_path / ".lock").read_text()
        assert holder.startswith(f"{os.getpid()} ")
        assert is_being_written(tmp_path)
        assert (tmp_path / ".lock").read_text() == holder
    assert not is_being_written(tmp_path)


# -- texts that fail, servers that go -------------------------------------------------------------------------


def poison(url: str, word: str, status: int = 422) -> None:
    assert ask(url, "/_double/faults", {"kind": "poison", "match": word, "status": status}).status < 300


def corpus_of(folder: Path, words: str) -> Path:
    return write_jsonl(folder / "c.jsonl", [{"text": f"{word} {n}", "title": word} for n, word in enumerate(words)])


def test_one_poisoned_text_costs_no_other_and_is_counted(fast: str, tmp_path: Path) -> None:
    poison(fast, "arsenic")
    rows = [{"text": f"a text about {'arsenic' if n == 3 else 'bread'} {n}", "title": str(n)} for n in range(9)]
    path, out = write_jsonl(tmp_path / "c.jsonl", rows), tmp_path / "out"
    done = run_cli("augment", path, "--engine", fast, "--out", out, "--rows-per-shard", 4, "--max-new-tokens", 40)
    assert done.returncode == 0, done.stderr
    assert "1 texts failed" in done.stderr
    assert [bool(row["num_pairs"]) for row in rows_of(out)] == [n != 3 for n in range(9)]
    assert Manifest.load(out).counts["texts_without_pairs/failed_status_422"] == 1
    assert "422" in run_cli("status", out).stdout
    assert "422" in (out / "README.md").read_text()


@pytest.mark.parametrize("words", ["PPggg", "gggPP", "PgPgg"])
@pytest.mark.parametrize("cut", [0, 2, 4])
def test_poison_at_the_edges_of_small_shards_stops_no_run(fast: str, tmp_path: Path, words: str, cut: int) -> None:
    poison(fast, "P ")
    path, out = corpus_of(tmp_path, words), tmp_path / "out"
    run(path, fast, out, rows_per_shard=1, num_shots=1)
    before = shard_bytes(out)
    cut_back(out, cut)
    assert run(path, fast, out, rows_per_shard=1, num_shots=1).finished
    assert shard_bytes(out) == before
    assert [bool(row["num_pairs"]) for row in rows_of(out)] == [word == "g" for word in words]


@pytest.mark.parametrize("number", [3, 40])
def test_when_everything_fails_nothing_is_sealed_and_the_reason_is_said(fast: str, tmp_path: Path, number: int) -> None:
    poison(fast, "P ")
    with pytest.raises(EngineError, match=r"failed on \d+ of \d+ texts \(status_422: \d+\)") as caught:
        run(corpus_of(tmp_path, "P" * number), fast, tmp_path / "out")
    assert caught.value.exit_status == 1
    assert Manifest.load(tmp_path / "out").shards == []


def test_an_engine_that_is_not_there_is_said_within_seconds(path: Path, tmp_path: Path) -> None:
    began = time.monotonic()
    done = run_cli(*command(path, "http://127.0.0.1:9", tmp_path / "out"))
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "http://127.0.0.1:9" in done.stderr
    assert time.monotonic() - began < 20


def test_a_server_that_goes_in_the_middle_leaves_a_run_that_can_go_on(
    path: Path, whole: Path, fast: str, tmp_path: Path
) -> None:
    double = Double("tests.doubles.tgi", "--instant", "--fixed-delay", "0.05", "--max-concurrent-requests", "2")
    try:

        class Kill(Progress):
            def sealed(self, manifest: Manifest) -> None:
                if len(manifest.shards) == 2:
                    double.kill()

        with pytest.raises(EngineError, match="run the same command again"):
            run(path, double.url, tmp_path / "out", Kill())
    finally:
        double.stop()
    sealed = Manifest.load(tmp_path / "out")
    assert len(sealed.shards) >= 2
    assert not sealed.finished
    run(path, fast, tmp_path / "out")
    assert shard_bytes(tmp_path / "out") == shard_bytes(whole)
    assert generated(fast) <= 23 - sealed.counts["texts/all"]
