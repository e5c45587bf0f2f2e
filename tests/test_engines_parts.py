"""The parts of the HTTP engines: how many requests are in flight, how long one waits, and what carries them."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
import time
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub_instructpt.engines.http_protocol import Question, Trouble, judge, positive, seconds_of
from hub_instructpt.engines.limiter import Limiter
from hub_instructpt.engines.retries import Retries, RetryPolicy, is_passing
from hub_instructpt.engines.tgi_protocol import details_of, generating, ids_of
from hub_instructpt.engines.transport import Response, Transport, TransportFailure
from hub_instructpt.records import Completion, SamplingParams
from tests.raw_server import answering, http, talking

ACTIONS = st.lists(
    st.sampled_from(["ask", "ask", "answer", "answer", "refuse", "cancel", "cancel handed"]), max_size=80
)


# Limiter --------------------------------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(maximum=st.integers(1, 6), actions=ACTIONS, seed=st.integers(0, 2**16))
def test_no_slot_is_lost_or_made_up_and_who_came_first_is_served_first(
    maximum: int, actions: list[str], seed: int
) -> None:
    draw = random.Random(seed)

    async def main() -> None:
        limiter = Limiter(maximum)
        holding: dict[int, asyncio.Future[str]] = {}
        tasks: dict[int, asyncio.Task[None]] = {}
        started: list[int] = []

        async def caller(number: int) -> None:
            async with limiter as slot:
                started.append(number)
                assert limiter.in_flight <= maximum
                holding[number] = asyncio.get_running_loop().create_future()
                try:
                    how = await holding[number]
                    limiter.answered(slot) if how == "answer" else limiter.refused(slot)
                finally:
                    limiter.left(slot)
                    del holding[number]

        async def settle() -> None:
            for _ in range(4):
                await asyncio.sleep(0)

        for action in actions:
            if action == "ask":
                tasks[len(tasks)] = asyncio.create_task(caller(len(tasks)))
            elif action == "cancel" and tasks:
                tasks[draw.choice(list(tasks))].cancel()
            elif holding:
                number = draw.choice(list(holding))
                holding[number].set_result("refuse" if action == "refuse" else "answer")
                if action == "cancel handed":  # in the very tick in which its slot comes free for the next in line
                    await asyncio.sleep(0)
                    waiting = [n for n, task in tasks.items() if not task.done() and n not in started]
                    if waiting:
                        tasks[waiting[0]].cancel()
            await settle()
            waiting = [n for n, task in tasks.items() if not task.done() and n not in started]
            assert 1 <= limiter.limit <= maximum
            assert limiter.in_flight == len(holding) <= maximum
            assert not waiting or len(holding) >= int(limiter.limit)  # nobody waits beside a free slot
            assert started == sorted(started)
        while holding:
            for one in list(holding.values()):
                one.done() or one.set_result("answer")
            await settle()
        assert all(task.done() for task in tasks.values())
        assert limiter.in_flight == 0

    asyncio.run(main())


class FullServer:
    """Requests of one client to a server, one after the other in rounds: who admits is asked for each."""

    def __init__(self, maximum: int, waiting: int, admits: Callable[[int], bool]) -> None:
        self.limiter, self.waiting, self.admits = Limiter(maximum), waiting, admits
        self.limits: list[float] = []
        self.refused = self.answered = 0

    async def drive(self, rounds: int) -> None:
        """In each round some of those in flight are answered; a place that comes free is tried a few times."""
        flying: list[Any] = []
        for _ in range(rounds):
            tries = 0
            while self.limiter.in_flight < int(self.limiter.limit) and tries < self.waiting:
                tries += 1
                slot = await self.limiter.__aenter__()
                if self.admits(len(flying)):
                    flying.append(slot)
                    continue
                await self._end(slot, self.limiter.refused)
                self.refused += 1
            for slot in flying[: max(1, len(flying) // 10)]:
                flying.remove(slot)
                await self._end(slot, self.limiter.answered)
                self.answered += 1
            self.limits.append(self.limiter.limit)

    async def _end(self, slot: Any, how: Callable[[Any], None]) -> None:
        how(slot)
        self.limiter.left(slot)
        await self.limiter.__aexit__()


@pytest.mark.parametrize("places", [1, 5, 40, 99])
def test_a_server_that_has_room_for_fewer_is_asked_for_about_as_many(places: int) -> None:
    server = FullServer(100, 30, lambda flying: flying < places)
    asyncio.run(server.drive(600))
    later = server.limits[200:]
    assert max(later) <= places + max(8, places / 2)
    assert sum(later) / len(later) > 0.85 * places
    assert server.refused < server.answered + 100


@pytest.mark.parametrize("share", [0.05, 0.2, 0.35])
def test_refusals_that_do_not_hang_on_how_many_there_are_make_it_no_fewer(share: float) -> None:
    draw = random.Random(1)
    server = FullServer(32, 64, lambda _: draw.random() > share)
    asyncio.run(server.drive(600))
    assert sum(server.limits) / 600 > 29
    assert server.limits[-1] == 32


def test_after_the_others_have_left_it_soon_has_all_places_again() -> None:
    places = 4
    server = FullServer(100, 30, lambda flying: flying < places)
    asyncio.run(server.drive(100))
    assert server.limits[-1] < 20
    places = 100
    asyncio.run(server.drive(300))  # thirty rounds of answers
    assert server.limits[-1] == 100


def test_refusals_of_a_whole_burst_tell_how_many_were_admitted() -> None:
    async def main() -> None:
        limiter = Limiter(100)
        slots = [await limiter.__aenter__() for _ in range(100)]
        for slot in slots[40:]:
            limiter.refused(slot)
            limiter.left(slot)
        assert limiter.limit == 36
        for slot in slots[:40]:
            limiter.left(slot)  # cancelled, say: it says nothing
        assert limiter.limit == 36

    asyncio.run(main())


# Retries --------------------------------------------------------------------------------------------------------------


@given(troubles=st.lists(st.sampled_from(["busy", "unreachable", "error"]), max_size=60), attempts=st.integers(1, 6))
def test_errors_are_bounded_by_number_and_waits_by_length(troubles: list[Any], attempts: int) -> None:
    policy = RetryPolicy(max_attempts=attempts, longest_wait_seconds=3)
    retries, errors = Retries(policy), 0
    for trouble in troubles:
        wait = retries.next_wait(trouble)
        errors += trouble == "error"
        assert (wait is None) == (errors >= attempts)
        if wait is None:
            break
        assert 0 < wait <= 3


def test_a_server_that_is_away_twice_for_a_short_time_is_not_away_for_long() -> None:
    retries = Retries(RetryPolicy(unreachable_seconds=0.05))
    assert retries.next_wait("unreachable") is not None
    assert retries.next_wait("busy") is not None  # it is back, and full
    time.sleep(0.06)
    assert retries.next_wait("unreachable") is not None
    time.sleep(0.06)
    assert retries.next_wait("unreachable") is None


def test_waits_differ_so_that_requests_which_failed_together_do_not_return_together() -> None:
    assert len({Retries(RetryPolicy()).next_wait("error") for _ in range(20)}) > 10


def test_a_wait_asked_for_is_kept_within_reason() -> None:
    assert Retries(RetryPolicy()).next_wait("busy", asked_for_seconds=7) == 7
    assert Retries(RetryPolicy()).next_wait("busy", asked_for_seconds=86_400) == 60


def test_a_status_about_the_request_is_not_passing() -> None:
    passing = {status for status in range(100, 600) if is_passing(status)}
    assert {408, 424, 425, 500, 502, 503, 504, 520, 529} <= passing  # proxies have numbers of their own
    assert not passing & {200, 301, 400, 401, 403, 404, 405, 413, 415, 422, 429, 501, 505}


# Protocol -------------------------------------------------------------------------------------------------------------

KEYS = st.sampled_from(["generated_text", "details", "tokens", "text", "special", "generated_tokens", "id", "error"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text() | KEYS, inner, max_size=4),
)


@given(status=st.integers(100, 599), body=st.binary() | st.text().map(str.encode), sent=st.text())
def test_no_answer_of_a_server_makes_reading_it_raise(status: int, body: bytes, sent: str) -> None:
    response = Response(status, [], body)
    assert isinstance(judge(response, sent), Trouble)
    assert ids_of(response) is None or all(isinstance(one, int) for one in ids_of(response) or ())
    got = generating("a prompt", SamplingParams()).read(response)
    assert got is None or isinstance(got, Completion | Question)


@given(value=JSON)
def test_no_json_makes_reading_it_raise(value: Any) -> None:
    try:
        body = orjson.dumps(value)
    except orjson.JSONEncodeError:  # lone surrogates, numbers of more than 64 bits
        return
    got = generating("a prompt", SamplingParams()).read(Response(200, [], body))
    while isinstance(got, Question):
        got = got.read(Response(200, [], body))
    assert got is None or isinstance(got.text, str)
    ids_of(Response(200, [], body))
    text, number = details_of({"details": value})
    assert isinstance(text, str)
    assert number is None or number > 0
    assert positive(value) is None or isinstance(positive(value), int)


@given(prompt=st.text(min_size=1), around=st.text(), key=st.text(min_size=3))
def test_no_error_ever_holds_a_prompt_or_a_key(prompt: str, around: str, key: str) -> None:
    try:
        body = orjson.dumps({"error": f"{around}{prompt}{around}", "error_type": f"{key}{around}"})
    except orjson.JSONEncodeError:  # lone surrogates
        return
    got = judge(Response(500, [], body), prompt, key)
    assert got.told == "answered 500 (no reason given)"


@given(value=st.text() | st.floats().map(str))
def test_any_retry_after_gives_a_number_of_seconds(value: str) -> None:
    assert seconds_of(value) >= 0


# Transport ------------------------------------------------------------------------------------------------------------


def send(url: str, body: bytes | None = None, **options: Any) -> Response:
    async def main() -> Response:
        carrier = Transport(**{"timeout_seconds": 5, **options})
        try:
            return await carrier.request("GET" if body is None else "POST", url, body)
        finally:
            await carrier.aclose()

    return asyncio.run(main())


@pytest.mark.parametrize("size", [0, 10, 3_000_000])
def test_a_body_arrives_whole_with_its_headers(size: int) -> None:
    def echo(request: Any) -> bytes:
        assert request.headers["content-type"] == "application/json"
        return http(request.body, 200, X_Key=request.headers.get("x-key", ""))

    with answering({"/x": echo}) as raw:
        got = send(f"{raw.url}/x", b"a" * size, headers={"x-key": "k"})
    assert (got.status, got.body, got.header("x-key"), got.header("x-none")) == (200, b"a" * size, "k", None)


def test_no_redirect_is_followed_and_no_cookie_kept() -> None:
    with answering({"/x": http(b"", 302, location="/y", set_cookie="a=b"), "/y": http(b"y")}) as raw:

        async def main() -> None:
            carrier = Transport(timeout_seconds=5)
            for _ in range(2):
                assert (await carrier.request("GET", f"{raw.url}/x")).status == 302
            await carrier.aclose()

        asyncio.run(main())
        assert [request.headers.get("cookie") for request in raw.requests] == [None, None]
        assert not raw.asked("/y")


async def hangs(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


async def closes(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
    return


async def closes_after_the_request(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")


async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(http(b"a whole answer")[:-5])
    await writer.drain()


async def hangs_in_the_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await half(reader, writer)
    await reader.read()


async def noise(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"\x00\xff" * 5000)
    await writer.drain()


@pytest.mark.parametrize(
    ("talk", "kind"),
    [(hangs, "timeout"), (hangs_in_the_body, "timeout"), (closes, "broken"), (closes_after_the_request, "broken"),
     (half, "broken"), (noise, "broken")],
)  # fmt: skip
def test_a_failure_has_its_kind(talk: Callable[..., Any], kind: str) -> None:
    with talking(talk) as raw, pytest.raises(TransportFailure) as caught:
        send(raw.url, b"{}", timeout_seconds=0.4)
    assert caught.value.kind == kind


def test_no_connection_is_another_kind_than_a_cut_one() -> None:
    for url in ("http://127.0.0.1:9/", "http://nowhere.invalid/", "http://a..b/"):
        with pytest.raises(TransportFailure) as caught:
            send(url)
        assert caught.value.kind == "unreachable"


def test_two_hundred_requests_at_once_are_all_answered() -> None:
    with answering({"/x": http(b"y")}) as raw:

        async def main() -> set[bytes]:
            carrier = Transport(timeout_seconds=20)
            got = await asyncio.gather(*(carrier.request("POST", f"{raw.url}/x", b"{}") for _ in range(200)))
            await carrier.aclose()
            return {one.body for one in got}

        assert asyncio.run(main()) == {b"y"}
        assert len(raw.requests) == 200


def _in_child(url: str, answers: Any) -> None:
    async def main() -> bytes:
        carrier = Transport(timeout_seconds=5)
        got = await carrier.request("GET", f"{url}/x")
        await carrier.aclose()
        return got.body

    answers.put(asyncio.run(main()))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_child_forked_after_the_first_use_is_answered_too() -> None:
    with answering({"/x": http(b"y")}) as raw:

        async def main() -> None:
            carrier = Transport(timeout_seconds=5)
            await carrier.request("GET", f"{raw.url}/x")
            await carrier.aclose()

        asyncio.run(main())
        context = multiprocessing.get_context("fork")
        answers = context.SimpleQueue()
        child = context.Process(target=_in_child, args=(raw.url, answers))
        child.start()
        child.join(20)
        assert child.exitcode == 0
        assert answers.get() == b"y"
