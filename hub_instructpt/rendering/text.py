"""One M-shot example becomes one text."""

from __future__ import annotations

from collections.abc import Sequence

from hub_instructpt.records import Example
from hub_instructpt.rendering.draws import Draws
from hub_instructpt.rendering.modes import draw_plan, write_shot
from hub_instructpt.rendering.questions import read_pair
from hub_instructpt.rendering.style import Style
from hub_instructpt.rendering.wording import wording


def render_example(examples: Sequence[Example], seed: int = 0) -> str:
    """The pre-training text of one M-shot example.

    Args:
        examples: contexts with their pairs, in the order of the chain. A context without pairs stands alone.
        seed: another seed gives another style.
    """
    draws = Draws(examples, seed)
    questions = [[read_pair(pair) for pair in example["pairs"]] for example in examples]
    style = Style(draws, wording(), [question for shot in questions for question in shot])
    plan = draw_plan(draws, min(map(len, questions), default=0))
    return style.between_shots.join(
        write_shot(plan, style, example["context"], [style.show(q, f"{i}/{j}") for j, q in enumerate(shot)])
        for i, (example, shot) in enumerate(zip(examples, questions, strict=True))
    )
