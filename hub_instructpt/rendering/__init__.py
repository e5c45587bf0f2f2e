"""Rendering: contexts and their pairs become one pre-training text. The wording is data, in templates/.

    draws.py       every choice by its name, seeded by the content of the example
    questions.py   which of four kinds a pair is, and its parts
    templates.py   strings with placeholders: checked, cut, filled in
    wording.py     what templates/ holds, loaded
    listing.py     labels that count, and options with the answer among them
    style.py       the choices of one text
    modes.py       six shapes of a text, and how often each is drawn
    text.py        one example becomes one text
    mapping.py     `Render`, for `Dataset.map`

Keeps true: every part of every pair and every context stands in the text, word for word; a labelled answer names the
option that stands behind its label. All shots of an example share one style. The same example and seed give the same
text, whatever comes before or after it. Nothing that stands in a text can change how it is rendered.
Does not know engines, rows or files.
"""

from __future__ import annotations

from hub_instructpt.rendering.mapping import Render
from hub_instructpt.rendering.text import render_example

__all__ = ["Render", "render_example"]
