"""The plain lane: what a general HTTP client takes care of, and this one has to as well."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from hub_instructpt.engines import plain_http
from hub_instructpt.engines.answers import Response, TransportFailure
from hub_instructpt.engines.plain_http import PlainHTTP
from tests.raw_server import Raw, answering, http, talking

Use = Callable[[PlainHTTP], Awaitable[Any]]


def use(raw: Raw, what: Use) -> Any:
    async def main() -> Any:
        lane = PlainHTTP(raw.url, {"x-key": "k"})
        try:
            return await what(lane)
        finally:
            await lane.aclose()

    return asyncio.run(main())


def get(lane: PlainHTTP, path: str = "/x", seconds: float = 5.0) -> Awaitable[Response]:
    return lane.request("GET", path, None, seconds)


def saying(*answers: bytes, then_close: bool = True) -> Any:
    """Answers one after the other on a connection, whatever is asked."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
        if not then_close:
            await reader.read()

    return talk


def test_one_connection_serves_request_after_request() -> None:
    connections = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await saying(*[http(b"y")] * 3, then_close=False)(reader, writer)

    async def thrice(lane: PlainHTTP) -> list[bytes]:
        return [(await get(lane)).body for _ in range(3)]

    with talking(talk) as raw:
        assert use(raw, thrice) == [b"y"] * 3
    assert connections == 1


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", b"abcde"),
        (b"HTTP/1.0 200 OK\r\n\r\nuntil the end", b"until the end"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", b"hi"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", b""),
    ],
    ids=["chunked", "until the connection ends", "after an interim answer", "without a body", "and then it closes"],
)
def test_every_way_to_end_a_body_is_understood(answer: bytes, body: bytes) -> None:
    with talking(saying(answer)) as raw:
        assert use(raw, get).body == body


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nabcdef",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x: " + b"a" * 300_000 + b"\r\n\r\n",
        b"",
    ],
    ids=["not HTTP", "half", "half a chunk", "two lengths", "another protocol", "a head without end", "nothing"],
)
def test_what_is_no_whole_answer_is_broken(answer: bytes) -> None:
    with talking(saying(answer)) as raw, pytest.raises(TransportFailure) as caught:
        use(raw, get)
    assert caught.value.kind == "broken"


def test_a_body_without_end_is_not_kept_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_http, "LARGEST_BODY", 100_000)
    with talking(saying(http(b"a" * 200_000), then_close=False)) as raw, pytest.raises(TransportFailure) as caught:
        use(raw, get)
    assert caught.value.kind == "broken"


def test_a_kept_connection_that_was_let_go_meanwhile_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_http, "IDLE_SECONDS", 0.0)
    connections = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await saying(http(b"y"))(reader, writer)
        await reader.readuntil(b"\r\n\r\n")  # the second request on it is never answered

    async def twice(lane: PlainHTTP) -> list[bytes]:
        return [(await get(lane)).body for _ in range(2)]

    with talking(talk) as raw:
        assert use(raw, twice) == [b"y", b"y"]
    assert connections == 2


def test_an_answer_cut_in_use_is_a_failure_and_not_asked_again() -> None:
    asked = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        await saying(http(b"y"))(reader, writer)
        await reader.readuntil(b"\r\n\r\n")
        asked += 1

    async def twice(lane: PlainHTTP) -> None:
        for _ in range(2):
            await get(lane)

    with talking(talk) as raw, pytest.raises(TransportFailure):
        use(raw, twice)
    assert asked == 1


def test_a_cancelled_request_closes_its_connection() -> None:
    asked, gone = threading.Event(), threading.Event()

    async def talk(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        await reader.read()
        gone.set()

    async def cancel(lane: PlainHTTP) -> bool:
        request = asyncio.ensure_future(get(lane))
        await asyncio.to_thread(asked.wait, 5)
        request.cancel()
        return await asyncio.to_thread(gone.wait, 5)

    with talking(talk) as raw:
        assert use(raw, cancel)


def test_paths_hosts_and_headers_are_written_as_http_wants_them() -> None:
    with answering({"/a%20b/%C3%BC?x=1%2B1": http(b"y")}) as raw:
        assert use(raw, lambda lane: get(lane, "/a b/ü?x=1%2B1")).body == b"y"
        (request,) = raw.requests
    assert request.headers["host"] == f"127.0.0.1:{raw.port}"
    assert request.headers["x-key"] == "k"
