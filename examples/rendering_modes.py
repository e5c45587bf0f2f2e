"""Shows one rendered text of each mode, and one M-shot text.

    python examples/rendering_modes.py

The seed of each is the first that draws the mode: which mode a text gets is drawn by its content and the seed.
"""

from __future__ import annotations

from itertools import count

from hub_instructpt.records import Example
from hub_instructpt.rendering import render_example
from hub_instructpt.rendering.draws import Draws
from hub_instructpt.rendering.modes import draw_plan

LIBRARY: Example = {
    "context": "Marble Creek Library opened in 1907. It holds 42,000 books and lends about 300 a day.",
    "pairs": [
        {"instruction": "When did the library open?", "response": "1907"},
        {
            "instruction": "What does it mainly do?\nOptions:\n- sell cars\n- lend books",
            "response": "lend books",
        },
    ],
}
MUSEUM: Example = {
    "context": "The river museum closed in 1999 after a flood.",
    "pairs": [{"instruction": "Why did the museum close?", "response": "after a flood"}],
}


def main() -> None:
    """Print a text of each mode."""
    wanted = {"classic", "dialogue", "numbered_questions", "inline_examples", "next_turn", "inverted"}
    for seed in count():
        plan = draw_plan(Draws([LIBRARY], seed), len(LIBRARY["pairs"]))
        mode = "inverted" if plan.inverted else plan.mode
        if mode not in wanted or plan.answer_first:
            continue
        wanted.discard(mode)
        print(f"--- {mode.replace('_', ' ')} (seed {seed}) ---\n{render_example([LIBRARY], seed)}\n")
        if not wanted:
            break
    print(f"--- an M-shot text (M = 2) ---\n{render_example([LIBRARY, MUSEUM], 3)}")


if __name__ == "__main__":
    main()
