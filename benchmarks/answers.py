"""What keeping answers costs a `map`, and what a large cache costs.

    python -m benchmarks.answers [--batches 60] [--entries 1000000]

First table: one process augments batches of 500 documents through an instant server, each batch with a journal and
without one, in an order drawn for each, and then all of them again with everything there; CPU time of the client, in
pairs, so that whatever else the machine does falls on both. Second: an index of many answers: CPU seconds to read it,
memory, and time to fetch an answer.
"""

from __future__ import annotations

import argparse
import gc
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

BATCH = 500
TEXT = "\n\n".join(f"<QUE> What is said of item {i}? <ANS> That it was found near the mill. </END>" for i in range(12))


def client(port: int, documents: Path, folder: str) -> None:
    """Every batch with and without a journal; prints CPU seconds of each."""
    from hub_instructpt import Augment

    texts = [json.loads(line)["text"] for line in documents.open()]
    url = f"tgi+http://127.0.0.1:{port}"
    ways = {"off": Augment(url, concurrency=128, journal=False), "on": Augment(url, concurrency=128, journal=folder)}
    for augment in ways.values():
        augment({"text": texts[:BATCH]})  # what is needed once is there: connections, a file, caches
    gc.disable()  # it would fall on either by chance
    found: dict[str, list[float]] = {"off": [], "on": [], "again": []}
    batches = [{"text": texts[start : start + BATCH]} for start in range(BATCH, len(texts), BATCH)]
    for number, batch in enumerate(batches):
        for way in random.Random(number).sample(sorted(ways), 2):
            spent = time.process_time()
            ways[way](batch)
            found[way].append(time.process_time() - spent)
    for batch in batches:
        spent = time.process_time()
        ways["on"](batch)
        found["again"].append(time.process_time() - spent)
    print(json.dumps(found))


def costs(batches: int, port: int) -> None:
    server = start_server(port, 0.0)
    try:
        with tempfile.TemporaryDirectory() as folder:
            documents = Path(folder) / "documents.jsonl"
            write_documents(BATCH * (batches + 1), documents)
            command = [sys.executable, "-m", "benchmarks.answers", "--client", str(documents), "--port", str(port)]
            done = subprocess.run(
                [*on_core(0), *command, "--folder", f"{folder}/answers"], capture_output=True, text=True, check=True
            )
            found: dict[str, list[float]] = json.loads(done.stdout.splitlines()[-1])
    finally:
        server.kill()
        server.wait()
    print("| journal | CPU ms a text, median | least |\n|---|---|---|")
    names = {"off": "off", "on": "on, nothing there", "again": "on, everything there"}
    for way, name in names.items():
        each = [1000 * spent / BATCH for spent in found[way]]
        print(f"| {name} | {statistics.median(each):.4f} | {min(each):.4f} |")
    pairs = [on / off for on, off in zip(found["on"], found["off"], strict=True)]
    whole = sum(found["on"]) / sum(found["off"])
    print(f"on / off: {whole:.3f} in all, {statistics.median(pairs):.3f} in the median pair")


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
    parser.add_argument("--batches", type=int, default=60)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--port", type=int, default=18961)
    parser.add_argument("--client", type=Path, help="documents, for the process that this one starts")
    parser.add_argument("--folder", default="")
    given = parser.parse_args()
    if given.client:
        client(given.port, given.client, given.folder)
        return
    if given.batches:
        costs(given.batches, given.port)
    if given.entries:
        index(given.entries)


if __name__ == "__main__":
    main()
