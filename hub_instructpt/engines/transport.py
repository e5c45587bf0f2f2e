"""HTTP, bought and not built: one small module between us and the client library.

pyreqwest costs about a third of pooled aiohttp in CPU time, but its runtime does not survive a fork, and
`Dataset.map(num_proc=…)` forks. So a process that was forked after the runtime had started speaks through aiohttp,
which `datasets` brings along anyway.

Keeps true: an answer is returned whole or not at all; every failure is a `TransportFailure` with one of three kinds.
A request as a whole, body included, has a time limit. Does not know JSON, retries or what is being asked.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, Protocol

import aiohttp
import pyreqwest.exceptions as rust_errors
from pyreqwest.client import ClientBuilder

FailureKind = Literal["unreachable", "timeout", "broken"]


class TransportFailure(Exception):
    """No whole answer came back.

    `unreachable`: no connection could be made. `timeout`: the time limit passed. `broken`: the connection was cut,
    or what came over it was not HTTP.
    """

    def __init__(self, kind: FailureKind) -> None:
        super().__init__(kind)
        self.kind: FailureKind = kind


@dataclass(frozen=True, slots=True)
class Response:
    """An HTTP answer: status, headers (looked up in lower case) and the whole body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Transport(Protocol):
    """Sends requests over pooled connections, within one event loop."""

    async def request(
        self, method: str, url: str, body: bytes | None = None, *, timeout_seconds: float | None = None
    ) -> Response: ...

    async def aclose(self) -> None: ...


_rust_runtime_pid: int | None = None


def open_transport(
    *, timeout_seconds: float, headers: Mapping[str, str] | None = None, force: Literal["rust", "python"] | None = None
) -> Transport:
    """A transport that works in this process.

    Args:
        timeout_seconds: limit for a whole request, unless the request gives its own.
        headers: sent with every request.
        force: choose the client library; by default pyreqwest, or aiohttp in a child forked after its first use.
    """
    global _rust_runtime_pid
    forked = _rust_runtime_pid not in (None, os.getpid())
    headers = {"content-type": "application/json", **(headers or {})}
    if force == "python" or (force is None and forked):
        return _PythonTransport(timeout_seconds, headers)
    _rust_runtime_pid = os.getpid()
    return _RustTransport(timeout_seconds, headers)


class _RustTransport:
    def __init__(self, timeout_seconds: float, headers: Mapping[str, str]) -> None:
        # Concurrency is limited by the engine; a second limit here would only hide it.
        self._client = (
            ClientBuilder().timeout(timedelta(seconds=timeout_seconds)).default_headers(dict(headers)).build()
        )

    async def request(
        self, method: str, url: str, body: bytes | None = None, *, timeout_seconds: float | None = None
    ) -> Response:
        builder = self._client.request(method, url)
        if body is not None:
            builder = builder.body_bytes(body)
        if timeout_seconds is not None:
            builder = builder.timeout(timedelta(seconds=timeout_seconds))
        try:
            response = await builder.build().send()
            content = await response.bytes()
        except rust_errors.ConnectTimeoutError:
            raise TransportFailure("unreachable") from None
        except rust_errors.RequestTimeoutError:
            raise TransportFailure("timeout") from None
        except rust_errors.ConnectError:
            raise TransportFailure("unreachable") from None
        except rust_errors.RequestError:
            raise TransportFailure("broken") from None
        return Response(response.status, response.headers, bytes(content))

    async def aclose(self) -> None:
        await self._client.close()


class _PythonTransport:
    def __init__(self, timeout_seconds: float, headers: Mapping[str, str]) -> None:
        self._session = aiohttp.ClientSession(
            headers=dict(headers),
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=timeout_seconds),
            trust_env=True,
        )

    async def request(
        self, method: str, url: str, body: bytes | None = None, *, timeout_seconds: float | None = None
    ) -> Response:
        timeout = self._session.timeout if timeout_seconds is None else aiohttp.ClientTimeout(total=timeout_seconds)
        try:
            async with self._session.request(method, url, data=body, timeout=timeout) as response:
                content = await response.read()
                headers = {name.lower(): value for name, value in response.headers.items()}
                return Response(response.status, headers, content)
        except TimeoutError:
            raise TransportFailure("timeout") from None
        except aiohttp.ClientConnectorError:
            raise TransportFailure("unreachable") from None
        except aiohttp.ClientError:
            raise TransportFailure("broken") from None

    async def aclose(self) -> None:
        await self._session.close()
