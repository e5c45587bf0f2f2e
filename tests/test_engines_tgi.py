"""The TGI engine keeps clear of what a batch client can get wrong with TGI: BOS, sampling, limits, odd answers.

Held against the double over real HTTP, and against tiny raw servers for what the double does not do.
"""

from __future__ import annotations

import asyncio
import copy
import pickle
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from hub_instructpt.engines import Engine, TGIEngine, open_engine
from hub_instructpt.engines.retries import RetryPolicy
from hub_instructpt.errors import EngineUnavailable, RequestFailed, SettingsError, UsageError
from hub_instructpt.markup import format_prompt
from hub_instructpt.records import SamplingParams
from tests.doubles.plain_http import ask, wait_until_idle
from tests.doubles.process import running
from tests.raw_server import INFO, answering, http, tokens

SHORT = SamplingParams(max_new_tokens=24)
QUICK = RetryPolicy(max_attempts=3, first_wait_seconds=0.02, longest_wait_seconds=0.2, unreachable_seconds=1.0)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with running("tests.doubles.tgi", "--instant", "--max-concurrent-requests", "3", "--fixed-delay", "0.01") as url:
        yield url


@pytest.fixture
def instant(server: str) -> str:
    """A double that answers at once, with three permits."""
    ask(server, "/_double/reset", {})
    return server


@asynccontextmanager
async def connected(url: str, **options: Any) -> AsyncIterator[TGIEngine]:
    engine = TGIEngine(url, **{"retry": QUICK, "connect_seconds": 0.5, **options})
    try:
        await engine.connect()
        yield engine
    finally:
        await engine.aclose()


def complete(url: str, *prompts: str, sampling: SamplingParams = SHORT, **options: Any) -> list[Any]:
    """Completions or failures of prompts that are sent together, each written with the BOS that the engine tells."""

    async def main() -> list[Any]:
        async with connected(url, **options) as engine:
            bos = (await engine.connect()).bos
            return await asyncio.gather(*(engine.complete(bos + p, sampling) for p in prompts), return_exceptions=True)

    return asyncio.run(main())


def state(url: str) -> dict[str, Any]:
    return ask(url, "/_double/state").json


def generate_bodies(url: str) -> list[dict[str, Any]]:
    return [entry["body"] for entry in ask(url, "/_double/log").json if entry["route"] == "/generate"]


# One BOS --------------------------------------------------------------------------------------------------------------


def test_exactly_one_bos_reaches_a_real_model_whose_server_adds_it(tgi: str) -> None:
    (answer,) = complete(tgi, " <CON> Rivers run to the sea. </CON>\n\n")
    assert state(tgi)["bos"] == {"0": 0, "1": 1, "2": 0}
    assert generate_bodies(tgi)[0]["inputs"] == " <CON> Rivers run to the sea. </CON>\n\n"  # the space stays
    assert answer.generated_tokens
    assert answer.prompt_tokens


def test_exactly_one_bos_reaches_a_model_whose_server_adds_none() -> None:
    with running("tests.doubles.tgi", "--instant", "--no-bos") as url:
        complete(url, " <CON> a </CON>\n\n")
        assert state(url)["bos"] == {"0": 0, "1": 1, "2": 0}
        assert generate_bodies(url)[0]["inputs"].startswith("<s> <CON>")


@pytest.mark.parametrize(
    ("strings", "adds", "given", "bos", "sent"),
    [
        ({"<|begin_of_text|>": 7}, True, None, "<|begin_of_text|>", " hi"),
        ({"<|begin_of_text|>": 7}, False, None, "<|begin_of_text|>", "<|begin_of_text|> hi"),
        ({"<bos>": 7}, True, None, "<bos>", " hi"),
        ({"<|start|>": 7}, True, None, "", " hi"),  # a BOS that nobody knows: the server's own is the only one
        ({"<|start|>": 7}, False, "<|start|>", "<|start|>", "<|start|> hi"),
        ({"<|start|>": 7}, True, "<|start|>", "<|start|>", " hi"),
        ({}, False, None, "", " hi"),  # a model without any
        ({}, False, "", "", " hi"),
    ],
)
def test_the_bos_is_that_of_the_model_and_stands_there_once(
    strings: dict[str, int], adds: bool, given: str | None, bos: str, sent: str
) -> None:
    def tokenize(request: Any) -> bytes:
        text, ids = request.json["inputs"], [7] * adds
        while text:
            known = next((s for s in strings if text.startswith(s)), None)
            ids.append(strings[known] if known else 100 + ord(text[0]))
            text = text[len(known or "x") :]
        return http(tokens(*ids))

    routes = {"/info": http(INFO), "/tokenize": tokenize, "/generate": http({"generated_text": "x"})}
    with answering(routes) as raw:
        assert [one.text for one in complete(raw.url, " hi", bos=given)] == ["x"]
        assert raw.asked("/generate")[0].json["inputs"] == sent

        async def told() -> str:
            async with connected(raw.url, bos=given) as engine:
                return (await engine.connect()).bos

        assert asyncio.run(told()) == bos


def test_a_given_bos_that_is_no_token_is_refused_before_the_first_prompt(instant: str) -> None:
    with pytest.raises(SettingsError, match=r"<\|nothing\|>"):
        complete(instant, "x", bos="<|nothing|>")
    assert state(instant)["generate"] == 0


@pytest.mark.parametrize("missing", [http(b"", 404), http(b"", 405), http(b"<html>hello</html>"), http({"count": 2})])
def test_a_server_without_tokenize_is_taken_to_add_a_bos_and_counting_errs_on_the_safe_side(missing: bytes) -> None:
    routes = {"/info": http(INFO), "/generate": http({"generated_text": "x"}), "/tokenize": missing}

    async def main(url: str) -> None:
        async with connected(url) as engine:
            await engine.complete("<s> hi", SHORT)
            assert await engine.count_tokens("<s> é") >= 9

    with answering(routes) as raw:
        asyncio.run(main(raw.url))
        assert raw.asked("/generate")[0].json["inputs"] == " hi"


@pytest.mark.parametrize(
    "trouble", [{"kind": "status", "status": 503}, {"kind": "reset"}, {"kind": "status", "status": 429}]
)
def test_a_passing_trouble_of_tokenize_is_not_taken_for_its_absence(trouble: dict[str, Any]) -> None:
    with running("tests.doubles.tgi", "--instant", "--no-bos") as url:
        ask(url, "/_double/faults", {**trouble, "route": "/tokenize", "times": 1})
        complete(url, " hi", connect_seconds=3)
        assert state(url)["bos"] == {"0": 0, "1": 1, "2": 0}


def test_count_tokens_counts_one_bos(tgi: str) -> None:
    async def main() -> tuple[int, int]:
        async with connected(tgi) as engine:
            return await engine.count_tokens("<s> Rivers run."), await engine.count_tokens(" Rivers run.")

    with_bos, without = asyncio.run(main())
    assert with_bos == without == len(ask(tgi, "/tokenize", {"inputs": " Rivers run."}).json)


# Sampling -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sampling", "parameters"),
    [
        (SamplingParams(9), {"max_new_tokens": 9, "do_sample": False}),
        (SamplingParams(9, top_p=0.5), {"max_new_tokens": 9, "do_sample": False}),
        (SamplingParams(9, 1.0), {"max_new_tokens": 9, "do_sample": True, "temperature": 1.0}),
        (SamplingParams(9, 0.7, 0.9), {"max_new_tokens": 9, "do_sample": True, "temperature": 0.7, "top_p": 0.9}),
    ],
)
def test_every_parameter_is_spelled_out(instant: str, sampling: SamplingParams, parameters: dict[str, Any]) -> None:
    (answer,) = complete(instant, "x", sampling=sampling)
    assert answer.text
    assert generate_bodies(instant)[0]["parameters"] == {**parameters, "return_full_text": False}


def test_greedy_repeats_itself_and_a_temperature_of_one_draws(tgi: str) -> None:
    prompt = format_prompt("Every evening the keeper of the light wrote down which ships had passed.", bos="")
    greedy = complete(tgi, *[prompt] * 3)
    drawn = complete(tgi, *[prompt] * 3, sampling=SamplingParams(24, 1.0))
    assert len({one.text for one in greedy}) == 1
    assert len({one.text for one in drawn}) > 1


def test_more_than_1024_new_tokens_are_refused_here(instant: str) -> None:
    (failure,) = complete(instant, "x", sampling=SamplingParams(1025))
    assert isinstance(failure, SettingsError)
    assert "1,024" in str(failure)
    assert state(instant)["generate"] == 0


# Limits ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("concurrency", "most"), [(None, 3), (2, 2), (50, 3)])
def test_never_more_in_flight_than_the_server_allows(instant: str, concurrency: int | None, most: int) -> None:
    answers = complete(instant, *(f"text {i}" for i in range(30)), concurrency=concurrency)
    assert all(answer.text for answer in answers)
    seen = state(instant)
    assert (seen["max_in_flight"], seen["statuses"].get("429", 0), seen["generate"]) == (most, 0, 30)


def test_callers_that_connect_all_at_once_share_one_limit(instant: str) -> None:
    async def main() -> None:
        engine = TGIEngine(instant, retry=QUICK)
        await asyncio.gather(*(engine.complete(f"<s> {i}", SHORT) for i in range(20)))
        await engine.aclose()

    asyncio.run(main())
    seen = state(instant)
    assert (seen["max_in_flight"], seen["statuses"].get("429", 0)) == (3, 0)
    assert [entry["route"] for entry in ask(instant, "/_double/log").json].count("/info") == 1


def test_two_engines_that_share_a_server_both_complete_everything(instant: str) -> None:
    async def main() -> list[Any]:
        async with connected(instant) as one, connected(instant) as two:
            return await asyncio.gather(*(e.complete(f"<s> {i}", SHORT) for i in range(40) for e in (one, two)))

    assert all(answer.text for answer in asyncio.run(main()))
    seen = state(instant)
    assert seen["answered"] == 80
    assert seen["max_in_flight"] <= 3
    assert seen["statuses"].get("429", 0) > 0  # or this test has shown nothing


def test_a_cancelled_caller_frees_its_slot_and_its_permit(instant: str) -> None:
    async def main() -> str:
        async with connected(instant) as engine:
            ask(instant, "/_double/faults", {"kind": "slow", "seconds": 20, "match": "slow"})
            slow = [asyncio.create_task(engine.complete(f"<s> slow {i}", SHORT)) for i in range(3)]
            await asyncio.sleep(0.2)
            for task in slow:
                task.cancel()
            await asyncio.gather(*slow, return_exceptions=True)
            return (await asyncio.wait_for(engine.complete("<s> quick", SHORT), 10)).text

    assert asyncio.run(main())
    wait_until_idle(instant)


# Answers --------------------------------------------------------------------------------------------------------------


def test_an_answer_lost_to_a_cut_character_is_joined_from_its_tokens(instant: str) -> None:
    whole = complete(instant, "<CON> a b c </CON>")[0]
    ask(instant, "/_double/faults", {"kind": "empty_text"})
    repaired = complete(instant, "<CON> a b c </CON>")[0]
    assert repaired == whole
    assert [body["parameters"].get("details", False) for body in generate_bodies(instant)] == [False, False, True]


@pytest.mark.parametrize(
    "details",
    [
        None,
        [],
        "x",
        {"tokens": None},
        {"tokens": [1, {"text": 5}, {"special": True, "text": "</s>"}]},
        {"tokens": "ab"},
    ],
)
def test_details_of_any_shape_leave_an_empty_answer_empty(details: Any) -> None:
    empty = http({"generated_text": "", "details": details})
    with answering({"/info": http(INFO), "/generate": empty}) as raw:
        (answer,) = complete(raw.url, "x")
    assert (answer.text, answer.finish_reason) == ("", None)


def test_a_character_that_was_cut_is_left_off() -> None:
    parts = [{"id": 1, "text": " caf"}, {"id": 2, "text": "\ufffd"}, {"id": 3, "text": "</s>", "special": True}]
    answer = http({"generated_text": "", "details": {"tokens": parts, "generated_tokens": 3}})
    with answering({"/info": http(INFO), "/generate": answer}) as raw:
        assert [one.text for one in complete(raw.url, "x")] == [" caf"]


def test_an_answer_that_is_one_end_token_is_empty_and_asked_for_once() -> None:
    answer = http({"generated_text": ""}, x_generated_tokens="1", x_prompt_tokens="9")
    with answering({"/info": http(INFO), "/generate": answer}) as raw:
        (got,) = complete(raw.url, "x")
        assert (got.text, got.finish_reason, got.prompt_tokens) == ("", "stop", 9)
        assert len(raw.asked("/generate")) == 1


@pytest.mark.parametrize("value", ["", "many", "-3", "1e9999", "\xff"])
def test_headers_that_make_no_sense_are_as_good_as_none(value: str) -> None:
    raw_answer = http({"generated_text": "x"}).replace(
        b"\r\n", f"\r\nx-generated-tokens: {value}\r\n".encode("latin-1"), 1
    )
    with answering({"/info": http(INFO), "/generate": raw_answer}) as raw:
        (got,) = complete(raw.url, "x")
    assert (got.text, got.finish_reason, got.generated_tokens) == ("x", None, None)


def test_missing_headers_only_cost_the_counts(instant: str) -> None:
    ask(instant, "/_double/faults", {"kind": "no_headers"})
    (got,) = complete(instant, "x")
    assert got.text
    assert (got.finish_reason, got.prompt_tokens, got.generated_tokens) == (None, None, None)


def test_the_finish_reason_is_length_exactly_at_the_limit(instant: str) -> None:
    whole = complete(instant, "x", sampling=SamplingParams(400))[0]
    assert whole.finish_reason == "stop"
    cut = complete(instant, "x", sampling=SamplingParams(whole.generated_tokens))[0]
    assert (cut.finish_reason, cut.generated_tokens) == ("length", whole.generated_tokens)


def test_an_older_server_names_its_limits_otherwise() -> None:
    with running("tests.doubles.tgi", "--instant", "--v2-info", "--max-input-tokens", "777") as url:

        async def main() -> Any:
            async with connected(url) as engine:
                return await engine.connect()

        info = asyncio.run(main())
    assert (info.max_input_tokens, info.max_total_tokens, info.version, info.dtype) == (
        777,
        2048,
        "2.0.4",
        "torch.float16",
    )


@pytest.mark.parametrize("odd", [None, "many", -1, 0, 1.5e400, [], {}])
def test_limits_of_any_shape_give_sane_ones(odd: Any) -> None:
    told = {"model_id": "m", "max_concurrent_requests": odd, "max_input_tokens": odd, "max_total_tokens": odd,
            "model_sha": odd}  # fmt: skip

    async def main(url: str) -> Any:
        async with connected(url) as engine:
            return await engine.connect()

    body = http(told).replace(b"Infinity", b"null    ")
    with answering({"/info": body}) as raw:
        info = asyncio.run(main(raw.url))
    assert (info.max_concurrent_requests, info.max_input_tokens, info.max_total_tokens) == (128, 2047, 2048)


# Being an object ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("twin", [copy.copy, copy.deepcopy, lambda engine: pickle.loads(pickle.dumps(engine))])
def test_a_copy_of_a_connected_engine_connects_on_its_own(instant: str, twin: Any) -> None:
    async def main() -> list[str]:
        async with connected(instant, concurrency=2) as engine:
            other = twin(engine)
            await other.connect()
            await engine.aclose()
            answers = [(await other.complete("<s> x", SHORT)).text]
            assert isinstance(other, Engine)
            assert (await other.connect()).max_concurrent_requests == 2
            await other.aclose()
            return answers

    assert asyncio.run(main())[0]


def test_a_closed_engine_connects_again(instant: str) -> None:
    async def main() -> None:
        async with connected(instant) as engine:
            await engine.aclose()
            await engine.aclose()
            assert (await engine.complete("<s> x", SHORT)).text

    asyncio.run(main())


def test_closing_ends_what_is_in_flight_with_a_clear_error(instant: str) -> None:
    async def main() -> list[Any]:
        ask(instant, "/_double/faults", {"kind": "slow", "seconds": 1, "route": "/generate"})
        async with connected(instant) as engine:
            tasks = [asyncio.create_task(engine.complete(f"<s> {i}", SHORT)) for i in range(5)]
            await asyncio.sleep(0.2)
            await engine.aclose()
            return await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 10)

    assert all(isinstance(error, EngineUnavailable | RequestFailed) for error in asyncio.run(main()))
    wait_until_idle(instant)


def test_an_engine_is_refused_in_two_loops_at_once(instant: str) -> None:
    async def main() -> None:
        engine = TGIEngine(instant, retry=QUICK)
        await engine.connect()
        with pytest.raises(UsageError, match="another event loop"):
            await asyncio.to_thread(lambda: asyncio.run(engine.complete("<s> x", SHORT)))
        assert (await engine.complete("<s> x", SHORT)).text
        await engine.aclose()

    asyncio.run(main())


def test_an_engine_works_in_one_loop_after_another_also_when_the_first_ended_without_closing_it(instant: str) -> None:
    # In a process of its own: the collector complains about the connections that the first loop left open.
    script = """
import asyncio, sys
from hub_instructpt.engines import open_engine
from hub_instructpt.records import SamplingParams
engine = open_engine(sys.argv[1])
asyncio.run(engine.connect())
for _ in range(2):
    print(bool(asyncio.run(engine.complete("<s> x", SamplingParams(max_new_tokens=8))).text))
"""
    done = subprocess.run([sys.executable, "-c", script, instant], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["True", "True"], done.stderr


@pytest.mark.parametrize(
    "spec",
    ["", "tgi", "ftp://host", "http://", "http:///x", "http://host:port", "http://host:99999", "http://[::1",
     "http://ho st", "http://host/?a=1", "http://host/#x", "http://ho\nst",
     "openai+ftp://host", "openai+local", "tgi+", [], ["local", "local"]],
)  # fmt: skip
def test_a_name_that_no_engine_has_is_a_settings_error(spec: Any) -> None:
    with pytest.raises(SettingsError):
        open_engine(spec)


@pytest.mark.parametrize(
    ("spec", "address"),
    [
        ("http://host:80/", "http://host:80"),
        ("tgi+https://host/path/generate", "https://host/path"),
        ("HTTP://Host:8080", "http://Host:8080"),
        ("http://[::1]:80", "http://[::1]:80"),
        ("http://me:secret@host:80", "http://host:80"),
        (["http://host"], "http://host"),
        ("http://host:80/v1", "http://host:80"),
        ("openai+https://host/some/path/v1/", "https://host/some/path"),
        ("http://host/v1/completions", "http://host"),
    ],
)
def test_an_address_shows_where_and_never_a_password(spec: Any, address: str) -> None:
    assert open_engine(spec).address == address


@pytest.mark.parametrize(
    "options",
    [
        {"concurrency": 0},
        {"timeout_seconds": 0},
        {"timeout_seconds": -1},
        {"api_key": "a\nb"},
        {"api_key": "schlüssel"},
        {"max_total_tokens": 0},
        {"batch_size": 8},
        {"no_such": 1},
    ],
)
def test_impossible_options_are_settings_errors_that_show_no_key(options: dict[str, Any]) -> None:
    with pytest.raises(SettingsError) as caught:
        TGIEngine("http://host", **options)
    assert str(options.get("api_key", "no key")) not in str(caught.value)
