"""What things are called on a card, in `status` and in messages: counts, reasons, kinds of engines.

Keeps true: the words are data (cards/*.yaml), checked when they are read; a name that has none is said as it is.
Does not know what is being counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import yaml

from hub_instructpt import resources
from hub_instructpt.cards.escaping import LONGEST
from hub_instructpt.errors import CardError

TINY = "hub-instructpt/tiny-synthesizer"
ENGINE_NAMES = {
    "tgi": "text-generation-inference",
    "vllm": "vLLM",
    "sglang": "SGLang",
    "llama.cpp": "llama.cpp",
    "transformers serve": "transformers serve",
    "openai": "OpenAI-compatible server",
    "local": "in process",
}


def engine_name(kind: str) -> str:
    """What users call a kind of engine."""
    return " and ".join(ENGINE_NAMES.get(one, one) for one in kind.split("+"))  # a fleet may have several


def words(name: str) -> str:
    """What a count is called for people. A name with an open end, such as a status, is found by its beginning."""
    name, known = name[:LONGEST], knowledge("words.yaml")
    for key in (name, *(f"{name[:at]}_*" for at, letter in enumerate(name) if letter == "_")):
        if key in known:
            return known[key].replace("*", name[len(key) - 1 :])
    return name.replace("_", " ")


def group(counts: Mapping[str, int], name: str) -> list[tuple[str, int]]:
    """Names and numbers of one group of counts, the largest first."""
    found = [(key.partition("/")[2], number) for key, number in counts.items() if key.startswith(f"{name}/")]
    return sorted(((name, number) for name, number in found if number), key=lambda item: (-item[1], item[0]))


@lru_cache(maxsize=8)
def knowledge(name: str) -> dict[str, str]:
    """A file of cards/ that maps names to words.

    Raises:
        CardError: it holds something else.
    """
    loaded = yaml.safe_load((resources.find("cards") / name).read_text("utf-8"))
    if not isinstance(loaded, dict) or not all(isinstance(v, str) for v in [*loaded, *loaded.values()]):
        raise CardError(f"cards/{name} must map names to words.")
    return loaded
