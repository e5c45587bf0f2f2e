"""HTTP, in two lanes: plain_http.py to servers without TLS or proxy, aiohttp to all others.

Rust clients would cost as little as the plain lane. But pyreqwest's runtime does not survive a fork
(`Dataset.map(num_proc=…)` forks), it goes on with requests that nobody waits for any more, which keeps a server's
permits, and it was seen to abort the interpreter at exit.

Keeps true: an answer is returned whole or not at all; every failure is a `TransportFailure` with one of three kinds.
A request as a whole, body included, has a time limit; one that is cancelled closes its connection, so that the server
stops working on it. No redirect is followed, no cookie kept, and no credential sent but the headers given.
Does not know JSON, retries or what is being asked.
"""

from __future__ import annotations

import io
import urllib.request
from collections.abc import Mapping
from urllib.parse import urlsplit

import aiohttp

from hub_instructpt.engines.answers import CONNECT_SECONDS, Response, TransportFailure
from hub_instructpt.engines.plain_http import PlainHTTP

__all__ = ["Response", "Transport", "TransportFailure"]


class Transport:
    """Sends requests over pooled connections, within one event loop.

    Args:
        timeout_seconds: limit for a whole request, unless the request gives its own.
        headers: sent with every request.
    """

    def __init__(self, *, timeout_seconds: float, headers: Mapping[str, str] | None = None) -> None:
        self._timeout_seconds = timeout_seconds
        self._headers = {"content-type": "application/json", **(headers or {})}
        self._lanes: dict[str, PlainHTTP | _General] = {}

    async def request(
        self, method: str, url: str, body: bytes | None = None, *, timeout_seconds: float | None = None
    ) -> Response:
        """Send a request and read the whole answer.

        Raises:
            TransportFailure: no whole answer came.
        """
        slash = url.find("/", url.find("//") + 2)
        origin, path = (url, "/") if slash < 0 else (url[:slash], url[slash:])
        lane = self._lanes.get(origin) or self._open(origin)
        return await lane.request(method, path, body, timeout_seconds or self._timeout_seconds)

    async def aclose(self) -> None:
        """Close all connections."""
        for lane in self._lanes.values():
            await lane.aclose()
        self._lanes.clear()

    def _open(self, origin: str) -> PlainHTTP | _General:
        proxy = _proxy_for(origin)
        plain = proxy is None and origin.lower().startswith("http://")
        lane = PlainHTTP(origin, self._headers) if plain else _General(origin, self._headers, proxy)
        self._lanes[origin] = lane
        return lane


class _General:
    """The lane over aiohttp: TLS, proxies, and whatever else lies between us and a server."""

    def __init__(self, origin: str, headers: Mapping[str, str], proxy: str | None) -> None:
        self._origin, self._proxy = origin, proxy
        self._session = aiohttp.ClientSession(
            headers=headers,
            # Concurrency is limited by the engine; a second limit here would only hide it.
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def request(self, method: str, path: str, body: bytes | None, timeout_seconds: float) -> Response:
        timeout = aiohttp.ClientTimeout(total=timeout_seconds, sock_connect=CONNECT_SECONDS)
        # A large body in one piece makes aiohttp warn, however short it blocks the loop.
        data = io.BytesIO(body) if body is not None and len(body) >= 2**20 else body
        try:
            async with self._session.request(
                method, self._origin + path, data=data, timeout=timeout, allow_redirects=False, proxy=self._proxy
            ) as response:
                content = await response.read()
                return Response(response.status, response.raw_headers, content)
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
        await self._session.close()


def _proxy_for(origin: str) -> str | None:
    # aiohttp's own `trust_env` would also send what ~/.netrc holds, and refuse to beside a key.
    parts = urlsplit(origin)
    host = parts.hostname or ""
    return None if urllib.request.proxy_bypass(host) else urllib.request.getproxies().get(parts.scheme)
