"""Trouble on order for the Hub's double, and a record of every request.

What it does: notes each request with the status it got, and lets a test switch faults on over HTTP: error statuses,
delays, connections cut while a reply or an upload is on its way.

    GET  /_double/requests   [{"method", "path", "query", "status"}, ...] in the order in which they were answered
    POST /_double/faults     one fault or a list of them (see `Fault`)
    POST /_double/reset      {"only": ["requests", "faults", "repos"]}; without a body everything goes

What it keeps true: control requests are never recorded and never fail on order; the first fault that matches and has
life left takes the request. A cut connection is recorded with status 0.

What it does not know: TCP below a connection; a cut is an early close, never a corrupted byte.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

CONTROL = "/_double/"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Fault:
    """One kind of trouble, for requests whose "METHOD path" the regular expression `match` is found in.

    `after` matching requests pass first, then `times` of them suffer (None: all). `status` answers in the double's
    place; with `applied` the request is carried out all the same and only its reply is replaced. `cut` "reply" (or
    true) carries it out and breaks off half-way through the reply; "upload" breaks off while the body is still coming
    in, and nothing is done. `delay_seconds` waits first; alone it only slows.
    """

    match: str
    status: int | None = None
    times: int | None = 1
    after: int = 0
    body: str | dict[str, Any] = ""
    headers: dict[str, str] = field(default_factory=dict)
    delay_seconds: float = 0
    cut: bool | str = False
    applied: bool = False

    def __post_init__(self) -> None:
        re.compile(self.match)
        if self.cut not in (False, True, "reply", "upload"):
            raise ValueError(f"cut is 'reply' or 'upload', not {self.cut!r}")

    def takes(self, request: web.Request) -> bool:
        """Whether this request suffers; counts it if it matches."""
        if self.times == 0 or not re.search(self.match, f"{request.method} {request.path}"):
            return False
        if self.after > 0:
            self.after -= 1
            return False
        if self.times is not None:
            self.times -= 1
        return True

    async def strike(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        await asyncio.sleep(self.delay_seconds)
        if self.cut == "upload":
            await request.content.readany()
            return hang_up(request)
        if self.status is None or self.applied:
            response = await handler(request)
        if self.status is not None:
            response = self.reply(self.status)
        return await send_half(request, response) if self.cut else response

    def reply(self, status: int) -> web.Response:
        headers = {"Retry-After": "0", **self.headers} if status == 429 else self.headers
        if isinstance(self.body, str):
            return web.Response(status=status, text=self.body, headers=headers)
        return web.json_response(self.body, status=status, headers=headers)


async def send_half(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    """Promise the whole reply, send half of it, hang up; a reply without a body is not begun at all."""
    body = getattr(response, "body", None)
    if request.method == "HEAD" or not isinstance(body, bytes) or len(body) < 2:
        return hang_up(request)
    half = web.StreamResponse(status=response.status, headers=response.headers)
    half.content_length = len(body)
    await half.prepare(request)
    await half.write(body[: len(body) // 2])
    hang_up(request)
    return half


def hang_up(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.close()
    return web.Response()


class Troubles:
    """The faults that are switched on and the requests seen, for one server."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.requests: list[dict[str, Any]] = []
        self.resets: dict[str, Callable[[], None]] = {"faults": self.faults.clear, "requests": self.requests.clear}

    def add_routes(self, app: web.Application) -> None:
        """Put the middleware outermost and add the control routes."""

        @web.middleware  # marks what it is given, which a bound method does not bear
        async def watch(request: web.Request, handler: Handler) -> web.StreamResponse:
            return await self.watch(request, handler)

        app.middlewares.insert(0, watch)
        app.router.add_get(CONTROL + "requests", self.list_requests)
        app.router.add_post(CONTROL + "faults", self.switch_on)
        app.router.add_post(CONTROL + "reset", self.reset)

    async def watch(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith(CONTROL):
            return await handler(request)
        row = {"method": request.method, "path": request.path, "query": request.query_string, "status": 0}
        try:
            fault = next((fault for fault in self.faults if fault.takes(request)), None)
            response = await (fault.strike(request, handler) if fault else handler(request))
            row["status"] = 0 if fault and fault.cut else response.status
            return response
        finally:
            self.requests.append(row)

    async def list_requests(self, _request: web.Request) -> web.Response:
        return web.json_response(self.requests)

    async def switch_on(self, request: web.Request) -> web.Response:
        given = await request.json()
        try:
            self.faults += [Fault(**fault) for fault in (given if isinstance(given, list) else [given])]
        except (TypeError, ValueError, re.error) as error:
            return web.json_response({"error": str(error)}, status=400)
        return web.json_response({"faults": len(self.faults)})

    async def reset(self, request: web.Request) -> web.Response:
        only = (await request.json()).get("only", list(self.resets)) if request.can_read_body else list(self.resets)
        for name in only:
            self.resets[name]()
        return web.json_response({"reset": only})
