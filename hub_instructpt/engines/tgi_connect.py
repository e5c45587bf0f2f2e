"""What a client finds out about a TGI server before the first prompt: that it is one, its limits, and its BOS.

A server that is starting, restarting or busy is asked again for a few seconds; a passing trouble is never taken for an
answer, since what is learnt here holds for every prompt.

Keeps true: nothing but GET /info, GET /v1/models and POST /tokenize is asked. Does not know prompts.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from hub_instructpt.engines.retries import is_passing
from hub_instructpt.engines.tgi_protocol import body_of, json_of, readable
from hub_instructpt.engines.transport import Response, TransportFailure
from hub_instructpt.errors import EngineUnavailable, NotAnEngine, SettingsError

API_KEY_VARIABLE = "HUB_INSTRUCTPT_API_KEY"
ANSWER_SECONDS = 15.0

# BOS and EOS of tokenizers that synthesizers are built on, the published one first.
CONTROL_PAIRS = (("<s>", "</s>"), ("<|begin_of_text|>", "<|end_of_text|>"), ("<bos>", "<eos>"))

Send = Callable[[str, str, bytes | None, float], Awaitable[Response]]
"""Sends a method, a path and a body, within a number of seconds."""


@dataclass(frozen=True, slots=True)
class ControlTokens:
    """The BOS and EOS to write into prompts, and what the server does about them.

    `adds_bos`: the server puts the BOS there by itself. `tokenizes`: it has /tokenize.
    """

    bos: str
    eos: str
    adds_bos: bool
    tokenizes: bool


def refuses_key(address: str, status: str) -> EngineUnavailable:
    """The error for a server that wants another key, or one at all."""
    return EngineUnavailable(
        f"{address} refuses our key ({status}).",
        advice=f"Put the server's key into the environment variable {API_KEY_VARIABLE}.",
    )


class Introduction:
    """The first questions to one server, all of them within the time that a server may take to come up."""

    def __init__(self, send: Send, address: str, *, connect_seconds: float, answer_seconds: float) -> None:
        self._send, self._address = send, address
        self._deadline = time.monotonic() + connect_seconds
        self._answer_seconds = min(answer_seconds, ANSWER_SECONDS)

    async def info(self) -> dict[str, Any]:
        """What /info tells.

        Raises:
            EngineUnavailable, NotAnEngine: as `Engine.connect` says.
        """
        response = await self._ask("GET", "/info")
        told = json_of(response.body) if response.status == 200 else None
        if isinstance(told, dict) and isinstance(told.get("model_id"), str):
            return told
        models = await self._ask("GET", "/v1/models")
        listed = json_of(models.body) if models.status == 200 else None
        if isinstance(listed, dict) and isinstance(listed.get("data"), list):
            raise NotAnEngine(
                f"{self._address} is an OpenAI-compatible server without TGI's /info.",
                advice="This version speaks to text-generation-inference only.",
            )
        if 300 <= response.status < 400:
            raise NotAnEngine(
                f"{self._address} redirects to another address ({response.status}).",
                advice="Give the address that it redirects to; is it https instead of http?",
            )
        raise NotAnEngine(
            f"{self._address} is not a text-generation server: /info answers {response.status} without a model_id.",
            advice=f"Check the address; `curl {self._address}/info` should show a model_id.",
        )

    async def control_tokens(self, given_bos: str | None, given_eos: str | None) -> ControlTokens:
        """Find, by /tokenize, the BOS that the model knows, and whether the server adds it."""
        candidates = CONTROL_PAIRS if given_bos is None else ((given_bos, given_eos or CONTROL_PAIRS[0][1]),)
        for bos, eos in candidates:
            once, thrice = await self._tokenize(bos + "a"), await self._tokenize(bos * 3 + "a")
            if once is None or thrice is None:  # every TGI adds a BOS
                return ControlTokens(candidates[0][0], given_eos or candidates[0][1], adds_bos=True, tokenizes=False)
            if bos and len(thrice) - len(once) == 2:  # one token of this model
                # Whatever stands before our literal was put there by the server.
                adds = once[0] != thrice[1] or once[1] == thrice[1]
                return ControlTokens(bos, given_eos or eos, adds, tokenizes=True)
        if given_bos:
            raise SettingsError(
                f"bos={given_bos!r} is not a token of the model at {self._address}.",
                advice="Give the beginning-of-sequence string of its tokenizer, or leave it out.",
            )
        # A model without a BOS, or with one that is not known: write none, rather than its letters.
        return ControlTokens("", given_eos or "", adds_bos=False, tokenizes=True)

    async def _tokenize(self, text: str) -> list[int] | None:
        """Ids of a text, or None where the server has no /tokenize."""
        response = await self._ask("POST", "/tokenize", body_of({"inputs": text}))
        answer = json_of(response.body) if response.status == 200 else None
        return [token["id"] for token in answer] if readable("/tokenize", answer) and answer else None

    async def _ask(self, method: str, path: str, body: bytes | None = None) -> Response:
        """The first answer that is not a passing trouble."""
        while True:
            try:
                response = await self._send(method, path, body, self._answer_seconds)
            except TransportFailure as failure:
                trouble = self._unanswered(failure)
                if failure.kind == "timeout":  # it was waited for
                    raise trouble from None
            else:
                if response.status in (401, 403):
                    raise refuses_key(self._address, str(response.status))
                if response.status != 429 and not is_passing(response.status):
                    return response
                trouble = EngineUnavailable(
                    f"{self._address} answers {response.status}: the server behind it is not ready.",
                    advice="Wait until it has started, then run the same command again.",
                )
            if time.monotonic() >= self._deadline:
                raise trouble
            await asyncio.sleep(0.25)

    def _unanswered(self, failure: TransportFailure) -> EngineUnavailable:
        if failure.kind == "timeout":
            return EngineUnavailable(
                f"{self._address} accepts connections but does not answer.",
                advice="Is the server hung? Restart it, then run the same command again.",
            )
        verb = "No server answers at" if failure.kind == "unreachable" else "What answers is not HTTP at"
        return EngineUnavailable(
            f"{verb} {self._address}.",
            advice=f"Is it running, and reachable from here? Try `curl {self._address}/info`.",
        )
