"""`Render` in `map`: rows as Augment gives them become texts, one a chain.

Held: Dataset and IterableDataset, worker processes, the types of the columns, chains, rows without text, formatted
datasets; the same fingerprint in every process, and another one for another seed or another wording.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset, Features, IterableDataset, List, Value
from datasets.fingerprint import Hasher

import hub_instructpt
from hub_instructpt import Render
from hub_instructpt.errors import InputError
from hub_instructpt.records import Example, Pair
from hub_instructpt.rendering import render_example

PACKAGE = Path(hub_instructpt.__file__).parent
FEATURES = Features(
    {
        "text": Value("string"),
        "pairs": List({"instruction": Value("string"), "response": Value("string")}),
        "example_id": Value("string"),
        "shot_index": Value("int32"),
    }
)


def pairs_of(n: int, number: int) -> list[Pair]:
    return [{"instruction": f"What is {n}.{k}?", "response": f"It is {n * 10 + k}."} for k in range(number)]


def augmented(chains: list[list[tuple[str, int]]]) -> list[dict[str, Any]]:
    """Rows of chains of texts, each with so many pairs."""
    rows: list[dict[str, Any]] = []
    for number, chain in enumerate(chains):
        for shot, (text, pairs) in enumerate(chain):
            rows.append(
                {"text": text, "pairs": pairs_of(len(rows), pairs), "example_id": f"id{number}", "shot_index": shot}
            )
    return rows


CHAINS = [[(f"Text {i}.{k} stands here.", (i + k) % 4) for k in range(1 + i % 3)] for i in range(12)]


def expected(rows: list[dict[str, Any]], seed: int = 0) -> list[dict[str, Any]]:
    chains: list[list[Example]] = []
    for row in rows:
        if row["shot_index"] == 0:
            chains.append([])
        chains[-1].append({"context": row["text"], "pairs": row["pairs"]})
    return [
        {
            "text": render_example(chain, seed),
            "num_pairs": sum(len(example["pairs"]) for example in chain),
            "num_shots": len(chain),
        }
        for chain in chains
    ]


def rendered(dataset: Dataset, render: Render | None = None, **options: Any) -> Dataset:
    return dataset.map(render or Render(), batched=True, remove_columns=dataset.column_names, **options)


def dataset_of(rows: list[dict[str, Any]]) -> Dataset:
    return Dataset.from_list(rows, features=FEATURES)


def test_each_chain_becomes_one_row_with_the_promised_types() -> None:
    rows = augmented(CHAINS)
    texts = rendered(dataset_of(rows), Render(seed=7))
    assert texts.to_list() == expected(rows, 7)
    types = {"text": Value("string"), "num_pairs": Value("int32"), "num_shots": Value("int32")}
    assert texts.features == Features(types)


def test_two_workers_give_the_rows_of_one() -> None:
    rows = augmented([[(f"Text {i}.", 2), (f"More of {i}.", 1)] for i in range(20)])
    assert rendered(dataset_of(rows), num_proc=2).to_list() == expected(rows)


def test_an_iterable_dataset_gives_the_same_rows() -> None:
    rows = augmented(CHAINS)
    dataset = IterableDataset.from_generator(lambda: iter(rows), features=FEATURES)
    texts = dataset.map(Render(), batched=True, remove_columns=list(FEATURES))
    assert list(texts) == expected(rows)
    assert all(type(row["num_pairs"]) is int for row in texts)


@pytest.mark.parametrize("form", ["numpy", "pandas", "arrow"])
def test_a_formatted_dataset_gives_the_same_rows(form: str) -> None:
    rows = augmented(CHAINS)
    texts = rendered(dataset_of(rows).with_format(form)).with_format(None)
    assert texts.to_list() == expected(rows)


def test_rows_without_text_are_left_out_even_from_a_chain() -> None:
    rows = augmented([[("First.", 1)], [("Second.", 2), ("Third.", 1)]])
    empty = {"text": None, "pairs": [], "example_id": "none", "shot_index": 0}
    blank = {**empty, "text": " \n"}
    mixed = [empty, rows[0], blank, rows[1], rows[2], empty]
    assert rendered(dataset_of(mixed)).to_list() == expected(rows)


def test_batches_without_any_text_change_nothing() -> None:
    rows = augmented(CHAINS)
    empty = [{"text": None, "pairs": [], "example_id": "none", "shot_index": 0}] * 4
    texts = rendered(dataset_of([*empty, *rows]), batch_size=4)
    assert "".join(texts["text"]).count("It is") == "".join(row["text"] for row in expected(rows)).count("It is")
    assert sum(texts["num_shots"]) == len(rows)


def test_a_chain_that_is_repeated_becomes_two_texts() -> None:
    rows = augmented([[("Again.", 1), ("And again.", 1)]]) * 2
    assert rendered(dataset_of(rows)).to_list() == expected(rows)


def test_a_chain_cut_by_the_batch_size_loses_nothing() -> None:
    rows = augmented([[(f"Shot {k}.", 2) for k in range(5)]])
    texts = rendered(dataset_of(rows), batch_size=2)
    assert texts["num_shots"] == [2, 2, 1]
    assert all(row["text"] in "".join(texts["text"]) for row in rows)


def test_text_may_stand_in_another_column() -> None:
    rows = augmented(CHAINS)
    named = dataset_of(rows).rename_column("text", "body")
    assert rendered(named, Render(text_column="body")).to_list() == expected(rows)


@pytest.mark.parametrize("column", ["text", "pairs", "example_id", "shot_index"])
def test_a_missing_column_is_named(column: str) -> None:
    dataset = dataset_of(augmented(CHAINS)).remove_columns(column)
    with pytest.raises(InputError, match=f"needs the column '{column}'"):
        rendered(dataset)


def test_single_rows_are_refused_with_advice() -> None:
    with pytest.raises(InputError, match="batched=True"):
        dataset_of(augmented(CHAINS)).map(Render())


# -- fingerprints ------------------------------------------------------------------------------------------------------

HASHES = """
from datasets.fingerprint import Hasher
from hub_instructpt import Render
print(Hasher.hash(Render(0)), Hasher.hash(Render(1)), Hasher.hash(Render(0, text_column="body")))
"""


def hashes(package: Path, hash_seed: str) -> list[str]:
    """Fingerprints of three settings, in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(package.parent), "PYTHONHASHSEED": hash_seed}
    done = subprocess.run(
        [sys.executable, "-c", HASHES],
        capture_output=True, text=True, env=environment, cwd=package.parent, timeout=120, check=True,
    )  # fmt: skip
    return done.stdout.split()


def test_fingerprints_are_the_same_in_two_processes_and_tell_settings_apart() -> None:
    first, here = hashes(PACKAGE, "1"), [Hasher.hash(r) for r in (Render(0), Render(1), Render(text_column="body"))]
    assert first == here
    assert len(set(first)) == 3
    used = Render(0)
    rendered(dataset_of(augmented(CHAINS)), used)
    assert Hasher.hash(used) == here[0]


def test_a_copy_of_the_package_with_another_wording_gives_another_fingerprint(tmp_path: Path) -> None:
    copy = tmp_path / "hub_instructpt"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__", "tiny_synthesizer"))
    path = copy / "templates" / "items.yaml"
    path.write_text(path.read_text("utf-8").replace("Pick one:", "Take one:"), "utf-8")
    changed = hashes(copy, "1")
    assert len(set(changed)) == 3
    assert changed[0] != Hasher.hash(Render(0))


def test_the_state_is_small() -> None:
    assert len(repr(Render(0).__getstate__())) < 200


def test_a_second_map_finds_the_cache(tmp_path: Path) -> None:
    dataset_of(augmented(CHAINS)).save_to_disk(tmp_path / "rows")
    first = rendered(Dataset.load_from_disk(tmp_path / "rows"))
    again = rendered(Dataset.load_from_disk(tmp_path / "rows"), Render(0))
    other = rendered(Dataset.load_from_disk(tmp_path / "rows"), Render(1))
    assert first.cache_files == again.cache_files
    assert first.cache_files != other.cache_files
