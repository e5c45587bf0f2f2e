"""HTTP/1.1 without TLS or proxy, to the servers that stand beside us: llhttp's parser on asyncio's sockets.

A general client spends three times as long on a request as everything else that is done for a document (measured in
benchmarks/): it prepares for redirects, cookies, proxies, compression and streams. Nothing of that is asked here. One
request is one write, one answer is parsed by httptools, and a connection serves one request at a time.

Keeps true: as transport.py says: an answer whole or not at all, three kinds of failure, a time limit over all of it,
and a request that is cancelled closes its connection. Servers let go of connections that nobody uses: where one is
gone in the moment in which it is taken up again, the request goes out once more, on another.
Does not know TLS, proxies, JSON, or what is being asked.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import quote, urlsplit

import httptools

from hub_instructpt.engines.answers import CONNECT_SECONDS, Response, TransportFailure

# No server keeps a connection for less; one that is cut sooner was cut because of what we sent.
IDLE_SECONDS = 1.0
LARGEST_HEAD = 256 * 1024
LARGEST_BODY = 256 * 1024 * 1024

# What may stand in a path or query as it is; anything else is written as %XX.
_AS_IT_IS = "/?%:@!$&'()*+,;=-._~"


class _Connection(asyncio.Protocol):
    """One connection, and the request that is under way on it."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.answer: asyncio.Future[Response] | None = None
        self.lost = False
        self.idle_since: float | None = None
        self.reusable = False
        self.silent = True  # nothing of the answer has come yet

    # -- what the pool asks for ------------------------------------------------------------------------------------

    def ask(self, head: bytes, body: bytes | None, loop: asyncio.AbstractEventLoop) -> asyncio.Future[Response]:
        """Send a request; the future gives its answer."""
        assert self.transport is not None
        self.parser = httptools.HttpResponseParser(self)
        self.headers: list[tuple[bytes, bytes]] = []
        self.pieces: list[bytes] = []
        self.size = 0
        self.measured = self.reusable = False
        self.silent = True
        self.answer = loop.create_future()
        self.transport.write(head if body is None else head + body)
        return self.answer

    def time_out(self) -> None:
        self.fail("timeout")

    def fail(self, kind: Any) -> None:
        """End the request without an answer, and the connection with it."""
        answer, self.answer = self.answer, None
        if answer is not None and not answer.done():
            answer.set_exception(TransportFailure(kind))
        self.close()

    def close(self) -> None:
        self.lost = True
        self.answer = None
        if self.transport is not None:
            self.transport.abort()

    # -- what asyncio tells ----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's own is no subclass of it

    def data_received(self, data: bytes) -> None:
        if self.answer is None:  # nobody asked
            self.close()
            return
        self.silent = False
        try:
            self.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if self.answer is not None:
                self.fail("broken")
        if self.size > LARGEST_BODY:
            self.fail("broken")

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        if self.answer is None:
            return
        if exc is None and self.pieces and not self.measured:  # a body may end with its connection
            self._finish()
        else:
            self.fail("broken")

    # -- what the parser tells -------------------------------------------------------------------------------------

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))
        self.size += len(name) + len(value)
        if self.size > LARGEST_HEAD:
            self.fail("broken")

    def on_headers_complete(self) -> None:
        self.measured = any(name.lower() in (b"content-length", b"transfer-encoding") for name, _ in self.headers)
        self.size = 0

    def on_body(self, piece: bytes) -> None:
        self.pieces.append(piece)
        self.size += len(piece)

    def on_message_complete(self) -> None:
        if self.answer is None:
            return
        if self.parser.get_status_code() < 200:  # an interim answer
            self.headers = []
            return
        self.reusable = self.parser.should_keep_alive()
        self._finish()

    def _finish(self) -> None:
        answer, self.answer = self.answer, None
        if answer is not None and not answer.done():
            pieces = self.pieces
            body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            answer.set_result(Response(self.parser.get_status_code(), self.headers, body))


class PlainHTTP:
    """Connections to one server, kept open between requests. It belongs to the event loop that uses it first.

    Args:
        origin: `http://host:port`.
        headers: sent with every request.
    """

    def __init__(self, origin: str, headers: Mapping[str, str]) -> None:
        parts = urlsplit(origin)
        host = parts.hostname or ""
        try:
            self._host = host.encode("ascii").decode() if host.isascii() else host.encode("idna").decode()
        except UnicodeError:
            self._host = ""
        self._port = parts.port or 80
        named = f"[{self._host}]" if ":" in self._host else self._host
        named += f":{self._port}" if parts.port else ""
        lines = {"host": named, "accept": "*/*", **headers}
        self._lines = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self._heads: dict[tuple[str, str], bytes] = {}
        self._idle: deque[_Connection] = deque()
        self._busy: set[_Connection] = set()
        self._closed = False

    async def request(self, method: str, path: str, body: bytes | None, timeout_seconds: float) -> Response:
        """Send a request and read the whole answer.

        Raises:
            TransportFailure: no whole answer came.
        """
        loop = asyncio.get_running_loop()
        head = self._head(method, path)
        if body is not None:
            head += b"content-length: %d\r\n\r\n" % len(body)
        else:
            head += b"\r\n"
        while True:
            connection = self._kept() or await self._connected(loop, timeout_seconds)
            since = connection.idle_since
            stale = since is not None and loop.time() - since > IDLE_SECONDS
            self._busy.add(connection)
            answer = connection.ask(head, body, loop)
            limit = loop.call_later(timeout_seconds, connection.time_out)
            try:
                response = await answer
            except TransportFailure as failure:
                if stale and connection.silent and failure.kind == "broken" and not self._closed:
                    continue
                raise
            except asyncio.CancelledError:
                connection.close()
                raise
            finally:
                limit.cancel()
                self._busy.discard(connection)
            if connection.reusable and not connection.lost:
                connection.idle_since = loop.time()
                self._idle.append(connection)
            else:
                connection.close()
            return response

    async def aclose(self) -> None:
        """Close all connections; whoever still waits for an answer is told that it was cut."""
        self._closed = True
        for connection in (*self._idle, *self._busy):
            connection.fail("broken")
        self._idle.clear()
        await asyncio.sleep(0)  # the sockets are closed in the loop's next turn

    def _kept(self) -> _Connection | None:
        while self._idle:
            connection = self._idle.pop()  # the one used last: the others may be let go by the server
            if not connection.lost:
                return connection
        return None

    async def _connected(self, loop: asyncio.AbstractEventLoop, timeout_seconds: float) -> _Connection:
        try:
            async with asyncio.timeout(min(CONNECT_SECONDS, timeout_seconds)):
                _, connection = await loop.create_connection(_Connection, self._host, self._port)
        except (OSError, ValueError):  # TimeoutError is an OSError
            raise TransportFailure("unreachable") from None
        return connection

    def _head(self, method: str, path: str) -> bytes:
        known = self._heads.get((method, path))
        if known is None:
            known = f"{method} {quote(path or '/', safe=_AS_IT_IS)} HTTP/1.1\r\n{self._lines}".encode("latin-1")
            self._heads[method, path] = known
        return known
