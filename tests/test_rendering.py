"""Rendering loses nothing, whatever stands in a pair, in every mode.

Held: every context, instruction, option, reasoning and answer is shown; answers name the right option; options are in
an order of their own in every question; pairs that are not well-formed for their kind are shown as they are.
"""

from __future__ import annotations

import re
from collections import Counter

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hub_instructpt.records import Example, Pair
from hub_instructpt.rendering import render_example
from hub_instructpt.rendering.draws import Draws
from hub_instructpt.rendering.listing import COUNTS, OptionStyle, marks
from hub_instructpt.rendering.modes import Plan
from hub_instructpt.rendering.questions import OPTIONS, THINK, read_pair
from hub_instructpt.rendering.style import Style
from hub_instructpt.rendering.wording import wording
from tests.rendering_pairs import (
    LIBRARY,
    Known,
    any_shot,
    examples_of,
    in_mode,
    malformed,
    plans,
    with_options,
    with_reasoning,
)


@given(st.lists(any_shot, min_size=1, max_size=3), st.integers())
@settings(max_examples=100, deadline=None)
def test_every_text_shows_every_context_instruction_and_option(shots: list[tuple[str, list[Known]]], seed: int) -> None:
    text = render_example(examples_of(shots), seed)
    for context, pairs in shots:
        assert context in text
        for known in pairs:
            for part in known.shown:
                assert part in text


@given(st.lists(any_shot, min_size=1, max_size=2), plans, st.integers(0, 2**32))
@settings(max_examples=120, deadline=None)
def test_every_mode_shows_every_part_and_every_answer(
    shots: list[tuple[str, list[Known]]], plan: Plan, seed: int
) -> None:
    examples = examples_of(shots)
    if plan.mode in ("inline_examples", "next_turn"):
        assume(all(len(pairs) >= 2 for _, pairs in shots))
    text, answers = in_mode(examples, plan, seed)
    for context, pairs in shots:
        assert context in text
        assert all(part in text for known in pairs for part in known.shown)
    for answer in answers:
        assert answer in text


@given(malformed())
@settings(max_examples=60, deadline=None)
def test_a_pair_that_is_not_well_formed_for_its_kind_is_shown_as_it_is(known: Known) -> None:
    question = read_pair(known.pair)
    assert (question.kind, question.instruction, question.response) == ("free_form", *known.shown)


@given(st.one_of(with_options(), with_reasoning(with_options())))
@settings(max_examples=80, deadline=None)
def test_options_and_reasoning_are_read_from_the_published_form(known: Known) -> None:
    question = read_pair(known.pair)
    assert question.options == known.options
    assert question.response == known.answer
    assert question.instruction == known.shown[0]
    assert bool(question.reasoning) == (THINK in known.pair["instruction"])


def test_the_published_example_of_each_kind_is_read_as_published() -> None:
    kinds = [read_pair(pair).kind for pair in LIBRARY[0]["pairs"]]
    assert kinds == ["free_form", "options", "chain_of_thought", "options_chain_of_thought"]


@pytest.mark.parametrize("contexts", [["Only one."], ["First.", "Second.\n"], ["{braces}", "", "x"]])
def test_contexts_without_pairs_are_the_bare_contexts(contexts: list[str]) -> None:
    for seed in range(40):
        text = render_example([{"context": context, "pairs": []} for context in contexts], seed)
        rest = text
        for context in contexts:
            assert rest.startswith(context)
            rest = rest[len(context) :].lstrip("\n*-")
        assert rest == ""


def test_a_context_without_pairs_stands_bare_among_others() -> None:
    examples: list[Example] = [LIBRARY[0], {"context": "Nothing is asked of this.", "pairs": []}]
    for seed in range(200):
        text = render_example(examples, seed)
        assert re.search(r"(\n\n|\n\n\n|\n\n---\n\n|\n\n\*\*\*\n\n)Nothing is asked of this\.$", text)


def test_an_example_without_shots_is_an_empty_text() -> None:
    assert render_example([], 0) == ""


# -- options ---------------------------------------------------------------------------------------------------------


@given(with_options(), st.integers(0, 2**32))
@settings(max_examples=100, deadline=None)
def test_an_answer_names_the_right_option_and_no_other(known: Known, seed: int) -> None:
    draws = Draws(examples_of([("c", [known])]), seed)
    style = OptionStyle(draws, wording().items)
    order = draws.shuffled("options/order/0/0", known.options)
    block, answer = style.show(order, known.answer)
    assert sorted(order) == sorted(known.options)
    if answer == known.answer:
        return
    named = []
    for count in COUNTS:
        for item in wording().items.option_items:
            for n, option in zip(marks(count, len(order)), order, strict=True):
                fits = answer in (item.label.fill({"n": n}), item.both.fill({"n": n, "option": option}))
                if fits and all(
                    item.item.fill({"n": m, "option": o}) in block
                    for m, o in zip(marks(count, len(order)), order, strict=True)
                ):
                    named.append(option)
    assert set(named) == {known.answer}


def test_the_answer_follows_its_option_through_every_order() -> None:
    pair: Pair = {"instruction": "Which?" + OPTIONS + "alpha\n- beta\n- gamma", "response": "beta"}
    shown_by = Counter[str]()
    for seed in range(600):
        text = render_example([{"context": "0.", "pairs": [pair]}], seed)
        block = re.search(r"(?m)^(.*(?:alpha|beta|gamma)\n){2}.*(?:alpha|beta|gamma)$", text)
        assert block is not None
        rest = text.replace(block[0], "")
        assert "alpha" not in rest
        assert "gamma" not in rest
        label = re.search(r"(\w+)\W*beta", block[0])
        if "beta" not in rest:
            assert label is not None
            assert re.search(rf"\b{label[1]}\b", rest)
        shown_by["text" if "beta" in rest else "label"] += 1
    assert min(shown_by["text"], shown_by["label"]) > 100


@pytest.mark.parametrize(
    "options", [["B", "A", "C"], ["2", "1", "4"], ["(ii)", "i."], ["b)", "x"], ["option A", "x"], ["**C**", "y", "z"]]
)
def test_options_that_could_be_taken_for_labels_get_none(options: list[str]) -> None:
    def core(text: str) -> str:
        return re.sub(r"[^\w ]", "", text).strip().casefold()

    taken = 0
    for seed in range(300):
        style = OptionStyle(Draws([], seed), wording().items)
        block, answer = style.show(options, options[0])
        labels = marks(style.count, len(options)) if style.count else ()
        label_cores = {core(n) for n in labels} | {core(style.item.label.fill({"n": n})) for n in labels}
        if label_cores & {core(option) for option in options}:
            taken += 1
            assert answer == options[0]
            bulleted = [{bullet.fill({"option": o}) for bullet in wording().items.bullets} for o in options]
            assert all(lines & set(block.split("\n")) for lines in bulleted)
    assert taken


def test_options_are_in_an_order_of_their_own_in_every_question() -> None:
    words = {"a": "alpha", "b": "beta", "g": "gamma"}
    pair: Pair = {"instruction": "Which?" + OPTIONS + "\n- ".join(words.values()), "response": "beta"}
    orders = Counter[tuple[str, ...]]()
    for seed in range(3600):
        draws = Draws([{"context": "c", "pairs": [pair, pair]}], seed)
        style = Style(draws, wording(), [read_pair(pair)] * 2)
        shown = [style.show(read_pair(pair), f"0/{j}").values["options"] for j in range(2)]
        orders[tuple("".join(sorted("abg", key=lambda o, s=s: s.index(words[o]))) for s in shown)] += 1
    assert len(orders) == 36
    assert min(orders.values()) > 50
    assert max(orders.values()) < 160


@pytest.mark.parametrize("count", list(COUNTS))
def test_labels_never_run_out(count: str) -> None:
    assert len(set(marks(count, 1500))) == 1500


def test_labels_go_on_after_z() -> None:
    assert marks("a", 28)[25:] == ("z", "aa", "bb")
    assert marks("i", 49)[3::45] == ("iv", "xlix")


def test_forty_options_and_forty_questions_are_all_there() -> None:
    words = [f"thing{i:02}" for i in range(40)]
    listed: Pair = {"instruction": "Which?" + OPTIONS + "\n- ".join(words), "response": "thing39"}
    asked: list[Pair] = [{"instruction": f"Ask{i:02}?", "response": f"Tell{i:02}"} for i in range(40)]
    example: Example = {"context": "c", "pairs": [listed, *asked]}
    for mode in ("classic", "dialogue", "numbered_questions", "inline_examples", "next_turn"):
        text, answers = in_mode([example], Plan(mode, False, False), 5)
        assert all(word in text for word in words)
        assert all(pair["instruction"] in text and pair["response"] in text for pair in asked)
        assert answers[0] in text
