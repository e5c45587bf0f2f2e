"""`http://host:port` finds out by asking which kind of server it faces, and waits for one that sleeps.

Held against the doubles of TGI and of OpenAI-compatible servers, and raw servers in between.
"""

from __future__ import annotations

import asyncio
import copy
import logging
import pickle
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from datasets import load_dataset

from hub_instructpt import Augment
from hub_instructpt.engines import ServerEngine, open_engine
from hub_instructpt.engines.address import address_of, refuses_key
from hub_instructpt.engines.http_engine import HTTPEngine
from hub_instructpt.engines.retries import RetryPolicy
from hub_instructpt.engines.waking import WAKE_SECONDS, Waking
from hub_instructpt.errors import EngineUnavailable, NotAnEngine, RequestFailed, SettingsError
from hub_instructpt.records import EngineInfo, SamplingParams
from tests.conftest import run_cli, topics, write_jsonl
from tests.doubles.plain_http import ask
from tests.doubles.process import running
from tests.raw_server import INFO, answering, http

SHORT = SamplingParams(max_new_tokens=24)
QUICK = RetryPolicy(max_attempts=3, first_wait_seconds=0.02, longest_wait_seconds=0.2, unreachable_seconds=1.0)
ASLEEP = {"kind": "status", "status": 503, "route": "*"}


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, str]]:
    with (
        running("tests.doubles.tgi", "--instant") as tgi,
        running("tests.doubles.openai", "--instant") as vllm,
        running("tests.doubles.openai", "--instant", "--kind", "llama.cpp") as llama,
    ):
        yield {"tgi": tgi, "vllm": vllm, "llama.cpp": llama}


@pytest.fixture(params=["tgi", "vllm"])
def server(request: pytest.FixtureRequest, servers: dict[str, str]) -> Iterator[str]:
    """A double of TGI and one of vLLM in turn, with clean counters and no faults, before and after."""
    url = servers[request.param]
    ask(url, "/_double/reset", {})
    yield url
    ask(url, "/_double/reset", {})


def opened(url: str, **options: Any) -> HTTPEngine:
    engine = open_engine(url, **{"retry": QUICK, "connect_seconds": 0.3, **options})
    assert isinstance(engine, HTTPEngine)
    return engine


def info(url: str, **options: Any) -> EngineInfo:
    async def main() -> EngineInfo:
        engine = opened(url, **options)
        try:
            return await engine.connect()
        finally:
            await engine.aclose()

    return asyncio.run(main())


def complete(url: str, *prompts: str, **options: Any) -> list[Any]:
    async def main() -> list[Any]:
        engine = opened(url, **options)
        try:
            return await asyncio.gather(*(engine.complete(f"<s> {p}", SHORT) for p in prompts), return_exceptions=True)
        finally:
            await engine.aclose()

    return asyncio.run(main())


# Which kind -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["", "/", "/v1", "/v1/", "/v1/completions"])
def test_each_kind_is_found_out(servers: dict[str, str], end: str) -> None:
    assert {name: info(url + end).kind for name, url in servers.items()} == {name: name for name in servers}


def test_tgi_is_asked_in_its_own_way_unless_told_otherwise(servers: dict[str, str]) -> None:
    url = servers["tgi"]
    for name, route in ((f"{url}/v1", "/generate"), (f"openai+{url}", "/v1/completions")):
        ask(url, "/_double/reset", {})
        (answer,) = complete(name, "Rivers run")
        assert answer.text
        log = ask(url, "/_double/log").json
        assert [e["route"] for e in log if "Rivers" in str(e["body"])] == [route]
        assert ask(url, "/_double/state").json["bos"]["2"] == (0 if route == "/generate" else 2)  # of the probes alone
        told = info(name)
        assert (told.kind, told.max_total_tokens, told.max_concurrent_requests) == ("tgi", 2048, 128)


def test_the_same_prompt_has_the_same_answer_by_either_way_of_tgi(servers: dict[str, str]) -> None:
    url = servers["tgi"]
    assert complete(f"openai+{url}", "Rivers run") == complete(f"tgi+{url}", "Rivers run")


@pytest.mark.parametrize("twin", [copy.copy, copy.deepcopy, lambda engine: pickle.loads(pickle.dumps(engine))])
def test_a_copy_finds_out_on_its_own(server: str, twin: Any) -> None:
    async def main() -> str:
        engine = opened(server, concurrency=2)
        first = await engine.connect()
        other = twin(engine)
        await engine.aclose()
        assert await other.connect() == first
        text = (await other.complete("<s> x", SHORT)).text
        await other.aclose()
        return text

    assert asyncio.run(main())


def test_another_server_at_the_same_address_is_found_out_after_closing() -> None:
    now = {"/info": http(INFO)}

    async def main(url: str) -> list[str]:
        engine = opened(url)
        kinds = [(await engine.connect()).kind]
        await engine.aclose()
        now.clear()
        now["/v1/models"] = http({"data": [{"id": "m", "owned_by": "someone"}]})
        now["/v1/completions"] = http({"choices": [{"text": "x"}], "usage": {"prompt_tokens": 2}})
        kinds.append((await engine.connect()).kind)
        await engine.aclose()
        return kinds

    with answering({}, lambda request: now.get(request.path, http(b"", 404))) as raw:  # type: ignore[arg-type]
        assert asyncio.run(main(raw.url)) == ["tgi", "openai"]


@pytest.mark.parametrize(
    ("routes", "says"),
    [
        ({}, "not a text-generation server"),
        ({"/info": http({"name": "other"})}, "not a text-generation server"),
        ({"/openapi.json": http({"paths": {"/other": {}}})}, "not a text-generation server"),
        ({"/info": http({"model_id": "bge", "model_type": {"embedding": {"pooling": "cls"}}})}, "embeddings"),
        ({"/info": http(b"", 308, location="https://elsewhere.invalid/info")}, "redirects"),
    ],
)
def test_nothing_is_posted_to_a_stranger(routes: dict[str, Any], says: str) -> None:
    with answering(routes) as raw:
        with pytest.raises(NotAnEngine, match=says) as caught:
            info(raw.url)
        assert caught.value.advice
        assert {request.method for request in raw.requests} == {"GET"}


def test_a_server_that_only_describes_itself_is_believed() -> None:
    described = http({"paths": {"/v1/completions": {}}})
    answer = http({"choices": [{"text": "x"}], "usage": {"prompt_tokens": 2}, "model": "some/model"})
    routes = {"/openapi.json": described, "/v1/models": http(b"", 500), "/v1/completions": answer}
    with answering(routes) as raw:
        assert info(raw.url).model_id == "some/model"


@pytest.mark.parametrize("status", [401, 403])
def test_a_gateway_that_forbids_what_it_does_not_know_is_no_wrong_key(status: int) -> None:
    completions = http({"choices": [{"text": "x"}], "usage": {"prompt_tokens": 2}})
    routes = {"/v1/models": http({"data": [{"id": "m", "owned_by": "x"}]}), "/v1/completions": completions}
    with answering(routes, http(b"", status)) as raw:
        assert (info(raw.url).kind, info(f"openai+{raw.url}").kind) == ("openai", "openai")
    with answering({}, http(b"", status)) as raw, pytest.raises(EngineUnavailable, match="HUB_INSTRUCTPT_API_KEY"):
        info(raw.url)


def test_a_model_that_the_server_does_not_have_is_refused(server: str) -> None:
    with pytest.raises(SettingsError, match="other/model"):
        info(server, model="other/model")


@pytest.mark.parametrize("name", ["tgi+", "openai+", ""])
@pytest.mark.parametrize(
    ("option", "says"),
    [({"batch_size": 8}, "in this process"), ({"device": "cpu"}, "in this process"), ({"x": 1}, "x")],
)
def test_an_option_of_another_engine_is_a_settings_error_that_says_whose(
    name: str, option: dict[str, Any], says: str
) -> None:
    with pytest.raises(SettingsError, match=says):
        open_engine(f"{name}http://host", **option)


def test_the_local_engine_takes_what_only_servers_need_and_no_second_model() -> None:
    open_engine("local", api_key="k", timeout_seconds=1, wake_seconds=5, max_total_tokens=9)
    with pytest.raises(SettingsError, match="local:"):
        open_engine("local", model="other")


# Whose key ------------------------------------------------------------------------------------------------------------

ENDPOINT = "https://xyz.us-east-1.aws.endpoints.huggingface.cloud"


@pytest.mark.parametrize(
    ("url", "ours", "hub", "sent"),
    [
        (ENDPOINT, None, "hf_x", "Bearer hf_x"),
        (f"{ENDPOINT}/v1", None, "hf_x", "Bearer hf_x"),
        (ENDPOINT.upper().replace("HTTPS", "https"), None, "hf_x", "Bearer hf_x"),
        (ENDPOINT, "k", "hf_x", "Bearer k"),
        (ENDPOINT, "", "hf_x", None),  # set to nothing: none is sent
        (ENDPOINT, None, None, None),
        (ENDPOINT.replace("https", "http"), None, "hf_x", None),  # never in clear text
        ("https://endpoints.huggingface.cloud", None, "hf_x", None),
        (f"{ENDPOINT}.evil.com", None, "hf_x", None),
        ("https://evilendpoints.huggingface.cloud", None, "hf_x", None),
        ("https://evil.com/xyz.endpoints.huggingface.cloud", None, "hf_x", None),
        ("https://xyz.endpoints.huggingface.cloud@evil.com", None, "hf_x", "Basic"),
        ("http://127.0.0.1:8080", None, "hf_x", None),
        ("http://127.0.0.1:8080", "k", "hf_x", "Bearer k"),
    ],
)
def test_a_token_of_the_hub_goes_to_inference_endpoints_and_nowhere_else(
    url: str, ours: str | None, hub: str | None, sent: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("HUB_INSTRUCTPT_API_KEY", ours), ("HF_TOKEN", hub)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    header = address_of(url, None).headers.get("authorization")
    assert header == sent if sent != "Basic" else header is not None and "hf_x" not in header


def test_an_endpoint_that_refuses_the_key_asks_for_a_token_of_the_hub() -> None:
    assert "HF_TOKEN" in str(refuses_key(ENDPOINT, "401"))
    assert "HF_TOKEN" not in str(refuses_key("http://host", "401"))


def test_only_endpoints_are_known_to_sleep() -> None:
    assert ServerEngine(ENDPOINT)._waking.seconds == WAKE_SECONDS >= 300
    assert ServerEngine(ENDPOINT, wake_seconds=5)._waking.seconds == 5
    assert ServerEngine("http://127.0.0.1:8080")._waking.seconds == 0


# Sleeping servers -----------------------------------------------------------------------------------------------------


@contextmanager
def sleeping(url: str, seconds: float, **fault: Any) -> Iterator[None]:
    """The double is asleep, and wakes after some seconds."""
    ask(url, "/_double/faults", {**ASLEEP, **fault})
    thread = threading.Timer(seconds, ask, (url, "/_double/faults"), {"method": "DELETE"})
    thread.start()
    try:
        yield
    finally:
        thread.join()


@pytest.mark.parametrize("fault", [{}, {"kind": "plain_text", "status": 503}, {"kind": "plain_text", "status": 502}])
def test_a_server_that_sleeps_at_the_start_is_waited_for_with_one_message(
    server: str, fault: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    with sleeping(server, 1.0, **fault):
        started = time.monotonic()
        (answer,) = complete(server, "Rivers", wake_seconds=20)
    assert answer.text
    assert 0.8 < time.monotonic() - started < 15
    messages = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(messages) == 1
    assert f"{server} is asleep" in messages[0]
    assert "20 s" in messages[0]


def test_a_server_that_falls_asleep_in_the_middle_is_waited_for_and_nothing_is_lost(
    server: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> list[Any]:
        engine = opened(server, wake_seconds=20, concurrency=4)
        await engine.connect()
        with sleeping(server, 1.5):
            tasks = (engine.complete(f"<s> text {i}", SHORT) for i in range(12))
            got = await asyncio.gather(*tasks, return_exceptions=True)
        await engine.aclose()
        return got

    assert all(getattr(one, "text", None) for one in asyncio.run(main()))
    assert caplog.text.count("is asleep") == 1


def test_a_proxy_that_holds_on_to_requests_while_the_server_wakes_is_waited_for(server: str) -> None:
    ask(server, "/_double/faults", [{"kind": "reset", "route": "*", "times": 2}])
    assert complete(server, "Rivers", wake_seconds=20, connect_seconds=0)[0].text


def test_a_sleep_without_end_is_one_clear_error(server: str) -> None:
    ask(server, "/_double/faults", ASLEEP)
    with pytest.raises(EngineUnavailable, match="did not wake within 1 s") as caught:
        info(server, wake_seconds=1)
    assert "paused" in caught.value.advice


def test_a_sleep_without_end_in_the_middle_is_one_clear_error_for_all(server: str) -> None:
    async def main() -> list[Any]:
        engine = opened(server, wake_seconds=1)
        await engine.connect()
        ask(server, "/_double/faults", ASLEEP)
        tasks = (engine.complete(f"<s> text {i}", SHORT) for i in range(4))
        got = await asyncio.gather(*tasks, return_exceptions=True)
        await engine.aclose()
        return got

    assert all(isinstance(one, EngineUnavailable) for one in asyncio.run(main()))


def test_a_server_that_is_not_known_to_sleep_is_not_waited_for_long(server: str) -> None:
    ask(server, "/_double/faults", ASLEEP)
    started = time.monotonic()
    with pytest.raises(EngineUnavailable, match="not ready"):
        info(server)
    assert time.monotonic() - started < 3


def test_a_prompt_that_gets_503_while_others_are_answered_is_no_sleep(server: str) -> None:
    ask(server, "/_double/faults", {"kind": "poison", "status": 503, "match": "arsenic"})

    async def main() -> Any:
        engine = opened(server, wake_seconds=60)
        await engine.connect()
        bad = asyncio.create_task(engine.complete("<s> arsenic", SHORT))
        while not bad.done():
            await engine.complete("<s> Rivers", SHORT)
            await asyncio.sleep(0.05)
        await engine.aclose()
        return bad.exception()

    failure = asyncio.run(asyncio.wait_for(main(), 20))
    assert isinstance(failure, RequestFailed)
    assert failure.reason == "status_503"


def test_each_sleep_has_its_own_bound_and_message(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("hub_instructpt.engines.waking.time.monotonic", lambda: now[0])
    waking = Waking("http://host", 600)
    assert waking.is_sleep(503)
    assert not waking.is_sleep(500)
    assert [waking.wait("503") for _ in range(3)] == [0, 0, 0]
    now[0] += 599
    assert waking.wait("503") == 599
    waking.answers += 1  # it woke
    now[0] += 5000
    assert waking.wait("502") == 0  # and fell asleep again
    now[0] += 600
    with pytest.raises(EngineUnavailable, match="10 minutes"):
        waking.wait("503")
    assert caplog.text.count("is asleep") == 2
    assert not Waking("http://host", 0).is_sleep(503)


# As users meet it -----------------------------------------------------------------------------------------------------


def run(url: str, tmp_path: Path, *options: object) -> Any:
    source = write_jsonl(tmp_path / "rows.jsonl", topics(8, 200))
    return run_cli("augment", source, "--out", tmp_path / "run", "--engine", url, *options)


def test_a_run_waits_for_a_sleeping_server_and_says_so_once(server: str, tmp_path: Path) -> None:
    with sleeping(server, 4.0):
        done = run(server, tmp_path, "--wake-seconds", 60)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("is asleep") == 1
    assert "Waiting for it to wake, for up to 60 s." in done.stderr
    assert "8 rows" in done.stdout


def test_the_command_line_names_what_is_wrong_with_a_server(servers: dict[str, str], tmp_path: Path) -> None:
    done = run(servers["vllm"], tmp_path, "--model", "other/model")
    assert done.returncode == 2
    assert "does not complete with the model 'other/model' (404)" in done.stderr
    assert "It lists: hub-instructpt/tiny-synthesizer" in done.stderr
    done = run(servers["vllm"], tmp_path, "--max-total-tokens", 300)
    assert done.returncode == 2
    assert "max_new_tokens=400 leaves" in done.stderr
    with answering({}) as raw:
        done = run(raw.url, tmp_path)
    assert done.returncode == 1
    assert "not a text-generation server" in done.stderr
    assert not (tmp_path / "run" / "data").exists()


def test_what_a_run_was_served_by_stands_in_its_card(servers: dict[str, str], tmp_path: Path) -> None:
    done = run(servers["vllm"], tmp_path, "--max-new-tokens", 60)
    assert done.returncode == 0, done.stderr
    assert "(vLLM)" in done.stderr
    assert "vLLM, 0.32.0" in (tmp_path / "run" / "README.md").read_text()
    assert servers["vllm"].rpartition(":")[2] not in (tmp_path / "run" / "manifest.json").read_text()


def test_map_finds_its_cache_and_forks_with_a_server_that_was_found_out(
    servers: dict[str, str], tmp_path: Path
) -> None:
    url = servers["vllm"]
    ask(url, "/_double/reset", {})

    def asked() -> int:
        return sum("<CON>" in str(entry["body"]) for entry in ask(url, "/_double/log").json)

    source = write_jsonl(tmp_path / "rows.jsonl", topics(6, 200))
    rows = load_dataset("json", data_files=str(source), split="train", cache_dir=str(tmp_path / "cache"))
    first = rows.map(Augment(url, max_new_tokens=60, journal=False), batched=True)
    assert asked() == 6
    again = rows.map(Augment(f"{url}/v1", max_new_tokens=60, journal=False), batched=True)
    assert asked() == 6
    forked = rows.map(
        Augment(url, max_new_tokens=60, journal=False), batched=True, num_proc=2, load_from_cache_file=False
    )
    assert asked() == 12
    assert first.to_dict() == again.to_dict() == forked.to_dict()
    assert any(first["pairs"])
