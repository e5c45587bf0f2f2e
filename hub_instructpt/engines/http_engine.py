"""The client of any one server: what engines behind a URL share, whatever they speak.

    connect     ask what the server is (detect.py, tgi_connect.py, openai_connect.py); that gives a dialect
    complete    dialect's question ─► limiter ─► transport ─► dialect's reading, or a trouble and another try

Keeps true: 4xx answers about the request itself are never asked again; a request has a total time limit; never more
requests are in flight than the server or the user allows. Error messages never repeat what was sent.
Does not know pairs or rows, or any one kind of server.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, TypeVar

from hub_instructpt.engines import open_files
from hub_instructpt.engines.address import address_of, refuses_key
from hub_instructpt.engines.base import HomeLoop, rebuild
from hub_instructpt.engines.dialect import Dialect
from hub_instructpt.engines.http_protocol import UNREADABLE, Question, Trouble, judge, judge_failure, most_tokens
from hub_instructpt.engines.introduction import Given, Introduction
from hub_instructpt.engines.knee import Knee
from hub_instructpt.engines.limiter import Limiter
from hub_instructpt.engines.load import Load
from hub_instructpt.engines.options import refuse
from hub_instructpt.engines.retries import Retries, RetryPolicy
from hub_instructpt.engines.transport import Response, Transport, TransportFailure
from hub_instructpt.engines.waking import WAKE_SECONDS, Waking
from hub_instructpt.errors import EngineUnavailable, RequestFailed, SettingsError
from hub_instructpt.records import Completion, EngineInfo, SamplingParams

START_IN_FLIGHT, MOST_IN_FLIGHT = 32, 1024
"""Requests in flight to a server that queues them: to begin with, and at most."""

T = TypeVar("T")


class HTTPEngine(ABC):
    """Client of one server.

    Args:
        url: `http(s)://host:port`, with a path if the server lies behind one; `/v1` at its end is left off.
        api_key: sent as a bearer token; by default the environment variable HUB_INSTRUCTPT_API_KEY. A Hub token
            is sent to Hugging Face Inference Endpoints only (address.py).
        model: which one, where the server has several.
        max_total_tokens: limit for prompt and completion together, where the server tells none, or less than it allows.
        concurrency: fixes the number of requests in flight; never more than the server allows. Without it that
            is what the server allows, or as many as make it faster (knee.py).
        timeout_seconds: limit for one request, waiting in the server's queue included.
        connect_seconds: how long a server may be unreachable at the start.
        wake_seconds: how long a server that scaled to zero may take to come back, at the start and later on; by
            default 10 minutes for Inference Endpoints, and 0 elsewhere: other servers do not sleep.
        retry: bounds on asking again.
        bos, eos: control strings of the synthesizer, when they are not among the well-known ones.
    """

    kind: ClassVar[str]

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        model: str | None = None,
        max_total_tokens: int | None = None,
        concurrency: int | None = None,
        timeout_seconds: float = 300.0,
        connect_seconds: float = 5.0,
        wake_seconds: float | None = None,
        retry: RetryPolicy | None = None,
        bos: str | None = None,
        eos: str | None = None,
        **unknown: Any,
    ) -> None:
        self._arguments = {
            "url": url,
            "api_key": api_key,
            "model": model,
            "max_total_tokens": max_total_tokens,
            "concurrency": concurrency,
            "timeout_seconds": timeout_seconds,
            "connect_seconds": connect_seconds,
            "wake_seconds": wake_seconds,
            "retry": retry,
            "bos": bos,
            "eos": eos,
        }
        refuse(unknown, self.kind)
        for name, least in (("concurrency", concurrency), ("max_total_tokens", max_total_tokens)):
            if least is not None and least < 1:
                raise SettingsError(f"{name} must be at least 1, not {least}.")
        if timeout_seconds <= 0:
            raise SettingsError(f"timeout_seconds must be above 0, not {timeout_seconds}.")
        where = address_of(url, api_key)
        self.address = where.shown
        self._headers, self._secret = where.headers, where.secret
        self._timeout = timeout_seconds
        self._connect_seconds = connect_seconds
        self._wake_seconds = (WAKE_SECONDS if where.sleeps else 0.0) if wake_seconds is None else wake_seconds
        self._retry = retry or RetryPolicy()
        self._given = Given(bos, eos, model, max_total_tokens, concurrency)
        self._home = HomeLoop()
        self._forget()

    def _forget(self) -> None:
        """Be as before the first connection."""
        self._connecting = asyncio.Lock()
        self._transport: Transport | None = None
        self._dialect: Dialect | None = None
        self._limiter = Limiter(1)
        self._waking = Waking(self.address, self._wake_seconds)

    async def connect(self) -> EngineInfo:
        return (await self._connected()).info

    async def _connected(self) -> Dialect:
        if not self._home.enter():
            self._forget()
        if self._dialect is None:
            async with self._connecting:
                if self._dialect is None:
                    try:
                        self._dialect = await self._introduce()
                    except BaseException:
                        await self.aclose()
                        raise
        return self._dialect

    async def _introduce(self) -> Dialect:
        self._transport = self._open_transport()
        first = Introduction(
            self._send, self.address, connect_seconds=self._connect_seconds, answer_seconds=self._timeout,
            waking=self._waking,
        )  # fmt: skip
        dialect = await self._recognise(first, self._given)
        allowed, knee = dialect.info.max_concurrent_requests, None
        if self._given.concurrency is None:
            start, allowed = (START_IN_FLIGHT, MOST_IN_FLIGHT) if dialect.queues else (allowed, allowed)
            # A prompt may wait in the server's queue, but not for so long that the timeout takes it for lost.
            knee = Knee(start, allowed, slowest=self._timeout / 4)
        self._limiter = Limiter(allowed, knee=knee)
        open_files.make_room(self._limiter.maximum)
        return dialect

    def _open_transport(self) -> Transport:
        return Transport(timeout_seconds=self._timeout, headers=self._headers)

    @abstractmethod
    async def _recognise(self, first: Introduction, given: Given) -> Dialect:
        """Find out by asking what is behind the address.

        Raises:
            EngineUnavailable, NotAnEngine, SettingsError: as `Engine.connect` says.
        """

    async def complete(self, prompt: str, sampling: SamplingParams) -> Completion:
        dialect = await self._connected()
        got = await self._ask(dialect.completing(prompt, sampling))
        return await self._ask(got) if isinstance(got, Question) else got

    async def count_tokens(self, text: str) -> int:
        got = (await self._connected()).counting(text)
        try:
            return await self._ask(got) if isinstance(got, Question) else got
        except RequestFailed as failure:
            if failure.reason != "prompt_too_long":  # to be counted; that is an answer too
                raise
            return most_tokens(text)

    @property
    def capacity(self) -> int:
        """Requests that the server is given at once, now."""
        return int(self._limiter.limit)

    def loads(self) -> Sequence[Load]:
        """How busy the server is and was."""
        return [self._limiter.load(self.address)]

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy knows how to connect, and is not connected.
        return rebuild, (type(self), self._arguments)

    async def aclose(self) -> None:
        if self._dialect is not None:
            open_files.give_back(self._limiter.maximum)
        transport, self._transport, self._dialect = self._transport, None, None
        self._home.leave()
        if transport is not None:
            await transport.aclose()

    # -- asking --------------------------------------------------------------------------------------------------

    async def _ask(self, question: Question[T]) -> T:
        """POST until there is a readable answer, within the bounds of the retry policy."""
        retries: Retries | None = None  # most questions are answered at once
        while True:
            async with self._limiter as slot:
                try:
                    got = await self._try(question)
                    if not isinstance(got, Trouble):
                        if isinstance(got, Completion):
                            self._limiter.answered(slot, got.generated_tokens or len(got.text) // 4)
                        self._waking.answers += 1
                        return got
                    if got.kind == "busy":
                        self._limiter.refused(slot)
                    else:
                        self._limiter.failed()
                finally:
                    self._limiter.left(slot)
            if retries is None:
                retries = Retries(self._retry)
            retries.attempts += 1
            await asyncio.sleep(self._pause(got, retries))

    async def _try(self, question: Question[T]) -> T | Trouble:
        try:
            response = await self._send("POST", question.path, question.body)
        except TransportFailure as failure:
            return judge_failure(failure, self._timeout)
        if response.status != 200:
            return judge(response, question.sent, self._secret)
        read = question.read(response)
        return UNREADABLE if read is None else read

    def _pause(self, trouble: Trouble, retries: Retries) -> float:
        """Seconds until the next try.

        Raises:
            EngineUnavailable, RequestFailed: there is none.
        """
        if trouble.kind == "key":
            raise refuses_key(self.address, trouble.told)
        if trouble.kind == "final":
            raise self._given_up(trouble, retries, "a prompt was refused")
        kind = trouble.kind
        if self._waking.is_sleep(trouble.status) and retries.is_asleep(self._waking.answers):
            self._waking.wait(str(trouble.status))
            kind = "asleep"
        wait = retries.next_wait(kind, weight=trouble.weight, asked_for_seconds=trouble.asked_for_seconds)
        if wait is None and kind == "unreachable":
            lasted = self._retry.unreachable_seconds
            raise EngineUnavailable(
                f"{self.address} has been unreachable for {lasted:g} s." if lasted else f"{self.address} is gone.",
                advice="What is done is safe: restart the server, then run the same command again.",
            )
        if wait is None:
            raise self._given_up(trouble, retries, f"a prompt was given up after {retries.attempts} tries")
        return wait

    def _given_up(self, trouble: Trouble, retries: Retries, what: str) -> RequestFailed:
        return RequestFailed(
            f"{self.address} {trouble.told}; {what}.",
            reason=trouble.reason,
            attempts=retries.attempts,
            passing=trouble.kind != "final",
            advice="Set max_total_tokens to what the model takes." if trouble.reason == "prompt_too_long" else "",
        )

    async def _send(
        self, method: str, path: str, body: bytes | None = None, timeout_seconds: float | None = None
    ) -> Response:
        if self._transport is None:
            raise EngineUnavailable("The engine was closed.")
        return await self._transport.request(method, self.address + path, body, timeout_seconds=timeout_seconds)
