"""The doubles of OpenAI-compatible servers behave as the originals were seen to, so that tests against them mean it.

What is held here of vLLM was answered by a real vLLM 0.32 that served the tiny synthesizer.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.doubles.openai_kinds import MODEL
from tests.doubles.plain_http import ask, ask_together, wait_until_idle
from tests.doubles.process import running

DOUBLE = "tests.doubles.openai"
ROUTE = "/v1/completions"


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, str]]:
    with (
        running(DOUBLE, "--kind", "vllm", "--slots", "2") as vllm,
        running(DOUBLE, "--kind", "sglang", "--instant") as sglang,
        running(DOUBLE, "--kind", "llama.cpp", "--instant") as llama,
    ):
        yield {"vllm": vllm, "sglang": sglang, "llama.cpp": llama}


def read(url: str, prompt: str, **fields: Any) -> int:
    """How many tokens the server read."""
    body = {"prompt": prompt, "max_tokens": 1, "temperature": 0, **fields}
    number = ask(url, ROUTE, body).json["usage"]["prompt_tokens"]
    assert isinstance(number, int)
    return number


@pytest.mark.parametrize(("kind", "plain"), [("vllm", 1), ("sglang", 2), ("llama.cpp", 2)])
def test_a_bos_is_added_and_only_vllm_can_be_told_not_to(servers: dict[str, str], kind: str, plain: int) -> None:
    url = servers[kind]
    assert (read(url, "<s>"), read(url, "<s><s>")) == (2, 3)
    assert read(url, "<s>", add_special_tokens=False) == plain


def test_vllm_counts_tokens_as_it_reads_them(servers: dict[str, str]) -> None:
    url = servers["vllm"]
    told = ask(url, "/tokenize", {"prompt": "<s> a", "add_special_tokens": False}).json
    assert (told["count"], told["max_model_len"], told["tokens"]) == (2, 2048, [1, 267])
    assert ask(url, "/tokenize", {"prompt": " a"}).json["count"] == read(url, " a") == 2


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"prompt": "word " * 3000, "max_tokens": 3}, 400, "This model's maximum context length is 2048 tokens."),
        ({"prompt": "a", "model": "x"}, 404, "The model `x` does not exist."),
        ({"prompt": ""}, 400, "prompt"),
        ({}, 400, "prompt"),
    ],
)
def test_vllm_refuses_in_its_words(servers: dict[str, str], body: dict[str, Any], status: int, words: str) -> None:
    reply = ask(servers["vllm"], ROUTE, body)
    assert reply.status == status
    error = reply.json["error"]
    assert words in error["message"]
    assert (error["code"], error["type"]) == (status, "NotFoundError" if status == 404 else "BadRequestError")


def test_a_list_of_prompts_is_answered_by_index_and_counted_together(servers: dict[str, str]) -> None:
    url = servers["vllm"]
    reply = ask(url, ROUTE, {"prompt": ["a", "b c"], "max_tokens": 2, "temperature": 0}).json
    assert [choice["index"] for choice in reply["choices"]] == [0, 1]
    assert reply["usage"]["completion_tokens"] == 4
    assert reply["usage"]["prompt_tokens"] == read(url, "a") + read(url, "b c")


def test_greedy_repeats_itself_and_no_temperature_samples(servers: dict[str, str]) -> None:
    body = {"prompt": " <CON> Every evening the keeper wrote down which ships had passed.", "max_tokens": 12}
    greedy = {
        reply.json["choices"][0]["text"]
        for reply in ask_together(servers["vllm"], ROUTE, [{**body, "temperature": 0}] * 3)
    }
    drawn = {reply.json["choices"][0]["text"] for reply in ask_together(servers["vllm"], ROUTE, [body] * 4)}
    assert len(greedy) == 1
    assert len(drawn) > 1


def test_sixteen_tokens_where_no_number_is_said(servers: dict[str, str]) -> None:
    reply = ask(servers["vllm"], ROUTE, {"prompt": " <CON> Rivers", "temperature": 0}).json
    assert reply["usage"]["completion_tokens"] <= 16


def test_more_than_the_slots_wait_and_none_is_refused(servers: dict[str, str]) -> None:
    url = servers["vllm"]
    ask(url, "/_double/reset", {})
    bodies = [{"prompt": f"text {i}", "max_tokens": 4, "temperature": 0} for i in range(9)]
    assert {reply.status for reply in ask_together(url, ROUTE, bodies)} == {200}
    state = ask(url, "/_double/state").json
    assert (state["most_running"], state["answered"]) == (2, 9)


def test_a_client_that_leaves_frees_its_slot(servers: dict[str, str]) -> None:
    url = servers["vllm"]
    ask(url, "/_double/reset", {})
    ask(url, "/_double/faults", {"kind": "slow", "seconds": 20, "match": "slow"})
    with pytest.raises(TimeoutError):
        ask(url, ROUTE, {"prompt": "slow", "max_tokens": 1}, timeout=0.3)
    wait_until_idle(url)


@pytest.mark.parametrize(
    ("kind", "pages", "owner"),
    [
        ("vllm", ["/version", "/health"], "vllm"),
        ("sglang", ["/get_model_info", "/get_server_info"], "sglang"),
        ("llama.cpp", ["/props"], "llamacpp"),
    ],
)
def test_each_tells_of_itself_in_its_own_way(servers: dict[str, str], kind: str, pages: list[str], owner: str) -> None:
    for name, url in servers.items():
        statuses = {ask(url, page).status for page in pages if page != "/health"}
        assert statuses == ({200} if name == kind else {404})
    (card,) = ask(servers[kind], "/v1/models").json["data"]
    assert (card["id"], card["owned_by"], card.get("max_model_len")) == (
        MODEL, owner, None if kind == "llama.cpp" else 2048,
    )  # fmt: skip
