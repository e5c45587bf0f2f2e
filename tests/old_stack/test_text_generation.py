"""The older stack, and TGI's own client in it: what `hub-instructpt[text-generation]` brings along.

`make test` runs this in an environment of its own (`.venvs/text-generation`), where that client holds huggingface-hub
below 1.0 and with it an older datasets. Elsewhere it is skipped. The double of TGI runs without a model: nothing here
says anything about synthesis.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("text_generation", reason="only in the environment of the text-generation extra")

import datasets

from hub_instructpt import Augment, Render
from hub_instructpt.engines import TextGenerationEngine, open_engine
from hub_instructpt.errors import EngineUnavailable, RequestFailed
from hub_instructpt.records import SamplingParams
from tests.conftest import run_cli, topics, write_jsonl
from tests.doubles.plain_http import ask
from tests.doubles.process import running
from tests.raw_server import INFO, answering, http, tokens

# The client uses what pydantic would rather see replaced.
pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated.*")
CLIENTS = pytest.mark.parametrize("client", ["text-generation+", ""], ids=["TGI's client", "our client"])


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with running("tests.doubles.tgi", "--instant") as url:
        yield url


@pytest.fixture
def tgi(server: str) -> str:
    ask(server, "/_double/reset", {})
    return server


def test_this_is_the_older_stack() -> None:
    assert int(version("huggingface-hub").split(".")[0]) < 1
    assert version("datasets").startswith("5.0")


@CLIENTS
@pytest.mark.parametrize("num_proc", [None, 2])
def test_map_adds_pairs(client: str, num_proc: int | None, tgi: str) -> None:
    rows = datasets.Dataset.from_list(topics(12))
    augment = Augment(f"{client}{tgi}", num_shots=2, journal=False)
    plain = Augment(f"tgi+{tgi}", num_shots=2, journal=False)
    made = rows.map(augment, batched=True, batch_size=6, num_proc=num_proc, load_from_cache_file=False)
    same = rows.map(plain, batched=True, batch_size=6, load_from_cache_file=False)
    assert made.to_list() == same.to_list()
    assert all(made["pairs"])
    texts = made.map(Render(seed=0), batched=True, remove_columns=made.column_names)
    assert len(texts) == 6
    assert set(texts["num_shots"]) == {2}


def test_iterable_datasets_are_mapped(tgi: str) -> None:
    rows = datasets.Dataset.from_list(topics(4)).to_iterable_dataset()
    assert all(row["pairs"] for row in rows.map(Augment(f"text-generation+{tgi}", journal=False), batched=True))


@CLIENTS
def test_a_run_is_made_pushed_and_loaded(client: str, tgi: str, tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "topics.jsonl", topics(10))
    out = tmp_path / "run"
    done = run_cli(
        "augment", source, "--out", out, "--engine", f"{client}{tgi}", "--rows-per-shard", 4, "--num-shots", 2
    )
    assert done.returncode == 0, done.stderr
    local = datasets.load_dataset(str(out), split="train")
    assert len(local) == 5
    with running("tests.doubles.hub") as hub:
        done = run_cli("push", out, "lab/corpus", HF_ENDPOINT=hub, HF_TOKEN="hf_write", HF_HUB_OFFLINE="0")
        assert done.returncode == 0, done.stderr
        done = run_cli("push", out, "lab/corpus", HF_ENDPOINT=hub, HF_TOKEN="hf_write", HF_HUB_OFFLINE="0")
        assert done.returncode == 0, done.stderr
        loaded = _loaded_elsewhere(hub, tmp_path)
    assert loaded == local["text"]


def _loaded_elsewhere(hub: str, folder: Path) -> Any:
    """What a process of its own loads from the Hub: the client reads its settings when it is imported."""
    import os
    import subprocess
    import sys

    program = (
        "import datasets, json; d = datasets.load_dataset('lab/corpus', split='train', token='hf_write');"
        "print('TEXTS', json.dumps(d['text'][:]))"
    )
    env = {**os.environ, "HF_ENDPOINT": hub, "HF_HOME": str(folder / "elsewhere")}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=env, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.partition("TEXTS ")[2])


# The client's errors ----------------------------------------------------------------------------------------------


def complete(url: str, **options: Any) -> Any:
    async def main() -> Any:
        engine = TextGenerationEngine(url, timeout_seconds=2, **options)
        try:
            return await engine.complete("<s> <CON> a </CON>\n\n", SamplingParams(20))
        finally:
            await engine.aclose()

    return asyncio.run(main())


def routes(*answers: bytes) -> dict[str, Any]:
    left = list(answers)
    return {
        "/info": http(INFO),
        "/tokenize": lambda request: http(tokens(1, *[1] * request.json["inputs"].count("<s>"), 5)),
        "/": lambda _: left.pop(0) if len(left) > 1 else left[0],
    }


def as_json(body: Any, status: int = 200) -> bytes:
    return http(body, status, content_type="application/json")


def answer(text: str, generated: int = 7, pieces: tuple[str, ...] = ()) -> bytes:
    listed = [{"id": 5, "text": piece, "logprob": -0.5, "special": False} for piece in pieces]
    details = {
        "finish_reason": "eos_token",
        "generated_tokens": generated,
        "seed": None,
        "prefill": [],
        "tokens": listed,
    }
    return as_json([{"generated_text": text, "details": details}])


def error(status: int, kind: str) -> bytes:
    return as_json({"error": "Something is wrong", "error_type": kind}, status)


@pytest.mark.parametrize(
    "passing",
    [error(429, "overloaded"), error(424, "generation"), error(500, "incomplete_generation"), http(b"no JSON", 503),
     as_json({"generated_text": "not a list"}), http(b"")],
    ids=["full", "generation", "incomplete", "plain text", "another shape", "empty"],
)  # fmt: skip
def test_what_may_pass_is_asked_again(passing: bytes) -> None:
    with answering(routes(passing, answer("fine"))) as raw:
        got = complete(raw.url)
        assert (got.text, got.generated_tokens, got.finish_reason) == ("fine", 7, "stop")
        assert len(raw.asked("/")) == 2


def test_what_is_refused_is_not_asked_again() -> None:
    with answering(routes(error(422, "validation"))) as raw:
        with pytest.raises(RequestFailed) as caught:
            complete(raw.url)
        assert caught.value.reason == "status_422"
        assert not caught.value.passing
        assert len(raw.asked("/")) == 1


def test_one_bos_reaches_the_model_and_the_key_goes_along() -> None:
    with answering(routes(answer("fine"))) as raw:
        complete(raw.url, api_key="secret")
        (asked,) = raw.asked("/")
    assert asked.headers["authorization"] == "Bearer secret"
    assert asked.json["inputs"] == " <CON> a </CON>\n\n"
    assert asked.json["parameters"]["do_sample"] is False
    assert asked.json["parameters"]["max_new_tokens"] == 20


def test_a_text_lost_to_a_cut_character_is_joined_from_its_tokens() -> None:
    with answering(routes(answer("", 3, ("one", " two", "\ufffd")))) as raw:
        assert complete(raw.url).text == "one two"


def test_a_server_that_is_not_there_is_named() -> None:
    with pytest.raises(EngineUnavailable, match="No server answers"):
        complete("http://127.0.0.1:9", connect_seconds=0.1)


def test_the_name_of_the_engine_needs_the_package() -> None:
    assert isinstance(open_engine("text-generation+http://127.0.0.1:1"), TextGenerationEngine)
