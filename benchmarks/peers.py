"""Ours and the peers against one server, in turn: documents a second, CPU time a document, peak memory.

    benchmarks/clients/setup.sh                     once
    python -m benchmarks.peers [--rounds 5] [--delay-ms 50] [--environments .venvs] [--only ours,datatrove]

Each round runs every client once, in an order of its own, with the server in another process on another core. The
table gives medians over the rounds; the raw figures go to benchmarks/results/. Peers are set up as their users would
for a corpus; `persists` says what survives a kill.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.documents import write_documents

HERE = Path(__file__).parent
RESULTS = HERE / "results"


@dataclass(frozen=True)
class Client:
    """A client: its script and environment, how much it is given, and what of its work survives a kill."""

    name: str
    script: str
    environment: str | None
    documents: int
    concurrency: int
    persists: str
    mode: str = ""


CLIENTS = (
    Client("hub-instructpt", "ours.py", None, 20_000, 128, "every answer, by fsync"),
    Client("datatrove, checkpoints", "datatrove_client.py", "datatrove", 2_000, 256, "most answers", "ckpt"),
    Client("datatrove, none", "datatrove_client.py", "datatrove", 4_000, 256, "nothing", "nockpt"),
    Client("curator", "curator_client.py", "curator", 2_000, 256, "answers, without fsync"),
    Client("Data Designer", "data_designer_client.py", "data-designer", 2_000, 64, "groups of 1,000 rows"),
    Client("distilabel", "distilabel_client.py", "distilabel", 1_000, 64, "batches"),
    Client("text-generation in a loop", "tgi_client.py", "tgi-client", 4_000, 128, "nothing"),
)


def run_client(client: Client, port: int, environments: Path, documents: Path) -> dict[str, Any]:
    """One run; the figures that the client prints."""
    python = Path(sys.executable) if client.environment is None else environments / client.environment / "bin/python"
    script = HERE / "clients" / client.script
    with tempfile.TemporaryDirectory() as folder:
        arguments = [str(port), str(documents), str(client.concurrency), folder, client.mode]
        command = [*on_core(0), str(python), str(script), *arguments]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=3600, cwd=HERE.parent, env=_environment()
        )
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        return {"error": (done.stderr.strip().splitlines() or ["no figures"])[-1][:200]}
    figures: dict[str, Any] = json.loads(lines[-1])
    return figures


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(HERE.parent), "PYTHONWARNINGS": "ignore"}


def on_core(core: int) -> list[str]:
    return ["taskset", "-c", str(core)] if sys.platform == "linux" and (os.cpu_count() or 1) > 1 else []


def start_server(port: int, delay_ms: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.instant_server", str(port), "--delay-ms", str(delay_ms)]
    server = subprocess.Popen([*on_core(1), *command], stdout=subprocess.PIPE, text=True, cwd=HERE.parent)
    assert server.stdout is not None
    server.stdout.readline()
    return server


def answers_given(port: int) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/stats") as answer:
        return int(json.load(answer)["answers"])


def measure(clients: list[Client], rounds: int, delay_ms: float, environments: Path, port: int) -> list[dict[str, Any]]:
    """All runs, as they come."""
    runs = []
    server = start_server(port, delay_ms)
    try:
        with tempfile.TemporaryDirectory() as folder:
            files = {}
            for number in {client.documents for client in clients}:
                files[number] = Path(folder) / f"{number}.jsonl"
                write_documents(number, files[number])
            for each in range(rounds):
                for client in random.Random(each).sample(clients, len(clients)):
                    before = answers_given(port)
                    found = run_client(client, port, environments, files[client.documents])
                    found |= {"client": client.name, "round": each, "asked": answers_given(port) - before}
                    found["load"] = os.getloadavg()[0]
                    print(json.dumps(found), file=sys.stderr, flush=True)
                    runs.append(found)
    finally:
        server.kill()
        server.wait()
    return runs


def table(clients: list[Client], runs: list[dict[str, Any]]) -> str:
    """Medians as Markdown."""
    lines = [
        "| client | documents/s | CPU ms a document | peak MiB | survives a kill | asked for a document |",
        "|---|---|---|---|---|---|",
    ]
    for client in clients:
        good = [run for run in runs if run["client"] == client.name and "error" not in run]
        if not good:
            wrong = next((run["error"] for run in runs if run["client"] == client.name), "not run")
            lines.append(f"| {client.name} | {wrong} | | | | |")
            continue
        rate = statistics.median(run["documents"] / run["seconds"] for run in good)
        cpu = statistics.median(1000 * run["cpu_seconds"] / run["documents"] for run in good)
        memory = statistics.median(run["peak_mib"] for run in good)
        asked = statistics.median(run["asked"] / run["documents"] for run in good)
        lines.append(f"| {client.name} | {rate:,.0f} | {cpu:.3f} | {memory:.0f} | {client.persists} | {asked:.2f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--delay-ms", type=float, default=0.0)
    parser.add_argument("--environments", type=Path, default=HERE.parent / ".venvs")
    parser.add_argument("--only", default="", help="names of environments, `ours` for our own")
    parser.add_argument("--port", type=int, default=18931)
    given = parser.parse_args()
    wanted = set(filter(None, given.only.split(",")))
    clients = [client for client in CLIENTS if not wanted or (client.environment or "ours") in wanted]
    runs = measure(clients, given.rounds, given.delay_ms, given.environments.resolve(), given.port)
    print(table(clients, runs))
    RESULTS.mkdir(exist_ok=True)
    name = f"peers-{given.delay_ms:g}ms-{time.strftime('%Y-%m-%d')}.json"
    found = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "delay_ms": given.delay_ms, "runs": runs}
    (RESULTS / name).write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
