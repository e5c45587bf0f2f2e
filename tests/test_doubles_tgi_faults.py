"""The faults that a test can switch on in the double of text-generation-inference, and the books that it keeps."""

from __future__ import annotations

import hashlib
import http.client
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.doubles.plain_http import Reply, ask, ask_together, wait_until_idle
from tests.doubles.process import running


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with running("tests.doubles.tgi", "--instant") as url:
        yield url


@pytest.fixture
def tgi(server: str) -> str:
    ask(server, "/_double/reset", {})
    return server


def switch(url: str, **fault: Any) -> None:
    reply = ask(url, "/_double/faults", fault)
    assert reply.status == 200, reply.text


def generate(url: str, inputs: str = "some text", **options: Any) -> Reply:
    return ask(url, "/generate", {"inputs": inputs, "parameters": {"details": True}}, **options)


@pytest.mark.parametrize(
    ("status", "error_type"),
    [(422, "validation"), (424, "generation"), (429, "overloaded"), (500, "incomplete_generation")],
)
def test_status(tgi: str, status: int, error_type: str) -> None:
    switch(tgi, kind="status", status=status, times=1)
    reply = generate(tgi)
    assert (reply.status, reply.json["error_type"]) == (status, error_type)
    assert generate(tgi).status == 200


def test_bursts_after_the_work_is_done(tgi: str) -> None:
    switch(tgi, kind="status", status=424, every=4, burst=2, late=True)
    assert [generate(tgi).status for _ in range(8)] == [424, 424, 200, 200, 424, 424, 200, 200]
    assert ask(tgi, "/_double/state").json["answered"] == 4


def test_another_servers_json_after_the_work_is_done(tgi: str) -> None:
    switch(tgi, kind="wrong_json", late=True, times=1)
    assert "outputs" in generate(tgi).json
    assert ask(tgi, "/_double/state").json["answered"] == 0
    assert "generated_text" in generate(tgi).json


def test_a_reset_in_the_middle_of_a_body(tgi: str) -> None:
    switch(tgi, kind="reset_in_body", times=1)
    with pytest.raises((ConnectionResetError, http.client.IncompleteRead)):
        generate(tgi)
    assert ask(tgi, "/_double/state").json["answered"] == 0
    assert generate(tgi).status == 200


@pytest.mark.parametrize("wrong", [{"kind": "slow", "late": True}, {"kind": "status", "every": 2, "burst": 3}])
def test_faults_that_can_not_be(tgi: str, wrong: dict[str, Any]) -> None:
    assert ask(tgi, "/_double/faults", wrong).status == 400


def test_unhealthy(tgi: str) -> None:
    switch(tgi, kind="status", status=503, route="/health")
    assert ask(tgi, "/health").json == {"error": "unhealthy", "error_type": "healthcheck"}
    assert generate(tgi).status == 200


@pytest.mark.parametrize("status", [200, 502])
def test_plain_text(tgi: str, status: int) -> None:
    switch(tgi, kind="plain_text", status=status)
    reply = generate(tgi)
    assert (reply.status, reply.text[:6]) == (status, "<html>")


def test_wrong_json(tgi: str) -> None:
    switch(tgi, kind="wrong_json")
    reply = generate(tgi)
    assert reply.status == 200
    assert "generated_text" not in reply.json


def test_half_body(tgi: str) -> None:
    switch(tgi, kind="half_body")
    with pytest.raises(http.client.IncompleteRead) as caught:
        generate(tgi)
    assert caught.value.partial.startswith(b'{"generated_text"')
    assert ask(tgi, "/_double/state").json["statuses"] == {"cut": 1}


def test_reset(tgi: str) -> None:
    switch(tgi, kind="reset")
    with pytest.raises(ConnectionResetError):
        generate(tgi)
    assert ask(tgi, "/_double/state").json["statuses"] == {"reset": 1}


def test_stall_ends_in_a_reset(tgi: str) -> None:
    switch(tgi, kind="stall", seconds=0.2)
    with pytest.raises(ConnectionResetError):
        generate(tgi)


def test_slow_holds_a_permit(tgi: str) -> None:
    switch(tgi, kind="slow", seconds=0.5)
    started = time.perf_counter()
    assert [reply.status for reply in ask_together(tgi, "/generate", [{"inputs": "a"}] * 3)] == [200] * 3
    assert 0.5 <= time.perf_counter() - started < 1.4
    assert ask(tgi, "/_double/state").json["max_in_flight"] == 3


def test_empty_text_and_no_headers_together(tgi: str) -> None:
    switch(tgi, kind="empty_text")
    switch(tgi, kind="no_headers")
    reply = generate(tgi)
    assert reply.json["generated_text"] == ""
    assert not [name for name in reply.headers if name.startswith("x-")]


@pytest.mark.parametrize("status", [422, 424])
def test_poison_strikes_the_same_prompts_always(tgi: str, status: int) -> None:
    switch(tgi, kind="poison", match="arsenic", status=status)
    replies = [generate(tgi, text).status for text in ("milk", "arsenic", "milk", "old arsenic", "arsenic")]
    assert replies == [200, status, 200, status, status]


def test_times_and_after(tgi: str) -> None:
    switch(tgi, kind="status", status=429, after=2, times=2)
    assert [generate(tgi).status for _ in range(6)] == [200, 200, 429, 429, 200, 200]


def test_share_is_seeded(tgi: str) -> None:
    def struck() -> list[bool]:
        ask(tgi, "/_double/reset", {})
        switch(tgi, kind="status", status=424, share=0.3, seed=4)
        return [generate(tgi).status == 424 for _ in range(60)]

    first = struck()
    assert first == struck()
    assert 8 <= sum(first) <= 28


def test_faults_can_be_seen_and_cleared(tgi: str) -> None:
    switch(tgi, kind="reset", match="nothing like this")
    generate(tgi)
    assert [(fault["kind"], fault["struck"]) for fault in ask(tgi, "/_double/faults").json] == [("reset", 0)]
    assert ask(tgi, "/_double/faults", method="DELETE").json == []


@pytest.mark.parametrize(
    "fault",
    [{"kind": "nonsense"}, {"kind": "poison"}, {"kind": "status", "status": 418}, {"kind": "slow", "sec": 1}, 5],
)
def test_a_fault_that_means_nothing_is_refused(tgi: str, fault: Any) -> None:
    assert ask(tgi, "/_double/faults", fault).status == 400


def test_a_disconnect_frees_the_permit(tgi: str) -> None:
    switch(tgi, kind="slow", seconds=30)
    with pytest.raises(TimeoutError):
        generate(tgi, timeout=0.1)
    wait_until_idle(tgi)
    state = ask(tgi, "/_double/state").json
    assert (state["in_flight"], state["answered"], state["statuses"]) == (0, 0, {"disconnected": 1})


def test_books(tgi: str) -> None:
    for text in ("one", "two", "two", "<s> three"):
        generate(tgi, text)
    ask(tgi, "/v1/completions", {"prompt": ["one", "four"], "temperature": 0, "max_tokens": 5})
    ask(tgi, "/tokenize", {"inputs": "one"})
    switch(tgi, kind="status", status=429)
    generate(tgi, "two")
    state = ask(tgi, "/_double/state").json
    of = {text: hashlib.sha256(text.encode()).hexdigest() for text in ("one", "two", "<s> three", "four")}
    assert state["prompts"] == {of["one"]: 2, of["two"]: 3, of["<s> three"]: 1, of["four"]: 1}
    assert state["answered_prompts"] == {of["one"]: 2, of["two"]: 2, of["<s> three"]: 1, of["four"]: 1}
    assert (state["requests"], state["generate"], state["tokenize"], state["answered"]) == (7, 6, 1, 5)
    assert state["statuses"] == {"200": 6, "429": 1}
    assert state["bos"] == {"0": 0, "1": 5, "2": 1}


def test_log_has_bodies_in_full(tgi: str) -> None:
    generate(tgi, "some text", headers={"content-type": "application/json", "traceparent": "00-a"})
    ask(tgi, "/generate", b"{broken")
    first, second = ask(tgi, "/_double/log").json
    assert first["body"] == {"inputs": "some text", "parameters": {"details": True}}
    assert (first["route"], first["status"], first["headers"]["traceparent"]) == ("/generate", "200", "00-a")
    assert (second["status"], second["body"][:15]) == ("400", "Failed to parse")


def test_an_instant_answer_is_in_the_wire_format_and_repeats(tgi: str) -> None:
    first, second = generate(tgi, "<CON> a b c </CON>\n\n").json, generate(tgi, "<CON> a b c </CON>\n\n").json
    assert first == second
    assert first["generated_text"].count("<QUE>") == first["generated_text"].count("</END>") == 2
    assert json.dumps(first) != json.dumps(generate(tgi, "<CON> d </CON>\n\n").json)
