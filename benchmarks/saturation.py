"""How full are the servers kept: `augment` and `map` against simulated servers, beside the bound of a perfect client.

    python -m benchmarks.saturation [--scenario NAME]… [--seconds S] [--shots M] [--map B]…

A scenario runs until its servers have answered what a perfect client needs S seconds for. Compared is the time from
the first request to the last answer, by the servers' clock; start-up and the last seal are shown beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.simulator.driving import ROOT, bound_of, documents, options_of, simulating, stats
from benchmarks.simulator.model import Lengths, Speed

SCENARIOS: dict[str, list[str]] = {
    "1 TGI": ["--servers", "1"],
    "4 TGI": ["--servers", "4"],
    "16 TGI": ["--servers", "16"],
    "4 TGI, one 4x slower": ["--servers", "4", "--slow", "4"],
    "4 TGI, one dies half way": ["--servers", "4", "--die-after", "HALF"],
    "4 TGI, one dies, back after 10 s": ["--servers", "4", "--die-after", "HALF", "--away", "10"],
    "1 that queues": ["--servers", "1", "--kind", "openai"],
    "4 that queue": ["--servers", "4", "--kind", "openai"],
    "16 that queue": ["--servers", "16", "--kind", "openai"],
    "4 that queue, one 4x slower": ["--servers", "4", "--kind", "openai", "--slow", "4"],
    "4 that queue, one dies half way": ["--servers", "4", "--kind", "openai", "--die-after", "HALF"],
}

MAP = """
import json, sys, time
from datasets import Dataset, disable_progress_bars
from hub_instructpt import Augment
disable_progress_bars()
urls, corpus, batch, shots = json.loads(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
ds = Dataset.from_json(corpus, cache_dir=sys.argv[5])
ds.map(Augment(urls, num_shots=shots, max_new_tokens=1024), batched=True, batch_size=batch, keep_in_memory=True)
"""


def measure(name: str, seconds: float, shots: int, batch: int | None, extra: list[str]) -> dict[str, Any]:
    """One run of a scenario."""
    slots = options_of(*[a if a != "HALF" else "1" for a in SCENARIOS[name]], *extra)
    # So many documents do the servers answer in a second, full, when none is slow.
    step = Speed.step_seconds + Speed.step_seconds_per_sequence * slots.batch
    rate = slots.servers * slots.batch / (step / slots.faster * slots.mean_tokens) * (0.9 if shots == 1 else 0.75)
    texts = documents(int(rate * seconds) // shots * shots)
    options = options_of(*[a if a != "HALF" else str(len(texts) // 2) for a in SCENARIOS[name]], *extra)
    bound = bound_of(texts, options, shots)
    with tempfile.TemporaryDirectory() as folder, simulating(options) as urls:
        corpus = Path(folder) / "corpus.jsonl"
        corpus.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
        if batch is None:
            command = ["-m", "hub_instructpt", "augment", str(corpus), "--out", f"{folder}/out", "--num-shots", shots]
            command += ["--max-new-tokens", 1024, *(word for url in urls for word in ("--engine", url))]
        else:
            command = ["-c", MAP, json.dumps(urls), str(corpus), batch, shots, folder]
        began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
        with (Path(folder) / "log").open("w+") as log:
            environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
            done = subprocess.run([sys.executable, *map(str, command)], stderr=log, stdout=log, env=environment)
            if done.returncode:
                log.seek(0)
                raise SystemExit(f"{name}: {log.read()[-2000:]}")
        whole = time.monotonic() - began
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        told = [stats(url) for url in urls[options.die_after is not None and options.away is None :]]
    fleet = told[0]["fleet"]
    return {
        "scenario": name, "client": "augment" if batch is None else f"map, batch_size={batch}", "shots": shots,
        "documents": len(texts), "bound": bound.perfect, "full batches": bound.full_batches,
        "seconds": fleet["seconds"], "whole": whole, "statuses": fleet["statuses"],
        "late": fleet["latest_step_seconds"], "most in flight": [one["most_in_flight"] for one in told],
        "cpu": used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.saturation", description="How full servers are kept.")
    parser.add_argument("--scenario", action="append", choices=list(SCENARIOS), metavar="NAME")
    parser.add_argument("--seconds", type=float, default=60.0, help="about the bound of each scenario")
    parser.add_argument("--shots", type=int, default=1)
    parser.add_argument("--map", type=int, action="append", metavar="BATCH_SIZE", help="`map` instead of `augment`")
    parser.add_argument("--seeds", type=int, default=1, help="runs of each, with other output lengths; means are shown")
    parser.add_argument("--extra", default="", help="further options of the simulator, such as '--batch 32'")
    options = parser.parse_args()
    print(
        f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}; outputs of {Lengths.mean:g} tokens in the mean, {Lengths.longest} at most\n"
    )
    print("| servers | client | shots | documents | full batches s | bound s | needed s | ratio | whole process s |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name in options.scenario or SCENARIOS:
        for batch in options.map or [None]:
            rows = []
            for seed in range(options.seeds):
                extra = [*options.extra.split(), "--seed", str(seed)]
                rows.append(row := measure(name, options.seconds, options.shots, batch, extra))
                print(
                    f"  {row['seconds'] / row['bound']:.3f} {row['statuses']}, most in flight {row['most in flight']}, "
                    f"latest step {row['late']:.2f} s, client {row['cpu']:.0f} CPU s",
                    file=sys.stderr,
                )
            mean = {key: fmean(row[key] for row in rows) for key in ("full batches", "bound", "seconds", "whole")}
            ratios = sorted(row["seconds"] / row["bound"] for row in rows)
            spread = f" ({ratios[0]:.3f} to {ratios[-1]:.3f})" if len(rows) > 1 else ""
            print(
                f"| {name} | {rows[0]['client']} | {options.shots} | {rows[0]['documents']:,} "
                f"| {mean['full batches']:.1f} | {mean['bound']:.1f} | {mean['seconds']:.1f} "
                f"| {mean['seconds'] / mean['bound']:.3f}{spread} | {mean['whole']:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
