"""One M-shot example becomes one text."""

from __future__ import annotations

from collections.abc import Sequence

from hub_instructpt.records import Example
from hub_instructpt.rendering.draws import Draws
from hub_instructpt.rendering.modes import draw_plan, plan_for, write_shot
from hub_instructpt.rendering.questions import read_pair
from hub_instructpt.rendering.style import Style
from hub_instructpt.rendering.wording import wording


def render_example(examples: Sequence[Example], seed: int = 0, mode: str | None = None) -> str:
    """The pre-training text of one M-shot example.

    Args:
        examples: contexts with their pairs, in the order of the chain. A context without pairs stands alone.
        seed: another seed gives another style.
        mode: one of `modes.NAMES`; drawn when None, and where a text has too few pairs for it.
    """
    draws = Draws(examples, seed)
    questions = [[read_pair(pair) for pair in example["pairs"]] for example in examples]
    style = Style(draws, wording(), [question for shot in questions for question in shot])
    fewest = min(map(len, questions), default=0)
    plan = draw_plan(draws, fewest)
    if mode is not None:
        plan = plan_for(mode, plan, fewest)
    return style.between_shots.join(
        write_shot(plan, style, example["context"], [style.show(q, f"{i}/{j}") for j, q in enumerate(shot)])
        for i, (example, shot) in enumerate(zip(examples, questions, strict=True))
    )
