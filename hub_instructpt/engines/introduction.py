"""The first questions to a server: patient with one that is starting, restarting, busy or asleep, and with no other.

What is learnt before the first prompt holds for every prompt, so a passing trouble is never taken for an answer.

Keeps true: a server is waited for within `connect_seconds`, or within its time to wake where it is known to sleep.
Does not know what is asked, or what kinds of servers there are.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Container
from dataclasses import dataclass
from typing import Any

from hub_instructpt.engines.address import refuses_key
from hub_instructpt.engines.http_protocol import json_of
from hub_instructpt.engines.retries import is_passing
from hub_instructpt.engines.transport import Response, TransportFailure
from hub_instructpt.engines.waking import Waking
from hub_instructpt.errors import EngineUnavailable, NotAnEngine

ANSWER_SECONDS = 15.0

# BOS and EOS of tokenizers that synthesizers are built on, the published one first.
CONTROL_PAIRS = (("<s>", "</s>"), ("<|begin_of_text|>", "<|end_of_text|>"), ("<bos>", "<eos>"))

Send = Callable[[str, str, bytes | None, float], Awaitable[Response]]
"""Sends a method, a path and a body, within a number of seconds."""


@dataclass(frozen=True, slots=True)
class Given:
    """What the user said of the server, and what is not asked of it therefore."""

    bos: str | None = None
    eos: str | None = None
    model: str | None = None
    max_total_tokens: int | None = None
    concurrency: int | None = None

    @property
    def control_pairs(self) -> tuple[tuple[str, str], ...]:
        """The BOS and EOS to try on the server's tokenizer."""
        return CONTROL_PAIRS if self.bos is None else ((self.bos, self.eos or CONTROL_PAIRS[0][1]),)


class Introduction:
    """The first questions to one server, all of them within the time that a server may take to come up."""

    def __init__(
        self, send: Send, address: str, *, connect_seconds: float, answer_seconds: float, waking: Waking
    ) -> None:
        self._send, self.address, self._waking = send, address, waking
        self._connect_seconds = connect_seconds
        self._deadline = time.monotonic() + connect_seconds
        self._answer_seconds = answer_seconds

    async def get(self, path: str, *, settled: Container[int] = ()) -> Response:
        """The answer to a GET. It is not waited for as long as a prompt is: a server that is there answers it."""
        return await self._ask("GET", path, None, min(self._answer_seconds, ANSWER_SECONDS), settled)

    async def get_json(self, path: str, *, settled: Container[int] = ()) -> Any:
        """The JSON of a 200 answer to a GET, or None."""
        response = await self.get(path, settled=settled)
        return json_of(response.body) if response.status == 200 else None

    async def post(self, path: str, body: bytes, *, settled: Container[int] = ()) -> Response:
        """The answer to a POST that generates nothing."""
        return await self._ask("POST", path, body, min(self._answer_seconds, ANSWER_SECONDS), settled)

    async def generate(self, path: str, body: bytes, *, settled: Container[int] = ()) -> Response:
        """The answer to a POST that may wait in the server's queue behind the prompts of others."""
        return await self._ask("POST", path, body, self._answer_seconds, settled)

    async def _ask(
        self, method: str, path: str, body: bytes | None, seconds: float, settled: Container[int]
    ) -> Response:
        """The first answer that is not a passing trouble; a status in `settled` is none, whatever it is elsewhere.

        Raises:
            EngineUnavailable: there was none in time.
        """
        while True:
            sleep: str | None = None
            try:
                response = await self._send(method, path, body, seconds)
            except TransportFailure as failure:
                trouble = self._unanswered(failure)
                if failure.kind != "unreachable" and self._waking.seconds:  # a proxy that holds on to requests
                    sleep = failure.kind
                elif failure.kind == "timeout":  # it was waited for
                    raise trouble from None
            else:
                passing = response.status == 429 or is_passing(response.status)
                if response.status in (401, 403) and response.status not in settled:
                    raise refuses_key(self.address, str(response.status))
                if response.status in settled or not passing:
                    self._waking.answers += 1
                    return response
                trouble = EngineUnavailable(
                    f"{self.address} answers {response.status}: the server behind it is not ready.",
                    advice="Wait until it has started, then run the same command again.",
                )
                if self._waking.is_sleep(response.status):
                    sleep = str(response.status)
            if sleep is not None:
                lasted = self._waking.wait(sleep)
                self._deadline = time.monotonic() + self._connect_seconds  # it has just begun to start
                await asyncio.sleep(min(5.0, 0.25 + lasted / 4))
            elif time.monotonic() >= self._deadline:
                raise trouble
            else:
                await asyncio.sleep(0.25)

    def redirected(self, status: int) -> NotAnEngine:
        """The error for an address that is not where the server is."""
        return NotAnEngine(
            f"{self.address} redirects to another address ({status}).",
            advice="Give the address that it redirects to; is it https instead of http?",
        )

    def _unanswered(self, failure: TransportFailure) -> EngineUnavailable:
        if failure.kind == "timeout":
            return EngineUnavailable(
                f"{self.address} accepts connections but does not answer.",
                advice="Is the server hung? Restart it, then run the same command again.",
            )
        verb = "No server answers at" if failure.kind == "unreachable" else "What answers is not HTTP at"
        return EngineUnavailable(
            f"{verb} {self.address}.",
            advice=f"Is it running, and reachable from here? Try `curl {self.address}/health`.",
        )
