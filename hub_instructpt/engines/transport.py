"""HTTP, bought and not built: one small module between us and aiohttp.

Rust clients cost a third of its CPU time. But pyreqwest's runtime does not survive a fork (`Dataset.map(num_proc=…)`
forks), it goes on with requests that nobody waits for any more, which keeps a server's permits, and it was seen to
abort the interpreter at exit. About 2,000 requests a second on one core are many more than a server answers.

Keeps true: an answer is returned whole or not at all; every failure is a `TransportFailure` with one of three kinds.
A request as a whole, body included, has a time limit; one that is cancelled closes its connection, so that the server
stops working on it. No redirect is followed, no cookie kept, and no credential sent but the headers given.
Does not know JSON, retries or what is being asked.
"""

from __future__ import annotations

import io
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

import aiohttp

CONNECT_SECONDS = 10.0

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
    """An HTTP answer: status, headers and the whole body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def header(self, name: str) -> str | None:
        """A header by its name in lower case."""
        return self.headers.get(name)


class Transport:
    """Sends requests over pooled connections, within one event loop.

    Args:
        timeout_seconds: limit for a whole request, unless the request gives its own.
        headers: sent with every request.
    """

    def __init__(self, *, timeout_seconds: float, headers: Mapping[str, str] | None = None) -> None:
        self._timeout_seconds = timeout_seconds
        self._session = aiohttp.ClientSession(
            headers={"content-type": "application/json", **(headers or {})},
            # Concurrency is limited by the engine; a second limit here would only hide it.
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def request(
        self, method: str, url: str, body: bytes | None = None, *, timeout_seconds: float | None = None
    ) -> Response:
        """Send a request and read the whole answer.

        Raises:
            TransportFailure: no whole answer came.
        """
        timeout = aiohttp.ClientTimeout(total=timeout_seconds or self._timeout_seconds, sock_connect=CONNECT_SECONDS)
        # A large body in one piece makes aiohttp warn, however short it blocks the loop.
        data = io.BytesIO(body) if body is not None and len(body) >= 2**20 else body
        try:
            async with self._session.request(
                method, url, data=data, timeout=timeout, allow_redirects=False, proxy=_proxy_for(url)
            ) as response:
                content = await response.read()
                headers = {name.lower(): value for name, value in response.headers.items()}
                return Response(response.status, headers, content)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
            raise TransportFailure("unreachable") from None
        except TimeoutError:
            raise TransportFailure("timeout") from None
        except aiohttp.ClientError:
            raise TransportFailure("broken") from None
        except ValueError:  # an address that no name server is asked about
            raise TransportFailure("unreachable") from None
        except RuntimeError:
            if not self._session.closed:
                raise
            raise TransportFailure("broken") from None

    async def aclose(self) -> None:
        """Close all connections."""
        await self._session.close()


def _proxy_for(url: str) -> str | None:
    # aiohttp's own `trust_env` would also send what ~/.netrc holds, and refuse to beside a key.
    parts = urlsplit(url)
    host = parts.hostname or ""
    return None if urllib.request.proxy_bypass(host) else urllib.request.getproxies().get(parts.scheme)
