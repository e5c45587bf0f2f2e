"""Ten million rows through a run, without a server: do time and memory a row stay flat?

    python -m benchmarks.scale [--rows 10000000] [--rows-per-shard 10000] [--folder DIR]

Everything of a run is real but the answers, which come at once from this process: rows, prompts, parsing, rendering,
journal with fsync, Parquet, manifest. Sealed shards are emptied behind the run, or the disk would be what is measured.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.peers import RESULTS
from hub_instructpt.records import Completion, EngineInfo, SamplingParams
from hub_instructpt.runs.manifest import Manifest, Settings, ShardFacts, SourceFacts
from hub_instructpt.runs.runner import augment_source
from hub_instructpt.runs.sources import Source

TEXT = "Row {}: some words of a text that is short, because a run of ten million rows is long. "
ANSWER = "<QUE> What is row {} about? <ANS> some words </END>\n\n<QUE> Is it short? <ANS> yes </END>"


class Instant:
    """An engine that answers at once."""

    async def connect(self) -> EngineInfo:
        return EngineInfo("instant", "benchmark/instant", None, 4096, 4096, 256)

    async def complete(self, prompt: str, sampling: SamplingParams) -> Completion:
        return Completion(ANSWER.format(len(prompt)), "stop", len(prompt) // 4, 24)

    async def count_tokens(self, text: str) -> int:
        return len(text)

    async def aclose(self) -> None: ...


def source(rows: int) -> Source:
    """So many rows, made as they are read."""

    def raw_rows(start: int) -> Iterator[dict[str, Any]]:
        for index in range(start, rows):
            yield {"text": TEXT.format(index)}

    facts = SourceFacts(kind="files", name="made up", num_rows=rows)
    return Source(facts, "text", {}, raw_rows)


def work(rows: int, per_shard: int, folder: Path, every: int) -> None:
    """Make the run or go on with it; a line of JSON for each `every` rows."""
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    last = time.process_time(), time.monotonic()
    done = 0

    def sealed(facts: ShardFacts) -> None:
        nonlocal last, done
        with (folder / facts.path).open("rb+") as shard:
            shard.truncate(0)
        done += facts.num_source_rows
        if done % every == 0:
            now = time.process_time(), time.monotonic()
            status = Path("/proc/self/status").read_text()
            told = {
                "row": facts.source_rows[1],
                "cpu_ms_a_row": 1000 * (now[0] - last[0]) / every,
                "rows_a_second": every / (now[1] - last[1]),
                "rss_mib": int(status.partition("VmRSS:")[2].split()[0]) / 1024,
                "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                "manifest_mib": (folder / "manifest.json").stat().st_size / 2**20,
            }
            print(json.dumps({key: round(value, 4) for key, value in told.items()}), flush=True)
            last = now

    settings = Settings(
        text_column="text", keep_columns=[], num_shots=1, max_new_tokens=400, temperature=0.0, top_p=1.0,
        rows_per_shard=per_shard, limit=None, seed=0,
    )  # fmt: skip
    augment_source(source(rows), Instant(), settings, folder, on_sealed=sealed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--rows-per-shard", type=int, default=10_000)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    every = max(given.rows_per_shard, given.rows // 10)
    if given.work:
        work(given.rows, given.rows_per_shard, given.folder, every)
        return
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        command = [sys.executable, "-m", "benchmarks.scale", "--work", "--folder", f"{folder}/run"]
        command += ["--rows", str(given.rows), "--rows-per-shard", str(given.rows_per_shard)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            lines = [json.loads(line) for line in process.stdout if print(line, end="", flush=True) is None]
        manifest = Manifest.load(Path(folder, "run"))
        assert manifest.finished
        assert manifest.counts["texts/all"] == given.rows
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"scale-{time.strftime('%Y-%m-%d')}.json"
        path.write_text(json.dumps({"rows": given.rows, "rows_per_shard": given.rows_per_shard, "at": lines}, indent=1))


if __name__ == "__main__":
    main()
