"""The records and raw texts that the tiny synthesizer trains on, and the parts it never sees.

Keeps true: no context of an evaluation split (SQuAD dev, FairytaleQA val and test) leaves `training_records` or
`training_texts`, however it got into a training file; contexts are compared with case and white space folded. ROPES and
qasper are left out whole, their raw texts too.
Does not know: tokens, models.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from dataset_scripts import fairytaleqa, ropes, squad
from hub_instructpt.collection import Record
from hub_instructpt.collection.convert import convert
from hub_instructpt.collection.reading import open_files
from hub_instructpt.collection.registry import get_source

SETS = ("squad", "FairyTaleQA", "QED", "HotpotQA", "COVID_QA", "NarrativeQA", "Quac", "CoQA")
RAW_FILES = (
    "wikipedia_paragraphs.jsonl",
    "fairytale_sections.jsonl",
    "covid_articles_chunks.jsonl",
    "pubmed_abstracts.jsonl",
)
HELD_OUT_SOURCES = {"squad_dev", "fairytaleqa_val", "fairytaleqa_test"}


def fold(text: str) -> str:
    return " ".join(text.split()).casefold()


def released(data: Path, name: str) -> list[Record]:
    """All records of a dataset's folder, whatever its split."""
    source = get_source(name)
    return list(convert(source, (row for part in open_files(source, str(data / name)).parts for row in part.rows)))


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def _questions(data: Path, split: str) -> Iterator[Any]:
    folder = data / "FairyTaleQA" / "data-by-train-split" / "questions" / split
    for path in sorted(folder.glob("*.csv")):
        yield from fairytaleqa.released(path)


def _sections(data: Path, split: str) -> Iterator[str]:
    folder = data / "FairyTaleQA" / "data-by-train-split" / "section-stories" / split
    for path in sorted(folder.glob("*.csv")):
        with path.open(encoding="utf-8", newline="") as rows:
            yield from (row["text"] for row in csv.DictReader(rows))


def held_out_records(data: Path) -> dict[str, list[Record]]:
    def articles(*path: str) -> Any:
        return json.loads(data.joinpath(*path).read_text(encoding="utf-8"))["data"]

    return {
        "squad_dev": list(squad.records(articles("squad", "dev-v1.1.rebuilt.json"))),
        "fairytaleqa_val": list(fairytaleqa.records(_questions(data, "val"))),
        "fairytaleqa_test": list(fairytaleqa.records(_questions(data, "test"))),
        "ropes_dev": list(ropes.records(articles("ROPES", "dev-v1.0.json"))),
    }


def held_out_keys(data: Path) -> set[str]:
    """Folded contexts that training must not see: whole contexts, and their parts where a context is joined."""
    keys: set[str] = set()
    for name, records in held_out_records(data).items():
        for record in records:
            keys.add(fold(record["context"]))
            if not name.startswith("squad"):
                keys.update(fold(part) for part in record["context"].split("\n\n"))
    for split in ("val", "test"):
        keys.update(fold(text) for text in _sections(data, split))
    for name in RAW_FILES:
        keys.update(fold(r["text"]) for r in _lines(data / "raw" / name) if r["source"] in HELD_OUT_SOURCES)
    return keys - {""}


def _seen_free(records: Iterable[Record], held_out: set[str]) -> Iterator[Record]:
    for record in records:
        context = record["context"]
        if fold(context) not in held_out and not any(fold(part) in held_out for part in context.split("\n\n")):
            yield record


def training_records(data: Path, held_out: set[str]) -> dict[str, list[Record]]:
    return {name: list(_seen_free(released(data, name), held_out)) for name in SETS}


def training_texts(data: Path, held_out: set[str]) -> list[str]:
    texts: dict[str, None] = {}
    for name in RAW_FILES:
        for row in _lines(data / "raw" / name):
            text = row["text"].strip()
            parts = [text, *text.split("\n\n")]
            if row["source"] not in HELD_OUT_SOURCES and not any(fold(part) in held_out for part in parts):
                texts.setdefault(text)
    return list(texts)
