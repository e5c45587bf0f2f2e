"""What keeping answers costs a `map`, and what a large cache costs.

    python -m benchmarks.answers [--rounds 7] [--documents 6000] [--entries 1000000]

First table: one process maps documents through an instant server, with and without a journal in turn, each time into an
empty cache, and then once more with everything there; CPU time of the client alone, medians. Second table: an index of
many answers: CPU seconds to read it, memory, and time to fetch an answer.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.documents import write_documents
from benchmarks.peers import on_core, start_server

MODES = ("off", "on", "again")
TEXT = "\n\n".join(f"<QUE> What is said of item {i}? <ANS> That it was found near the mill. </END>" for i in range(12))


def client(port: int, documents: Path, mode: str, folder: str) -> None:
    """One `Augment` over all documents, in batches of 1,000."""
    from hub_instructpt import Augment

    texts = [json.loads(line)["text"] for line in documents.open()]
    augment = Augment(f"tgi+http://127.0.0.1:{port}", concurrency=128, journal=False if mode == "off" else folder)
    augment({"text": texts[:300]})  # what is needed once is there: connections, a file, caches
    began, spent = time.perf_counter(), time.process_time()
    for start in range(300, len(texts), 1000):
        augment({"text": texts[start : start + 1000]})
    print(json.dumps({"cpu": time.process_time() - spent, "wall": time.perf_counter() - began}))


def costs(rounds: int, number: int, port: int) -> None:
    found: dict[str, list[dict[str, float]]] = {mode: [] for mode in MODES}
    server = start_server(port, 0.0)
    try:
        with tempfile.TemporaryDirectory() as folder:
            documents = Path(folder) / "documents.jsonl"
            write_documents(number + 300, documents)
            for each in range(rounds):
                for mode in [*random.Random(each).sample(MODES[:2], 2), "again"]:
                    command = [sys.executable, "-m", "benchmarks.answers", "--client", mode, "--port", str(port)]
                    done = subprocess.run(
                        [*on_core(0), *command, "--file", str(documents), "--folder", f"{folder}/{each}"],
                        capture_output=True, text=True, check=True,
                    )  # fmt: skip
                    found[mode].append(json.loads(done.stdout.splitlines()[-1]))
                    print(mode, found[mode][-1], file=sys.stderr)
    finally:
        server.kill()
        server.wait()
    print("| journal | CPU ms a text, median | least | texts/s, median |\n|---|---|---|---|")
    for mode, runs in found.items():
        spent = [1000 * run["cpu"] / number for run in runs]
        rate = statistics.median(number / run["wall"] for run in runs)
        name = {"off": "off", "on": "on, empty cache", "again": "on, everything there"}[mode]
        print(f"| {name} | {statistics.median(spent):.4f} | {min(spent):.4f} | {rate:,.0f} |")
    pairs = zip(found["on"], found["off"], strict=True)
    print(f"median of the ratios on / off: {statistics.median(on['cpu'] / off['cpu'] for on, off in pairs):.3f}")


def index(entries: int) -> None:
    from hub_instructpt.answers import segments
    from hub_instructpt.answers.index import Index
    from hub_instructpt.journal import key_of, line_of
    from hub_instructpt.records import Completion, EngineInfo, SamplingParams

    owned = segments.owner(EngineInfo("bench", "m", "1", 1, 1, 1), SamplingParams())
    with tempfile.TemporaryDirectory() as name:
        folder = segments.folder_of(Path(name), owned)
        folder.mkdir()
        number, size = 0, 0
        while number < entries:
            with (folder / f"{number:08d}.jsonl").open("wb") as stream:
                stream.write(segments.header(owned))
                while number < entries and stream.tell() < segments.MOST_SEGMENT_BYTES:
                    stream.write(line_of(key_of(f"prompt {number}"), Completion(f"{TEXT} {number}", "stop", 400, 190)))
                    number += 1
                size += stream.tell()
        before, spent = _resident(), time.process_time()
        found = Index()
        found.read(folder)
        spent = time.process_time() - spent
        grown = _resident() - before
        draw, began = random.Random(0), time.process_time()
        for _ in range(20_000):
            one = draw.randrange(entries)
            answer = found.find(int(key_of(f"prompt {one}"), 16))
            assert answer is not None
            assert answer.text.endswith(f" {one}")
        each = (time.process_time() - began) / 20_000
        files = len(list(folder.iterdir()))
        found.close()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{entries:,} answers, {size / 1e6:,.0f} MB in {files} segments: indexed in {spent:.1f} CPU s, {grown:.0f} MiB "
        f"more memory (peak of the process {peak:.0f} MiB); an answer fetched in {1e6 * each:.0f} CPU µs"
    )


def _resident() -> float:
    with open("/proc/self/statm") as stream:
        return int(stream.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--documents", type=int, default=6000)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--port", type=int, default=18961)
    parser.add_argument("--client", default="", help="for a process that this one starts")
    parser.add_argument("--file", type=Path)
    parser.add_argument("--folder", default="")
    given = parser.parse_args()
    if given.client:
        client(given.port, given.file, given.client, given.folder)
        return
    if given.rounds:
        costs(given.rounds, given.documents, given.port)
    if given.entries:
        index(given.entries)


if __name__ == "__main__":
    main()
