"""`collect --verify` finds what is wrong with a collection, by file and line, and nothing where nothing is.

Each fault is put into a collection that is sound, and sealed again where only the content should be at fault.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hub_instructpt.collection import collect
from hub_instructpt.collection.manifest import Collection
from hub_instructpt.collection.reading import open_files
from hub_instructpt.collection.registry import get_source
from hub_instructpt.collection.verify import verify
from hub_instructpt.runs.files import sha256
from tests.cli_cases import cases
from tests.collection.test_cli import squad_rows
from tests.conftest import write_jsonl

Lines = list[dict[str, Any]]
SHARD = "squad/shard/00000.jsonl"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A collection of four records with three pairs each."""
    folder, source = tmp_path / "out", get_source("squad")
    rows = write_jsonl(tmp_path / "rows.jsonl", squad_rows(12))
    with collect.open_collection(folder) as collection:
        settings = collect.settings_for(source, cap=10, seed=0, parquet=True)
        collect.collect(source, open_files(source, str(rows)), folder, collection, settings)
    return folder


def change(out: Path, edit: Callable[[Lines], object], *, sealed: bool = True) -> None:
    """Edit the records of the shard, and make the manifest agree with its bytes."""
    path = out / SHARD
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    edit(lines)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    if sealed:
        collection = Collection.load(out)
        [file] = collection.datasets[0].shards
        file.sha256, file.num_bytes = sha256(path), path.stat().st_size
        collection.save(out)


def test_a_sound_collection_has_no_findings(out: Path) -> None:
    report = verify(out)
    assert report.findings == []
    assert (report.datasets, report.records, report.pairs) == (1, 4, 12)
    assert report.notes == [
        "squad: 100.0 % of the answers are spans of their context, 100.0 % with case and white space folded."
    ]


def pair(at: int, number: int, **changes: Any) -> Callable[[Lines], object]:
    return lambda lines: lines[at]["QA_list"][number].update(changes)


FAULTS: dict[str, tuple[Callable[[Lines], object], str]] = {
    "no context": (lambda lines: lines[1].update(context=" "), f"{SHARD}:2: the context is empty"),
    "a marker in the context": (
        lambda lines: lines[2].update(context="a </CON> b"),
        f"{SHARD}:3: a marker of the wire format stands in the context",
    ),
    "a context twice": (
        lambda lines: lines[3].update(context=lines[0]["context"]),
        f"{SHARD}:4: its context stands in an earlier record",
    ),
    "a field too many": (lambda lines: lines[0].update(id=1), f"{SHARD}:1: is not an object of QA_list, QA_type"),
    "a foreign name": (lambda lines: lines[0].update(rc_name="x"), f"{SHARD}:1: rc_name is not squad"),
    "a foreign kind": (lambda lines: lines[0].update(QA_type="quiz"), f"{SHARD}:1: QA_type is not extractive"),
    "no questions": (lambda lines: lines[0].update(QA_list=[]), f"{SHARD}:1: it has no questions"),
    "no pair": (lambda lines: lines[0]["QA_list"].insert(0, "Q"), f"{SHARD}:1: question 0 is not an object of Q and A"),
    "an empty answer": (pair(0, 1, A="\n"), f"{SHARD}:1: question 1 or its answer is empty"),
    "no text": (pair(0, 1, Q=None), f"{SHARD}:1: question 1 or its answer is empty"),
    "a marker": (pair(0, 2, A="by <ANS>"), f"{SHARD}:1: a marker of the wire format stands in question 2"),
    "a question twice": (pair(0, 2, Q="WHERE does 0 stand?"), f"{SHARD}:1: question 2 stands on this context twice"),
    "options": (pair(0, 0, Q="Q?\nOptions:\n- x\n- y"), f"{SHARD}:1: the answer to question 0 is none of its options"),
    "reasoning": (
        pair(0, 0, Q="Q?\nLet's think step by step."),
        f"{SHARD}:1: the reasoning of question 0 can not be told from its answer",
    ),
    "a record too few": (lambda lines: lines.pop(), "squad: the manifest counts 4 records, there are 3"),
    "too many": (lambda lines: lines.extend({**lines[0], "context": f"{n}"} for n in range(9)), "than its cap of 10"),
    "no object": (lambda lines: lines.insert(1, 3), f"{SHARD}:2: is not an object"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_where_it_is(fault: str, out: Path) -> None:
    edit, words = FAULTS[fault]
    change(out, edit)
    found = [str(finding) for finding in verify(out).findings]
    assert any(words in finding for finding in found), found


def test_a_share_of_answers_that_are_no_spans_is_told_and_is_no_fault(out: Path) -> None:
    change(out, lambda lines: [pair(at, 0, A=answer)(lines) for at, answer in enumerate(("BY the\nRiver", "a boat"))])
    report = verify(out)
    assert report.findings == []
    assert re.search(r"83\.3 % of the answers .*, 91\.7 % with case", report.notes[0])


def test_files_that_are_changed_missing_or_strange_are_found(out: Path) -> None:
    change(out, lambda lines: lines[0].update(context="changed"), sealed=False)
    (out / "squad/parquet/00000.parquet").unlink()
    (out / "squad/shard/extra.jsonl").write_text("{}\n")
    [(status, told, _)] = cases([["collect", "--verify", out]])
    assert status == 1
    assert f"{SHARD}: is not as it was written: its sha256 differs" in told
    assert "squad/parquet/00000.parquet: is missing" in told
    assert "squad/shard/extra.jsonl: the manifest does not name it, but it would be read" in told
    assert told.splitlines()[-1] == "1 datasets, 4 records, 12 pairs: 3 findings."


def test_rubbish_in_a_shard_is_found_and_reading_goes_on(out: Path) -> None:
    with (out / SHARD).open("ab") as stream:
        stream.write(b"\xff\xfe\n{\n\n")
    found = [str(finding) for finding in verify(out).findings]
    assert [f"{SHARD}:{line}: is not JSON" in found for line in (5, 6, 7)] == [True] * 3
    assert f"{SHARD}: the manifest counts 4 records, there are 7" in found


def test_findings_are_bounded(out: Path) -> None:
    change(out, lambda lines: lines.extend([lines[0]] * 1_500))
    findings = verify(out).findings
    assert 1_000 < len(findings) < 1_010
    assert "more findings" in str(findings[-1])
