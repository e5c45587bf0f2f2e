"""The records and raw texts that the tiny synthesizer trains on, and the parts it never sees.

Keeps true: no context of an evaluation split (SQuAD dev, FairytaleQA val and test, ROPES dev) leaves `training_records`
or `training_texts`, however it got into a training file; contexts are compared with case and white space folded.
Does not know: tokens, models.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from dataset_scripts import covid_qa, fairytaleqa, narrativeqa, qed, ropes, squad

Record = dict[str, Any]

RAW_FILES = (
    "wikipedia_paragraphs.jsonl",
    "fairytale_sections.jsonl",
    "science_paragraphs.jsonl",
    "covid_articles_chunks.jsonl",
    "pubmed_abstracts.jsonl",
)
HELD_OUT_SOURCES = {"squad_dev", "fairytaleqa_val", "fairytaleqa_test", "ropes_dev"}


def fold(text: str) -> str:
    return " ".join(text.split()).casefold()


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


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


def _squad_copies(data: Path) -> list[dict[str, Any]]:
    folder = data / "squad"
    return _json(folder / "train_part_routerlens.json") + _json(folder / "grouped_emptycity.json")


def held_out_records(data: Path) -> dict[str, list[Record]]:
    return {
        "squad_dev": list(squad.records(_json(data / "squad" / "dev-v1.1.rebuilt.json")["data"])),
        "fairytaleqa_val": list(fairytaleqa.records(_questions(data, "val"))),
        "fairytaleqa_test": list(fairytaleqa.records(_questions(data, "test"))),
        "ropes_dev": list(ropes.records(_json(data / "ROPES" / "dev-v1.0.json")["data"])),
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
    sources = {
        "squad": squad.records(_squad_copies(data)),
        "FairyTaleQA": fairytaleqa.records(_questions(data, "train")),
        "ROPES": ropes.records(_json(data / "ROPES" / "train-v1.0.json")["data"]),
        "QED": qed.records(_lines(data / "QED" / "qed-dev.jsonlines")),
        "COVID_QA": covid_qa.records(_json(data / "COVID_QA" / "200423_covidQA.json")["data"]),
        "NarrativeQA": narrativeqa.records(_json(data / "NarrativeQA" / "grouped_emptycity.json")),
    }
    return {name: list(_seen_free(records, held_out)) for name, records in sources.items()}


def training_texts(data: Path, held_out: set[str]) -> list[str]:
    texts: dict[str, None] = {}
    for name in RAW_FILES:
        for row in _lines(data / "raw" / name):
            text = row["text"].strip()
            parts = [text, *text.split("\n\n")]
            if row["source"] not in HELD_OUT_SOURCES and not any(fold(part) in held_out for part in parts):
                texts.setdefault(text)
    return list(texts)
