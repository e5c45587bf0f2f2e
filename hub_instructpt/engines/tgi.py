"""text-generation-inference (TGI), spoken over HTTP: POST /generate, one prompt a request.

What a batch client must know of TGI, and what is done about it here (facts: TGI 3.3.6):

- it adds a BOS to every text and does not say so: /tokenize is asked once, and the literal BOS of our prompt is left
  off when the server brings its own, so that the model sees exactly one;
- a request without `parameters` samples: they are always sent, with `do_sample` spelled out;
- one request more than /info allows is refused at once (429): never more are in flight, and a 429 makes it fewer;
- above 1,024 new tokens it answers in chunks, with more or fewer tokens than asked: refused here beforehand;
- `generated_text` is "" when the last token cuts a character in two: asked again with its tokens, which are joined;
- error bodies are JSON, plain text or empty, whatever the status: the status decides.

Keeps true: 4xx answers about the request itself are never retried; a request has a total time limit.
Does not know pairs or rows. Error messages never repeat what was sent.
"""

from __future__ import annotations

import asyncio
import os
from base64 import b64encode
from collections.abc import Mapping
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from hub_instructpt.engines.base import HomeLoop, rebuild
from hub_instructpt.engines.limiter import Limiter
from hub_instructpt.engines.retries import Retries, RetryPolicy
from hub_instructpt.engines.tgi_connect import API_KEY_VARIABLE, ControlTokens, Introduction, refuses_key
from hub_instructpt.engines.tgi_protocol import (
    Answer,
    Trouble,
    body_of,
    details_of,
    judge,
    judge_failure,
    parameters_of,
    positive,
)
from hub_instructpt.engines.transport import Response, Transport, TransportFailure
from hub_instructpt.errors import EngineUnavailable, RequestFailed, SettingsError
from hub_instructpt.records import Completion, EngineInfo, FinishReason, SamplingParams


class TGIEngine:
    """Client of one TGI server.

    Args:
        url: `http(s)://host:port`, with a path if the server lies behind one.
        api_key: sent as a bearer token; by default the environment variable HUB_INSTRUCTPT_API_KEY. A Hub token
            is never sent.
        concurrency: fixes the number of requests in flight; never more than the server allows.
        timeout_seconds: limit for one request, waiting in the server's queue included.
        connect_seconds: how long a server may be unreachable at the start.
        retry: bounds on asking again.
        bos, eos: control strings of the synthesizer, when they are not among the well-known ones.
    """

    kind = "tgi"

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        concurrency: int | None = None,
        timeout_seconds: float = 300.0,
        connect_seconds: float = 5.0,
        retry: RetryPolicy | None = None,
        bos: str | None = None,
        eos: str | None = None,
    ) -> None:
        self._arguments = {
            "url": url,
            "api_key": api_key,
            "concurrency": concurrency,
            "timeout_seconds": timeout_seconds,
            "connect_seconds": connect_seconds,
            "retry": retry,
            "bos": bos,
            "eos": eos,
        }
        if concurrency is not None and concurrency < 1:
            raise SettingsError(f"concurrency must be at least 1, not {concurrency}.")
        if timeout_seconds <= 0:
            raise SettingsError(f"timeout_seconds must be above 0, not {timeout_seconds}.")
        parts = _split(url)
        # What stands before an @ is a password: it is sent, and never shown.
        host = parts.netloc.rpartition("@")[2]
        self.address = f"{parts.scheme}://{host}{parts.path.rstrip('/').removesuffix('/generate')}"
        self._headers, self._secret = _authorization(api_key or os.environ.get(API_KEY_VARIABLE), parts)
        self._concurrency = concurrency
        self._timeout = timeout_seconds
        self._connect_seconds = connect_seconds
        self._retry = retry or RetryPolicy()
        self._given = (bos, eos)
        self._home = HomeLoop()
        self._forget()

    def _forget(self) -> None:
        """Be as before the first connection."""
        self._connecting = asyncio.Lock()
        self._transport: Transport | None = None
        self._info: EngineInfo | None = None
        self._limiter = Limiter(1)
        self._tokens = ControlTokens("", "", adds_bos=True, tokenizes=True)

    async def connect(self) -> EngineInfo:
        if not self._home.enter():
            self._forget()
        if self._info is None:
            async with self._connecting:
                if self._info is None:
                    try:
                        self._info = await self._introduce()
                    except BaseException:
                        await self.aclose()
                        raise
        return self._info

    async def _introduce(self) -> EngineInfo:
        self._transport = Transport(timeout_seconds=self._timeout, headers=self._headers)
        first = Introduction(
            self._send, self.address, connect_seconds=self._connect_seconds, answer_seconds=self._timeout
        )
        told = await first.info()
        self._tokens = await first.control_tokens(*self._given)
        allowed = positive(told.get("max_concurrent_requests")) or 128
        self._limiter = Limiter(min(allowed, self._concurrency or allowed))
        max_total = positive(told.get("max_total_tokens")) or 2048
        # Servers before 3.0 call it max_input_length.
        max_input = positive(told.get("max_input_tokens")) or positive(told.get("max_input_length")) or max_total - 1
        return EngineInfo(
            kind=self.kind,
            model_id=str(told["model_id"]),
            model_sha=_text(told.get("model_sha")),
            max_input_tokens=max_input,
            max_total_tokens=max_total,
            max_concurrent_requests=self._limiter.maximum,
            bos=self._tokens.bos,
            eos=self._tokens.eos,
            version=_text(told.get("version")),
            dtype=_text(told.get("model_dtype")),
        )

    async def complete(self, prompt: str, sampling: SamplingParams) -> Completion:
        await self.connect()
        parameters = parameters_of(sampling)
        request = {"inputs": self._as_sent(prompt), "parameters": parameters}
        answer = await self._ask("/generate", request)
        text, header = answer.value["generated_text"], answer.response.header
        generated, prompt_tokens = positive(header("x-generated-tokens")), positive(header("x-prompt-tokens"))
        if text == "" and generated != 1:
            # Either the model stopped at once, or the last token cut a character and the whole text was dropped.
            answer = await self._ask("/generate", {**request, "parameters": {**parameters, "details": True}})
            joined, counted = details_of(answer.value)
            text, generated = answer.value["generated_text"] or joined, counted or generated
        finish: FinishReason | None = None
        if generated is not None:
            # TGI reports `length` exactly when the limit is reached, even when the last token ends the sequence.
            finish = "length" if generated >= sampling.max_new_tokens else "stop"
        return Completion(text, finish, prompt_tokens, generated)

    async def count_tokens(self, text: str) -> int:
        await self.connect()
        if not self._tokens.tokenizes:
            return len(text.encode()) + 8  # a token stands for a byte at least; a few are put in front
        answer = await self._ask("/tokenize", {"inputs": self._as_sent(text)})
        return len(answer.value)

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy knows how to connect, and is not connected.
        return rebuild, (type(self), self._arguments)

    async def aclose(self) -> None:
        transport, self._transport, self._info = self._transport, None, None
        self._home.leave()
        if transport is not None:
            await transport.aclose()

    # -- asking --------------------------------------------------------------------------------------------------

    def _as_sent(self, prompt: str) -> str:
        # Only the token goes; the space that follows it is part of the format.
        return prompt.removeprefix(self._tokens.bos) if self._tokens.adds_bos else prompt

    async def _ask(self, path: str, request: Mapping[str, Any]) -> Answer:
        """POST until there is a readable answer, within the bounds of the retry policy."""
        body = body_of(dict(request))
        retries = Retries(self._retry)
        while True:
            retries.attempts += 1
            async with self._limiter as slot:
                got = await self._try(path, body, request["inputs"])
                if isinstance(got, Answer):
                    self._limiter.answered()
                    return got
                if got.kind == "busy":
                    self._limiter.refused(slot)
            if got.kind == "key":
                raise refuses_key(self.address, got.told)
            if got.kind == "final":
                raise self._given_up(got, retries, "a prompt was refused")
            wait = retries.next_wait(got.kind, weight=got.weight, asked_for_seconds=got.asked_for_seconds)
            if wait is None and got.kind == "unreachable":
                raise EngineUnavailable(
                    f"{self.address} has been unreachable for {self._retry.unreachable_seconds:g} s.",
                    advice="What is done is safe: restart the server, then run the same command again.",
                )
            if wait is None:
                raise self._given_up(got, retries, f"a prompt was given up after {retries.attempts} tries")
            await asyncio.sleep(wait)

    async def _try(self, path: str, body: bytes, prompt: str) -> Answer | Trouble:
        try:
            response = await self._send("POST", path, body)
        except TransportFailure as failure:
            return judge_failure(failure, self._timeout)
        return judge(path, response, prompt, self._secret)

    def _given_up(self, trouble: Trouble, retries: Retries, what: str) -> RequestFailed:
        return RequestFailed(
            f"{self.address} {trouble.told}; {what}.",
            reason=trouble.reason,
            attempts=retries.attempts,
            passing=trouble.kind != "final",
        )

    async def _send(
        self, method: str, path: str, body: bytes | None = None, timeout_seconds: float | None = None
    ) -> Response:
        if self._transport is None:
            raise EngineUnavailable("The engine was closed.")
        return await self._transport.request(method, self.address + path, body, timeout_seconds=timeout_seconds)


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  it raises where there is none that is one
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.query and not parts.fragment
    except ValueError:
        fine = False
    if not fine or not url.isprintable() or " " in url:
        raise SettingsError("An engine's address looks like http://host:port.", advice="Check --engine.")
    return parts


def _authorization(api_key: str | None, parts: SplitResult) -> tuple[dict[str, str], str]:
    """The header with our key or password, where there is one, and the secret in it."""
    if api_key and api_key.strip():
        key = api_key.strip()
        if not (key.isascii() and key.isprintable()):
            raise SettingsError("The API key holds characters that no HTTP header can.", advice="Check the key.")
        return {"authorization": f"Bearer {key}"}, key
    if parts.username is None and parts.password is None:
        return {}, ""
    secret = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    return {"authorization": f"Basic {b64encode(secret.encode()).decode()}"}, secret


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
