"""Pairs of every kind for the tests of rendering: hostile ones for hypothesis, and a few to look at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hypothesis import assume
from hypothesis import strategies as st

from hub_instructpt.records import Example, Pair
from hub_instructpt.rendering.draws import Draws
from hub_instructpt.rendering.modes import Plan, write_shot
from hub_instructpt.rendering.questions import OPTIONS, THEREFORE, THINK, read_pair
from hub_instructpt.rendering.style import Style
from hub_instructpt.rendering.wording import wording

CUES = (THINK.strip(), THEREFORE.strip(), "Options:")

HOSTILE = (
    "{instruction}", "{response}", "{context}", "{n}", "{", "}", "{}", "{0}", "{one|several}", "%s", "$x", "\\1", "\n",
    "\n\n", "- ", "\n- b", "A.", "(b)", "?", "??", ".", "<s>", "</END>", "<QUE>", "word", "Ünïcode", "日本。", "😀",
    "\x00", "\u2028", "\t", " ", "Answer:", "Question:", "---", "'", '"', "\ud800",
)  # fmt: skip
strings = st.one_of(
    st.lists(st.sampled_from(HOSTILE), min_size=1, max_size=5).map("".join), st.text(min_size=1)
).filter(lambda text: bool(text.strip()) and not any(cue in text for cue in CUES))
parts = strings.map(str.strip)


@dataclass
class Known:
    """A pair, and what every text that holds it must show."""

    pair: Pair
    shown: tuple[str, ...]
    options: tuple[str, ...] = ()
    answer: str = ""


@st.composite
def free_form(draw: Callable[..., str]) -> Known:
    instruction, response = draw(strings), draw(strings)
    return Known({"instruction": instruction, "response": response}, (instruction, response), answer=response)


@st.composite
def with_options(draw: Callable[..., str]) -> Known:
    instruction = draw(strings)
    options = tuple(draw(st.lists(parts.filter(lambda t: "\n- " not in t), min_size=2, max_size=40, unique=True)))
    answer = draw(st.sampled_from(options))
    listed = instruction + OPTIONS + "\n- ".join(options)
    assume(tuple(t.strip() for t in "\n- ".join(options).split("\n- ")) == options)
    return Known({"instruction": listed, "response": answer}, (instruction, *options), options, answer)


@st.composite
def with_reasoning(draw: Callable[..., Known | str], of: st.SearchStrategy[Known]) -> Known:
    known, reasoning = draw(of), draw(parts)
    answer = known.answer.strip()
    pair: Pair = {
        "instruction": known.pair["instruction"] + THINK,
        "response": reasoning + THEREFORE + answer,
    }
    shown = known.shown if known.options else (known.pair["instruction"], answer)
    return Known(pair, (*shown, reasoning), known.options, answer)


@st.composite
def malformed(draw: Callable[..., str]) -> Known:
    a, b, c = draw(strings), draw(strings), draw(strings)
    pair = draw(
        st.sampled_from(
            [
                (a + THINK, b),
                (a, b + THEREFORE + c),
                (a + THINK + b, a + THEREFORE + c),
                (a + THINK, a + THEREFORE + b + THEREFORE + c),
                (a + THINK, THEREFORE + c),
                (a + THINK, b + THEREFORE),
                (THINK, b + THEREFORE + c),
                (a + OPTIONS + b, "zzz" + c),
                (a + OPTIONS + b.strip(), b.strip()),
                (OPTIONS + "x\n- y", "x"),
                (a + OPTIONS + "x\n- x", "x"),
                (a + OPTIONS + "x\n- \n- y", "x"),
                (a + OPTIONS + "x" + OPTIONS + "y", "y"),
                (a + OPTIONS + "x\n- y", "(A)"),
                (a + OPTIONS + "x\n- y" + THINK, b + THEREFORE + "z"),
            ]
        )
    )
    assume("\n- " not in b and b.strip() != ("zzz" + c).strip())
    return Known({"instruction": pair[0], "response": pair[1]}, pair)


any_pair = st.one_of(
    free_form(), with_options(), with_reasoning(free_form()), with_reasoning(with_options()), malformed()
)
any_shot = st.tuples(strings, st.lists(any_pair, max_size=5))
plans = st.builds(
    Plan,
    mode=st.sampled_from(["classic", "dialogue", "numbered_questions", "inline_examples", "next_turn"]),
    inverted=st.booleans(),
    answer_first=st.booleans(),
)


def examples_of(shots: list[tuple[str, list[Known]]]) -> list[Example]:
    return [{"context": context, "pairs": [known.pair for known in pairs]} for context, pairs in shots]


def in_mode(examples: list[Example], plan: Plan, seed: int) -> tuple[str, list[str]]:
    """A text in a mode of our choice, and the answers as it names them."""
    questions = [[read_pair(pair) for pair in example["pairs"]] for example in examples]
    style = Style(Draws(examples, seed), wording(), [q for shot in questions for q in shot])
    shown = [[style.show(q, f"{i}/{j}") for j, q in enumerate(shot)] for i, shot in enumerate(questions)]
    shots = [write_shot(plan, style, e["context"], s) for e, s in zip(examples, shown, strict=True)]
    return style.between_shots.join(shots), [s.values["response"] for shot in shown for s in shot]


LIBRARY: list[Example] = [
    {
        "context": "Marble Creek Library opened in 1907. It holds 42,000 books and lends about 300 a day.",
        "pairs": [
            {"instruction": "When did the library open?", "response": "1907"},
            {
                "instruction": "What does the library mainly do?\nOptions:\n- sell cars\n- lend books\n- grow fruit",
                "response": "lend books",
            },
            {
                "instruction": "How many books are lent in ten days?\nLet's think step by step.",
                "response": "It lends about 300 a day, so ten days gives 3000.\nTherefore, the answer is 3000",
            },
            {
                "instruction": "Is it a large one?\nOptions:\n- Yes\n- No\nLet's think step by step.",
                "response": "It holds 42,000 books, which is a lot.\nTherefore, the answer is Yes",
            },
        ],
    },
    {
        "context": "The river museum closed in 1999 after a flood.",
        "pairs": [
            {"instruction": "Why did the museum close?\nOptions:\n- a fire\n- a flood", "response": "a flood"},
            {"instruction": "Name the year in which it closed.", "response": "1999"},
        ],
    },
]

SIMPLE: Example = {
    "context": "The bridge was built in 1850.",
    "pairs": [
        {"instruction": "What was built?", "response": "The bridge"},
        {"instruction": "When?" + THINK, "response": "It says 1850." + THEREFORE + "1850"},
    ],
}
