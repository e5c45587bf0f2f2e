"""A double of S3: moto's, over HTTP, with faults.

    python -m tests.doubles.s3 --port 0

`/_double/reset` empties it and makes the bucket `bucket`; `/_double/faults` takes a list of faults, each for the next
`times` requests whose method and key match; `/_double/log` tells which requests were answered well, in order.

    {"kind": "status", "status": 500, "method": "PUT", "match": "data/", "times": 3}
    {"kind": "cut", …}      half of the body is read, and the connection is gone
    {"kind": "delay", "seconds": 0.2, …}

What it keeps true: what moto knows of the protocol. What it does not know: rights, regions, and how fast a store is.
"""

from __future__ import annotations

import argparse
import json
import re
import socket
import threading
import time
from collections.abc import Iterable
from typing import Any

from moto.core import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

BUCKET = "bucket"


class Double:
    """moto behind a door that can be told to fail."""

    def __init__(self) -> None:
        self.moto = DomainDispatcherApplication(create_backend_app)
        self.lock = threading.Lock()
        self.faults: list[dict[str, Any]] = []
        self.log: list[str] = []
        self.reset()

    def reset(self) -> None:
        backend = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
        backend.reset()
        backend.create_bucket(BUCKET, "us-east-1")
        self.faults, self.log = [], []

    def __call__(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
        if path.startswith("/_double/"):
            return self.told(path.removeprefix("/_double/"), environ, start)
        fault = self.fault(method, path)
        if fault is not None and fault["kind"] == "delay":
            time.sleep(fault["seconds"])
        elif fault is not None and fault["kind"] == "cut":
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0) // 2)
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            return []
        elif fault is not None:
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            codes = {403: "AccessDenied", 500: "InternalError", 503: "SlowDown"}
            body = f"<Error><Code>{codes.get(fault['status'], 'Odd')}</Code><Message>told to</Message></Error>".encode()
            start(f"{fault['status']} Told", [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
            return [body]

        def noted(status: str, headers: Any, exc_info: Any = None) -> Any:
            if status.startswith("2"):
                with self.lock:
                    self.log.append(f"{method} {path.removeprefix(f'/{BUCKET}/')}")
            return start(status, headers, exc_info)

        answer: Iterable[bytes] = self.moto(environ, noted)
        return answer

    def fault(self, method: str, path: str) -> dict[str, Any] | None:
        with self.lock:
            for fault in self.faults:
                matches = fault.get("method", method) == method and re.search(fault.get("match", ""), path)
                if matches and fault.get("times", 1) > 0:
                    fault["times"] = fault.get("times", 1) - 1
                    return fault
        return None

    def told(self, what: str, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        if what == "reset":
            self.reset()
        elif what == "faults":
            self.faults = json.loads(body)
        content = json.dumps(self.log).encode()
        start("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(content)))])
        return [content]


class Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002
        pass


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    server = make_server("127.0.0.1", parser.parse_args().port, Double(), threaded=True, request_handler=Quiet)  # type: ignore[arg-type]
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
