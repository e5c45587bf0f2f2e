"""`hub-instructpt render`: a finished run with another seed has the same examples and other texts, and asks nobody."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.conftest import run_cli
from tests.doubles.plain_http import ask

SMALL = ("--max-new-tokens", 24, "--rows-per-shard", 5)


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [row for path in sorted((folder / "data").glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


@pytest.fixture
def run(tgi: str, corpus: Callable[..., Path], tmp_path: Path) -> Path:
    made = run_cli("augment", corpus(12), "--engine", tgi, "--out", tmp_path / "run", "--keep-column", "title", *SMALL)
    assert made.returncode == 0, made.stderr
    return tmp_path / "run"


def test_another_seed_gives_other_texts_of_the_same_examples(run: Path, tgi: str, tmp_path: Path) -> None:
    asked = ask(tgi, "/_double/state").json["requests"]
    done = run_cli("render", run, "--seed", 7, "--out", tmp_path / "other")
    assert done.returncode == 0, done.stderr
    assert ask(tgi, "/_double/state").json["requests"] == asked
    before, after = rows_of(run), rows_of(tmp_path / "other")
    assert [row["examples"] for row in after] == [row["examples"] for row in before]
    assert [row["source_rows"] for row in after] == [row["source_rows"] for row in before]
    assert [row["text"] for row in after] != [row["text"] for row in before]
    assert "--seed 7" in (tmp_path / "other" / "README.md").read_text()


def test_the_same_seed_gives_the_same_bytes(run: Path, tmp_path: Path) -> None:
    assert run_cli("render", run, "--out", tmp_path / "same").returncode == 0
    for path in sorted((run / "data").glob("*.parquet")):
        assert (tmp_path / "same" / "data" / path.name).read_bytes() == path.read_bytes()


def test_a_rendering_that_was_stopped_goes_on(run: Path, tmp_path: Path) -> None:
    whole, half = tmp_path / "whole", tmp_path / "half"
    assert run_cli("render", run, "--seed", 3, "--out", whole).returncode == 0
    manifest = (whole / "manifest.json").read_text()
    half.mkdir()
    (half / "data").mkdir()
    from hub_instructpt.runs.manifest import Manifest

    stopped = Manifest.model_validate_json(manifest)
    kept = stopped.shards[0]
    (half / kept.path).write_bytes((whole / kept.path).read_bytes())
    stopped.model_copy(update={"shards": [kept], "finished": False}).save(half)
    assert run_cli("render", run, "--seed", 3, "--out", half).returncode == 0
    assert rows_of(half) == rows_of(whole)


def test_what_can_not_be_rendered_is_said_in_one_line(run: Path, tmp_path: Path) -> None:
    onto_itself = run_cli("render", run, "--seed", 1, "--out", run)
    assert (onto_itself.returncode, onto_itself.stderr.count("\n")) == (2, 1), onto_itself.stderr
    assert run_cli("render", run, "--seed", 1, "--out", tmp_path / "one").returncode == 0
    other_seed = run_cli("render", run, "--seed", 2, "--out", tmp_path / "one")
    assert other_seed.returncode == 2
    assert "--seed was 1, now it is 2" in other_seed.stderr
    none = run_cli("render", tmp_path, "--out", tmp_path / "none")
    assert none.returncode == 2
    assert "holds no run" in none.stderr


def test_a_mode_can_be_asked_for(run: Path, tmp_path: Path) -> None:
    done = run_cli("render", run, "--mode", "inverted", "--out", tmp_path / "inverted")
    assert done.returncode == 0, done.stderr
    with_pairs = [row for row in rows_of(tmp_path / "inverted") if row["num_pairs"]]
    assert with_pairs
    for row in with_pairs:
        example = row["examples"][0]
        context, asked = example["context"], example["pairs"][0]["instruction"]
        assert row["text"].index(asked) < row["text"].index(context)
    other = run_cli("render", run, "--mode", "dialogue", "--out", tmp_path / "inverted")
    assert other.returncode == 2
    assert "--mode was 'inverted', now it is 'dialogue'" in other.stderr
    unknown = run_cli("render", run, "--mode", "haiku", "--out", tmp_path / "haiku")
    assert unknown.returncode == 2
    assert "classic, dialogue" in unknown.stderr
