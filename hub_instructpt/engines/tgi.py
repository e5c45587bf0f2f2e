"""text-generation-inference (TGI), spoken over HTTP: POST /generate, one prompt a request.

What a batch client must know of TGI, and what is done about it here (facts: TGI 3.3.6):

- it adds a BOS to every text and does not say so: /tokenize is asked once, and the literal BOS of our prompt is left
  off when the server brings its own, so that the model sees exactly one;
- a request without `parameters` samples: they are always sent, with `do_sample` spelled out;
- one request more than /info allows is refused at once (429): never more are in flight, and a 429 makes it fewer;
- above 1,024 new tokens it answers in chunks, with more or fewer tokens than asked for: refused here beforehand;
- `generated_text` is "" when the last token cuts a character in two: asked again with its tokens, which are joined;
- error bodies are JSON, plain text or empty, whatever the status: the status decides.

Keeps true: 4xx answers about the request itself are never retried; a request has a total time limit.
Does not know pairs or rows. Error messages never repeat what was sent.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import orjson

from hub_instructpt.engines.base import rebuild
from hub_instructpt.engines.limiter import Limiter
from hub_instructpt.engines.retries import PASSING_STATUSES, Retries, RetryPolicy
from hub_instructpt.engines.transport import Response, Transport, TransportFailure, open_transport
from hub_instructpt.errors import EngineUnavailable, NotAnEngine, RequestFailed, SettingsError
from hub_instructpt.records import Completion, EngineInfo, FinishReason, SamplingParams

API_KEY_VARIABLE = "HUB_INSTRUCTPT_API_KEY"

# BOS and EOS of tokenizers that synthesizers are built on, the published one first.
CONTROL_PAIRS = (("<s>", "</s>"), ("<|begin_of_text|>", "<|end_of_text|>"), ("<bos>", "<eos>"))


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
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SettingsError("An engine's address looks like http://host:port.", advice="Check --engine.")
        if concurrency is not None and concurrency < 1:
            raise SettingsError(f"concurrency must be at least 1, not {concurrency}.")
        if timeout_seconds <= 0:
            raise SettingsError(f"timeout_seconds must be above 0, not {timeout_seconds}.")
        self._base = url.rstrip("/").removesuffix("/generate")
        port = f":{parts.port}" if parts.port else ""
        self.address = f"{parts.scheme}://{parts.hostname}{port}{parts.path.rstrip('/').removesuffix('/generate')}"
        self._api_key = api_key or os.environ.get(API_KEY_VARIABLE)
        self._concurrency = concurrency
        self._timeout = timeout_seconds
        self._connect_seconds = connect_seconds
        self._retry = retry or RetryPolicy()
        self._control_strings = (bos, eos)
        self._transport: Transport | None = None
        self._info: EngineInfo | None = None
        self._limiter = Limiter(1)
        self._adds_bos = True

    # -- connecting ----------------------------------------------------------------------------------------------

    async def connect(self) -> EngineInfo:
        if self._info is not None:
            return self._info
        headers = {"authorization": f"Bearer {self._api_key}"} if self._api_key else None
        self._transport = self._transport or open_transport(timeout_seconds=self._timeout, headers=headers)
        told = await self._read_info()
        concurrency = _positive(told.get("max_concurrent_requests")) or 128
        self._limiter = Limiter(min(concurrency, self._concurrency or concurrency))
        max_total = _positive(told.get("max_total_tokens")) or 2048
        # Servers before 3.0 call it max_input_length.
        max_input = _positive(told.get("max_input_tokens")) or _positive(told.get("max_input_length")) or max_total - 1
        bos, eos, self._adds_bos = await self._find_bos()
        self._info = EngineInfo(
            kind=self.kind,
            model_id=str(told["model_id"]),
            model_sha=_text(told.get("model_sha")),
            max_input_tokens=max_input,
            max_total_tokens=max_total,
            max_concurrent_requests=self._limiter.maximum,
            bos=bos,
            eos=eos,
            version=_text(told.get("version")),
            dtype=_text(told.get("model_dtype")),
        )
        return self._info

    async def _read_info(self) -> dict[str, Any]:
        response = await self._first_answer("/info")
        told = _json(response.body) if response.status == 200 else None
        if isinstance(told, dict) and isinstance(told.get("model_id"), str):
            return told
        if response.status in (401, 403):
            raise self._refused(response.status)
        if response.status in PASSING_STATUSES:
            raise EngineUnavailable(
                f"{self.address} answers {response.status}: the server behind it is not ready.",
                advice="Wait until it has started, then run the same command again.",
            )
        models = await self._first_answer("/v1/models")
        if models.status == 200 and isinstance(_json(models.body), dict):
            raise NotAnEngine(
                f"{self.address} is an OpenAI-compatible server without TGI's /info.",
                advice="This version speaks to text-generation-inference only.",
            )
        raise NotAnEngine(
            f"{self.address} is not a text-generation server: /info answers {response.status} without a model_id.",
            advice=f"Check the address; `curl {self.address}/info` should show a model_id.",
        )

    async def _first_answer(self, path: str) -> Response:
        deadline = time.monotonic() + self._connect_seconds
        while True:
            try:
                return await self._send("GET", path, timeout_seconds=min(self._timeout, 30.0))
            except TransportFailure as failure:
                if failure.kind == "timeout":
                    raise EngineUnavailable(
                        f"{self.address} accepts connections but does not answer.",
                        advice="Is the server hung? Restart it, then run the same command again.",
                    ) from None
                if time.monotonic() >= deadline:
                    verb = "No server answers at" if failure.kind == "unreachable" else "What answers is not HTTP at"
                    raise EngineUnavailable(
                        f"{verb} {self.address}.",
                        advice=f"Is it running, and reachable from here? Try `curl {self.address}/info`.",
                    ) from None
            await asyncio.sleep(0.25)

    async def _find_bos(self) -> tuple[str, str, bool]:
        """The BOS and EOS strings that the model knows, and whether the server adds the BOS by itself."""
        given_bos, given_eos = self._control_strings
        candidates = CONTROL_PAIRS if given_bos is None else ((given_bos, given_eos or CONTROL_PAIRS[0][1]),)
        for bos, eos in candidates:
            once, thrice = await self._tokenize(bos + "a"), await self._tokenize(bos * 3 + "a")
            if once is None or thrice is None:  # no /tokenize: every TGI adds a BOS
                break
            if not bos or len(thrice) - len(once) != 2:  # not one token of this model
                continue
            # Whatever stands before our literal was put there by the server.
            return bos, given_eos or eos, once[0] != thrice[1] or once[1] == thrice[1]
        else:
            # A model without a BOS, or an unknown one: write none, rather than its letters.
            return "", given_eos or "", False
        return candidates[0][0], given_eos or candidates[0][1], True

    # -- the one verb, and its measure ---------------------------------------------------------------------------

    async def complete(self, prompt: str, sampling: SamplingParams) -> Completion:
        info = await self.connect()
        parameters = _parameters(sampling)
        request = {"inputs": self._as_sent(prompt, info), "parameters": parameters}
        response, answer = await self._ask("/generate", request, prompt)
        text, generated = answer["generated_text"], _positive(response.headers.get("x-generated-tokens"))
        prompt_tokens = _positive(response.headers.get("x-prompt-tokens"))
        finish: FinishReason | None = None
        if text == "" and generated != 1:
            # Either the model stopped at once, or the last token cut a character and the whole text was dropped.
            _, answer = await self._ask("/generate", {**request, "parameters": {**parameters, "details": True}}, prompt)
            details = answer.get("details") or {}
            text = answer["generated_text"] or _join_tokens(details)
            generated = _positive(details.get("generated_tokens")) or generated
        if generated is not None:
            # TGI reports `length` exactly when the limit is reached, even when the last token ends the sequence.
            finish = "length" if generated >= sampling.max_new_tokens else "stop"
        return Completion(text, finish, prompt_tokens, generated)

    async def count_tokens(self, text: str) -> int:
        info = await self.connect()
        _, answer = await self._ask("/tokenize", {"inputs": self._as_sent(text, info)}, text)
        return len(answer)

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy knows how to connect, and is not connected.
        return rebuild, (type(self), self._arguments)

    async def aclose(self) -> None:
        transport, self._transport, self._info = self._transport, None, None
        if transport is not None:
            await transport.aclose()

    # -- asking --------------------------------------------------------------------------------------------------

    def _as_sent(self, prompt: str, info: EngineInfo) -> str:
        # Only the token goes; the space that follows it is part of the format.
        return prompt.removeprefix(info.bos) if self._adds_bos else prompt

    async def _ask(self, path: str, request: Mapping[str, Any], prompt: str) -> tuple[Response, Any]:
        """POST until there is a readable answer, within the bounds of the retry policy."""
        body = orjson.dumps(request)
        retries = Retries(self._retry)
        while True:
            retries.attempts += 1
            failure: TransportFailure | None = None
            response: Response | None = None
            async with self._limiter:
                try:
                    response = await self._send("POST", path, body)
                except TransportFailure as caught:
                    failure = caught
            if response is not None:
                if response.status == 200:
                    answer = _json(response.body)
                    if _readable(path, answer):
                        self._limiter.answered()
                        return response, answer
                    wait = retries.next_wait("error")
                    reason, what = "unreadable_answer", "sent answers that are not TGI's"
                elif response.status == 429:
                    self._limiter.refused()
                    wait = retries.next_wait("busy", asked_for_seconds=_seconds(response.headers.get("retry-after")))
                    reason, what = "status_429", "was full all the time (429)"
                elif response.status in PASSING_STATUSES:
                    wait = retries.next_wait("error")
                    reason, what = f"status_{response.status}", f"answered {_describe(response, prompt)}"
                elif response.status in (401, 403):
                    raise self._refused(response.status)
                else:
                    raise RequestFailed(
                        f"{self.address} refused a prompt: {_describe(response, prompt)}.",
                        reason=f"status_{response.status}",
                        attempts=retries.attempts,
                        passing=False,
                    )
            elif failure is not None and failure.kind == "unreachable":
                wait = retries.next_wait("unreachable")
                if wait is None:
                    raise EngineUnavailable(
                        f"{self.address} has been unreachable for {self._retry.unreachable_seconds:g} s.",
                        advice="What is done is safe: restart the server, then run the same command again.",
                    )
                reason, what = "unreachable", "was unreachable"
            elif failure is not None and failure.kind == "timeout":
                wait = retries.next_wait("error", weight=2)
                reason, what = "timeout", f"did not answer within {self._timeout:g} s"
            else:
                wait = retries.next_wait("error")
                reason, what = "broken_connection", "cut the connection"
            if wait is None:
                raise RequestFailed(
                    f"{self.address} {what}; one prompt was given up after {retries.attempts} tries.",
                    reason=reason,
                    attempts=retries.attempts,
                    passing=True,
                )
            await asyncio.sleep(wait)

    async def _tokenize(self, text: str) -> list[int] | None:
        try:
            response = await self._send("POST", "/tokenize", orjson.dumps({"inputs": text}), timeout_seconds=30.0)
        except TransportFailure:
            return None
        if response.status in (401, 403):
            raise self._refused(response.status)
        answer = _json(response.body) if response.status == 200 else None
        return [token["id"] for token in answer] if _readable("/tokenize", answer) and answer else None

    async def _send(
        self, method: str, path: str, body: bytes | None = None, *, timeout_seconds: float | None = None
    ) -> Response:
        if self._transport is None:
            raise EngineUnavailable("The engine was closed.")
        return await self._transport.request(method, self._base + path, body, timeout_seconds=timeout_seconds)

    def _refused(self, status: int) -> EngineUnavailable:
        return EngineUnavailable(
            f"{self.address} refuses our key ({status}).",
            advice=f"Put the server's key into the environment variable {API_KEY_VARIABLE}.",
        )


def _parameters(sampling: SamplingParams) -> dict[str, Any]:
    if sampling.max_new_tokens > 1024:
        raise SettingsError(
            f"max_new_tokens={sampling.max_new_tokens}: TGI generates in chunks of 1,024 tokens and then returns more "
            "or fewer tokens than asked for.",
            advice="Ask for 1,024 or fewer.",
        )
    parameters: dict[str, Any] = {"max_new_tokens": sampling.max_new_tokens, "return_full_text": False}
    if sampling.greedy:
        return {**parameters, "do_sample": False}
    parameters |= {"do_sample": True, "temperature": sampling.temperature}
    return parameters | ({"top_p": sampling.top_p} if sampling.top_p < 1.0 else {})  # 1.0 is an error there


def _readable(path: str, answer: Any) -> bool:
    if path == "/tokenize":
        return isinstance(answer, list) and all(isinstance(t, dict) and isinstance(t.get("id"), int) for t in answer)
    return isinstance(answer, dict) and isinstance(answer.get("generated_text"), str)


def _join_tokens(details: Any) -> str:
    tokens = details.get("tokens") if isinstance(details, dict) else None
    return "".join(t.get("text", "") for t in tokens or () if not t.get("special")).rstrip("\ufffd")


def _describe(response: Response, prompt: str) -> str:
    """Status and the server's own word for the error, unless it repeats the prompt."""
    told = _json(response.body)
    message = str(told.get("error", "")) if isinstance(told, dict) else ""
    if not message or len(message) > 300 or any(message[i : i + 16] in prompt for i in range(len(message) - 15)):
        kind = told.get("error_type") if isinstance(told, dict) else None
        message = kind if isinstance(kind, str) and len(kind) < 40 and kind not in prompt else "no reason given"
    return f"{response.status} ({message})"


def _json(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def _positive(value: Any) -> int | None:
    try:
        number = int(value)
    except (TypeError, ValueError):
        return None
    return number if number > 0 else None


def _seconds(value: str | None) -> float:
    try:
        return max(0.0, float(value or 0.0))
    except ValueError:
        return 0.0


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
