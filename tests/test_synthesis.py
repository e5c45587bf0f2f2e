"""Holds the way from texts to pairs: order, window, failures, and prompts that fit.

The engines are small objects that fulfil the protocol: what they answer is a function of the prompt, what they take in
time is random, and their tokenizers are odder than any real one. Warnings are errors here, so a task that is left
behind, or an error that nobody looked at, fails the test that caused it.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub_instructpt.engines import Engine
from hub_instructpt.errors import EngineError, EngineUnavailable, RequestFailed, SettingsError
from hub_instructpt.records import Completion, EngineInfo, SamplingParams
from hub_instructpt.synthesis import FailureBudget, Synthesis, Synthesizer


@pytest.fixture(autouse=True)
def _asyncio_has_no_complaint(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """A task that is destroyed while it is pending is no warning: asyncio only logs it."""
    yield
    gc.collect()
    assert [record.getMessage() for record in caplog.get_records("call") if record.name == "asyncio"] == []


Answer = Callable[[str], str]
Measure = Callable[[str], int]


def context_of(prompt: str) -> str:
    return prompt.rpartition("<CON> ")[2].partition(" </CON>")[0]


def one_pair(prompt: str) -> str:
    return f"<QUE> What of {context_of(prompt)[:40]}? <ANS> {context_of(prompt)[-40:]}. </END>"


class SmallEngine:
    """An engine in this process: answers with `answer(prompt)`, counts tokens with `measure(text)`."""

    def __init__(
        self,
        answer: Answer = one_pair,
        *,
        measure: Measure = len,
        concurrency: int = 4,
        limit: int = 100_000,
        delays: random.Random | None = None,
    ) -> None:
        self.answer, self.measure, self.delays = answer, measure, delays
        self.info = EngineInfo("small", "a/model", None, limit, limit + 100, concurrency)
        self.prompts: list[str] = []
        self.counted = 0
        self.in_flight = 0
        self.cancelled = 0

    async def connect(self) -> EngineInfo:
        return self.info

    async def complete(self, prompt: str, sampling: SamplingParams) -> Completion:
        self.prompts.append(prompt)
        assert self.measure(prompt) <= self.info.input_budget(sampling)
        self.in_flight += 1
        try:
            for _ in range(self.delays.randrange(6) if self.delays else 0):
                await asyncio.sleep(0)
            return Completion(self.answer(prompt), "stop", 3, 5)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.in_flight -= 1

    async def count_tokens(self, text: str) -> int:
        self.counted += 1
        return self.measure(text)

    async def aclose(self) -> None: ...


class Stuck(SmallEngine):
    """Never answers, unless the prompt holds a word."""

    def __init__(self, unless: str = "\0", **options: Any) -> None:
        super().__init__(**options)
        self.unless = unless

    async def complete(self, prompt: str, sampling: SamplingParams) -> Completion:
        if self.unless not in prompt:
            self.in_flight += 1
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
            finally:
                self.in_flight -= 1
        return await super().complete(prompt, sampling)


async def chains(texts: Iterable[str], num_shots: int = 1) -> AsyncIterator[Sequence[str]]:
    waiting: list[str] = []
    for text in texts:
        waiting.append(text)
        if len(waiting) == num_shots:
            yield waiting
            waiting = []
    if waiting:
        yield waiting


def synthesize(
    engine: Engine, texts: Iterable[str], num_shots: int = 1, sampling: SamplingParams | None = None
) -> list[Synthesis]:
    async def run() -> list[Synthesis]:
        synthesizer = Synthesizer(engine, sampling or SamplingParams(100), num_shots)
        found = [outcome async for chain in synthesizer.stream(chains(texts, num_shots)) for outcome in chain]
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return found

    with asyncio.Runner() as runner:
        found = runner.run(run())
    gc.collect()  # an error that nobody looked at is told when it is collected
    return found


def counts(outcomes: Iterable[Synthesis]) -> Counter[str]:
    return sum((outcome.counts for outcome in outcomes), Counter())


# Order and window -----------------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(number=st.integers(0, 60), num_shots=st.integers(1, 5), concurrency=st.integers(1, 9), seed=st.integers())
def test_outcomes_come_in_the_order_of_the_texts(number: int, num_shots: int, concurrency: int, seed: int) -> None:
    engine = SmallEngine(concurrency=concurrency, delays=random.Random(seed))
    outcomes = synthesize(engine, [f"text {i}" for i in range(number)], num_shots)
    assert [outcome.pairs[0]["instruction"] for outcome in outcomes] == [f"What of text {i}?" for i in range(number)]
    assert [outcome.shot_index for outcome in outcomes] == [i % num_shots for i in range(number)]


def test_no_more_run_than_the_engine_can_use_and_memory_does_not_grow_with_the_corpus() -> None:
    concurrency, number = 5, 2_000
    engine = SmallEngine(concurrency=concurrency, delays=random.Random(1))
    read = most_tasks = most_unfinished = 0

    def texts() -> Iterable[str]:
        nonlocal read
        for read in range(1, number + 1):
            yield f"text {read}"

    async def run() -> int:
        nonlocal most_tasks, most_unfinished
        done = 0
        stream = Synthesizer(engine, SamplingParams(100)).stream(chains(texts()))
        async for chain in stream:
            most_tasks = max(most_tasks, len(asyncio.all_tasks()) - 1)
            most_unfinished = max(most_unfinished, read - done)
            done += len(chain)
        return done

    assert asyncio.run(run()) == number
    running = 2 * concurrency + 16
    assert 2 < most_tasks <= running + 1  # and one that begins them
    assert most_unfinished <= 8 * running


@pytest.mark.parametrize("held", [65_536, 20])
def test_a_slow_text_holds_back_nothing_until_too_many_wait_behind_it(
    held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub_instructpt.in_order.MOST_HELD", held)
    engine = Stuck(unless="text 9", concurrency=4)
    asked: list[str] = []

    async def run() -> None:
        texts = [f"text {i}" if i == 0 else f"text 9{i}" for i in range(50)]

        def noted() -> Iterable[str]:
            for text in texts:
                asked.append(text)
                yield text

        async with aclosing(Synthesizer(engine, SamplingParams(100)).stream(chains(noted()))) as stream:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(stream), 0.2)
        assert len(asked) == min(held, 50)
        assert len(engine.prompts) == min(held, 50) - 1

    asyncio.run(run())


def test_closing_the_stream_early_cancels_what_is_in_flight() -> None:
    engine = Stuck(unless="text 0", concurrency=3)

    async def run() -> None:
        async with aclosing(
            Synthesizer(engine, SamplingParams(100)).stream(chains(map("text {}".format, range(99))))
        ) as s:
            assert len(await anext(s)) == 1
            await asyncio.sleep(0)
            assert engine.in_flight == 21
        assert engine.in_flight == 0
        assert engine.cancelled == 21
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(run())
    gc.collect()


def test_a_cancelled_consumer_leaves_nothing_behind() -> None:
    engine = Stuck(concurrency=3)

    async def consume() -> None:
        async with aclosing(Synthesizer(engine, SamplingParams(100)).stream(chains(["a"] * 50))) as stream:
            await anext(stream)

    async def run() -> None:
        task = asyncio.create_task(consume())
        await asyncio.sleep(0.01)
        assert engine.in_flight == 22
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert engine.in_flight == 0
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(run())
    gc.collect()


def test_an_error_of_the_source_cancels_what_is_in_flight() -> None:
    engine = Stuck(concurrency=9)

    def broken() -> Iterable[str]:
        yield from ["a", "b", "c"]
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        synthesize(engine, broken())
    assert engine.in_flight == 0


# Failures -------------------------------------------------------------------------------------------------------------


def failing(prompt: str) -> str:
    if "bad" in context_of(prompt):
        raise RequestFailed("refused", reason="status_422", attempts=1, passing=False)
    return one_pair(prompt)


def test_a_text_that_fails_is_an_outcome_and_loses_no_neighbour() -> None:
    engine = SmallEngine(failing, delays=random.Random(3))
    texts = ["bad" if i in (0, 7, 8, 19) else f"text {i}" for i in range(20)]
    outcomes = synthesize(engine, texts)
    assert [outcome.failure for outcome in outcomes] == ["status_422" if t == "bad" else None for t in texts]
    assert [bool(outcome.pairs) for outcome in outcomes] == [t != "bad" for t in texts]
    assert counts(outcomes)["texts_without_pairs/failed_status_422"] == 4


def test_a_text_that_fails_ends_its_chain_and_the_next_begins_anew() -> None:
    engine = SmallEngine(failing)
    outcomes = synthesize(engine, ["a", "b", "bad", "c", "d"], num_shots=5)
    assert [outcome.shot_index for outcome in outcomes] == [0, 1, 0, 0, 1]
    assert "<CON> a" in engine.prompts[2]
    assert engine.prompts[3] == "<s> <CON> c </CON>\n\n"


@settings(max_examples=20, deadline=None)
@given(at=st.integers(0, 40), seed=st.integers())
def test_an_engine_that_is_gone_stops_everything_at_once(at: int, seed: int) -> None:
    def gone(prompt: str) -> str:
        if int(context_of(prompt)) >= at:
            raise EngineUnavailable("gone")
        return one_pair(prompt)

    engine = SmallEngine(gone, delays=random.Random(seed), concurrency=7)
    with pytest.raises(EngineUnavailable):
        synthesize(engine, map(str, range(200)))
    assert engine.in_flight == 0
    assert len(engine.prompts) <= at + 8 * 30


def test_an_engine_that_is_gone_does_not_wait_for_those_that_hang() -> None:
    class Gone(Stuck):
        async def complete(self, prompt: str, sampling: SamplingParams) -> Completion:
            if context_of(prompt) == "0":
                await asyncio.sleep(0.01)
                raise EngineUnavailable("gone")
            return await super().complete(prompt, sampling)

    engine = Gone()
    with pytest.raises(EngineUnavailable):
        synthesize(engine, map(str, range(50)))
    assert engine.cancelled == 2 * 4 + 16 - 1


def test_an_engine_that_can_not_be_reached_is_told_before_a_text_is_read() -> None:
    class Absent(SmallEngine):
        async def connect(self) -> EngineInfo:
            raise EngineUnavailable("nobody there")

    def texts() -> Iterable[str]:
        raise AssertionError("a text was read")
        yield ""

    with pytest.raises(EngineUnavailable):
        synthesize(Absent(), texts())


def outcome(failure: str | None = None) -> Synthesis:
    return Synthesis(failure=failure)


def test_a_few_failures_are_outcomes_and_too_many_are_an_error() -> None:
    budget = FailureBudget(max_share=0.1, floor=3)
    for i in range(100):
        budget.record(outcome("timeout" if i % 10 == 9 else None))
    with pytest.raises(EngineError, match=r"11 of 101 texts \(timeout: 10, status_500: 1\)"):
        budget.record(outcome("status_500"))


def test_failures_below_the_floor_are_borne_whatever_their_share() -> None:
    budget = FailureBudget(max_share=0.0, floor=2)
    for _ in range(2):
        budget.record(outcome("timeout"))
    with pytest.raises(EngineError):
        budget.record(outcome("timeout"))


def test_failures_alone_are_an_error_and_one_answer_among_them_is_none() -> None:
    budget = FailureBudget()
    budget.check()
    budget.record(outcome("timeout"))
    with pytest.raises(EngineError):
        budget.check()
    budget.record(outcome())
    budget.check()


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(SettingsError, match="max_failed_share"):
        FailureBudget(share)


@pytest.mark.parametrize("num_shots", [0, -1])
def test_a_chain_of_no_texts_is_refused(num_shots: int) -> None:
    with pytest.raises(SettingsError, match="num_shots"):
        Synthesizer(SmallEngine(), SamplingParams(), num_shots)


# Counts ---------------------------------------------------------------------------------------------------------------


def test_what_became_of_every_text_is_counted() -> None:
    answers = {
        "pairs": "<QUE> a <ANS> b </END> <QUE> A <ANS> c </END> <QUE> <ANS> no question </END> <QUE> cut",
        "silent": " \n",
        "noise": "once upon a time",
    }
    outcomes = synthesize(SmallEngine(lambda prompt: answers[context_of(prompt)]), answers)
    assert counts(outcomes) == {
        "finish_reason/stop": 3, "tokens/prompt": 9, "tokens/generated": 15, "pairs/kept": 1,
        "pairs_dropped/repeated_instruction": 1, "pairs_dropped/empty_instruction": 1,
        "pairs_dropped/unfinished": 2, "texts_without_pairs/empty_completion": 1,
        "texts_without_pairs/no_pair_parsed": 1,
    }  # fmt: skip


def test_a_context_with_markers_is_counted_once_and_shown_broken() -> None:
    engine = SmallEngine()
    outcomes = synthesize(engine, ["a </CON> <QUE> b <ANS> c </END> d", "nothing of the kind"])
    assert [outcome.counts["contexts/neutralised"] for outcome in outcomes] == [1, 0]
    assert engine.prompts[0] == "<s> <CON> a < /CON> < QUE> b < ANS> c < /END> d </CON>\n\n"


def test_control_tokens_that_the_engine_names_are_broken_too() -> None:
    engine = SmallEngine()
    engine.info = EngineInfo("small", "m", None, 4000, 4100, 2, bos="<B>", eos="<E>", special_tokens=("<tool>",))
    outcomes = synthesize(engine, ["x <B> y <E> z <tool>"])
    assert engine.prompts == ["<B> <CON> x < B> y < E> z < tool> </CON>\n\n"]
    assert outcomes[0].counts["contexts/neutralised"] == 1


def test_markers_behind_the_cut_are_not_counted_because_nobody_saw_them() -> None:
    engine = SmallEngine(limit=300)
    (outcome,) = synthesize(engine, ["word " * 100 + "</CON>"])
    assert outcome.counts["contexts/cut"] == 1
    assert outcome.counts["contexts/neutralised"] == 0


# Fitting --------------------------------------------------------------------------------------------------------------


def is_wide(character: str) -> bool:
    return character > "\u2e80"


def bytes_(text: str) -> int:
    return len(text.encode())


def four_characters(text: str) -> int:
    return len(text) // 4 + 1


def wide_thrice(text: str) -> int:
    """Three tokens for a CJK character, one for four others: as a byte-level tokenizer without CJK does."""
    wide = sum(map(is_wide, text))
    return 3 * wide + (len(text) - wide) // 4 + 1


def words(text: str) -> int:
    return len(text.split()) + 1


def runs_of_blanks(text: str) -> int:
    """As some tokenizers do: any run of blanks is one token, and so is every other character."""
    return len(text.replace(" ", "")) + sum(1 for a, b in itertools.pairwise(text) if a == " " != b) + 1


TOKENIZERS = [bytes_, four_characters, wide_thrice, words, runs_of_blanks]
blocks = st.lists(
    st.tuples(
        st.sampled_from(["word ", "日本語", "x", "\n\n", "<s> ", "é", "🙂", " " * 40, "supercalifragilistic "]),
        st.integers(1, 400),
    ),
    max_size=12,
).map(lambda drawn: "".join(piece * times for piece, times in drawn))


@settings(max_examples=60, deadline=None)
@given(text=blocks, measure=st.sampled_from(TOKENIZERS), limit=st.integers(60, 2000))
def test_a_prompt_fits_and_shows_the_beginning_of_any_text_after_few_questions(
    text: str, measure: Measure, limit: int
) -> None:
    engine = SmallEngine(measure=measure, limit=limit)  # asserts that the prompt fits
    (outcome,) = synthesize(engine, [text])
    assert outcome.failure is None
    assert engine.counted <= 6
    shown = context_of(engine.prompts[0])
    whole = text.replace("<s>", "< s>")
    assert whole.startswith(shown) or (not text and shown == "<s>")
    assert outcome.counts["contexts/cut"] == (0 if shown in (whole, "<s>") else 1)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(),
    measure=st.sampled_from([bytes_, four_characters, wide_thrice, words]),
    limit=st.integers(100, 2000),
    dense=st.sampled_from(["日本語 ", "word ", "\U0001f642 "]),
)
def test_a_text_is_cut_to_about_as_much_as_fits(seed: int, measure: Measure, limit: int, dense: str) -> None:
    """Of a text that is denser towards its end, as an article with a table or a list of references there."""
    draws = random.Random(seed)
    text = "".join(dense if draws.random() < at / 6000 else "several words " for at in range(3000))
    engine = SmallEngine(measure=measure, limit=limit)
    synthesize(engine, [text])
    assert engine.counted <= 6
    assert limit * 0.85 <= measure(engine.prompts[0]) <= limit


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(), letters=st.sampled_from(["ab", "éß", "日本", "a\u0301"]), measure=st.sampled_from(TOKENIZERS)
)
def test_no_word_is_cut_where_there_are_words(seed: int, letters: str, measure: Measure) -> None:
    draws = random.Random(seed)
    drawn = ["".join(draws.choices(letters, k=draws.randint(1, 12))) for _ in range(draws.randint(100, 400))]
    engine = SmallEngine(measure=measure, limit=100)
    (outcome,) = synthesize(engine, [" ".join(drawn)])
    if outcome.counts["contexts/cut"]:
        shown = context_of(engine.prompts[0])
        assert shown.split(" ") == drawn[: len(shown.split(" "))]


@pytest.mark.parametrize("measure", TOKENIZERS)
@pytest.mark.parametrize("piece", ["a sentence of some words. ", "日本語の文章。", "x", "\n", "<s>", "\x00"])
def test_five_megabytes_are_cut_with_few_questions_and_little_time(measure: Measure, piece: str) -> None:
    text = piece * (5_000_000 // len(piece))
    engine = SmallEngine(measure=measure, limit=3000)
    started = time.perf_counter()
    (outcome,) = synthesize(engine, [text])
    assert time.perf_counter() - started < 2
    assert engine.counted <= 6
    assert outcome.failure is None
    assert outcome.counts["contexts/cut"] == 1
    assert len(engine.prompts[0]) < 500_000


def test_a_short_text_is_known_to_fit_without_asking() -> None:
    engine = SmallEngine(measure=bytes_, limit=2000)
    synthesize(engine, ["short"] * 20)
    assert engine.counted == 0


def test_a_text_that_does_not_fit_at_all_is_an_outcome() -> None:
    def frame_is_long(text: str) -> int:
        return 90 * text.count("</CON>") + len(text) // 4

    engine = SmallEngine(measure=frame_is_long, limit=60)
    engine.info = EngineInfo("small", "m", None, 60, 160, 2, bos=f"<{'b' * 60}>")
    outcomes = synthesize(engine, ["word " * 500, "short"])
    assert [outcome.failure for outcome in outcomes] == ["does_not_fit"] * 2
    assert counts(outcomes)["texts_without_pairs/failed_does_not_fit"] == 2
    assert engine.counted <= 12
    assert engine.prompts == []


def test_a_server_that_can_not_count_fails_one_text_only() -> None:
    class Uncounting(SmallEngine):
        async def count_tokens(self, text: str) -> int:
            raise RequestFailed("no /tokenize", reason="status_404", attempts=1, passing=False)

    outcomes = synthesize(Uncounting(limit=500), ["a", "word " * 500, "b"])
    assert [outcome.failure for outcome in outcomes] == [None, "status_404", None]


@pytest.mark.parametrize("max_new_tokens", [69, 100, 5000])
def test_a_token_limit_that_leaves_no_room_is_an_error_before_the_first_request(max_new_tokens: int) -> None:
    engine = SmallEngine()
    engine.info = EngineInfo("small", "a/model", None, 1000, 100, 4)

    def texts() -> Iterable[str]:
        raise AssertionError("a text was read")
        yield ""

    with pytest.raises(SettingsError, match=f"max_new_tokens={max_new_tokens} leaves"):
        synthesize(engine, texts(), sampling=SamplingParams(max_new_tokens))
    assert engine.prompts == []
    assert engine.counted == 0
