"""Servers that fail: what is asked again and how often, what it is called, and that nothing of what was sent leaks out.

Each is held with both client libraries. Against the double with its faults on, and raw servers that are worse.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from email.utils import formatdate
from typing import Any

import pytest

from hub_instructpt.engines import TGIEngine
from hub_instructpt.engines.retries import RetryPolicy
from hub_instructpt.errors import EngineError, EngineUnavailable, NotAnEngine, RequestFailed
from hub_instructpt.records import SamplingParams
from tests.doubles.plain_http import ask
from tests.doubles.process import Double, running
from tests.raw_server import INFO, answering, http, talking, tokens

SHORT = SamplingParams(max_new_tokens=24)
QUICK = RetryPolicy(max_attempts=3, first_wait_seconds=0.02, longest_wait_seconds=0.2, unreachable_seconds=1.0)
SECRET = "the heron Zaphod1742 keeps her eggs in Brobdingnag"
KEY = "hf-Xy7-very-secret"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with running("tests.doubles.tgi", "--instant") as url:
        yield url


@pytest.fixture
def tgi(server: str) -> str:
    ask(server, "/_double/reset", {})
    return server


@asynccontextmanager
async def connected(url: str, **options: Any) -> AsyncIterator[TGIEngine]:
    engine = TGIEngine(url, **{"retry": QUICK, "connect_seconds": 0.3, **options})
    try:
        await engine.connect()
        yield engine
    finally:
        await engine.aclose()


def complete(url: str, *prompts: str, **options: Any) -> list[Any]:
    async def main() -> list[Any]:
        async with connected(url, **options) as engine:
            return await asyncio.gather(*(engine.complete(f"<s> {p}", SHORT) for p in prompts), return_exceptions=True)

    return asyncio.run(main())


def asked(url: str, word: str) -> int:
    """How often a prompt with this word was sent."""
    log = ask(url, "/_double/log").json
    return sum(entry["route"] == "/generate" and word in str(entry["body"]) for entry in log)


# One prompt fails, others do not --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ({"kind": "poison", "status": 424}, "status_424"),
        ({"kind": "poison", "status": 500}, "status_500"),
        ({"kind": "poison", "status": 503}, "status_503"),
        ({"kind": "plain_text", "status": 502}, "status_502"),
        ({"kind": "plain_text", "status": 200}, "unreadable_answer"),
        ({"kind": "wrong_json"}, "unreadable_answer"),
        ({"kind": "half_body"}, "broken_connection"),
        ({"kind": "reset"}, "broken_connection"),
    ],
)
def test_a_lasting_error_is_tried_three_times_and_touches_no_other_prompt(
    tgi: str, fault: dict[str, Any], reason: str
) -> None:
    ask(tgi, "/_double/faults", {**fault, "match": "arsenic"})
    good, bad, also_good = complete(tgi, "one", "arsenic", "two")
    assert good.text
    assert also_good.text
    assert isinstance(bad, RequestFailed)
    assert (bad.reason, bad.attempts, bad.passing, asked(tgi, "arsenic")) == (reason, 3, True, 3)


@pytest.mark.parametrize(
    "fault",
    [{"kind": "status", "status": 424}, {"kind": "status", "status": 500}, {"kind": "status", "status": 429},
     {"kind": "plain_text"}, {"kind": "wrong_json"}, {"kind": "half_body"}, {"kind": "reset"}],
)  # fmt: skip
def test_a_passing_error_costs_one_try_more(tgi: str, fault: dict[str, Any]) -> None:
    ask(tgi, "/_double/faults", {**fault, "times": 1})
    (answer,) = complete(tgi, "one")
    assert answer.text
    assert asked(tgi, "one") == 2


def test_a_server_that_is_often_full_still_answers_everything(tgi: str) -> None:
    ask(tgi, "/_double/faults", {"kind": "status", "status": 429, "share": 0.6, "seed": 3})
    answers = complete(tgi, *(f"text {i}" for i in range(40)))
    assert all(answer.text for answer in answers)


def test_a_server_that_stays_full_is_given_up_in_the_end(tgi: str) -> None:
    ask(tgi, "/_double/faults", {"kind": "status", "status": 429})
    (failure,) = complete(tgi, "one", retry=RetryPolicy(busy_seconds=0.5, longest_wait_seconds=0.1))
    assert (failure.reason, failure.passing) == ("status_429", True)


@pytest.mark.parametrize("status", [301, 400, 404, 413, 418, 422])
def test_what_the_server_refuses_is_not_asked_again(status: int) -> None:
    routes = {"/info": http(INFO), "/generate": http(b"no", status, location="/elsewhere")}
    with answering(routes) as raw:
        (failure,) = complete(raw.url, "x")
        assert isinstance(failure, RequestFailed)
        assert (failure.reason, failure.attempts, failure.passing) == (f"status_{status}", 1, False)
        assert (len(raw.asked("/generate")), len(raw.asked("/elsewhere"))) == (1, 0)


def test_a_prompt_beyond_the_payload_limit_is_refused_once(tgi: str) -> None:
    (failure,) = complete(tgi, "x" * 2_100_000)
    assert (failure.reason, failure.attempts) == ("status_413", 1)


def test_text_that_no_json_can_hold_fails_alone(tgi: str) -> None:
    bad, good = complete(tgi, "a \ud800 b", "two")
    assert isinstance(bad, RequestFailed)
    assert good.text


def test_a_prompt_on_which_the_server_hangs_times_out_and_touches_no_other(tgi: str) -> None:
    ask(tgi, "/_double/faults", {"kind": "stall", "match": "arsenic"})
    started = time.monotonic()
    bad, good = complete(tgi, "arsenic", "one", timeout_seconds=0.4)
    assert good.text
    assert isinstance(bad, RequestFailed)
    assert (bad.reason, asked(tgi, "arsenic")) == ("timeout", 2)  # a timeout counts double
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("in_body", [False, True])
def test_a_server_that_drips_a_byte_at_a_time_runs_into_the_time_limit(in_body: bool) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if b"/info" in head:
            writer.write(http(INFO, connection="close"))
        elif b"/generate" in head:
            answer = http({"generated_text": "x" * 100})
            start = answer.index(b"\r\n\r\n") + 4 if in_body else 1
            writer.write(answer[:start])
            for byte in answer[start:]:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0.1)
        else:
            writer.write(http(b"", 404, connection="close"))
        await writer.drain()

    with talking(talk) as raw:
        started = time.monotonic()
        (failure,) = complete(raw.url, "x", timeout_seconds=0.5)
        assert isinstance(failure, RequestFailed)
        assert failure.reason == "timeout"
        assert time.monotonic() - started < 5


@pytest.mark.parametrize(("status", "as_date"), [(429, False), (503, False), (429, True)])
def test_the_wait_that_a_server_asks_for_is_kept(status: int, as_date: bool) -> None:
    times: list[float] = []

    def generate(_: Any) -> bytes:
        times.append(time.monotonic())
        asked_for = formatdate(time.time() + 2, usegmt=True) if as_date else "1"
        return http({"generated_text": "x"}) if len(times) > 1 else http(b"", status, retry_after=asked_for)

    with answering({"/info": http(INFO), "/generate": generate}) as raw:
        assert complete(raw.url, "x")[0].text == "x"
    assert 0.95 <= times[1] - times[0] < 5


def test_a_server_that_restarts_in_the_middle_loses_nothing() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    options = ("--instant", "--fixed-delay", "0.05", "--max-concurrent-requests", "4", "--port", port)
    first = Double("tests.doubles.tgi", *options)
    again: list[Double] = []

    def restart() -> None:
        time.sleep(0.4)
        first.kill()
        time.sleep(0.5)
        again.append(Double("tests.doubles.tgi", *options))

    thread = threading.Thread(target=restart)
    try:
        thread.start()
        patient = RetryPolicy(first_wait_seconds=0.05, longest_wait_seconds=0.3)
        answers = complete(first.url, *(f"text {i}" for i in range(60)), retry=patient)
    finally:
        thread.join()
        first.stop()
        for double in again:
            answered = ask(double.url, "/_double/state").json["answered"]
            double.stop()
    assert all(getattr(answer, "text", None) for answer in answers)
    assert answered > 0


def test_a_server_that_is_gone_for_good_ends_everything_with_one_error() -> None:
    double = Double("tests.doubles.tgi", "--instant")
    try:

        async def main() -> list[Any]:
            async with connected(double.url) as engine:
                double.kill()
                tasks = [engine.complete(f"<s> {i}", SHORT) for i in range(4)]
                return await asyncio.gather(*tasks, return_exceptions=True)

        failures = asyncio.run(main())
    finally:
        double.stop()
    assert all(isinstance(failure, EngineUnavailable) for failure in failures)
    assert "run the same command again" in str(failures[0])


# What answers is no engine, or does not answer ------------------------------------------------------------------------


async def ssh(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9.6\r\n")
    await writer.drain()
    await reader.read()


async def closes_at_once(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
    return


async def hangs(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


@pytest.mark.parametrize(
    ("talk", "says"), [(ssh, "not HTTP"), (closes_at_once, "not HTTP"), (hangs, "does not answer")]
)
def test_a_port_that_speaks_no_http_is_an_unavailable_engine(talk: Any, says: str) -> None:
    with talking(talk) as raw, pytest.raises(EngineUnavailable, match=says) as caught:
        complete(raw.url, "x", timeout_seconds=0.5)
    assert caught.value.advice


def test_a_closed_port_and_an_unknown_host_are_unavailable_engines() -> None:
    for url in ("http://127.0.0.1:9", "http://nowhere.invalid", "http://a..b"):
        with pytest.raises(EngineUnavailable, match="No server answers") as caught:
            complete(url, "x")
        assert "curl" in caught.value.advice


PAGE = http(b"<html><body>Welcome to nginx!</body></html>", content_type="text/html")
OPENAI = http({"object": "list", "data": [{"id": "m", "object": "model"}]})


@pytest.mark.parametrize(
    ("routes", "otherwise", "says"),
    [
        ({}, PAGE, "not a text-generation-inference server"),
        ({}, http(b"", 404), "not a text-generation-inference server"),
        ({"/info": http({"name": "other"})}, http(b"", 404), "not a text-generation-inference server"),
        ({"/info": http([1, 2])}, http([1]), "not a text-generation-inference server"),
        ({"/v1/models": OPENAI}, http(b"", 404), r"openai\+http"),
        ({}, http(b"", 308, location="https://elsewhere.invalid/info"), "redirects"),
    ],
)
def test_another_kind_of_server_is_named(routes: dict[str, Any], otherwise: bytes, says: str) -> None:
    with answering(routes, otherwise) as raw:
        with pytest.raises(NotAnEngine, match=says) as caught:
            complete(raw.url, "x")
        assert caught.value.advice
        assert {request.method for request in raw.requests} == {"GET"}  # nothing was sent to a stranger


@pytest.mark.parametrize("status", [429, 500, 502])
def test_a_server_that_is_not_ready_is_waited_for_and_then_said_so(status: int) -> None:
    with answering({}, http(b"starting", status)) as raw:
        with pytest.raises(EngineUnavailable, match=str(status)):
            complete(raw.url, "x")
        assert len(raw.asked("/info")) > 1


def test_a_server_that_becomes_ready_is_used() -> None:
    seen: list[int] = []

    def info(_: Any) -> bytes:
        seen.append(1)
        return http(INFO) if len(seen) > 2 else http(b"", 503)

    with answering({"/info": info, "/generate": http({"generated_text": "x"})}) as raw:
        assert complete(raw.url, "x", connect_seconds=5)[0].text == "x"


# Keys -----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def guarded() -> Iterator[str]:
    with running("tests.doubles.tgi", "--instant", "--api-key", KEY) as url:
        yield url


def test_the_key_comes_from_the_variable(guarded: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUB_INSTRUCTPT_API_KEY", f"{KEY}\n")  # as a file with a key in it gives it
    assert complete(guarded, "x")[0].text


def test_a_missing_or_wrong_key_is_refused_with_the_name_of_the_variable(guarded: str) -> None:
    for options in ({}, {"api_key": "wrong-key-123"}):
        with pytest.raises(EngineUnavailable, match="HUB_INSTRUCTPT_API_KEY") as caught:
            complete(guarded, "x", **options)
        assert "wrong-key-123" not in repr(caught.value)


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_is_withdrawn_in_the_middle_ends_the_run(status: int) -> None:
    with answering({"/info": http(INFO), "/generate": http(b"", status)}) as raw:
        (failure,) = complete(raw.url, "x")
    assert isinstance(failure, EngineUnavailable)
    assert "HUB_INSTRUCTPT_API_KEY" in str(failure)


def test_no_token_of_the_hub_and_no_netrc_is_ever_sent(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password hf_secret\n")
    netrc.chmod(0o600)
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.setenv(name, "hf_secret")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HOME", str(tmp_path))
    with answering({"/info": http(INFO), "/generate": http({"generated_text": "x"})}) as raw:
        assert complete(raw.url, "x")[0].text == "x"
        assert complete(raw.url, "x", api_key=KEY)[0].text == "x"
        seen = [request.headers.get("authorization") for request in raw.requests]
        assert set(seen) == {None, f"Bearer {KEY}"}
        assert not any("hf_secret" in str(request) for request in raw.requests)


def test_a_password_in_the_address_is_sent_as_one() -> None:
    with answering({"/info": http(INFO), "/generate": http({"generated_text": "x"})}) as raw:
        url = raw.url.replace("//", "//me:p%40ss@")
        assert complete(url, "x")[0].text == "x"
        assert complete(url, "x", api_key=KEY)[0].text == "x"
        sent = [request.headers["authorization"] for request in raw.asked("/generate")]
    assert sent == [f"Basic {base64.b64encode(b'me:p@ss').decode()}", f"Bearer {KEY}"]


# Nothing leaks --------------------------------------------------------------------------------------------------------


def echoes(request: Any) -> Iterator[Any]:
    """Ways in which a server may repeat what it was sent."""
    inputs = request.json["inputs"]
    yield {"error": inputs}
    yield {"error": f"cannot handle `{inputs[-12:]}`", "error_type": inputs[:30]}
    yield {"error": inputs.upper(), "error_type": "validation"}
    yield {"error": "bad: " + "".join(f"\\u{ord(c):04x}" for c in inputs)}
    yield {"error": f"unexpected token {request.headers.get('authorization')}"}
    yield inputs.encode()
    yield request.body


@pytest.mark.parametrize("way", range(7))
@pytest.mark.parametrize("status", [422, 500])
def test_a_server_that_repeats_prompt_and_key_gives_neither_away(
    way: int, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    def generate(request: Any) -> bytes:
        return http(list(echoes(request))[way], status)

    with answering({"/info": http(INFO), "/generate": generate}) as raw:
        (failure,) = complete(raw.url, SECRET, api_key=KEY)
    assert isinstance(failure, RequestFailed)
    shown = "".join([str(failure), repr(failure), repr(vars(failure)), caplog.text]).casefold()
    assert str(status) in shown
    for word in (*SECRET.split()[1:3], "Brobdingnag", "u0068", KEY):
        assert word.casefold() not in shown


@pytest.mark.parametrize(
    "message",
    [
        "Input validation error: `inputs` must have less than 1024 tokens. Given: 2048",
        "Request failed during generation: Server error: CUDA out of memory",
        "Incomplete generation",
    ],
)
def test_what_tgi_itself_says_is_passed_on(message: str) -> None:
    generate = http({"error": message, "error_type": "x"}, 422)
    prompt = "The server must have less memory than the inputs, given 1024 tokens."
    with answering({"/info": http(INFO), "/generate": generate}) as raw:
        (failure,) = complete(raw.url, prompt)
    assert message in str(failure)


def test_control_characters_of_a_server_reach_no_terminal() -> None:
    generate = http({"error": "boom \x1b[2J\x07"}, 422)
    with answering({"/info": http(INFO), "/tokenize": http(tokens(1)), "/generate": generate}) as raw:
        (failure,) = complete(raw.url, "x")
    assert "\x1b" not in str(failure)
    assert isinstance(failure, EngineError)
