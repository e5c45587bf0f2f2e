"""Modes: the shapes of a text, how often each is drawn, and how each is written.

    mode                 share    share where every example has two pairs or more
    classic              95 %     80 %     the context, then its pairs
    dialogue              5 %      5 %     the context, then a conversation about it
    numbered questions     –       5 %     the context, all instructions, all responses
    inline examples        –       5 %     the context, all pairs but the last as examples, the last
    next turn              –       5 %     the context, a conversation, its next two turns
    inverted              5 %      5 %     pairs before the context; a draw of its own, for all but conversations

Keeps true: every part of every pair is written in every mode; a text has one style, whatever its number of shots.
Does not know how styles are drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from hub_instructpt.rendering.draws import Draws
from hub_instructpt.rendering.style import Shown, Style

Mode = Literal["classic", "dialogue", "numbered_questions", "inline_examples", "next_turn"]

SHARES: tuple[tuple[float, Mode], ...] = (
    (0.80, "classic"),
    (0.05, "dialogue"),
    (0.05, "numbered_questions"),
    (0.05, "inline_examples"),
    (0.05, "next_turn"),
)
SHARES_OF_FEW_PAIRS: tuple[tuple[float, Mode], ...] = ((0.95, "classic"), (0.05, "dialogue"))
INVERTED = 0.05
ANSWER_FIRST = 0.08

_INVERTIBLE: tuple[Mode, ...] = ("classic", "numbered_questions", "inline_examples")
_ANSWER_FIRST: tuple[Mode, ...] = ("classic", "numbered_questions")


@dataclass(frozen=True, slots=True)
class Plan:
    """The shape of one text."""

    mode: Mode
    inverted: bool
    answer_first: bool


def draw_plan(draws: Draws, fewest_pairs: int) -> Plan:
    """Draw the shape of a text whose shots have at least so many pairs."""
    mode = draws.weighted("mode", SHARES if fewest_pairs >= 2 else SHARES_OF_FEW_PAIRS)
    return Plan(
        mode=mode,
        inverted=draws.chance("inverted", INVERTED) and mode in _INVERTIBLE,
        answer_first=draws.chance("answer_first", ANSWER_FIRST) and mode in _ANSWER_FIRST,
    )


NAMES = (*(mode for _, mode in SHARES), "inverted")
"""What a rendering can be asked to look like throughout."""


def plan_for(name: str, drawn: Plan, fewest_pairs: int) -> Plan:
    """The shape that was asked for, where the text has the pairs for it; else the one that was drawn.

    Args:
        name: one of `NAMES`.
        drawn: by `draw_plan`.
        fewest_pairs: of the text's shots.
    """
    if name == "inverted":
        return Plan("classic", inverted=True, answer_first=False)
    if fewest_pairs < 2 and name not in [mode for _, mode in SHARES_OF_FEW_PAIRS]:
        return drawn
    mode = next(mode for _, mode in SHARES if mode == name)
    return Plan(mode, inverted=False, answer_first=drawn.answer_first and mode in _ANSWER_FIRST)


def write_shot(plan: Plan, style: Style, context: str, questions: Sequence[Shown]) -> str:
    """One context with its pairs. A context without pairs stands alone."""
    if not questions:
        return context
    body = _WRITERS[plan.mode](plan, style, questions)
    if plan.inverted:
        # What asks for answers can not stand before a text that gives them.
        start = [] if plan.answer_first else [style.question_start(len(questions))]
        return "\n\n".join([*start, body, style.text_start(context)])
    return f"{style.reading_start(context)}\n\n{body}"


def _classic(plan: Plan, style: Style, questions: Sequence[Shown]) -> str:
    pairs = style.join_pairs([style.pair(question, plan.answer_first) for question in questions], plan.answer_first)
    start = "" if plan.inverted or plan.answer_first else style.comprehension_start(len(questions))
    return f"{start}\n\n{pairs}" if start else pairs


def _dialogue(plan: Plan, style: Style, questions: Sequence[Shown]) -> str:
    return f"{style.dialogue_start()}\n\n{style.join_turns(_turns(style, questions))}"


def _numbered_questions(plan: Plan, style: Style, questions: Sequence[Shown]) -> str:
    shown = [(style.ask(question), style.tell(question)) for question in questions]
    return style.numbered(shown, plan.answer_first)


def _inline_examples(plan: Plan, style: Style, questions: Sequence[Shown]) -> str:
    *examples, last = [style.pair(question, False) for question in questions]
    return style.inline(style.join_pairs(examples, False), last, len(examples))


def _next_turn(plan: Plan, style: Style, questions: Sequence[Shown]) -> str:
    turns = _turns(style, questions)
    return style.next_turn(style.join_turns(turns[:-2]), style.join_turns(turns[-2:]))


def _turns(style: Style, questions: Sequence[Shown]) -> list[str]:
    return [turn for question in questions for turn in style.turns(question)]


_WRITERS: dict[Mode, Callable[[Plan, Style, Sequence[Shown]], str]] = {
    "classic": _classic,
    "dialogue": _dialogue,
    "numbered_questions": _numbered_questions,
    "inline_examples": _inline_examples,
    "next_turn": _next_turn,
}
