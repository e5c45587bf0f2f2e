"""How fast is what happens after the engine: parsing and rendering, mixing and packing, on one core.

    python benchmarks/mixing.py [--texts N] [--tokenizer NAME_OR_PATH]

Measured is CPU time of this process with one thread, so that a busy machine changes little; printed is a table with
date, machine and versions. Texts are the beginnings of CPython's topics and their pairs are cut out of them: what they
say does not matter here, only how long they are.
"""

from __future__ import annotations

import argparse
import os
import platform
import pydoc_data.topics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

# One core is what is measured; tokenizers, pyarrow and numpy read these when they are loaded.
os.environ |= {"TOKENIZERS_PARALLELISM": "false", "RAYON_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}

from hub_instructpt.markup import format_pairs, parse_pairs
from hub_instructpt.mixing.forms import Part
from hub_instructpt.mixing.manifest import MixSettings, Mixture, PartFacts
from hub_instructpt.mixing.mixer import mix_parts
from hub_instructpt.mixing.rows import READ
from hub_instructpt.mixing.tokens import Tokenizer
from hub_instructpt.records import Pair
from hub_instructpt.rendering import render_example
from hub_instructpt.runs.manifest import SourceFacts


def texts(number: int, characters: int = 2000) -> list[str]:
    """Texts of about a page that all differ."""
    topics = [" ".join(text.split()) for text in pydoc_data.topics.topics.values() if len(text) > 2 * characters]
    return [f"{index}. {topics[index % len(topics)][index % characters :][:characters]}" for index in range(number)]


def pairs_of(text: str, number: int = 5) -> list[Pair]:
    """As many pairs as a synthesizer writes for a text, cut out of it."""
    words = text.split()
    return [
        {
            "instruction": f"{' '.join(words[12 * n : 12 * n + 11])} {n}?",
            "response": " ".join(words[12 * n : 12 * n + 6]),
        }
        for n in range(number)
    ]


def part(name: str, rows: list[str]) -> Part:
    """A part in memory."""
    facts = PartFacts(
        name=name, form="raw", columns={"text": "text"}, source=SourceFacts(kind="files", name=name), num_rows=len(rows)
    )
    return Part(facts, lambda seed: ({"text": text} for text in rows), *READ["raw"]({"text": "text"}))


def cpu_seconds(work: Callable[[], object]) -> float:
    """CPU time of some work, in this process."""
    began = time.process_time()
    work()
    return time.process_time() - began


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description="Parsing and rendering, mixing and packing, on one core.")
    parser.add_argument("--texts", type=int, default=4000)
    parser.add_argument("--tokenizer", default="local")
    options = parser.parse_args()

    rows = texts(options.texts)
    completions = [format_pairs(pairs_of(text)) for text in rows]
    render_example([{"context": rows[0], "pairs": parse_pairs(completions[0])}])  # loads the wording
    parsing = cpu_seconds(lambda: [parse_pairs(completion) for completion in completions])
    parsed = [parse_pairs(completion) for completion in completions]
    found = sum(map(len, parsed)) / len(parsed)
    rendering = cpu_seconds(
        lambda: [
            render_example([{"context": text, "pairs": pairs}], seed)
            for seed, (text, pairs) in enumerate(zip(rows, parsed, strict=True))
        ]
    )

    tokenizer = Tokenizer(options.tokenizer)
    short = [" ".join(text.split()[:60]) for text in rows] * 4
    measured: dict[str, tuple[float, int]] = {}
    for name, pack in (("mixing by tokens", None), ("mixing by tokens and packing to 2,048", 2048)):
        with tempfile.TemporaryDirectory() as folder:
            settings = MixSettings(by="tokens", pack=pack)
            parts = [part("long", rows), part("short", short)]
            seconds = cpu_seconds(lambda: mix_parts(parts, settings, Path(folder) / "out", tokenizer=tokenizer))  # noqa: B023
            mixture = Mixture.load(Path(folder) / "out")
            measured[name] = seconds, sum(reached.tokens or 0 for reached in mixture.reached.values())

    packages = ", ".join(f"{name} {version(name)}" for name in ("hub-instructpt", "pyarrow", "tokenizers"))
    machine = f"{platform.machine()}, {cpu_name()}, Python {platform.python_version()}"
    print(f"{datetime.now(UTC).date()}, {machine}, {packages}.")
    print(f"{len(rows):,} texts of {sum(map(len, rows)) // len(rows):,} characters, {found:.1f} pairs each.\n")
    print("| on one core | a second of CPU time |\n|---|---:|")
    print(f"| parsing | {len(rows) / parsing:,.0f} texts |")
    print(f"| parsing and rendering | {len(rows) / (parsing + rendering):,.0f} texts |")
    for name, (seconds, tokens) in measured.items():
        print(f"| {name}, tokenising included | {tokens / seconds:,.0f} tokens |")


def cpu_name() -> str:
    """What the processor is called, where that can be found out."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown processor"
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown processor"
    )


if __name__ == "__main__":
    main()
