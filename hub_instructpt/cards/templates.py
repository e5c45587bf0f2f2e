"""Templates of cards (cards/*.jinja): one way to fill them, for all kinds.

Keeps true: a value that a template names and nobody gave is an error; text from outside is data, and never run.
A template puts every value through one of these filters:

    md       text within a line or a cell        n        a whole number
    code     text within back ticks               percent  a share
    fence    a line between fences                words    what a count is called
    address  within angle brackets                seconds  a time

Does not know what stands in them.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import jinja2

from hub_instructpt import resources
from hub_instructpt.cards.escaping import address, block, code_span, fenced, markdown
from hub_instructpt.cards.words import words


def render(name: str, values: dict[str, Any]) -> str:
    """Fill the template of that name."""
    return _environment().get_template(name).render(values)


def percent(share: float | None) -> str:
    """A share of 1, in percent."""
    return "–" if share is None else f"{100 * share:.2f} %"


def seconds(number: float) -> str:
    """A time, in the largest unit of which there is at least one and a half."""
    for size, unit in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if number >= 1.5 * size:
            return f"{number / size:,.1f} {unit}"
    return f"{number:,.1f} seconds"


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(resources.find("cards")),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # the page is Markdown; every value goes through a filter of ours
    )
    environment.filters |= {
        "md": markdown, "code": code_span, "fence": fenced, "block": block, "address": address, "n": "{:,}".format,
        "percent": percent, "seconds": seconds, "words": words,
    }  # fmt: skip
    return environment
