"""Does it stay as it is when it grows? Ten thousand to a million documents against the instant server.

    python -m benchmarks.growth [--sizes 10000,100000,1000000]

CPU time a document and peak memory of one run of each size. They should be flat; what is paid once (start-up,
templates) shows in the smallest.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

from benchmarks.documents import write_documents
from benchmarks.peers import CLIENTS, RESULTS, run_client, start_server


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="10000,100000,1000000")
    parser.add_argument("--port", type=int, default=18932)
    given = parser.parse_args()
    server = start_server(given.port, 0.0)
    runs = []
    print("| documents | documents/s | CPU ms a document | peak MiB |\n|---|---|---|---|")
    try:
        for size in map(int, given.sizes.split(",")):
            with tempfile.TemporaryDirectory() as folder:
                documents = Path(folder) / "documents.jsonl"
                write_documents(size, documents)
                found = run_client(CLIENTS[0], given.port, Path(), documents)
            runs.append(found)
            if "error" in found:
                print(f"| {size:,} | {found['error']} | | |")
                continue
            rate, cpu = size / found["seconds"], 1000 * found["cpu_seconds"] / size
            print(f"| {size:,} | {rate:,.0f} | {cpu:.3f} | {found['peak_mib']:.0f} |", flush=True)
    finally:
        server.kill()
        server.wait()
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"growth-{time.strftime('%Y-%m-%d')}.json").write_text(json.dumps(runs, indent=1) + "\n")


if __name__ == "__main__":
    main()
