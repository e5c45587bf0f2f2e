"""What stands before every route of the double: the key, the body, the books, and the faults that a test switched on.

Keeps true: every request is counted once when it comes and once when it goes, however it goes; errors leave as the
original words them: an empty 401, 404 and 405, plain text before a request is understood, JSON after.
Does not know: how an answer is generated. It hands the parsed body on as `request["body"]` and the faults that struck
as `request["struck"]`.
"""

from __future__ import annotations

import socket
import struct
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from aiohttp import web

from tests.doubles.faults import Cut, Faults, Instead, Struck
from tests.doubles.ledger import Ledger
from tests.doubles.tgi_answers import Identity, json_reply
from tests.doubles.tgi_requests import Malformed, Refusal

GENERATING = {"/", "/generate", "/generate_stream", "/v1/completions"}
GUARDED = GENERATING | {"/tokenize"}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Gate:
    """The middleware of the double."""

    def __init__(self, identity: Identity, ledger: Ledger, faults: Faults) -> None:
        self.identity, self.ledger, self.faults = identity, ledger, faults

    @web.middleware
    async def around(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith("/_double/"):
            return await handler(request)
        self.ledger.requests += 1
        headers = {str(name).lower(): value for name, value in request.headers.items()}
        entry: dict[str, Any] = {"method": request.method, "route": request.path, "headers": headers, "body": None}
        generates = request.method == "POST" and request.path in GENERATING
        prompts: list[str] = []
        outcome = "disconnected"  # what it stays if this task is cancelled
        try:
            request["body"] = entry["body"] = await self._body(request)
            prompts = prompts_of(entry["body"])
            self.ledger.arrived(entry, prompts, generates)
            if self._knows_the_key(request):
                request["struck"] = self.faults.draw(request.path, "\n".join(prompts), generates)
                response = await self._answer(request, handler)
            else:
                response = web.Response(status=401)
            outcome = request.get("outcome", str(response.status))
            return response
        except Cut:
            outcome = "reset"
            return reset(request)
        except Exception:
            # Of no kind that the original answers: the double itself is broken, and a test should see it at once.
            outcome = "broken"
            return web.Response(status=500, text=f"the double is broken\n{traceback.format_exc()}")
        finally:
            self.ledger.left(entry, outcome, prompts if request.get("answered") and outcome == "200" else None)

    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        struck = struck_of(request)
        try:
            if request.path not in GENERATING or request.method != "POST":
                instead = struck.instead()
                return await handler(request) if instead is None else instead
            response = await handler(request)
            if struck.has("reset_in_body"):
                await half(request, response)
                raise Cut
            return await half(request, response) if struck.has("half_body") else response
        except Instead as instead:
            return instead.response
        except Refusal as refusal:
            return self.refusal(refusal)
        except Malformed as malformed:
            return web.Response(status=malformed.status, text=malformed.text)
        except web.HTTPException as error:  # 404 and 405, which the original leaves empty
            return web.Response(status=error.status, headers={k: v for k, v in error.headers.items() if k == "Allow"})

    def refusal(self, refusal: Refusal) -> web.Response:
        """How this kind of server words a refusal."""
        return json_reply(refusal.body, status=refusal.status)

    def _knows_the_key(self, request: web.Request) -> bool:
        if self.identity.api_key is None or request.method != "POST" or request.path not in GUARDED:
            return True
        return request.headers.get("Authorization", "").lower() == f"Bearer {self.identity.api_key}".lower()

    async def _body(self, request: web.Request) -> Any:
        """The parsed body, or the Malformed that its handler will raise; None where the method has none."""
        if request.method != "POST":
            return None
        try:
            # Read in any case: a connection with an unread body would have to be closed.
            raw = await request.read()
        except web.HTTPRequestEntityTooLarge:
            return Malformed(413, "Failed to buffer the request body: length limit exceeded")
        if request.content_type != "application/json" and not request.content_type.endswith("+json"):
            return Malformed(415, "Expected request with `Content-Type: application/json`")
        try:
            return orjson.loads(raw)
        except orjson.JSONDecodeError as error:
            return Malformed(400, f"Failed to parse the request body as JSON: {error}")


def well_formed(request: web.Request) -> Any:
    if isinstance(request["body"], Malformed):
        raise request["body"]
    return request["body"]


def struck_of(request: web.Request) -> Struck:
    struck: Struck = request["struck"]
    return struck


def prompts_of(body: Any) -> list[str]:
    """The prompts of a body of any route, for the books and for `match`."""
    if not isinstance(body, dict):
        return []
    asked = body.get("inputs", body.get("prompt"))
    return [p for p in (asked if isinstance(asked, list) else [asked]) if isinstance(p, str)]


def reset(request: web.Request) -> web.Response:
    """Close the connection so that the client sees a reset: with a linger of zero the kernel sends RST, not FIN."""
    if request.transport is not None:
        connection: socket.socket | None = request.transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.transport.abort()
    return web.Response()


async def half(request: web.Request, whole: web.StreamResponse) -> web.StreamResponse:
    """Promise the whole body, send half of it and close."""
    if not isinstance(whole, web.Response) or not isinstance(whole.body, bytes):
        return whole
    request["outcome"] = "cut"
    response = web.StreamResponse(status=whole.status, headers={"content-type": "application/json"})
    response.content_length = len(whole.body)
    await response.prepare(request)
    await response.write(whole.body[: len(whole.body) // 2])
    if request.transport is not None and not struck_of(request).has("reset_in_body"):
        request.transport.close()
    return response
