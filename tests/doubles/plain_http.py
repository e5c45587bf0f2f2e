"""A plain HTTP client for tests of the doubles: one connection a call, nothing retried, nothing interpreted.

Keeps true: what the server sent is what the reply holds, whatever the status.
Does not know: the routes it calls. It stands apart from the clients of the package on purpose, so that a mistake there
cannot hide one here.
"""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Reply:
    """A reply, read to its end."""

    status: int
    headers: http.client.HTTPMessage
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def events(self) -> list[Any]:
        """The JSON events of a stream; "[DONE]" as it stands."""
        lines = [line[5:].strip() for line in self.text.splitlines() if line.startswith("data:")]
        return [line if line == "[DONE]" else json.loads(line) for line in lines]


def ask(
    url: str,
    path: str,
    body: Any = None,
    *,
    method: str | None = None,
    headers: dict[str, str] | None = None,
    timeout: float = 30,
) -> Reply:
    """POST a body (JSON, or raw bytes) where there is one, GET otherwise."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=timeout)
    data = body if body is None or isinstance(body, bytes) else json.dumps(body)
    sent = {"content-type": "application/json"} if headers is None else headers
    try:
        connection.request(method or ("GET" if body is None else "POST"), path, data, sent)
        response = connection.getresponse()
        return Reply(response.status, response.headers, response.read().decode())
    finally:
        connection.close()


def ask_together(url: str, path: str, bodies: Sequence[Any], **options: Any) -> list[Reply]:
    """Send several requests at the same time; the replies in the order of the bodies."""
    with ThreadPoolExecutor(len(bodies)) as pool:
        return list(pool.map(lambda body: ask(url, path, body, **options), bodies))


def wait_until_idle(url: str, seconds: float = 5.0) -> None:
    """Wait until a double has noticed that its clients have left, and holds no permit."""
    deadline = time.monotonic() + seconds
    while ask(url, "/_double/state").json["in_flight"]:
        if time.monotonic() > deadline:
            raise TimeoutError(f"a permit is still held after {seconds} s")
        time.sleep(0.02)
