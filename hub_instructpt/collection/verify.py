"""A collection, checked file by file: that it is what its manifest says, and that every record is as it must be.

Keeps true: nothing is changed; every finding names its file, and the line where there is one; files are read line by
line. Does not know how a collection is made.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from hub_instructpt.collection.collect import fold
from hub_instructpt.collection.manifest import Collection, DatasetFacts, FileFacts
from hub_instructpt.collection.source import QAType
from hub_instructpt.markup import MARKERS
from hub_instructpt.rendering.questions import OPTIONS, THEREFORE, THINK, read_pair
from hub_instructpt.runs.files import sha256

FIELDS = {"context", "QA_list", "QA_type", "rc_name"}
NAMED = 1_000
"""Findings of one dataset that are told; more of them are counted in the last."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong: where, and what."""

    file: str
    line: int | None
    what: str

    def __str__(self) -> str:
        return f"{self.file}{'' if self.line is None else f':{self.line}'}: {self.what}"


@dataclass(slots=True)
class Report:
    """What was found. `notes` are facts that are no faults."""

    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    datasets: int = 0
    records: int = 0
    pairs: int = 0


def verify(folder: Path, tick: Callable[[int], None] = lambda records: None) -> Report:
    """Check a collection.

    Args:
        tick: called with the number of records checked since the last call.

    Raises:
        RunDirectoryError: there is no collection.
        RunError: its manifest can not be believed.
    """
    collection = Collection.load(folder)
    report = Report(datasets=len(collection.datasets))
    for dataset in collection.datasets:
        number = 0
        for finding in _of_dataset(folder, dataset, report, tick):
            number += 1
            if number <= NAMED:
                report.findings.append(finding)
        if number > NAMED:
            report.findings.append(Finding(dataset.name, None, f"{number - NAMED:,} more findings"))
    known = {file.path for file in collection.files}
    for path in sorted(folder.glob("*/shard/*")):
        name = path.relative_to(folder).as_posix()
        if name not in known and not path.name.startswith("."):
            report.findings.append(Finding(name, None, "the manifest does not name it, but it would be read"))
    return report


def _of_dataset(folder: Path, dataset: DatasetFacts, report: Report, tick: Callable[[int], None]) -> Iterator[Finding]:
    counts: Counter[str] = Counter()
    contexts: set[int] = set()
    whole = True
    for file in dataset.files:
        path = folder / file.path
        if not path.is_file():
            whole = False
            yield Finding(file.path, None, "is missing")
            continue
        if path.stat().st_size != file.num_bytes or sha256(path) != file.sha256:
            whole = False
            yield Finding(file.path, None, "is not as it was written: its sha256 differs")
        if "/shard/" in file.path:
            yield from _of_shard(path, file, dataset, counts, contexts)
        elif "/parquet/" in file.path:
            yield from _of_parquet(path, file)
        tick(counts["records"] - counts["told"])
        counts["told"] = counts["records"]
    report.records += counts["records"]
    report.pairs += counts["pairs"]
    for what, found, said in (
        ("records", counts["records"], dataset.counts.get("records/kept", 0)),
        ("pairs", counts["pairs"], dataset.num_pairs),
    ):
        if whole and found != said:
            yield Finding(f"{dataset.name}", None, f"the manifest counts {said:,} {what}, there are {found:,}")
    cap = dataset.settings.cap
    if cap is not None and counts["records"] > cap:
        yield Finding(dataset.name, None, f"{counts['records']:,} records are more than its cap of {cap:,}")
    rows = dataset.source.num_rows or 0
    if dataset.source.kind == "hub" and dataset.declared_rows and rows != dataset.declared_rows:
        yield Finding(dataset.name, None, f"{dataset.declared_rows:,} rows are declared, {rows:,} were read")
    if dataset.extractive and counts["pairs"]:
        exact, folded = counts["exact"], counts["exact"] + counts["folded"]
        report.notes.append(
            f"{dataset.name}: {100 * exact / counts['pairs']:.1f} % of the answers are spans of their context, "
            f"{100 * folded / counts['pairs']:.1f} % with case and white space folded."
        )


def _of_shard(
    path: Path, file: FileFacts, dataset: DatasetFacts, counts: Counter[str], contexts: set[int]
) -> Iterator[Finding]:
    rows = 0
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            rows += 1
            counts["records"] += 1
            try:
                record = orjson.loads(line)
            except orjson.JSONDecodeError:
                yield Finding(file.path, number, "is not JSON")
                continue
            for what in _of_record(record, dataset, counts, contexts):
                yield Finding(file.path, number, what)
    if rows != file.num_rows:
        yield Finding(file.path, None, f"the manifest counts {file.num_rows:,} records, there are {rows:,}")


def _of_record(record: Any, dataset: DatasetFacts, counts: Counter[str], contexts: set[int]) -> Iterator[str]:
    if not isinstance(record, dict) or set(record) != FIELDS:
        yield f"is not an object of {', '.join(sorted(FIELDS))}"
        return
    context, pairs = record["context"], record["QA_list"]
    if record["rc_name"] != dataset.name:
        yield f"rc_name is not {dataset.name}"
    if record["QA_type"] != dataset.qa_type or record["QA_type"] not in get_args(QAType):
        yield f"QA_type is not {dataset.qa_type}"
    if not isinstance(context, str) or not context.strip():
        yield "the context is empty"
        return
    if any(marker in context for marker in MARKERS):
        yield "a marker of the wire format stands in the context"
    digest = hash(context)
    if digest in contexts:
        yield "its context stands in an earlier record"
    contexts.add(digest)
    if not isinstance(pairs, list) or not pairs:
        yield "it has no questions"
        return
    seen: set[str] = set()
    folded = fold(context) if dataset.extractive else ""
    for at, pair in enumerate(pairs):
        counts["pairs"] += 1
        if not isinstance(pair, dict) or set(pair) != {"Q", "A"}:
            yield f"question {at} is not an object of Q and A"
            continue
        question, answer = pair["Q"], pair["A"]
        if not all(isinstance(text, str) and text.strip() for text in (question, answer)):
            yield f"question {at} or its answer is empty"
            continue
        if any(marker in question or marker in answer for marker in MARKERS):
            yield f"a marker of the wire format stands in question {at}"
        if question.strip().lower() in seen:
            yield f"question {at} stands on this context twice"
        seen.add(question.strip().lower())
        yield from _of_pair(at, question, answer)
        if dataset.extractive:
            counts["exact"] += answer in context
            counts["folded"] += answer not in context and fold(answer) in folded


def _of_pair(at: int, question: str, answer: str) -> Iterator[str]:
    """Options and reasoning must be read at the other end as they were meant."""
    kind = read_pair({"instruction": question, "response": answer}).kind
    if OPTIONS in question and "options" not in kind:
        yield f"the answer to question {at} is none of its options"
    if (THINK in question or THEREFORE in answer) and "chain_of_thought" not in kind:
        yield f"the reasoning of question {at} can not be told from its answer"


def _of_parquet(path: Path, file: FileFacts) -> Iterator[Finding]:
    try:
        rows = pq.read_metadata(path).num_rows
    except (pa.ArrowException, OSError):
        yield Finding(file.path, None, "is no readable Parquet file")
        return
    if rows != file.num_rows:
        yield Finding(file.path, None, f"the manifest counts {file.num_rows:,} records, there are {rows:,}")
