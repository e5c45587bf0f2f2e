"""The engine for OpenAI-compatible servers: one BOS on each, its model and limits, and answers of all kinds.

Held against doubles of vLLM, SGLang and llama.cpp over real HTTP, and raw servers for what those do not do.
"""

from __future__ import annotations

import asyncio
import copy
import pickle
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub_instructpt.engines import OpenAIEngine
from hub_instructpt.engines.http_protocol import Trouble, judge
from hub_instructpt.engines.openai_kinds import name_of
from hub_instructpt.engines.openai_protocol import completion_of, count_of, prompt_tokens_of
from hub_instructpt.engines.retries import RetryPolicy
from hub_instructpt.engines.transport import Response
from hub_instructpt.errors import EngineError, EngineUnavailable, NotAnEngine, RequestFailed, SettingsError
from hub_instructpt.records import Completion, EngineInfo, SamplingParams
from tests.doubles.openai_kinds import MODEL
from tests.doubles.plain_http import ask
from tests.doubles.process import running
from tests.raw_server import answering, http

SHORT = SamplingParams(max_new_tokens=24)
QUICK = RetryPolicy(max_attempts=3, first_wait_seconds=0.02, longest_wait_seconds=0.2, unreachable_seconds=1.0)
KINDS = ["vllm", "sglang", "llama.cpp"]
DOUBLE = "tests.doubles.openai"
SECRET = "the heron Zaphod1742 keeps her eggs in Brobdingnag"


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, str]]:
    """An instant double of each kind, with three slots."""
    options = ("--instant", "--slots", "3", "--fixed-delay", "0.01")
    with (
        running(DOUBLE, "--kind", "vllm", *options) as vllm,
        running(DOUBLE, "--kind", "sglang", *options) as sglang,
        running(DOUBLE, "--kind", "llama.cpp", *options) as llama,
    ):
        yield {"vllm": vllm, "sglang": sglang, "llama.cpp": llama}


@pytest.fixture(params=KINDS)
def server(request: pytest.FixtureRequest, servers: dict[str, str]) -> str:
    """A double of each kind in turn, with clean counters and no faults."""
    return clean(servers[request.param])


@pytest.fixture
def vllm(servers: dict[str, str]) -> str:
    return clean(servers["vllm"])


def clean(url: str) -> str:
    ask(url, "/_double/reset", {})
    return url


@asynccontextmanager
async def connected(url: str, **options: Any) -> AsyncIterator[OpenAIEngine]:
    engine = OpenAIEngine(url, **{"retry": QUICK, "connect_seconds": 0.3, **options})
    try:
        await engine.connect()
        yield engine
    finally:
        await engine.aclose()


def info(url: str, **options: Any) -> EngineInfo:
    async def main() -> EngineInfo:
        async with connected(url, **options) as engine:
            return await engine.connect()

    return asyncio.run(main())


def complete(url: str, *prompts: str, sampling: SamplingParams = SHORT, **options: Any) -> list[Any]:
    """Completions or failures of prompts that are sent together, each written with the BOS that the engine tells."""

    async def main() -> list[Any]:
        async with connected(url, **options) as engine:
            bos = (await engine.connect()).bos
            return await asyncio.gather(*(engine.complete(bos + p, sampling) for p in prompts), return_exceptions=True)

    return asyncio.run(main())


def sent(url: str, word: str) -> list[dict[str, Any]]:
    """The bodies of completions whose prompt holds this word."""
    log = [entry for entry in ask(url, "/_double/log").json if entry["route"] == "/v1/completions"]
    return [entry["body"] for entry in log if word in entry["body"]["prompt"]]


# One BOS --------------------------------------------------------------------------------------------------------------


def leading_bos(url: str, word: str) -> int:
    """How many BOS reached the model before the last prompt with this word, by the server's own count of its tokens."""
    body = sent(url, word)[-1]
    told = ask(url, "/v1/completions", {**body, "max_tokens": 1}).json["usage"]["prompt_tokens"]
    bare = {**body, "prompt": body["prompt"].removeprefix("<s>"), "max_tokens": 1}
    added = ask(url, "/v1/completions", {**bare, "prompt": "<s>"}).json["usage"]["prompt_tokens"] - 1
    return (body["prompt"] != bare["prompt"]) + added if told else -1


def test_exactly_one_bos_reaches_the_model_of_each_kind(server: str) -> None:
    (answer,) = complete(server, " <CON> Rivers run to the sea. </CON>\n\n")
    assert answer.text
    assert leading_bos(server, "Rivers") == 1
    (body,) = sent(server, "Rivers")[:1]
    plain = body.get("add_special_tokens") is False
    assert body["prompt"] == ("<s>" if plain else "") + " <CON> Rivers run to the sea. </CON>\n\n"  # the space stays


def test_only_vllm_is_asked_to_add_nothing(servers: dict[str, str]) -> None:
    for kind, url in servers.items():
        complete(clean(url), "Rivers")
        assert ("add_special_tokens" in sent(url, "Rivers")[0]) == (kind == "vllm")


@pytest.mark.parametrize("kind", KINDS)
def test_exactly_one_bos_reaches_a_model_whose_server_adds_none(kind: str) -> None:
    with running(DOUBLE, "--kind", kind, "--instant", "--no-bos", "--context", "512") as url:
        complete(url, " Rivers")
        # The double adds what it is asked to add where it listens to that; by default this one adds nothing.
        assert leading_bos(url, "Rivers") in (1,)


@pytest.mark.parametrize(
    ("words", "added", "given", "bos", "asked"),
    [
        ({"<|begin_of_text|>"}, 1, None, "<|begin_of_text|>", " hi"),
        ({"<|begin_of_text|>"}, 0, None, "<|begin_of_text|>", "<|begin_of_text|> hi"),
        ({"<|start|>"}, 1, None, "", " hi"),  # a BOS that nobody knows: the server's own is the only one
        ({"<|start|>"}, 0, "<|start|>", "<|start|>", "<|start|> hi"),
        ({"<|start|>"}, 1, "<|start|>", "<|start|>", " hi"),
        (set(), 0, None, "", " hi"),  # a model without any
        (set(), 0, "", "", " hi"),
        ({"<s>"}, 2, None, "<s>", " hi"),  # an EOS as well: nothing to be done about that one
    ],
)
def test_the_bos_is_that_of_the_model_and_stands_there_once(
    words: set[str], added: int, given: str | None, bos: str, asked: str
) -> None:
    with counting(words, added) as raw:
        assert [one.text for one in complete(raw.url, " hi", bos=given)] == ["x"]
        assert raw.asked("/v1/completions")[-1].json["prompt"] == asked
        assert info(raw.url, bos=given).bos == bos


def test_a_given_bos_that_is_no_token_is_refused_before_the_first_prompt(vllm: str) -> None:
    with pytest.raises(SettingsError, match=r"<\|nothing\|>"):
        complete(vllm, "Rivers", bos="<|nothing|>")
    assert not sent(vllm, "Rivers")


def test_a_server_that_counts_nothing_is_taken_to_add_a_bos(caplog: pytest.LogCaptureFixture) -> None:
    routes = {"/v1/models": LISTED, "/v1/completions": http({"choices": [{"text": "x"}]})}

    async def main(url: str) -> int:
        async with connected(url) as engine:
            await engine.complete("<s> hi", SHORT)
            return await engine.count_tokens("<s> é")

    with answering(routes) as raw:
        assert asyncio.run(main(raw.url)) >= 9
        assert raw.asked("/v1/completions")[-1].json["prompt"] == " hi"
    assert "does not count" in caplog.text


# Counting -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tokenize", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_tokens_are_counted_as_the_model_sees_them(kind: str, tokenize: bool) -> None:
    async def main(url: str) -> tuple[int, int, int | None]:
        async with connected(url) as engine:
            counted = await engine.count_tokens("<s> Rivers run to the sea.")
            before = ask(url, "/_double/state").json["generate"]
            again = await engine.count_tokens("<s> Rivers run to the sea.")
            assert (ask(url, "/_double/state").json["generate"] == before) == tokenize
            return counted, again, (await engine.complete("<s> Rivers run to the sea.", SHORT)).prompt_tokens

    with running(DOUBLE, "--kind", kind, "--instant", *([] if tokenize else ["--no-tokenize"])) as url:
        counted, again, read = asyncio.run(main(url))
    assert counted == again == read == 6


def test_a_text_too_long_to_be_counted_has_a_bound_that_is_not_too_small() -> None:
    async def main(url: str) -> int:
        async with connected(url) as engine:
            return await engine.count_tokens("word " * 500)

    with running(DOUBLE, "--instant", "--no-tokenize", "--context", "64") as url:
        assert asyncio.run(main(url)) >= 2500


# Sampling and answers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sampling", "fields"),
    [
        (SamplingParams(9), {"max_tokens": 9, "temperature": 0.0}),
        (SamplingParams(9, top_p=0.5), {"max_tokens": 9, "temperature": 0.0}),
        (SamplingParams(9, 0.7, 0.9), {"max_tokens": 9, "temperature": 0.7, "top_p": 0.9}),
    ],
)
def test_every_parameter_is_spelled_out(vllm: str, sampling: SamplingParams, fields: dict[str, Any]) -> None:
    assert complete(vllm, "Rivers", sampling=sampling)[0].text
    assert sent(vllm, "Rivers") == [{"prompt": "<s>Rivers", "add_special_tokens": False, **fields}]


def test_the_finish_reason_and_the_counts_are_the_servers(server: str) -> None:
    whole = complete(server, "x", sampling=SamplingParams(400))[0]
    assert whole.finish_reason == "stop"
    cut = complete(server, "x", sampling=SamplingParams(5))[0]
    assert (cut.finish_reason, cut.generated_tokens, cut.prompt_tokens) == ("length", 5, whole.prompt_tokens)


@pytest.mark.parametrize(
    ("choice", "finish"),
    [
        ({"finish_reason": "eos_token"}, "stop"),
        ({"finish_reason": "stop_sequence"}, "stop"),
        ({"finish_reason": None}, None),
        ({"finish_reason": "content_filter"}, None),
        ({"finish_reason": ["stop"]}, None),
        ({}, None),
    ],
)
@pytest.mark.parametrize("usage", [None, [], {"prompt_tokens": "many", "completion_tokens": -1}])
def test_odd_reasons_and_counts_are_as_good_as_none(choice: dict[str, Any], finish: str | None, usage: Any) -> None:
    body = orjson.dumps({"choices": [{"text": "", **choice}], "usage": usage})
    assert completion_of(Response(200, [], body)) == Completion("", finish, None, None)  # type: ignore[arg-type]


@pytest.mark.parametrize("fault", ["no_choices", "aborted", "wrong_json", "half_body", "reset"])
def test_an_answer_without_a_text_is_asked_for_again(server: str, fault: str) -> None:
    ask(server, "/_double/faults", {"kind": fault, "times": 1, "match": "Rivers"})
    assert complete(server, "Rivers")[0].text
    assert len(sent(server, "Rivers")) == 2


def test_an_answer_that_never_has_a_text_is_given_up_and_touches_no_other(server: str) -> None:
    ask(server, "/_double/faults", {"kind": "no_choices", "match": "arsenic"})
    bad, good = complete(server, "arsenic", "Rivers")
    assert good.text
    assert (bad.reason, bad.attempts, bad.passing) == ("unreadable_answer", 3, True)


def test_an_empty_text_is_an_answer(vllm: str) -> None:
    ask(vllm, "/_double/faults", {"kind": "empty_text", "match": "Rivers"})
    assert complete(vllm, "Rivers")[0].text == ""
    assert len(sent(vllm, "Rivers")) == 1


def test_missing_usage_only_costs_the_counts(vllm: str) -> None:
    ask(vllm, "/_double/faults", {"kind": "no_usage", "match": "Rivers"})
    answer = complete(vllm, "Rivers")[0]
    assert answer.text
    assert (answer.prompt_tokens, answer.generated_tokens) == (None, None)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["choices", "text", "finish_reason", "usage", "prompt_tokens", "count", "tokens", "error"]),
            inner,
            max_size=4,
        )
    ),
)


@given(value=JSON, status=st.integers(100, 599))
def test_no_json_makes_reading_it_raise(value: Any, status: int) -> None:
    try:
        response = Response(status, [], orjson.dumps(value))
    except orjson.JSONEncodeError:  # lone surrogates
        return
    got = completion_of(response)
    assert got is None or isinstance(got.text, str)
    assert all(number is None or number >= 0 for number in (prompt_tokens_of(response), count_of(response)))
    assert isinstance(judge(response, SECRET), Trouble)


# Errors ---------------------------------------------------------------------------------------------------------------


def test_a_prompt_that_does_not_fit_is_counted_as_that(server: str) -> None:
    bad, good = complete(server, "word " * 4000, "Rivers")
    assert good.text
    assert isinstance(bad, RequestFailed)
    assert (bad.reason, bad.attempts, bad.passing) == ("prompt_too_long", 1, False)
    assert "context" in str(bad)  # the server's own words, which hold nothing of the prompt
    assert "max_total_tokens" in bad.advice


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": f"can not handle {SECRET}", "type": "BadRequestError"}},
        {"object": "error", "message": SECRET.upper(), "code": 400},
        {"detail": [{"loc": ["body"], "msg": "bad", "input": SECRET}]},
        {"detail": f"Unexpected: {SECRET[4:20]}"},
    ],
)
def test_a_server_that_repeats_a_prompt_does_not_give_it_away(body: Any) -> None:
    def refusing(request: Any) -> bytes:
        return http(body, 400) if "Zaphod" in request.json["prompt"] else counted(request, {"<s>"}, 1)

    with answering({"/v1/models": LISTED, "/v1/completions": refusing}) as raw:
        (failure,) = complete(raw.url, SECRET)
    assert isinstance(failure, RequestFailed)
    assert "400" in str(failure)
    assert not any(word in str(failure).casefold() for word in ("heron", "zaphod", "brobdingnag"))


def test_what_the_server_itself_says_is_passed_on() -> None:
    told = {"error": {"message": "max_tokens must be less than the maximum", "type": "BadRequestError"}}

    def refusing(request: Any) -> bytes:
        return http(told, 400) if "Rivers" in request.json["prompt"] else counted(request, {"<s>"}, 1)

    with answering({"/v1/models": LISTED, "/v1/completions": refusing}) as raw:
        (failure,) = complete(raw.url, "Rivers")
    assert "max_tokens must be less" in str(failure)


def test_the_key_is_sent_and_a_wrong_one_is_refused_by_the_name_of_the_variable() -> None:
    with running(DOUBLE, "--instant", "--api-key", "a-key-123") as url:
        assert complete(url, "Rivers", api_key="a-key-123")[0].text
        with pytest.raises(EngineUnavailable, match="HUB_INSTRUCTPT_API_KEY"):
            complete(url, "Rivers", api_key="wrong-456")


# Which model, and its limits ------------------------------------------------------------------------------------------


def test_each_kind_is_recorded_with_its_version_and_limits(servers: dict[str, str]) -> None:
    told = {kind: info(url) for kind, url in servers.items()}
    assert {kind: (one.kind, one.version) for kind, one in told.items()} == {
        "vllm": ("vllm", "0.32.0"),
        "sglang": ("sglang", "0.5.9"),
        "llama.cpp": ("llama.cpp", "b8681-double"),
    }
    for one in told.values():
        assert one.model_id.endswith("tiny-synthesizer")
        assert (one.max_total_tokens, one.max_input_tokens) == (2048, 2047)
    assert told["sglang"].max_concurrent_requests == told["llama.cpp"].max_concurrent_requests == 7  # three, kept full


def test_a_model_is_named_only_where_the_server_wants_to_hear_it(vllm: str) -> None:
    complete(vllm, "Rivers")
    assert "model" not in sent(vllm, "Rivers")[0]
    with running(DOUBLE, "--instant", "--wants-model") as url:
        complete(url, "Rivers")
        assert sent(url, "Rivers")[0]["model"] == MODEL


def test_of_several_models_one_must_be_named() -> None:
    several = ("--served", "one", "--served", "two")
    with running(DOUBLE, "--instant", "--wants-model", *several) as url:
        with pytest.raises(SettingsError, match="one, two") as caught:
            complete(url, "Rivers")
        assert "--model" in caught.value.advice
        assert info(url, model="two").model_id == "two"
        with pytest.raises(SettingsError, match="three"):
            complete(url, "Rivers", model="three")


@pytest.mark.parametrize(
    ("context", "given", "total"), [(4096, None, 4096), (4096, 1000, 1000), (512, 1000, 512), (None, 900, 900)]
)
def test_the_limit_is_the_least_of_what_server_and_user_say(context: int | None, given: int | None, total: int) -> None:
    card = {"id": "m", "owned_by": "someone", **({"max_model_len": context} if context else {})}
    with counting({"<s>"}, 1, card) as raw:
        one = info(raw.url, max_total_tokens=given)
    assert (one.max_total_tokens, one.max_input_tokens, one.kind) == (total, total - 1, "openai")


def test_where_nobody_says_a_limit_a_low_one_is_assumed_and_said(caplog: pytest.LogCaptureFixture) -> None:
    with counting({"<s>"}, 1) as raw:
        assert info(raw.url).max_total_tokens == 2048
    assert "--max-total-tokens" in caplog.text


@pytest.mark.parametrize(("concurrency", "most"), [(2, 2), (None, 30), (50, 30)])
def test_no_more_are_in_flight_than_asked_for(vllm: str, concurrency: int | None, most: int) -> None:
    answers = complete(vllm, *(f"text {i}" for i in range(30)), concurrency=concurrency)
    assert all(answer.text for answer in answers)
    state = ask(vllm, "/_double/state").json
    assert (state["max_in_flight"] <= most, state["most_running"] <= 3) == (True, True)


@pytest.mark.parametrize(
    ("path", "name", "sha"),
    [
        ("org/name", "org/name", None),
        ("name", "name", None),
        ("/repository", "repository", None),
        ("./tinymodel", "tinymodel", None),
        ("/home/me/models/7b/", "7b", None),
        ("C:\\models\\7b.gguf", "7b.gguf", None),
        ("/models/tiny@main", "tiny", None),
        (f"org/name@{'ab' * 20}", "org/name", "ab" * 20),
        (f"/root/.cache/huggingface/hub/models--org--na-me/snapshots/{'0f' * 20}", "org/na-me", "0f" * 20),
    ],
)
def test_a_model_is_called_by_its_public_name(path: str, name: str, sha: str | None) -> None:
    assert name_of(path) == (name, sha)


# What is no such server -----------------------------------------------------------------------------------------------

NO_ROUTE = http({"detail": "Not Found"}, 404)


@pytest.mark.parametrize(
    ("routes", "says"),
    [
        ({}, "has no /v1/completions"),
        ({"/v1/models": http({"object": "list", "data": []})}, "has no /v1/completions"),
        ({"/v1/completions": http({"text": ["x"]})}, "not as an OpenAI-compatible server"),
        ({"/v1/completions": http([1])}, "not as an OpenAI-compatible server"),
        ({"/v1/completions": http(b"<html></html>")}, "not as an OpenAI-compatible server"),
    ],
)
def test_a_server_without_text_completions_is_named_so(routes: dict[str, Any], says: str) -> None:
    with answering(routes, NO_ROUTE) as raw, pytest.raises(NotAnEngine, match=says) as caught:
        complete(raw.url, "x")
    assert caught.value.advice


def test_rubbish_on_every_page_of_a_server_is_survived() -> None:
    for rubbish in (http([1]), http({"data": [1, {"id": 5}, {"id": None}]}), http(b"\xff"), http({"paths": 3})):
        with answering({"/v1/completions": lambda request: counted(request, {"<s>"}, 1)}, rubbish) as raw:
            assert complete(raw.url, "x")[0].text == "x"


# Being an object ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("twin", [copy.copy, copy.deepcopy, lambda engine: pickle.loads(pickle.dumps(engine))])
def test_a_copy_of_a_connected_engine_connects_on_its_own(vllm: str, twin: Any) -> None:
    async def main() -> int:
        async with connected(vllm, concurrency=2, max_total_tokens=700) as engine:
            other = twin(engine)
            await engine.aclose()
            assert (await other.complete("<s> x", SHORT)).text
            told = await other.connect()
            await other.aclose()
            return told.max_concurrent_requests + told.max_total_tokens

    assert asyncio.run(main()) == 702


def test_every_failure_to_connect_can_be_repeated() -> None:
    async def main() -> None:
        engine = OpenAIEngine("http://127.0.0.1:9", connect_seconds=0)
        for _ in range(2):
            with pytest.raises(EngineError):
                await engine.connect()

    asyncio.run(main())


# Raw servers ----------------------------------------------------------------------------------------------------------

LISTED = http({"object": "list", "data": [{"id": "m", "owned_by": "someone", "max_model_len": 2048}]})


def counted(request: Any, words: set[str], added: int) -> bytes:
    """A completion by a server whose tokens are letters, and these words; it adds so many tokens to each prompt."""
    text, number = request.json["prompt"], added
    while text:
        known = next((word for word in words if text.startswith(word)), "x")
        text, number = text[len(known) :], number + 1
    return http({"choices": [{"text": "x", "finish_reason": "stop"}], "usage": {"prompt_tokens": number}})


def counting(words: set[str], added: int, card: dict[str, Any] | None = None) -> Any:
    listed = http({"object": "list", "data": [card or {"id": "m", "owned_by": "someone"}]})
    routes = {"/v1/models": listed, "/v1/completions": lambda request: counted(request, words, added)}
    return answering(routes)
