"""How fast rows become records of the fine-tuning collection, and how much memory that takes, on one core.

    python -m benchmarks.collection [--questions N …]

Measured is CPU time, and the largest resident memory, of a process of its own for every size: rows as the Hub gives
them for squad (five questions a context of some 750 characters; contexts are beginnings of CPython's topics) are
converted, grouped on disk, capped or not, and written as a dataset of the collection. Printed is a table with date and
machine.
"""

from __future__ import annotations

import argparse
import json
import platform
import pydoc_data.topics
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.mixing import cpu_name
from hub_instructpt.collection import collect
from hub_instructpt.collection.convert import Part
from hub_instructpt.collection.reading import Reading
from hub_instructpt.collection.registry import get_source
from hub_instructpt.runs.manifest import SourceFacts

PER_CONTEXT = 5


def rows(number: int, *, apart: bool) -> Iterator[dict[str, Any]]:
    """Rows of squad; the questions on one context stand together, or as far apart as they can."""
    topics = [" ".join(text.split()) for text in pydoc_data.topics.topics.values() if len(text) > 2000]
    contexts = number // PER_CONTEXT
    for at in range(number):
        which = at % contexts if apart else at // PER_CONTEXT
        context = f"{which}. {topics[which % len(topics)][which % 1000 :][:750]}"
        yield {
            "id": f"{at:024d}",
            "title": "Topics",
            "context": context,
            "question": f"What does it say of number {at} in that place?",
            "answers": {"text": [context[40:60]], "answer_start": [40]},
        }


def measure(number: int, apart: bool, cap: int | None) -> dict[str, float]:
    """CPU seconds and MiB of memory of this process, after one dataset."""
    source = get_source("squad")
    began = time.process_time()
    sum(1 for _ in rows(number, apart=apart))
    making = time.process_time() - began
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with tempfile.TemporaryDirectory() as folder, collect.open_collection(Path(folder) / "out") as collection:
        began = time.process_time()
        reading = Reading(SourceFacts(kind="files", name="rows"), [Part("rows", rows(number, apart=apart))])
        settings = collect.settings_for(source, cap=cap, seed=0)
        made = collect.collect(source, reading, Path(folder) / "out", collection, settings)
        seconds = time.process_time() - began - making
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": seconds, "mib": peak / 1024, "added": (peak - before) / 1024, "records": made.num_records}


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.collection", description="From rows to records, on one core."
    )
    parser.add_argument("--questions", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        number, apart, cap = (int(word) for word in options.one)
        print(json.dumps(measure(number, bool(apart), cap or None)))
        return
    machine = f"{platform.machine()}, {cpu_name()}, Python {platform.python_version()}"
    print(f"{datetime.now(UTC).date()}, {machine}, hub-instructpt {version('hub-instructpt')}.\n")
    print("| questions | on one context | cap | CPU seconds | questions a second | records | memory, MiB |")
    print("|---:|---|---:|---:|---:|---:|---:|")
    for number in options.questions:
        for apart, cap in ((0, 0), (1, 0), (1, 10_000)):
            command = [sys.executable, "-m", "benchmarks.collection", "--one", str(number), str(apart), str(cap)]
            told = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
            print(
                f"| {number:,} | {'apart' if apart else 'together'} | {cap or '–'} | {told['seconds']:.1f} | "
                f"{number / told['seconds']:,.0f} | {told['records']:,.0f} | {told['mib']:.0f} |"
            )


if __name__ == "__main__":
    main()
