"""A Ray cluster of several nodes on this machine, from which nodes can be removed. No double: it is Ray itself.

    python -m tests.doubles.ray_cluster --port 0 --nodes 3 --cpus 1

Prints one line, ``http://127.0.0.1:PORT``, when all nodes are there. GET / gives the cluster's address; POST /remove
takes one node away, as a power cut would.

Keeps true: it is a process of its own, so what Ray leaves in a process is in no test's way; its files lie in one folder
with a short name (there are sockets in it), which is removed in the end with every process that was started.
Does not know what runs on it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from ray.cluster_utils import Cluster

MEMORY = 80 * 1024 * 1024
# A node that is gone is missed after a second and not after half a minute.
SYSTEM = {
    "health_check_initial_delay_ms": 1000,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 2000,
    "health_check_failure_threshold": 3,
    # Or on a busy machine the tasks would starve, and the tests wait.
    "worker_niceness": 0,
}


class Nodes:
    """The nodes of the cluster. The head has no CPU: no task of others runs there."""

    def __init__(self, number: int, cpus: int, folder: str) -> None:
        self.cluster = Cluster(
            initialize_head=True,
            head_node_args={
                "num_cpus": 0, "object_store_memory": MEMORY, "include_dashboard": False, "temp_dir": folder,
                "_system_config": SYSTEM,
            },
        )  # fmt: skip
        self.workers = [self.cluster.add_node(num_cpus=cpus, object_store_memory=MEMORY) for _ in range(number)]
        self.cluster.wait_for_nodes()

    def remove(self) -> None:
        node = self.workers.pop(0)
        # Its tasks would outlive it for a while, and a machine without power has none.
        for process in node.all_processes["raylet"]:
            for worker in _below(process.process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGKILL)
        self.cluster.remove_node(node, allow_graceful=False)


def _below(process: int) -> list[int]:
    """All processes that a process has started, and those that they have."""
    children = [int(one) for one in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    return [one for child in children for one in (child, *_below(child))]


def serve(nodes: Nodes, port: int) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer({"address": nodes.cluster.address, "nodes": len(nodes.workers)})

        def do_POST(self) -> None:
            nodes.remove()
            self.do_GET()

        def _answer(self, told: dict[str, Any]) -> None:
            body = json.dumps(told).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    return ThreadingHTTPServer(("127.0.0.1", port), Handler)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--cpus", type=int, default=1)
    options = parser.parse_args()
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")
    # Ray writes the address here, too, and does not make the folder: by itself it is one that other clusters share.
    os.environ["RAY_TMPDIR"] = folder
    (Path(folder) / "ray").mkdir()
    nodes = None
    try:
        nodes = Nodes(options.nodes, options.cpus, folder)
        server = serve(nodes, options.port)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print(f"http://127.0.0.1:{server.server_port}", flush=True)
        stopped.wait()
        server.shutdown()
    finally:
        if nodes is not None:
            nodes.cluster.shutdown()
        shutil.rmtree(folder, ignore_errors=True)
    sys.exit(0)


if __name__ == "__main__":
    main()
