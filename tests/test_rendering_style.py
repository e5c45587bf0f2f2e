"""The style of rendered texts: what is drawn how often, and what a text looks like.

Held: the published shares of the modes; draws that are independent; one style for all shots; sound punctuation and
number; thousands of texts a second; and the look of each mode (golden files; write them anew with `GOLDEN=write`).
"""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub_instructpt.records import Example
from hub_instructpt.rendering import render_example
from hub_instructpt.rendering.draws import Draws
from hub_instructpt.rendering.modes import Plan, draw_plan
from hub_instructpt.rendering.style import Style
from hub_instructpt.rendering.wording import wording
from tests.rendering_pairs import LIBRARY, SIMPLE, Known, any_shot, examples_of

GOLDEN = Path(__file__).parent / "golden" / "rendering"

SEEDS = 20_000


def drawn(fewest_pairs: int) -> list[Plan]:
    return [draw_plan(Draws([{"context": "c", "pairs": []}], seed), fewest_pairs) for seed in range(SEEDS)]


@pytest.mark.parametrize(
    ("fewest_pairs", "shares"),
    [
        (1, {"classic": 0.95, "dialogue": 0.05}),
        (2, {"classic": 0.8, "dialogue": 0.05, "numbered_questions": 0.05, "inline_examples": 0.05, "next_turn": 0.05}),
    ],
)
def test_modes_are_drawn_with_the_published_shares(fewest_pairs: int, shares: dict[str, float]) -> None:
    plans = drawn(fewest_pairs)
    counts = Counter(plan.mode for plan in plans)
    assert set(counts) == set(shares)
    for mode, share in shares.items():
        assert counts[mode] / SEEDS == pytest.approx(share, abs=4 * (share * (1 - share) / SEEDS) ** 0.5)


def test_inversion_is_a_draw_of_its_own() -> None:
    plans = drawn(2)
    for mode in ("classic", "numbered_questions", "inline_examples"):
        of_mode = [plan.inverted for plan in plans if plan.mode == mode]
        assert sum(of_mode) / len(of_mode) == pytest.approx(0.05, abs=4 * (0.05 * 0.95 / len(of_mode)) ** 0.5)
    assert not any(plan.inverted for plan in plans if plan.mode in ("dialogue", "next_turn"))


def test_choices_combine_freely() -> None:
    # Draws that restart from the same number reach a small part of these combinations only.
    words = wording()
    sizes = len(words.pairs["free_form"].templates), len(words.reading.reading_starts)
    together = Counter[tuple[str, str]]()
    for seed in range(SEEDS):
        draws = Draws([{"context": "c", "pairs": []}], seed)
        template = draws.pick("pair/free_form", words.pairs["free_form"].templates).source
        together[template, draws.pick("reading/start", words.reading.reading_starts).source] += 1
    cells = sizes[0] * sizes[1]
    expected = cells * (1 - (1 - 1 / cells) ** SEEDS)
    assert len(together) == pytest.approx(expected, rel=0.02)
    assert max(together.values()) < 6 * SEEDS / cells


def test_half_of_the_contexts_are_bare_and_half_of_the_comprehension_starts_empty() -> None:
    bare = empty = 0
    for seed in range(4000):
        style = Style(Draws([], seed), wording(), [])
        bare += style.reading_start("c") == "c"
        empty += style.comprehension_start(1) == ""
    assert bare / 4000 == pytest.approx(0.5, abs=0.032)
    assert empty / 4000 == pytest.approx(0.5, abs=0.032)


@given(st.lists(any_shot, min_size=1, max_size=2), st.integers())
@settings(max_examples=40, deadline=None)
def test_the_same_example_and_seed_give_the_same_text(shots: list[tuple[str, list[Known]]], seed: int) -> None:
    examples = examples_of(shots)
    before = repr(examples)
    first = render_example(examples, seed)
    render_example([{"context": "something in between", "pairs": []}], seed)
    assert render_example(examples, seed) == first
    assert repr(examples) == before


def test_another_seed_or_another_pair_gives_another_style() -> None:
    texts = {render_example(LIBRARY, seed) for seed in range(200)}
    assert len(texts) == 200
    changed = [{"context": "c", "pairs": [{"instruction": "Ask?", "response": f"{n:04}"}]} for n in range(200)]
    styles = {re.sub(r"\d{4}", "", render_example([example], 0)) for example in changed}
    assert len(styles) > 150


# -- style -----------------------------------------------------------------------------------------------------------


def test_all_shots_of_a_text_share_one_style() -> None:
    # Two shots that are alike must come out alike: the text is one thing, a separator, and that thing again.
    for seed in range(500):
        text = render_example([SIMPLE, SIMPLE], seed)
        assert re.fullmatch(r"(?s)(.+)(\n\n|\n\n\n|\n\n---\n\n|\n\n\*\*\*\n\n)\1", text)


def test_punctuation_is_not_doubled() -> None:
    for seed in range(1500):
        text = render_example([SIMPLE], seed)
        assert "??" not in text
        assert "?." not in text
        assert not re.search(r"(?<!\.)\.\.(?!\.)", text)


def test_a_text_with_one_pair_is_not_told_of_several() -> None:
    one: Example = {"context": "The bridge was built in 1850.", "pairs": SIMPLE["pairs"][:1]}
    for seed in range(1500):
        text = render_example([one], seed)
        assert not re.search(
            r"\b(these|questions|tasks|exercises|answers to|instructions)\b", text.split("What was")[0]
        )


def test_a_task_is_not_called_a_question() -> None:
    task: Example = {"context": "c", "pairs": [{"instruction": "Name the bridge.", "response": "Old Bridge"}] * 2}
    question = re.compile(r"\b(a|the|this|these|some|following|my) questions?\b|might ask", re.IGNORECASE)
    classic = [seed for seed in range(2000) if LOOKS["classic"](draw_plan(Draws([task], seed), 2))]
    assert not [seed for seed in classic if question.search(render_example([task], seed))]
    task["pairs"] = [{"instruction": "What is its name?", "response": "Old Bridge"}]
    assert [seed for seed in classic if question.search(render_example([task], seed))]


def test_thousands_of_texts_are_rendered_in_a_second() -> None:
    render_example(LIBRARY, 0)
    start = time.process_time()
    for seed in range(1000):
        render_example(LIBRARY, seed)
    assert 1000 / (time.process_time() - start) > 1500


# -- the look of each mode -------------------------------------------------------------------------------------------

LOOKS: dict[str, Callable[[Plan], bool]] = {
    "classic": lambda plan: plan.mode == "classic" and not plan.inverted and not plan.answer_first,
    "classic_answer_first": lambda plan: plan.mode == "classic" and not plan.inverted and plan.answer_first,
    "inverted": lambda plan: plan.mode == "classic" and plan.inverted,
    "dialogue": lambda plan: plan.mode == "dialogue",
    "numbered_questions": lambda plan: plan.mode == "numbered_questions",
    "inline_examples": lambda plan: plan.mode == "inline_examples",
    "next_turn": lambda plan: plan.mode == "next_turn",
}


@pytest.mark.parametrize("look", LOOKS)
def test_each_mode_looks_as_its_golden_file(look: str) -> None:
    seeds = [seed for seed in range(3000) if LOOKS[look](draw_plan(Draws(LIBRARY, seed), 2))][:3]
    assert len(seeds) == 3
    text = "".join(f"{f' seed {seed} ':=^100}\n{render_example(LIBRARY, seed)}\n" for seed in seeds)
    path = GOLDEN / f"{look}.txt"
    if os.environ.get("GOLDEN") == "write":
        path.write_text(text, "utf-8")
    assert text == path.read_text("utf-8")
