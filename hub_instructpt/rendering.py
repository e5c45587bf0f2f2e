"""Rendering: contexts and their pairs become one pre-training text. The wording is data, in templates/.

Keeps true: every instruction and every response stands in the text, and every context does, word for word; all shots
of an example share one style; the same example and seed give the same text, whatever comes before or after it.
Braces in a text are just braces: templates are cut into pieces when loaded, nothing is ever substituted twice.
Does not know engines, rows or files.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from typing import Any

import xxhash
import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from hub_instructpt.errors import HubInstructPTError, InputError
from hub_instructpt.records import Example


class Style(BaseModel):
    """One way to write pairs. Fields as in templates/free_form.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    pair: str
    between: str = Field(pattern=r"^\s+$")

    @field_validator("pair")
    @classmethod
    def _shows_both_once(cls, pair: str) -> str:
        for placeholder in ("{instruction}", "{response}"):
            if pair.count(placeholder) != 1:
                raise ValueError(f"a pair must show {placeholder} exactly once")
        if pair.index("{instruction}") > pair.index("{response}"):
            raise ValueError("the instruction comes before the response")
        return pair

    def write(self, instruction: str, response: str) -> str:
        before, _, rest = self.pair.partition("{instruction}")
        middle, _, after = rest.partition("{response}")
        return f"{before}{instruction}{middle}{response}{after}"


class Styles(BaseModel):
    """A file of styles."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    version: int
    styles: tuple[Style, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _all_differ(self) -> Styles:
        if len(set(self.styles)) != len(self.styles):
            raise ValueError("a style stands there twice")
        return self


@lru_cache(maxsize=1)
def _styles() -> tuple[Style, ...]:
    source = files("hub_instructpt") / "templates" / "free_form.yaml"
    try:
        return Styles.model_validate(yaml.safe_load(source.read_text("utf-8"))).styles
    except ValueError as error:
        raise HubInstructPTError(f"templates/free_form.yaml is not valid: {error}") from None


def render_example(examples: Sequence[Example], seed: int = 0) -> str:
    """The pre-training text of one M-shot example.

    Args:
        examples: contexts with their pairs, in the order of the chain. A context without pairs stands alone.
        seed: another seed gives another style.
    """
    digest = xxhash.xxh64(str(seed).encode())
    for example in examples:
        digest.update(b"\0" + example["context"].encode())
    style = random.Random(digest.intdigest()).choice(_styles())
    shots = [
        style.between.join(
            [example["context"], *(style.write(pair["instruction"], pair["response"]) for pair in example["pairs"])]
        )
        for example in examples
    ]
    return "\n\n".join(shots)


class Render:
    """Turns augmented rows into pre-training texts, one row a chain.

        ds = ds.map(Render(seed=0), batched=True, remove_columns=ds.column_names)

    Args:
        seed: chooses the styles; the same seed gives the same texts.
        text_column: the column that `Augment` read.

    Takes the columns that `Augment` adds; gives `text`, `num_pairs` and `num_shots`. Rows without any text are left
    out. A chain that the map's batch size cuts in two becomes two texts.
    """

    def __init__(self, seed: int = 0, *, text_column: str = "text") -> None:
        self.seed, self.text_column = seed, text_column

    def __getstate__(self) -> dict[str, Any]:
        # `map` caches by this state. A class of an installed package is hashed by its name alone, so the version and
        # the wording must stand here for a change of them to be noticed.
        from hub_instructpt.version import __version__

        return {**self.__dict__, "version": __version__, "styles": [style.model_dump() for style in _styles()]}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.seed, self.text_column = state["seed"], state["text_column"]

    def __call__(self, batch: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
        missing = [c for c in (self.text_column, "pairs", "example_id", "shot_index") if c not in batch]
        if missing:
            raise InputError(
                f"Render needs the column {missing[0]!r}; there are: {', '.join(batch)}.",
                advice="Map Augment over the dataset first.",
            )
        chains: list[list[Example]] = []
        previous = None
        rows = zip(batch[self.text_column], batch["pairs"], batch["example_id"], batch["shot_index"], strict=True)
        for text, pairs, example_id, shot_index in rows:
            if not isinstance(text, str) or not text.strip():
                continue
            if shot_index == 0 or example_id != previous or not chains:
                chains.append([])
            previous = example_id
            chains[-1].append({"context": text, "pairs": list(pairs or ())})
        return {
            "text": [render_example(chain, self.seed) for chain in chains],
            "num_pairs": [sum(len(example["pairs"]) for example in chain) for chain in chains],
            "num_shots": [len(chain) for chain in chains],
        }
