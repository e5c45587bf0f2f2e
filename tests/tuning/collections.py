"""Small collections for tests, written as `collect` writes them, and an engine whose answers a test decides.

The contexts are made from a few words, so that what a text asks and answers can be told by hand.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hub_instructpt.records import Completion, EngineInfo, SamplingParams

PLACES = ("mill", "lake", "tower", "harbour", "bakery", "school", "bridge", "market")


def record(name: str, number: int, pairs: int = 2) -> dict[str, Any]:
    """One context with its questions; every number gives another one."""
    place, year = PLACES[number % len(PLACES)], 1800 + number
    return {
        "context": f"The {place} of {name} stands by road {number}. It was built in {year} and seats {7 + number}.",
        "QA_list": [
            {"Q": f"When was the {place} built?", "A": str(year)},
            {"Q": "How many does it seat?", "A": str(7 + number)},
            {"Q": "Where does it stand?", "A": f"by road {number}"},
        ][:pairs],
        "QA_type": "extractive",
        "rc_name": name,
    }


def write_part(folder: Path, name: str, records: list[dict[str, Any]]) -> Path:
    """A dataset in the layout of the published collection, in two shards, without a manifest."""
    shards = folder / name / "shard"
    shards.mkdir(parents=True)
    half = (len(records) + 1) // 2
    for number, rows in enumerate((records[:half], records[half:])):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (shards / f"{number:05d}.jsonl").write_text(text, "utf-8")
    return folder


def write_collection(folder: Path, sizes: dict[str, int]) -> Path:
    """A collection of so many contexts of each dataset."""
    for name, size in sizes.items():
        write_part(folder, name, [record(name, number) for number in range(size)])
    return folder


class Told:
    """An engine that answers what it is told to, and remembers every prompt."""

    def __init__(self, answer: Callable[[str], str], max_total_tokens: int = 2048, concurrent: int = 8) -> None:
        self.answer, self.prompts = answer, list[tuple[str, SamplingParams]]()
        self.closed = 0
        self.info = EngineInfo("told", "told/synthesizer", "1", max_total_tokens - 1, max_total_tokens, concurrent)

    async def connect(self) -> EngineInfo:
        return self.info

    async def complete(self, prompt: str, sampling: SamplingParams) -> Completion:
        self.prompts.append((prompt, sampling))
        return Completion(self.answer(prompt), "stop", len(prompt), 7)

    async def count_tokens(self, text: str) -> int:
        return len(text) // 2

    async def aclose(self) -> None:
        self.closed += 1
