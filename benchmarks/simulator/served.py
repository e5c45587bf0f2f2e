"""A simulated server behind a socket: TGI's routes, or those of an OpenAI-compatible server.

    TGI      GET /info, POST /tokenize, POST /generate, POST /v1/completions; the request after the last permit gets 429
    OpenAI   GET /v1/models, POST /v1/completions, POST /v1/chat/completions; whatever comes is queued
    both     GET /health, GET /_sim/stats, POST /_sim/reset

A document's number stands in its text as `[doc 000123]`; the last one in a prompt says how long the answer is.

Keeps true: steps follow the clock without drifting, so a busy machine makes single answers late but the server no
slower; a client that leaves frees its place in the batch. About 0.05 CPU ms a request.
Does not know what an answer should say: it is filler in the wire format, of the length drawn.
"""

from __future__ import annotations

import asyncio
import re
import zlib
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import orjson

from benchmarks.simulator.model import CHARACTERS_PER_TOKEN, Batch, Lengths, Speed

DOCUMENT = re.compile(r"\[doc (\d+)\]")
MODEL = "simulated/synthesizer"
_REASONS = {200: "OK", 404: "Not Found", 429: "Too Many Requests", 422: "Unprocessable Entity"}
_FILLER = "lorem ipsum dolor sit amet consectetur adipiscing elit sed do eiusmod tempor incididunt ut labore et dolore "


def document_of(prompt: str) -> int:
    """The number of the document that a prompt asks about."""
    numbers = DOCUMENT.findall(prompt[-100_000:])
    return int(numbers[-1]) if numbers else zlib.crc32(prompt.encode())


def answer_of(document: int, tokens: int) -> str:
    """Pairs in the wire format, of about so many tokens."""
    pairs, left = [], tokens * CHARACTERS_PER_TOKEN
    while left > 0 or not pairs:
        number, length = len(pairs) + 1, max(8, min(left, 160) - 64)
        pairs.append(
            f"<QUE> What is said in part {number} of document {document}? <ANS> {(_FILLER * 2)[:length].strip()} </END>"
        )
        left -= len(pairs[-1]) + 2
    return "\n\n".join(pairs)


@dataclass(eq=False, slots=True)
class Request:
    """A request in the batch, and the connection that waits for it."""

    prompt_tokens: int
    output_tokens: int
    document: int
    path: str
    connection: Connection
    finish: str = "stop"


@dataclass(slots=True)
class Books:
    """What happened on all servers of this process, in seconds of the event loop's clock.

    `marked` is set when `mark` requests are answered.
    """

    answered: int = 0
    first: float | None = None
    last: float | None = None
    statuses: Counter[int] = field(default_factory=Counter)
    late: float = 0.0
    steps: int = 0
    mark: int | None = None
    marked: asyncio.Event = field(default_factory=asyncio.Event)


class Server:
    """One simulated server. `fleet_answered` counts the answers of all servers of the process."""

    def __init__(self, speed: Speed, lengths: Lengths, kind: str, permits: int, books: Books) -> None:
        self.speed, self.lengths, self.kind, self.permits, self.books = speed, lengths, kind, permits, books
        self.batch: Batch[Request] = Batch(speed)
        self.connections: set[Connection] = set()
        self.in_flight = 0
        self.peak = 0
        self.answered = 0
        self.full_seconds = self.busy_seconds = 0.0
        self.port = 0
        self._socket: asyncio.Server | None = None
        self._work = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._socket = await loop.create_server(lambda: Connection(self), "127.0.0.1", self.port, backlog=4096)
        self.port = self._socket.sockets[0].getsockname()[1]
        self._worker = asyncio.create_task(self._run())

    def die(self) -> None:
        """As by kill -9: nobody listens any more, and every connection is reset."""
        if self._socket is not None:
            self._socket.close()
        if self._worker is not None:
            self._worker.cancel()
        self.batch.clear()
        for connection in list(self.connections):
            connection.abort()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            if not len(self.batch):
                self._work.clear()
                await self._work.wait()
                due = loop.time()
            full = len(self.batch) >= self.speed.max_batch
            seconds, finished = self.batch.step()
            due += seconds
            self.busy_seconds += seconds
            self.full_seconds += seconds * full
            self.books.steps += 1
            now = loop.time()
            if due > now:
                await asyncio.sleep(due - now)
            elif self.books.steps % 16 == 0:
                await asyncio.sleep(0)  # far behind, and still others must be heard
            self.books.late = max(self.books.late, loop.time() - due)
            for request in finished:
                self._answer(request)

    def ask(self, request: Request) -> None:
        if self.kind == "tgi" and self.in_flight >= self.permits:
            request.connection.reply(429, {"error": "Model is overloaded", "error_type": "overloaded"})
            return
        if self.books.first is None:
            self.books.first = asyncio.get_running_loop().time()
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        request.connection.waiting = request
        self.batch.add(request)
        self._work.set()

    def leave(self, request: Request) -> None:
        """The client of a request has gone."""
        self.in_flight -= 1
        self.batch.drop(request)

    def _answer(self, request: Request) -> None:
        if request.connection.waiting is not request:  # its client left in this very step
            return
        self.in_flight -= 1
        self.answered += 1
        self.books.answered += 1
        if self.books.answered == self.books.mark:
            self.books.marked.set()
        self.books.last = asyncio.get_running_loop().time()
        request.connection.waiting = None
        text = answer_of(request.document, request.output_tokens)
        usage = {
            "prompt_tokens": request.prompt_tokens,
            "completion_tokens": request.output_tokens,
            "total_tokens": request.prompt_tokens + request.output_tokens,
        }
        if request.path == "/generate":
            headers = f"x-prompt-tokens: {request.prompt_tokens}\r\nx-generated-tokens: {request.output_tokens}\r\n"
            request.connection.reply(200, {"generated_text": text}, headers)
            return
        chat = request.path.endswith("chat/completions")
        said = {"message": {"role": "assistant", "content": text}} if chat else {"text": text, "logprobs": None}
        request.connection.reply(
            200,
            {
                "id": f"sim-{self.answered}", "object": "chat.completion" if chat else "text_completion", "created": 0,
                "model": MODEL, "choices": [{"index": 0, **said, "finish_reason": request.finish}], "usage": usage,
            },
        )  # fmt: skip

    # -- routes ----------------------------------------------------------------------------------------------------

    def route(self, method: str, path: str, body: bytes, connection: Connection) -> None:
        if method == "POST" and path in ("/generate", "/v1/completions", "/v1/chat/completions"):
            self._generate(path, orjson.loads(body), connection)
        elif method == "GET" and path in ("/health", "/ping"):
            connection.reply(200, {})
        elif path == "/_sim/stats":
            connection.reply(200, self.stats())
        elif path == "/_sim/reset":
            self.books.answered, self.books.late, self.books.first, self.books.last = 0, 0.0, None, None
            self.books.statuses.clear()
            self.peak = self.answered = 0
            self.full_seconds = self.busy_seconds = 0.0
            connection.reply(200, {})
        elif method == "GET" and path == "/v1/models":
            model = {"id": MODEL, "object": "model", "created": 0, "owned_by": "simulator", "max_model_len": 4096}
            connection.reply(200, {"object": "list", "data": [model]})
        elif self.kind == "tgi" and path == "/info":
            connection.reply(200, {
                "model_id": MODEL, "model_sha": "0" * 40, "model_dtype": "float16", "version": "3.3.6-simulated",
                "max_concurrent_requests": self.permits, "max_input_tokens": 4095, "max_total_tokens": 4096,
                "max_batch_size": self.speed.max_batch,
            })  # fmt: skip
        elif self.kind == "tgi" and path == "/tokenize":
            text = orjson.loads(body)["inputs"]
            ids = [1, *(1 if piece == "<s>" else 3 + zlib.crc32(piece.encode()) % 4000
                        for piece in re.findall(r"<s>|[^<]{1,4}|<", text))]  # fmt: skip
            connection.reply(200, [{"id": one, "text": "", "start": 0, "stop": 0} for one in ids])
        else:
            connection.reply(404, {"error": "not found"})

    def _generate(self, path: str, asked: dict[str, Any], connection: Connection) -> None:
        if path == "/generate":
            prompt, limit = asked["inputs"], asked.get("parameters", {}).get("max_new_tokens") or 1024
        elif path == "/v1/completions":
            prompt, limit = asked["prompt"], asked.get("max_tokens") or 1024
            prompt = prompt[0] if isinstance(prompt, list) else prompt
        else:
            prompt = "\n".join(str(message["content"]) for message in asked["messages"])
            limit = asked.get("max_tokens") or asked.get("max_completion_tokens") or 1024
        document = document_of(prompt)
        length = self.lengths.of(document)
        self.ask(
            Request(
                max(1, len(prompt) // CHARACTERS_PER_TOKEN), min(length, limit), document, path, connection,
                "length" if length >= limit else "stop",
            )
        )  # fmt: skip

    def stats(self) -> dict[str, Any]:
        books = self.books
        return {
            "fleet": {
                "answered": books.answered,
                "seconds": (books.last or 0.0) - (books.first or 0.0),
                "statuses": {str(status): number for status, number in books.statuses.items()},
                "latest_step_seconds": books.late,
            },
            "answered": self.answered, "in_flight": self.in_flight, "most_in_flight": self.peak,
            "busy_seconds": self.busy_seconds, "full_seconds": self.full_seconds,
        }  # fmt: skip


class Connection(asyncio.Protocol):
    """A keep-alive connection: one request at a time, with a content-length, as every client sends it."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.transport: asyncio.Transport | None = None
        self.buffer = b""
        self.waiting: Request | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self.server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self.server.connections.discard(self)
        if self.waiting is not None:
            self.server.leave(self.waiting)
            self.waiting = None

    def abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end].decode("latin-1")
            length = re.search(r"content-length: *(\d+)", head, re.IGNORECASE)
            whole = end + 4 + (int(length[1]) if length else 0)
            if len(self.buffer) < whole:
                return
            body, self.buffer = self.buffer[end + 4 : whole], self.buffer[whole:]
            method, path, _ = head.split(" ", 2)
            self.server.route(method, path.partition("?")[0], body, self)

    def reply(self, status: int, value: Any, headers: str = "") -> None:
        body = orjson.dumps(value)
        self.server.books.statuses[status] += 1
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(
                f"HTTP/1.1 {status} {_REASONS.get(status, '')}\r\ncontent-type: application/json\r\n{headers}"
                f"content-length: {len(body)}\r\n\r\n".encode()
                + body
            )
