"""Small servers that answer as no double does: byte for byte what a test says, in a thread of this process.

Keeps true: every request that came in whole is in `requests`; the server and its connections end with the block.
Does not know what an engine expects.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Asked:
    """A request as it came in."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Raw:
    """A running server."""

    port: int
    requests: list[Asked] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def asked(self, path: str) -> list[Asked]:
        return [request for request in self.requests if request.path == path]


Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextmanager
def talking(talk: Talk) -> Iterator[Raw]:
    """A server that does with a connection what `talk` does."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await talk(reader, writer)
        writer.close()

    async def start() -> asyncio.Server:
        return await asyncio.start_server(one, "127.0.0.1", 0)

    async def stop() -> None:
        server.close()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    server = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    try:
        yield Raw(server.sockets[0].getsockname()[1])
    finally:
        asyncio.run_coroutine_threadsafe(stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


def http(body: Any = b"", status: int = 200, **headers: str) -> bytes:
    """An answer; a body that is no bytes is sent as JSON. Underscores in header names stand for hyphens."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = [f"HTTP/1.1 {status} X", f"content-length: {len(raw)}"]
    head += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + raw


Answer = bytes | Callable[[Asked], bytes]
NOT_FOUND = http(b"", 404)


@contextmanager
def answering(routes: Mapping[str, Answer], otherwise: Answer = NOT_FOUND) -> Iterator[Raw]:
    """An HTTP server with one answer a path."""
    seen: list[Asked] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            method, path, _ = first.split(" ")
            request = Asked(method, path, headers, await reader.readexactly(int(headers.get("content-length", "0"))))
            seen.append(request)
            answer = routes.get(path, otherwise)
            writer.write(answer if isinstance(answer, bytes) else answer(request))
            await writer.drain()

    with talking(talk) as raw:
        raw.requests = seen
        yield raw


INFO = {"model_id": "a/model", "model_sha": "abc", "max_concurrent_requests": 8, "max_input_tokens": 1024,
        "max_total_tokens": 2048, "version": "3.3.6"}  # fmt: skip
"""What a TGI server tells on /info, as far as a client needs it."""


def tokens(*ids: int) -> list[dict[str, Any]]:
    """What /tokenize answers."""
    return [{"id": one, "text": "", "start": 0, "stop": 0} for one in ids]
