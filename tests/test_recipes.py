"""The recipes in dataset_scripts/: corpora that are published under the method's name, made small, from start to end.

Held here: each script runs as it stands, with the bundled synthesizer on real texts, and gives a mixture in the
proportions of the method; the fifth that is augmented and the rest that stays raw are disjoint and complete; the same
command goes on after any of its steps was stopped, and is refused by name with other settings; what fails in a step
fails the recipe with the same status; each script carries the header by which `uv run` finds its dependencies.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from hub_instructpt.cli.recipes import split_rows
from hub_instructpt.errors import RunDirectoryError
from tests.conftest import DATA, ROOT, environment, needs_data, topics, write_jsonl
from tests.doubles.plain_http import ask
from tests.doubles.process import running

SCRIPTS = ROOT / "dataset_scripts"
INSTRUCTIONS = [
    {"id": "1", "system_prompt": "", "question": "What is two plus two?", "response": "Four."},
    {"id": "2", "system_prompt": "", "question": "Name three primary colours.", "response": "Red, yellow and blue."},
    {"id": "3", "system_prompt": "", "question": "Which month follows May?", "response": "June follows May."},
]
COLLECTION = [
    {"context": "The mill stands by the river.", "QA_list": [{"Q": "Where does the mill stand?", "A": "by the river"}]},
    {"context": "Ada sold nine pears.", "QA_list": [{"Q": "How many pears did Ada sell?", "A": "nine"}]},
]


@pytest.fixture(scope="module")
def engine() -> Iterator[str]:
    """A server that answers at once; what is held here are recipes, not completions."""
    with running("tests.doubles.tgi", "--instant") as url:
        yield url


def recipe(name: str, *arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPTS / f"{name}.py"), *map(str, arguments), "--max-new-tokens", "24"],
        capture_output=True, text=True, timeout=240, cwd=cwd, env=environment(), check=False,
    )  # fmt: skip


def real_texts(path: Path, name: str, number: int) -> Path:
    """The first rows of a real corpus, cut short."""
    with (DATA / "raw" / f"{name}.jsonl").open(encoding="utf-8") as lines:
        rows = [json.loads(next(lines)) for _ in range(number)]
    return write_jsonl(path / f"{name}.jsonl", [{"text": row["text"][:500]} for row in rows])


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [row for path in sorted((folder / "data").glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


@needs_data
def test_the_general_corpus_has_a_fifth_augmented_the_rest_raw_and_the_collection_four_times(
    engine: str, tmp_path: Path
) -> None:
    source = real_texts(tmp_path, "wikipedia_paragraphs", 12)
    write_jsonl(tmp_path / "collection.jsonl", COLLECTION)
    out = tmp_path / "general"
    arguments = ["--engine", engine, "--source", source, "--collection", "collection.jsonl", "--out", "general"]
    done = recipe("general_corpus", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    texts = [json.loads(line)["text"] for line in source.read_text().splitlines()]
    run = rows_of(out / "augmented")
    assert [example["context"] for row in run for example in row["examples"]] == texts[::5]
    assert json.loads((out / "augmented" / "manifest.json").read_text())["settings"]["num_shots"] == 2
    mixture = rows_of(out / "mixture")
    raw = [row["text"] for row in mixture if row["source"] == "raw"]
    assert sorted(raw) == sorted(text for number, text in enumerate(texts) if number % 5)
    assert Counter(row["text"] for row in mixture if row["source"] == "augmented") == Counter(
        row["text"] for row in run
    )
    assert sum(row["source"] == "collection" for row in mixture) == 4 * len(COLLECTION)
    assert any(row["num_pairs"] for row in run)

    # The mixture is stopped and lost: the same command makes it again, and asks the engine nothing.
    before = [path.read_bytes() for path in sorted((out / "mixture" / "data").iterdir())]
    for path in (out / "mixture" / "data").iterdir():
        path.unlink()
    (out / "mixture" / "manifest.json").unlink()
    (out / "mixture" / "README.md").unlink()
    (out / "mixture" / "data").rmdir()
    ask(engine, "/_double/reset", {})
    assert recipe("general_corpus", *arguments, cwd=tmp_path).returncode == 0
    assert ask(engine, "/_double/state").json["generate"] == 0
    assert [path.read_bytes() for path in sorted((out / "mixture" / "data").iterdir())] == before


@needs_data
@pytest.mark.parametrize(
    ("name", "corpus", "number"),
    [("medicine_corpus", "pubmed_abstracts", 12), ("finance_corpus", "financial_reports", 4)],
)
def test_a_domain_corpus_is_whole_and_mixed_one_to_one_by_tokens(
    engine: str, tmp_path: Path, name: str, corpus: str, number: int
) -> None:
    source = real_texts(tmp_path, corpus, number + 2)
    write_jsonl(tmp_path / "instructions.jsonl", INSTRUCTIONS)
    done = recipe(
        name, "--engine", "local" if name == "finance_corpus" else engine, "--source", source, "--limit", number,
        "--instructions", "instructions.jsonl", "--tokenizer", "local", "--pack", 128, "--out", "out", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    run, mixture = rows_of(tmp_path / "out" / "augmented"), rows_of(tmp_path / "out" / "mixture")
    assert sum(len(row["examples"]) for row in run) == number
    assert json.loads((tmp_path / "out" / "augmented" / "manifest.json").read_text())["settings"]["num_shots"] == 3
    assert Counter(r["text"] for r in mixture if r["source"] == "augmented") == Counter(row["text"] for row in run)
    tokens: Counter[str] = Counter()
    for row in mixture:
        tokens[row["source"]] += row["num_tokens"]
    assert abs(tokens["augmented"] - tokens["instructions"]) <= max(row["num_tokens"] for row in mixture)
    assert {row["text"] for row in mixture if row["source"] == "instructions"} == {
        f"{row['question']} {row['response']}" for row in INSTRUCTIONS
    }
    assert list((tmp_path / "out" / "mixture" / "packed").glob("*.parquet"))


def test_a_step_that_fails_fails_the_recipe_with_its_own_words_and_status(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "texts.jsonl", topics(3))
    for name, arguments, words in (
        ("general_corpus", ["--source", "texts.jsonl", "--text-column", "body"], "has no column 'body'"),
        ("general_corpus", ["--source", "nowhere.jsonl"], "There is no file nowhere.jsonl"),
        ("medicine_corpus", ["--source", "nowhere.jsonl"], "There is no file nowhere.jsonl"),
    ):
        done = recipe(name, "--engine", "local", *arguments, "--out", "out", cwd=tmp_path)
        assert done.returncode == 2
        assert words in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("number", [1, 4, 5, 6, 23])
def test_a_split_is_disjoint_and_complete_and_goes_on_block_by_block(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub_instructpt.cli.recipes.ROWS_PER_BLOCK", 7)
    source = write_jsonl(tmp_path / "s.jsonl", [{"text": f"text {n}" if n % 4 else None} for n in range(1, number + 1)])

    def halves(folder: Path) -> list[list[str]]:
        return [
            [row["text"] for path in sorted((folder / half).iterdir()) for row in pq.read_table(path).to_pylist()]
            for half in ("chosen", "rest")
        ]

    out = tmp_path / "out"
    _, split = split_rows(str(source), "text", out, 5, None)
    chosen, rest = halves(out)
    assert chosen == [f"text {n + 1}" for n in range(0, number, 5) if (n + 1) % 4]
    assert rest == [f"text {n + 1}" for n in range(number) if n % 5 and (n + 1) % 4]
    assert (split.rows_chosen, split.rows_rest, split.finished) == (len(chosen), len(rest), True)

    # As if killed within the last block, between its two files.
    record = out / "split.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "finished": False}))
    sorted((out / "rest").iterdir())[-1].unlink()
    split_rows(str(source), "text", out, 5, None)
    assert halves(out) == [chosen, rest]
    with pytest.raises(RunDirectoryError, match="its limit was None"):
        split_rows(str(source), "text", out, 5, 3)
    _, limited = split_rows(str(source), "text", tmp_path / "limited", 5, 3)
    assert limited.rows_chosen + limited.rows_rest == min(number, 3)


@pytest.mark.parametrize("name", ["general_corpus", "medicine_corpus", "finance_corpus"])
def test_each_recipe_carries_its_dependencies_and_tells_its_options(name: str, tmp_path: Path) -> None:
    script = (SCRIPTS / f"{name}.py").read_text("utf-8")
    header = re.match(r"# /// script\n((?:#.*\n)+?)# ///\n", script)
    assert header
    inline = tomllib.loads("".join(line[2:] + "\n" for line in header[1].splitlines()))
    assert inline["dependencies"] == ["hub-instructpt[local]"]
    assert inline["requires-python"] == ">=3.11"
    told = recipe(name, "--help", cwd=tmp_path)
    assert told.returncode == 0
    options = {"--engine", "--out", "--limit", "--source", "--push"}
    assert options | {"--collection" if name == "general_corpus" else "--instructions"} <= set(
        re.findall(r"--[a-z-]+", told.stdout)
    )
