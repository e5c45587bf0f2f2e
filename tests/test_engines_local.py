"""The local engine: the same greedy pairs as a server, batched, and clear errors for models that are none.

The model is the tiny synthesizer of the package, or a copy of it with one thing changed.
"""

from __future__ import annotations

import asyncio
import copy
import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hub_instructpt.engines import LocalEngine, TGIEngine, local, local_model, open_engine
from hub_instructpt.engines.local import TINY_SYNTHESIZER
from hub_instructpt.engines.local_model import LocalModel, load
from hub_instructpt.errors import EngineUnavailable, RequestFailed, SettingsError, UsageError
from hub_instructpt.markup import format_prompt
from hub_instructpt.records import Completion, EngineInfo, SamplingParams
from tests.conftest import environment, topics

torch = pytest.importorskip("torch")

SHORT = SamplingParams(max_new_tokens=24)
PROMPTS = [format_prompt(row["text"]) for row in topics(12, 300)]


@pytest.fixture(scope="module")
def model() -> LocalModel:
    return load(str(TINY_SYNTHESIZER), None, "cpu")


@pytest.fixture
def changed(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Makes a copy of the model's folder in which JSON files have other entries (None takes one out)."""

    def change(**files: dict[str, Any]) -> str:
        folder = Path(shutil.copytree(TINY_SYNTHESIZER, tmp_path / "model"))
        for name, entries in files.items():
            file = folder / f"{name}.json"
            told = {**json.loads(file.read_text()), **entries}
            file.write_text(json.dumps({key: value for key, value in told.items() if value is not None}))
        return str(folder)

    yield change
    shutil.rmtree(tmp_path / "model", ignore_errors=True)


def complete(*prompts: str, model: str | None = None, sampling: SamplingParams = SHORT, **options: Any) -> list[Any]:
    async def main() -> list[Any]:
        engine = LocalEngine(model, **options)
        try:
            return await asyncio.gather(*(engine.complete(p, sampling) for p in prompts), return_exceptions=True)
        finally:
            await engine.aclose()

    return asyncio.run(main())


# The same as a server -------------------------------------------------------------------------------------------------


def test_it_answers_as_the_same_model_behind_a_server_does(tgi: str) -> None:
    async def asked(engine: Any) -> list[Completion]:
        await engine.connect()
        try:
            return [await engine.complete(prompt, SHORT) for prompt in PROMPTS[:4]]
        finally:
            await engine.aclose()

    served = asyncio.run(asked(TGIEngine(tgi)))  # one after another, so that both sides run batches of one
    local = asyncio.run(asked(LocalEngine(batch_size=1)))
    assert [one.text for one in local] == [one.text for one in served]
    assert [(one.prompt_tokens, one.generated_tokens) for one in local] == [
        (one.prompt_tokens, one.generated_tokens) for one in served
    ]


def test_padding_changes_no_answer() -> None:
    # Near-ties may fall otherwise in batches of another shape; the short answers to these texts hold none.
    assert complete(*PROMPTS[:7], batch_size=4) == complete(*PROMPTS[:7], batch_size=1)


def test_the_text_is_that_of_the_tokens_up_to_the_end(model: LocalModel) -> None:
    whole = complete(PROMPTS[0], sampling=SamplingParams(80))[0]
    assert whole.finish_reason in ("stop", "length")
    assert "</s>" not in whole.text
    cut = complete(PROMPTS[0], sampling=SamplingParams(10))[0]
    assert (cut.finish_reason, cut.generated_tokens) == ("length", 10)
    assert whole.text.startswith(cut.text)
    assert cut.prompt_tokens == len(model.encode(PROMPTS[0]))


def test_exactly_one_bos_reaches_the_model(model: LocalModel) -> None:
    ids = model.encode(PROMPTS[0])
    assert ids.count(model.tokenizer.bos_token_id) == 1
    assert ids[0] == model.tokenizer.bos_token_id


# Sampling -------------------------------------------------------------------------------------------------------------


def test_what_the_model_folder_would_sample_stays_greedy(changed: Callable[..., str]) -> None:
    wild = {"do_sample": True, "temperature": 5.0, "top_k": 0, "repetition_penalty": 3.0, "max_new_tokens": 3,
            "num_beams": 3, "min_new_tokens": 20}  # fmt: skip
    path = changed(generation_config=wild)
    assert complete(*PROMPTS[:3], model=path) == complete(*PROMPTS[:3])


def test_a_temperature_draws_from_all_tokens(model: LocalModel) -> None:
    ids = model.encode("<s> <CON> Rivers run. </CON>\n\n")
    drawn = model.generate([ids] * 250, SamplingParams(1, 5.0))
    assert len({one.text for _, one in drawn}) > 60  # more than any habit of 50 likeliest tokens allows
    narrow = model.generate([ids] * 50, SamplingParams(1, 5.0, 0.0001))
    assert len({one.text for _, one in narrow}) == 1


# Batches --------------------------------------------------------------------------------------------------------------


def count_batches(engine: LocalEngine, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    sizes: list[int] = []
    generate = LocalModel.generate

    def counted(self: LocalModel, prompts: Any, sampling: SamplingParams) -> Iterator[tuple[int, Completion]]:
        sizes.append(len(prompts))
        return generate(self, prompts, sampling)

    monkeypatch.setattr(LocalModel, "generate", counted)
    return sizes


def test_a_hundred_callers_share_a_few_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> tuple[list[int], list[Any]]:
        engine = LocalEngine(batch_size=32)
        sizes = count_batches(engine, monkeypatch)
        got = await asyncio.gather(
            *(engine.complete(f"<s> <CON> {i} </CON>\n\n", SamplingParams(2)) for i in range(100))
        )
        await engine.aclose()
        return sizes, got

    sizes, got = asyncio.run(main())
    assert sum(sizes) == len(got) == 100
    assert len(sizes) <= 6


def test_the_longest_go_first_and_still_a_short_one_gets_its_turn() -> None:
    async def main() -> None:
        loop, engine = asyncio.get_running_loop(), LocalEngine(batch_size=4)

        def ask(length: int) -> local._Waiting:
            one = local._Waiting([1] * length, SHORT, loop.create_future())
            engine._waiting.append(one)
            return one

        short, batches = ask(3), 0
        for length in range(10, 18):
            ask(length)
        assert [len(one.ids) for one in engine._next_batch()] == [17, 16, 15, 14]
        while short in engine._waiting:
            for _ in range(4):
                ask(100)
            batch = engine._next_batch()
            batches += 1
            assert len(batch) == 4
        assert local.MOST_PASSED - 1 <= batches <= local.MOST_PASSED + 2

    asyncio.run(main())


def test_prompts_drawn_in_different_ways_share_no_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> tuple[list[int], list[Completion]]:
        engine = LocalEngine()
        await engine.connect()
        sizes = count_batches(engine, monkeypatch)
        got = await asyncio.gather(*(engine.complete(PROMPTS[0], SamplingParams(1 + i % 3)) for i in range(9)))
        await engine.aclose()
        return sizes, got

    sizes, got = asyncio.run(main())
    assert sizes == [3, 3, 3]
    assert [one.generated_tokens for one in got] == [1, 2, 3] * 3


def test_memory_that_is_short_makes_batches_smaller(model: LocalModel, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[int] = []
    forward = type(model.model).forward

    def short_of_memory(self: Any, *args: Any, **kwargs: Any) -> Any:
        rows.append(kwargs["input_ids"].shape[0])
        if rows[-1] > 2:
            raise torch.OutOfMemoryError("there is no more")
        return forward(self, *args, **kwargs)

    ids = [model.encode(prompt) for prompt in PROMPTS[:5]]
    enough = sorted(model.generate(ids, SamplingParams(4)))
    monkeypatch.setattr(type(model.model), "forward", short_of_memory)
    assert sorted(model.generate(ids, SamplingParams(4))) == enough
    assert max(rows) == 5


@pytest.mark.parametrize("remembers", [True, False])
def test_what_ends_leaves_its_batch_and_changes_no_answer(
    model: LocalModel, monkeypatch: pytest.MonkeyPatch, remembers: bool
) -> None:
    ids, sampling = [model.encode(prompt) for prompt in PROMPTS[:6]], SamplingParams(120)
    with monkeypatch.context() as patch:
        patch.setattr(local_model, "ROUND", 1000)
        whole = list(model.generate(ids, sampling))
    if not remembers:  # as with models whose memory is not rows that can be taken out
        monkeypatch.setattr(local_model, "_selected", lambda *_: None)
    rows: list[int] = []
    forward = type(model.model).forward

    def counted(self: Any, *args: Any, **kwargs: Any) -> Any:
        rows.append(kwargs["input_ids"].shape[0])
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(type(model.model), "forward", counted)
    monkeypatch.setattr(local_model, "ROUND", 8)
    got = list(model.generate(ids, sampling))
    assert sorted(got) == sorted(whole)
    ended = [((completion.generated_tokens or 0) - 1) // 8 for _, completion in got]
    assert ended == sorted(ended)
    assert len(set(ended)) > 1, "all end together: this would test nothing"
    assert rows == sorted(rows, reverse=True)
    assert rows[-1] < rows[0] == 6


def test_a_batch_that_fails_fails_for_its_callers_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    generate = LocalModel.generate

    def breaks(self: LocalModel, prompts: Any, sampling: SamplingParams) -> Iterator[tuple[int, Completion]]:
        if sampling.max_new_tokens == 3:
            raise RuntimeError("the prompt was: heron")
        return generate(self, prompts, sampling)

    monkeypatch.setattr(LocalModel, "generate", breaks)

    async def main() -> list[Any]:
        engine = LocalEngine()
        asked = [engine.complete("<s> heron", SamplingParams(2 + i % 2)) for i in range(4)]
        got = await asyncio.gather(*asked, return_exceptions=True)
        await engine.aclose()
        return got

    good, bad, also_good, also_bad = asyncio.run(main())
    assert isinstance(good, Completion)
    assert isinstance(also_good, Completion)
    assert isinstance(bad, RequestFailed)
    assert bad is not also_bad
    assert (bad.reason, "heron" in str(bad)) == ("local_RuntimeError", False)


def test_a_prompt_that_does_not_fit_fails_alone() -> None:
    good, bad, empty = complete(PROMPTS[0], "<s>" + " word" * 3000, "")
    assert isinstance(good, Completion)
    assert (bad.reason, bad.passing) == ("prompt_too_long", False)
    assert "word word" not in str(bad)
    assert empty.reason == "prompt_empty"


def test_a_caller_that_is_cancelled_costs_nobody_else_an_answer() -> None:
    async def main() -> list[Any]:
        engine = LocalEngine(batch_size=2)
        await engine.connect()
        tasks = [asyncio.create_task(engine.complete(prompt, SHORT)) for prompt in PROMPTS[:8]]
        await asyncio.sleep(0.01)
        for task in tasks[::2]:
            task.cancel()
        got = await asyncio.gather(*tasks, return_exceptions=True)
        await engine.aclose()
        return got

    got = asyncio.run(main())
    assert all(isinstance(one, asyncio.CancelledError) for one in got[::2])
    assert all(isinstance(one, Completion) for one in got[1::2])


def test_closing_stops_a_long_batch_and_the_engine_connects_again() -> None:
    async def main() -> tuple[float, list[Any], Completion]:
        engine = LocalEngine()
        await engine.connect()
        # One of them might draw its end at once; not all of a batch.
        long = [asyncio.create_task(engine.complete(PROMPTS[0], SamplingParams(1900, 5.0))) for _ in range(8)]
        await asyncio.sleep(0.2)
        started = asyncio.get_running_loop().time()
        await engine.aclose()
        took = asyncio.get_running_loop().time() - started
        gone = await asyncio.gather(*long, return_exceptions=True)
        again = await engine.complete(PROMPTS[0], SHORT)
        await engine.aclose()
        return took, gone, again

    took, gone, again = asyncio.run(main())
    assert took < 3  # it would go on for more than ten seconds
    assert any(isinstance(one, asyncio.CancelledError) for one in gone)
    assert again.text


def test_it_works_in_one_loop_after_another_and_is_refused_in_two_at_once() -> None:
    engine = LocalEngine()
    first = asyncio.run(engine.complete(PROMPTS[0], SHORT))  # a loop that ends without closing it
    assert asyncio.run(engine.complete(PROMPTS[0], SHORT)) == first

    async def main() -> None:
        await engine.connect()
        with pytest.raises(UsageError, match="another event loop"):
            await asyncio.to_thread(lambda: asyncio.run(engine.complete(PROMPTS[0], SHORT)))
        await engine.aclose()

    asyncio.run(main())


@pytest.mark.parametrize("twin", [copy.copy, copy.deepcopy, lambda engine: pickle.loads(pickle.dumps(engine))])
def test_a_copy_of_a_connected_engine_is_small_and_connects_on_its_own(twin: Any) -> None:
    async def main() -> EngineInfo:
        engine = LocalEngine(batch_size=7)
        info = await engine.connect()
        assert len(pickle.dumps(engine)) < 1000
        other = twin(engine)
        await engine.aclose()
        assert await other.connect() == info
        await other.aclose()
        return info

    assert asyncio.run(main()).max_concurrent_requests == 56


# Models ---------------------------------------------------------------------------------------------------------------


def refused(model: str, **options: Any) -> EngineUnavailable:
    with pytest.raises(EngineUnavailable) as caught:
        asyncio.run(LocalEngine(model, **options).connect())
    return caught.value


def test_a_folder_that_is_no_model_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "missing", tmp_path):
        error = refused(str(path))
        assert str(path) in str(error)
        assert error.advice


def test_a_broken_model_is_named(changed: Callable[..., str]) -> None:
    path = changed()
    (Path(path) / "model.safetensors").write_bytes(b"\x00" * 100)
    assert "No causal LM can be loaded" in str(refused(path))


def test_a_model_that_is_no_causal_lm_is_named(changed: Callable[..., str]) -> None:
    assert "No causal LM" in str(refused(changed(config={"model_type": "t5", "architectures": ["T5Model"]})))


def test_a_device_that_is_not_here_is_named() -> None:
    for device in ("nonsense", "cuda:99"):
        with pytest.raises(SettingsError, match=device):
            asyncio.run(LocalEngine(device=device).connect())


def test_without_torch_the_error_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')\n")
    program = "import asyncio, hub_instructpt.engines as e; asyncio.run(e.open_engine('local').connect())"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(PYTHONPATH=str(tmp_path)), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stderr.splitlines()[-1].endswith(
        "EngineUnavailable: The local engine needs torch. pip install 'hub-instructpt[local]'"
    )


def test_a_tokenizer_without_a_pad_token_pads_all_the_same(changed: Callable[..., str]) -> None:
    path = changed(tokenizer_config={"pad_token": None}, config={"pad_token_id": None})
    assert complete(*PROMPTS[:4], model=path) == complete(*PROMPTS[:4])


def test_a_tokenizer_without_an_end_is_refused(changed: Callable[..., str]) -> None:
    assert "end-of-sequence" in str(refused(changed(tokenizer_config={"eos_token": None})))


def test_a_folder_is_known_by_its_name_and_its_weights(changed: Callable[..., str]) -> None:
    async def told(engine: LocalEngine) -> EngineInfo:
        info = await engine.connect()
        await engine.aclose()
        return info

    own, copied = asyncio.run(told(LocalEngine())), asyncio.run(told(LocalEngine(changed())))
    assert (own.model_id, copied.model_id) == ("hub-instructpt/tiny-synthesizer", "model")
    assert own.model_sha == copied.model_sha
    assert str(own.model_sha).startswith("sha256:")
    assert (own.bos, own.eos, own.max_total_tokens) == ("<s>", "</s>", 2048)


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"concurrency": 0}, {"no_such": 1}])
def test_impossible_options_are_settings_errors(options: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        open_engine("local", **options)
