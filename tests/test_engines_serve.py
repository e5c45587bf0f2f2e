"""A real server, `transformers serve` with the tiny synthesizer in a process of its own: no double, no mock.

The TGI double, this server and the in-process engine run the same model, and must give the same pairs.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from hub_instructpt import Augment
from hub_instructpt.engines import open_engine
from hub_instructpt.engines.local import TINY_SYNTHESIZER
from hub_instructpt.engines.retries import RetryPolicy
from hub_instructpt.errors import RequestFailed, SettingsError
from hub_instructpt.records import Completion, SamplingParams
from tests.conftest import environment, run_cli, topics, write_jsonl
from tests.doubles.plain_http import ask

pytest.importorskip("torch")
for _needed in ("transformers.cli.serving", "fastapi", "uvicorn", "openai"):
    pytest.importorskip(_needed, reason="transformers[serving] is not installed, or too old")

pytestmark = pytest.mark.xdist_group("transformers-serve")
SERVED = "tiny-synthesizer"
QUICK = RetryPolicy(max_attempts=2, first_wait_seconds=0.02)


def start(folder: Path, *options: str) -> Iterator[str]:
    """Start the server in a folder in which it finds the model, and end it in the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shutil.copytree(TINY_SYNTHESIZER, folder / SERVED)
    program = "import sys; from transformers.cli.transformers import main; sys.argv[0] = 'transformers'; main()"
    command = [
        sys.executable, "-c", program, "serve", *options, "--device", "cpu", "--dtype", "float32",
        "--host", "127.0.0.1", "--port", str(port),
    ]  # fmt: skip
    log = folder / "log"
    with log.open("wb") as written:
        server = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=written, stderr=written,
            env=environment(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", HF_HOME=str(folder / "hf")),
        )  # fmt: skip
        url = f"http://127.0.0.1:{port}"
        try:
            deadline = time.monotonic() + 120
            while not _is_up(url):
                if server.poll() is not None or time.monotonic() > deadline:
                    pytest.fail(f"transformers serve did not start\n{log.read_text()[-4000:]}")
                time.sleep(0.2)
            yield url
        finally:
            server.terminate()
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def _is_up(url: str) -> bool:
    try:
        return ask(url, "/health", timeout=2).status == 200
    except OSError:
        return False


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a `transformers serve` that has nothing but the tiny synthesizer."""
    yield from start(tmp_path_factory.mktemp("serve"), f"./{SERVED}")


def complete(url: str, *prompts: str, sampling: SamplingParams | None = None, **options: Any) -> list[Any]:
    async def main() -> list[Any]:
        engine = open_engine(url, retry=QUICK, **options)
        try:
            bos = (await engine.connect()).bos
            todo = (engine.complete(bos + p, sampling or SamplingParams(16)) for p in prompts)
            return await asyncio.gather(*todo, return_exceptions=True)
        finally:
            await engine.aclose()

    return asyncio.run(main())


def test_three_engines_with_one_model_give_the_same_pairs(serve: str, tgi: str) -> None:
    rows = Dataset.from_list([row for i, row in enumerate(topics(24, 400)) if i in (4, 9, 10, 12, 13, 16, 19, 23)])
    found = {
        name: rows.map(
            Augment(engine, max_new_tokens=120, num_shots=2), batched=True, load_from_cache_file=False
        ).to_dict()
        for name, engine in {"serve": serve, "tgi": tgi, "local": "local"}.items()
    }
    assert found["serve"] == found["tgi"] == found["local"]
    assert sum(map(len, found["serve"]["pairs"])) >= 5  # or this test has shown nothing


def test_it_is_found_out_and_told(serve: str) -> None:
    async def main() -> Any:
        engine = open_engine(f"{serve}/v1", max_total_tokens=1500)
        try:
            return await engine.connect()
        finally:
            await engine.aclose()

    told = asyncio.run(main())
    assert (told.kind, told.model_id, told.bos, told.max_total_tokens) == ("transformers serve", SERVED, "<s>", 1500)


def test_exactly_one_bos_reaches_the_model(serve: str) -> None:
    """Its own count of a text with our BOS must be that of the tokenizer, which adds one BOS and nothing else."""
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(TINY_SYNTHESIZER)
    text = " <CON> Rivers run to the sea. </CON>\n\n"
    (answer,) = complete(serve, text)
    assert answer.prompt_tokens == len(tokenizer(text)["input_ids"]) == len(tokenizer("<s>" + text)["input_ids"]) - 1

    async def count() -> int:
        engine = open_engine(serve)
        try:
            return await engine.count_tokens("<s>" + text)
        finally:
            await engine.aclose()

    assert asyncio.run(count()) == answer.prompt_tokens


def test_finish_reason_and_counts(serve: str) -> None:
    (cut,) = complete(serve, " <CON> Rivers run to the sea. </CON>\n\n", sampling=SamplingParams(7))
    assert isinstance(cut, Completion)
    assert (cut.finish_reason, cut.generated_tokens) == ("length", 7)


def test_samples_are_refused_rather_than_greedy_text_taken_for_them(serve: str) -> None:
    (failure,) = complete(serve, "x", sampling=SamplingParams(4, 0.7))
    assert isinstance(failure, SettingsError)


def test_a_prompt_that_no_json_can_hold_fails_alone(serve: str) -> None:
    bad, good = complete(serve, "a \ud800", " <CON> Rivers </CON>")
    assert isinstance(bad, RequestFailed)
    assert isinstance(good, Completion)


def test_a_whole_run_through_the_command_line(serve: str, tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", topics(6, 200))
    done = run_cli("augment", source, "--out", tmp_path / "run", "--engine", serve, "--max-new-tokens", 60)
    assert done.returncode == 0, done.stderr
    assert f"Synthesizer: {SERVED} (transformers serve)." in done.stderr
    assert str(tmp_path) not in (tmp_path / "run" / "README.md").read_text()
    assert os.fspath(TINY_SYNTHESIZER) not in (tmp_path / "run" / "manifest.json").read_text()
