"""Holds the double of text-generation-inference against the original's OpenAPI document and against its known traps.

A client that passes against a double which is kinder than the original has learnt nothing; so each trap has a test.
Two servers: one with the model of the package, and an instant one with narrow limits. The document is not part of this
project; without a copy at hand the tests that need it are skipped.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.decoding import Completion, report
from tests.doubles.generation import Generated, Memory
from tests.doubles.plain_http import Reply, ask, ask_together, wait_until_idle
from tests.doubles.process import ROOT, running
from tests.doubles.tgi_requests import GenerateRequest
from tests.doubles.tgi_rules import token_limit

PROMPT = "<s> <CON> The lighthouse at Kaya was built in 1871 by the harbour guild. </CON>\n\n"
KEY = {"content-type": "application/json", "authorization": "Bearer sesame"}


@pytest.fixture(scope="module")
def tgi() -> Iterator[str]:
    with running("tests.doubles.tgi", "--seed", "5") as url:
        yield url


@pytest.fixture(scope="module")
def narrow() -> Iterator[str]:
    flags = ["--instant", "--max-concurrent-requests", "2", "--fixed-delay", "0.5", "--api-key", "sesame"]
    with running("tests.doubles.tgi", *flags, "--no-bos", "--v2-info", "--max-total-tokens", "4096") as url:
        yield url


def generate(url: str, inputs: str = PROMPT, path: str = "/generate", **parameters: Any) -> Reply:
    return ask(url, path, {"inputs": inputs, "parameters": {"max_new_tokens": 8, **parameters}})


# The document of the original -----------------------------------------------------------------------------------------


def _document() -> Path | None:
    """The original's OpenAPI document: named by $TGI_OPENAPI, or lying in a folder beside the checkout."""
    named = os.environ.get("TGI_OPENAPI")
    return Path(named) if named else next(iter(sorted(ROOT.parent.glob("*/*/tgi-openapi.json"))), None)


def _as_json_schema(node: Any) -> Any:
    """OpenAPI 3.0 says `nullable` where JSON Schema has a type for it; and we send no field that is not described."""
    if isinstance(node, list):
        return [_as_json_schema(item) for item in node]
    if not isinstance(node, dict):
        return node
    plain = {key: _as_json_schema(value) for key, value in node.items() if key != "nullable"}
    if isinstance(plain.get("properties"), dict) and plain.get("type") == "object":
        plain["additionalProperties"] = False
    return {"anyOf": [plain, {"type": "null"}]} if node.get("nullable") else plain


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    path = _document()
    if path is None:
        pytest.skip("the OpenAPI document of text-generation-inference is not at hand; name it in $TGI_OPENAPI")
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def check(document: dict[str, Any], route: str, reply: Reply, instance: Any) -> None:
    """Validate one JSON value against what the document says of this route and status."""
    jsonschema = pytest.importorskip("jsonschema")
    method = "get" if "get" in document["paths"][route] else "post"
    kind = reply.headers["content-type"]
    schema = document["paths"][route][method]["responses"][str(reply.status)]["content"][kind]["schema"]
    components = _as_json_schema(document["components"])
    # The document forgets the field by which the two shapes of a completion are told apart.
    for shape in ("Chunk", "CompletionFinal"):
        components["schemas"][shape]["properties"]["object"] = {"const": "text_completion"}
    jsonschema.Draft202012Validator({**_as_json_schema(schema), "components": components}).validate(instance)


@pytest.mark.parametrize("parameters", [{}, {"details": True}, {"details": True, "do_sample": True, "best_of": 2}])
@pytest.mark.parametrize("path", ["/generate", "/"])
def test_generate_has_the_documented_shape(tgi: str, document: dict[str, Any], path: str, parameters: Any) -> None:
    reply = generate(tgi, path=path, **parameters)
    assert reply.status == 200
    check(document, path, reply, reply.json)


@pytest.mark.parametrize("details", [False, True])
def test_stream_has_the_documented_shape(tgi: str, document: dict[str, Any], details: bool) -> None:
    reply = generate(tgi, path="/generate_stream", details=details)
    for event in reply.events:
        check(document, "/generate_stream", reply, event)
    *early, last = reply.events
    assert all(event["generated_text"] is None for event in early)
    assert last["generated_text"] == "".join(event["token"]["text"] for event in reply.events)
    assert (last["details"] is not None) == details


def test_other_routes_have_the_documented_shape(tgi: str, document: dict[str, Any]) -> None:
    for route, reply in {
        "/info": ask(tgi, "/info"),
        "/tokenize": ask(tgi, "/tokenize", {"inputs": PROMPT}),
        "/v1/completions": ask(tgi, "/v1/completions", {"prompt": [PROMPT, "x"], "max_tokens": 4, "temperature": 0}),
    }.items():
        assert reply.status == 200
        check(document, route, reply, reply.json)
    models = ask(tgi, "/v1/models")
    check(document, "/v1/models", models, models.json["data"][0])  # the document shows an item, the server sends a list
    assert "tgi_request_count" in ask(tgi, "/metrics").text
    stream = ask(tgi, "/v1/completions", {"prompt": PROMPT, "max_tokens": 4, "temperature": 0, "stream": True})
    assert stream.events[-1] == "[DONE]"
    assert stream.events[-2]["usage"]["completion_tokens"] == 4


@pytest.mark.parametrize("route", ["/generate", "/", "/generate_stream", "/v1/completions"])
@pytest.mark.parametrize("status", [422, 424, 429, 500])
def test_errors_have_the_documented_shape(tgi: str, document: dict[str, Any], route: str, status: int) -> None:
    ask(tgi, "/_double/faults", {"kind": "status", "status": status, "times": 1})
    reply = ask(tgi, route, {"inputs": PROMPT, "prompt": PROMPT})
    if route == "/generate_stream":  # it is too late for a status there
        reply = Reply(status, reply.headers, json.dumps(reply.events[0]))
    assert reply.status == status
    check(document, route, reply, reply.json)


# The traps, in order of damage ----------------------------------------------------------------------------------------


def test_trap_1_a_bos_is_always_added(tgi: str) -> None:
    first = [token["id"] for token in ask(tgi, "/tokenize", {"inputs": PROMPT}).json][:3]
    assert first[0] == first[1] != first[2]
    ask(tgi, "/_double/reset", {})
    with_bos, without = generate(tgi, PROMPT), generate(tgi, PROMPT.removeprefix("<s>"))
    assert int(with_bos.headers["x-prompt-tokens"]) == int(without.headers["x-prompt-tokens"]) + 1
    assert ask(tgi, "/_double/state").json["bos"] == {"0": 0, "1": 1, "2": 1}


def test_trap_1_depends_on_the_tokenizer(narrow: str) -> None:
    """Where none is added, a literal BOS is needed."""
    tokens = ask(narrow, "/tokenize", {"inputs": "<s> hello"}, headers=KEY).json
    assert [token["text"] for token in tokens] == ["<s>", " hello"]


def test_tokens_come_with_the_text_of_their_offsets(tgi: str) -> None:
    text = "<s>Zürich — 東京"
    tokens = ask(tgi, "/tokenize", {"inputs": text}).json
    assert all(token["text"] == text[token["start"] : token["stop"]] for token in tokens)
    assert tokens[-1]["stop"] == len(text)


def test_trap_2_the_root_gives_the_prompt_back(tgi: str) -> None:
    answer = generate(tgi).json["generated_text"]
    assert generate(tgi, path="/").json == [{"generated_text": PROMPT + answer}]
    assert generate(tgi, path="/", return_full_text=False).json == [{"generated_text": answer}]
    assert generate(tgi, return_full_text=True).json == {"generated_text": PROMPT + answer}


def test_trap_3_what_is_greedy_and_what_is_sampled(tgi: str) -> None:
    def seed(**parameters: Any) -> int | None:
        drawn: int | None = generate(tgi, details=True, **parameters).json["details"]["seed"]
        return drawn

    assert seed() is None
    assert seed(temperature=1.0) is None
    assert seed(temperature=0.7) is not None
    assert seed(do_sample=True, seed=7) == 7
    assert GenerateRequest.read({"inputs": "x"}).parameters.sampled
    assert not GenerateRequest.read({"inputs": "x", "parameters": {}}).parameters.sampled


def test_trap_3_completions_without_a_temperature_are_sampled(tgi: str) -> None:
    def texts(**options: Any) -> set[str]:
        bodies = [{"prompt": "The", "max_tokens": 8, "seed": seed, **options} for seed in range(4)]
        return {ask(tgi, "/v1/completions", body).json["choices"][0]["text"] for body in bodies}

    assert len(texts()) > 1
    assert len(texts(temperature=0)) == 1


def test_sampling_repeats_with_its_seed(tgi: str) -> None:
    first, second = (generate(tgi, do_sample=True, temperature=1.5, seed=11).json for _ in range(2))
    assert first == second


def test_trap_4_unknown_fields_are_ignored(tgi: str) -> None:
    reply = generate(tgi, max_new_tokens=3, max_tokens=1, stop_sequences=["e"], add_special_tokens=False)
    assert reply.headers["x-generated-tokens"] == "3"


def test_trap_5_there_is_no_waiting_room(narrow: str) -> None:
    wait_until_idle(narrow)
    started = time.perf_counter()
    replies = ask_together(narrow, "/generate", [{"inputs": f"text {i}"} for i in range(4)], headers=KEY)
    assert sorted(reply.status for reply in replies) == [200, 200, 429, 429]
    assert time.perf_counter() - started < 0.95, "no request waited for another"
    refused = next(reply for reply in replies if reply.status == 429)
    assert refused.json == {"error": "Model is overloaded", "error_type": "overloaded"}
    assert "retry-after" not in refused.headers
    assert ask(narrow, "/_double/state").json["in_flight"] == 0


def test_trap_6_a_list_of_prompts_is_unordered_and_all_or_nothing(tgi: str) -> None:
    body = {"prompt": ["one", "two", "three"], "max_tokens": 4, "temperature": 0}
    choices = ask(tgi, "/v1/completions", body).json["choices"]
    assert [choice["index"] for choice in choices] != [0, 1, 2]
    assert sorted(choice["index"] for choice in choices) == [0, 1, 2]
    assert ask(tgi, "/v1/completions", {**body, "prompt": ["one", ""]}).json["error_type"] == "validation"
    too_many = ask(tgi, "/v1/completions", {**body, "prompt": list("abcde")})
    assert (too_many.status, too_many.json["error_type"]) == (422, "batch size exceeded")
    assert ask(tgi, "/v1/completions", {**body, "suffix": "x"}).json["error_type"] == "suffix not supported"
    assert ask(tgi, "/_double/state").json["in_flight"] == 0


def test_trap_7_more_than_1024_tokens_are_run_in_whole_passes(narrow: str) -> None:
    assert token_limit(1024, 10, 4096) == 1024
    assert token_limit(1500, 10, 4096) == 2048
    assert token_limit(4000, 100, 4096) == 3072
    assert ask(narrow, "/generate", {"inputs": "x", "parameters": {"max_new_tokens": 9000}}, headers=KEY).status == 200


class Letters:
    """A tokenizer with a token for each byte, one for the word Paris, and a special one that ends."""

    def __init__(self) -> None:
        self.all_special_ids = [256]

    def decode(self, token_ids: list[int], skip_special_tokens: bool = False) -> str:
        words = {256: b"" if skip_special_tokens else b"</s>", 257: b"Paris"}
        return b"".join(words.get(token, bytes([token % 256])) for token in token_ids).decode(errors="replace")


def told(generated: list[int], limit: int, stop: tuple[str, ...] = ()) -> Completion:
    likely = [-0.5] * len(generated)
    return report(Letters(), [65], generated, likely, eos_ids={256}, limit=limit, stop=stop, details=True)


def test_trap_8_a_cut_character_empties_the_text() -> None:
    whole, cut = list("né".encode()), list("né".encode())[:-1]
    assert told(whole, 3).text == "né"
    assert told(cut, 2).text == ""
    assert "".join(token.text for token in told(cut, 2).tokens) == "n", "the details still have the rest"


def test_trap_9_stop_strings_stay_and_count_at_token_ends_only() -> None:
    assert told([66, 257, 67], 3, ("aris",)).text == "BParis"
    assert told([66, 257, 67], 3, ("aris",)).finish_reason == "stop_sequence"
    assert told([66, 257, 67], 3, ("Pari",)).finish_reason == "length"
    assert told([66, 66, 10, 67], 4, ("BB\n",)).text == "BB\n"


def test_trap_9_on_the_wire(tgi: str) -> None:
    tokens = generate(tgi, details=True).json["details"]["tokens"]
    stop = tokens[2]["text"]
    reply = generate(tgi, stop=[stop], details=True).json
    assert reply["details"]["finish_reason"] == "stop_sequence"
    assert reply["generated_text"].endswith(stop)
    assert reply["details"]["generated_tokens"] <= 3


def test_trap_10_the_limit_is_noticed_first() -> None:
    assert told([66, 256], 3).finish_reason == "eos_token"
    assert told([66, 256], 2).finish_reason == "length"
    assert told([66, 256], 3).generated_tokens == 2, "the end token counts"


@pytest.mark.parametrize(
    ("body", "status", "start"),
    [
        (b"{", 400, "Failed to parse the request body as JSON"),
        (b"{}", 422, "Failed to deserialize the JSON body into the target type: missing field `inputs`"),
        (b'{"inputs": 5}', 422, "Failed to deserialize the JSON body into the target type: inputs: invalid type"),
        (b'{"inputs": "x", "parameters": null}', 422, "Failed to deserialize"),
        (b'{"inputs": "x", "parameters": {"stop": null}}', 422, "Failed to deserialize"),
        (b'{"inputs": "x", "parameters": {"stop": "x"}}', 422, "Failed to deserialize"),
        (b'{"inputs": "x", "parameters": {"seed": -1}}', 422, "Failed to deserialize"),
        (b'{"inputs": "x", "parameters": {"max_new_tokens": 2.0}}', 422, "Failed to deserialize"),
        (b'{"inputs": "' + b"x" * 2_000_000 + b'"}', 413, "Failed to buffer the request body: length limit exceeded"),
    ],
)
def test_trap_11_a_body_that_is_no_request_is_refused_in_plain_text(
    tgi: str, body: bytes, status: int, start: str
) -> None:
    reply = ask(tgi, "/generate", body)
    assert (reply.status, reply.text[: len(start)]) == (status, start)
    assert reply.headers["content-type"].startswith("text/plain")


def test_trap_11_the_other_short_answers(tgi: str, narrow: str) -> None:
    untyped = ask(tgi, "/generate", b'{"inputs": "x"}', headers={})
    assert (untyped.status, untyped.text) == (415, "Expected request with `Content-Type: application/json`")
    for path in ("/", "/generate", "/generate_stream", "/v1/completions", "/tokenize"):
        reply = ask(narrow, path, {"inputs": "x"})
        assert (reply.status, reply.text) == (401, "")
    for path in ("/", "/health", "/ping", "/info", "/metrics", "/v1/models"):
        assert ask(narrow, path).status == 200
    assert (ask(tgi, "/chat_tokenize", {}).status, ask(tgi, "/nowhere").text) == (404, "")
    assert (ask(tgi, "/generate").status, ask(tgi, "/generate").text) == (405, "")


def test_trap_12_a_dead_router_hangs_looks_healthy_and_leaks_permits(narrow: str) -> None:
    ask(narrow, "/_double/faults", {"kind": "stall", "times": 2})
    for _ in range(2):
        with pytest.raises(TimeoutError):
            ask(narrow, "/generate", {"inputs": "x"}, headers=KEY, timeout=0.2)
    assert ask(narrow, "/health").status == 200
    wait_until_idle(narrow)
    # What the original does not do: here a client that left frees its permit even from a dead router.
    assert ask(narrow, "/generate", {"inputs": "x"}, headers=KEY).status == 200


def test_trap_13_one_bad_batch_fails_for_all_of_it(tgi: str) -> None:
    ask(tgi, "/_double/faults", {"kind": "status", "status": 424, "times": 3})
    bodies = [{"inputs": f"text {i}", "parameters": {"max_new_tokens": 2}} for i in range(4)]
    statuses = [reply.status for reply in ask_together(tgi, "/generate", bodies)]
    assert sorted(statuses) == [200, 424, 424, 424]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"temperature": 0}, "`temperature` must be strictly positive"),
        ({"top_p": 1.0}, "`top_p` must be > 0.0 and < 1.0"),
        ({"typical_p": 0.0}, "`typical_p` must be > 0.0 and < 1.0"),
        ({"top_k": 0}, "`top_k` must be strictly positive"),
        ({"repetition_penalty": 0}, "`repetition_penalty` must be strictly positive"),
        ({"frequency_penalty": 2.1}, "`frequency_penalty` must be >= -2.0 and <= 2.0"),
        ({"max_new_tokens": 0}, "`max_new_tokens` must be strictly positive"),
        ({"stop": list("abcde")}, "`stop` supports up to 4 stop sequences. Given: 5"),
        ({"truncate": 1025}, "`truncate` must be strictly positive and less than 1024. Given: 1025"),
        ({"best_of": 2}, "you must use sampling when `best_of` is > 1"),
        ({"best_of": 3, "do_sample": True}, "`best_of` must be > 0 and <= 2. Given: 3"),
        ({"best_of": 2, "do_sample": True, "seed": 1}, "`seed` must not be set when `best_of` > 1"),
        ({"top_n_tokens": 6}, "`top_n_tokens` must be >= 0 and <= 5. Given: 6"),
        ({"grammar": {"type": "regex", "value": "a"}}, "grammar is not supported"),
    ],
)
def test_trap_14_rules_of_validation(tgi: str, parameters: dict[str, Any], message: str) -> None:
    reply = generate(tgi, **parameters)
    assert (reply.status, reply.json["error"]) == (422, f"Input validation error: {message}")
    assert "x-prompt-tokens" not in reply.headers


def test_inputs_must_fit(tgi: str) -> None:
    assert generate(tgi, "").json["error"] == "Input validation error: `inputs` cannot be empty"
    long = "word " * 1500
    assert "`inputs` must have less than 1024 tokens" in generate(tgi, long).json["error"]
    assert (
        "`inputs` tokens + `max_new_tokens` must be <= 2048" in generate(tgi, long, max_new_tokens=1024).json["error"]
    )
    ask(tgi, "/_double/reset", {})
    cut = generate(tgi, long, truncate=50)
    assert (cut.status, cut.headers["x-prompt-tokens"]) == (200, "50")
    assert ask(tgi, "/_double/state").json["bos"]["1"] == 1, "what is cut is the text behind the BOS"


def test_success_headers_count_tokens_and_time(tgi: str) -> None:
    headers = generate(tgi).headers
    assert headers["x-generated-tokens"] == "8"
    assert headers["x-compute-characters"] == str(len(PROMPT))
    assert float(headers["x-compute-time"]) < 20
    whole = ["total-time", "validation-time", "queue-time", "inference-time", "time-per-token", "prompt-tokens"]
    assert all(headers[f"x-{name}"].isdigit() for name in whole)


def test_older_servers_name_a_limit_otherwise(narrow: str) -> None:
    info = ask(narrow, "/info").json
    assert "max_input_tokens" not in info
    assert info["max_input_length"] == 1024


def test_greedy_outputs_are_remembered_across_processes(tmp_path: Path) -> None:
    generated = Generated([5, 6, 7], [-0.1, -0.2, -0.3], ended=False)
    Memory(tmp_path, "weights").put((1, 4), generated)
    assert Memory(tmp_path, "weights").get((1, 4), limit=2) == generated, "a longer answer serves a lower limit"
    assert Memory(tmp_path, "weights").get((1, 4), limit=4) is None
    assert Memory(tmp_path, "other weights").get((1, 4), limit=2) is None


def test_company_in_a_batch_changes_no_answer(tgi: str) -> None:
    """Padding must not show: what a prompt is answered may not hang on who else is waiting."""
    texts = [f" <CON> Note {i}: {'a fact ' * (5 * i)}</CON>\n\n" for i in range(6)]
    bodies = [{"inputs": text, "parameters": {"max_new_tokens": 24}} for text in texts]
    together = [reply.json for reply in ask_together(tgi, "/generate", bodies)]
    with running("tests.doubles.tgi", "--batch-size", "1") as alone:
        assert together == [ask(alone, "/generate", body).json for body in bodies]
