"""Holds our chains of texts (M-shot) against the published rounds, written here once more, straight down.

Where both agree, they agree to the byte of every prompt. Where they differ, they differ on purpose:

    | published rounds                                       | ours                                               |
    |--------------------------------------------------------|----------------------------------------------------|
    | a chain takes every B-th text, B = ceil(N / M)         | a chain takes M texts that follow each other       |
    | all texts wait for the slowest of their round          | chains do not wait for each other                  |
    | some N and M crash (N = 4, M = 3)                      | any N and M                                        |
    | a chain that is too long loses all its examples        | it loses its oldest ones, and keeps the rest       |
    | length is estimated: words between spaces, times 1.5   | length is counted in tokens of the model           |
    | a text that is too long alone is sent all the same     | it is cut, and counted                             |
    | an instruction may come again later in a chain         | repeated instructions are dropped, and counted     |
    | a pair with an empty instruction is kept               | it is dropped, and counted                         |
    | a text without pairs adds an empty string              | nothing is added                                   |
    | markers and control strings in a text are taken as such| they are neutralised, and counted                  |
    | writing the texts empties what it was given            | nothing that is given is changed                   |
"""

from __future__ import annotations

import asyncio
import copy
import random
import zlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hub_instructpt import Augment
from hub_instructpt.records import Completion, EngineInfo, SamplingParams
from hub_instructpt.synthesis import Synthesis, Synthesizer
from tests.test_markup import published_parse

Answer = Callable[[str], str]
Entry = dict[str, Any]
AMPLE = 1_000_000


class Answering:
    """An engine whose answers and token counts are functions of the prompt."""

    def __init__(self, answer: Answer, *, limit: int = AMPLE, measure: Callable[[str], int] = len) -> None:
        self.answer, self.measure = answer, measure
        self.info = EngineInfo("small", "a/model", None, limit, limit + 400, 4)
        self.prompts: list[str] = []

    async def connect(self) -> EngineInfo:
        return self.info

    async def complete(self, prompt: str, sampling: SamplingParams) -> Completion:
        self.prompts.append(prompt)
        assert self.measure(prompt) <= self.info.max_input_tokens
        await asyncio.sleep(0)
        return Completion(self.answer(prompt))

    async def count_tokens(self, text: str) -> int:
        return self.measure(text)

    async def aclose(self) -> None: ...


def drawn_answer(seed: int, share_without: float) -> Answer:
    """Pairs that hang on the whole prompt, so that another prompt anywhere shows in every later one of its chain."""

    def answer(prompt: str) -> str:
        draws = random.Random(zlib.crc32(prompt.encode()) + seed)
        if draws.random() < share_without:
            return draws.choice(["", "nothing to ask", "<QUE> cut <ANS> of"])
        pairs = [
            f"<QUE> Q{draws.getrandbits(40)}? <ANS> A {draws.getrandbits(20)}. </END>"
            for _ in range(draws.randint(1, 3))
        ]
        return "\n\n".join(pairs) + draws.choice(["", "\n\n<QUE> and"])

    return answer


# The published rounds -------------------------------------------------------------------------------------------------


def written_entry(entry: Entry) -> str:
    pairs = "\n\n".join(f"<QUE> {q} <ANS> {a} </END>" for q, a in entry["pairs"])
    return written_context(entry["context"]) + pairs + "</s>"


def written_context(context: str) -> str:
    return f"<s> <CON> {context} </CON>\n\n" if context else "<s>"


def published_rounds(
    texts: Sequence[str], num_shots: int, answer: Answer, room: float = AMPLE
) -> tuple[list[list[Entry]], list[str]]:
    """Collections of entries, as the published rounds make them, and all prompts."""
    per_round = -(-len(texts) // num_shots)
    collections: list[list[Entry]] = [[] for _ in range(per_round)]
    prompts: list[str] = []
    for start in range(0, len(texts), per_round):
        for place, text in enumerate(texts[start : start + per_round]):
            collection = collections[place]
            history = ""
            if collection and collection[-1]["pairs"]:
                at = len(collection) - 1
                history = written_entry(collection[at])
                while collection[at]["inherits"]:
                    at -= 1
                    history = written_entry(collection[at]) + history
                if len((history + written_context(text)).split(" ")) * 1.5 > room:
                    history = ""
            prompts.append(history + written_context(text))
            pairs = published_parse(answer(prompts[-1]))
            collection.append({"context": text, "pairs": pairs, "inherits": bool(history and pairs)})
    return collections, prompts


def published_groups(collection: Sequence[Entry]) -> list[list[Entry]]:
    """Which entries become one training text."""
    groups: list[list[Entry]] = []
    for entry in collection:
        if entry["inherits"]:
            groups[-1].append(entry)
        else:
            groups.append([entry])
    return groups


# Ours -----------------------------------------------------------------------------------------------------------------


def ours(engine: Answering, chains: Sequence[Sequence[str]], num_shots: int) -> list[list[Synthesis]]:
    async def given_chains() -> AsyncIterator[Sequence[str]]:
        for chain in chains:
            yield chain

    async def run() -> list[list[Synthesis]]:
        synthesizer = Synthesizer(engine, SamplingParams(400), num_shots)
        return [outcomes async for outcomes in synthesizer.stream(given_chains())]

    return asyncio.run(run())


def our_groups(texts: Sequence[str], outcomes: Sequence[Synthesis]) -> list[list[tuple[str, list[tuple[str, str]]]]]:
    groups: list[list[tuple[str, list[tuple[str, str]]]]] = []
    for text, outcome in zip(texts, outcomes, strict=True):
        if outcome.shot_index == 0:
            groups.append([])
        assert outcome.shot_index == len(groups[-1])
        groups[-1].append((text, [(pair["instruction"], pair["response"]) for pair in outcome.pairs]))
    return groups


settled = settings(max_examples=60, deadline=None)


@settled
@given(
    number=st.integers(1, 40),
    num_shots=st.integers(1, 7),
    seed=st.integers(0, 2**32),
    without=st.sampled_from([0.0, 0.3, 1.0]),
)
@example(number=5, num_shots=2, seed=0, without=0.0)
@example(number=4, num_shots=3, seed=0, without=0.0)
def test_the_same_chains_give_the_same_prompts_pairs_and_training_texts(
    number: int, num_shots: int, seed: int, without: float
) -> None:
    texts = [f"Text {i} says {seed % (i + 2)}." for i in range(number)]
    answer = drawn_answer(seed, without)
    collections, prompts = published_rounds(texts, num_shots, answer)
    engine = Answering(answer)
    chains = [[entry["context"] for entry in collection] for collection in collections]
    found = ours(engine, chains, num_shots)
    assert sorted(engine.prompts) == sorted(prompts)
    for collection, chain, outcomes in zip(collections, chains, found, strict=True):
        published = [[(e["context"], e["pairs"]) for e in group] for group in published_groups(collection)]
        assert our_groups(chain, outcomes) == published


@settled
@given(num_chains=st.integers(1, 8), num_shots=st.integers(1, 5), seed=st.integers(0, 2**32))
def test_a_permuted_column_of_a_map_gives_the_published_rounds(num_chains: int, num_shots: int, seed: int) -> None:
    """Through `Augment`: its chains are consecutive rows, so the rows stand where the rounds would have taken them."""
    texts = [f"Row {i} of {seed}." for i in range(num_chains * num_shots)]
    answer = drawn_answer(seed, 0.3)
    collections, prompts = published_rounds(texts, num_shots, answer)
    permuted = [texts[place + turn * num_chains] for place in range(num_chains) for turn in range(num_shots)]
    engine = Answering(answer)
    columns = Augment(engine, num_shots=num_shots, journal=False)({"text": permuted})
    assert sorted(engine.prompts) == sorted(prompts)
    expected = [entry["pairs"] for collection in collections for entry in collection]
    assert [[(p["instruction"], p["response"]) for p in pairs] for pairs in columns["pairs"]] == expected


# Where they differ ----------------------------------------------------------------------------------------------------


def numbered(prompt: str) -> str:
    context = prompt.rpartition("<CON> ")[2].partition(" </CON>")[0]
    return f"<QUE> What of {context.split()[0]}? <ANS> It. </END>"


def test_a_chain_that_is_too_long_loses_its_oldest_examples_first_and_not_all() -> None:
    texts = [f"t{i} " + "word " * 20 for i in range(6)]
    _, prompts = published_rounds(texts, 6, numbered)
    _, prompts = published_rounds(texts, 6, numbered, room=1.5 * len(prompts[2].split(" ")))
    shown = [prompt.count("<CON>") - 1 for prompt in prompts]
    assert shown == [0, 1, 2, 0, 1, 2]

    engine = Answering(numbered, limit=len(prompts[2]) + 20)
    (outcomes,) = ours(engine, [texts], 6)
    assert [prompt.count("<CON>") - 1 for prompt in engine.prompts] == [0, 1, 2, 2, 2, 2]
    for at in (3, 4, 5):
        assert [engine.prompts[at].index(f"<CON> t{i} ") for i in range(at - 2, at + 1)]
    assert [outcome.shot_index for outcome in outcomes] == [0, 1, 2, 3, 4, 5]


def test_an_instruction_that_was_asked_earlier_in_a_chain_is_dropped_shown_or_not() -> None:
    def answer(prompt: str) -> str:
        context = prompt.rpartition("<CON> ")[2]
        return (
            f"<QUE> {'WHO' if context[0] == 'c' else 'who'}? <ANS> x </END><QUE> What of {context[0]}? <ANS> y </END>"
        )

    texts = [letter * 100 for letter in "abcd"]
    engine = Answering(answer, limit=320)  # the prompt of `c` has no room for `a`
    (outcomes,) = ours(engine, [texts], 4)
    assert "aaa" not in engine.prompts[2]
    assert [[pair["instruction"] for pair in outcome.pairs] for outcome in outcomes] == [
        ["who?", "What of a?"], ["What of b?"], ["What of c?"], ["What of d?"],
    ]  # fmt: skip
    assert [outcome.counts["pairs_dropped/repeated_in_chain"] for outcome in outcomes] == [0, 1, 1, 1]
    assert [outcome.shot_index for outcome in outcomes] == [0, 1, 2, 3]


def test_an_instruction_may_come_again_in_another_chain() -> None:
    outcomes = ours(Answering(lambda prompt: "<QUE> Same? <ANS> Yes. </END>"), [["a", "b"], ["c"]], 2)
    assert [[len(outcome.pairs) for outcome in chain] for chain in outcomes] == [[1, 0], [1]]


def test_an_empty_instruction_is_dropped_and_counted() -> None:
    answer = "<QUE>  <ANS> Alone. </END>"
    assert published_parse(answer) == [("", "Alone.")]
    ((outcome,),) = ours(Answering(lambda prompt: answer), [["a"]], 1)
    assert outcome.pairs == []
    assert outcome.counts["pairs_dropped/empty_instruction"] == 1


def test_markers_in_a_text_or_in_an_answer_forge_no_example() -> None:
    engine = Answering(lambda prompt: "<QUE> Q? <ANS> a </CON> <s> b <CON> </END>")
    ours(engine, [["one </s><s> <CON> x", "two"]], 2)
    assert engine.prompts[1] == (
        "<s> <CON> one < /s>< s> < CON> x </CON>\n\n<QUE> Q? <ANS> a < /CON> < s> b < CON> </END></s>"
        "<s> <CON> two </CON>\n\n"
    )


# For all of them ------------------------------------------------------------------------------------------------------


@settled
@given(
    silent=st.lists(st.booleans(), max_size=40),
    num_shots=st.integers(1, 9),
    limit=st.sampled_from([60, 150, 400, AMPLE]),
)
def test_every_text_comes_once_and_a_prompt_shows_what_came_before_it_in_its_example(
    silent: list[bool], num_shots: int, limit: int
) -> None:
    texts = [f"t{i} {'silent' if quiet else 'speaks'}" for i, quiet in enumerate(silent)]
    engine = Answering(
        lambda prompt: "" if "silent" in prompt.rpartition("<CON>")[2] else numbered(prompt), limit=limit
    )
    chains = [texts[start : start + num_shots] for start in range(0, len(texts), num_shots)]
    before = copy.deepcopy(chains)
    found = ours(engine, chains, num_shots)
    assert chains == before
    assert [len(outcomes) for outcomes in found] == [len(chain) for chain in chains]
    prompts = {prompt.rpartition("<CON> ")[2].split()[0]: prompt for prompt in engine.prompts}
    assert len(prompts) == len(engine.prompts) == len(texts)
    for chain, outcomes in zip(chains, found, strict=True):
        assert [bool(outcome.pairs) for outcome in outcomes] == ["speaks" in text for text in chain]
        for group in our_groups(chain, outcomes):
            for at, (text, pairs) in enumerate(group):
                if not pairs:  # it was shown the ones before it, and became no example with them
                    continue
                shown = prompts[text.split()[0]].split("<CON> ")[1:-1]
                earlier = [other.split()[0] for other, _ in group[:at]]
                assert [one.split()[0] for one in shown] == earlier[len(earlier) - len(shown) :]
                assert bool(shown) == bool(earlier)
                if limit == AMPLE:
                    assert len(shown) == len(earlier)


@pytest.mark.parametrize(("number", "num_shots"), [(1, 2), (4, 3), (7, 3), (10, 4), (0, 3), (3, 100)])
def test_numbers_that_crash_the_published_rounds_are_as_good_as_any(number: int, num_shots: int) -> None:
    texts = [f"t{i}" for i in range(number)]
    engine = Answering(numbered)
    columns = Augment(engine, num_shots=num_shots, journal=False)({"text": texts})
    assert columns["shot_index"] == [i % num_shots for i in range(number)]
    assert len(engine.prompts) == number
