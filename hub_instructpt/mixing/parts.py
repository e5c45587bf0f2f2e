"""Parts as they are written on a command line: SOURCE[,key=value]…

    corpus/run
    tiiuae/falcon-refinedweb,text=content,weight=4
    instructions.jsonl,form=instructions,question=prompt,response=completion
    collection/,form=collection,repeats=4

Keeps true: a key or value that means nothing is an error that names the right one; proportions are exact fractions.
Does not look at what a source holds.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, get_args

from hub_instructpt.errors import SettingsError

Form = Literal["run", "raw", "instructions", "collection"]
FORMS: tuple[str, ...] = get_args(Form)

KEYS = {
    "form": f"what it is: {', '.join(FORMS)}; found out by looking when not said",
    "name": "what it is called in the mixture",
    "weight": "its share, beside the weights of the others",
    "repeats": "how often it is taken whole, such as 4 or 0.5",
    "limit": "only its first rows",
    "rows": "about how many rows it has, where nobody tells; spreads repeats",
    "text": "column of the text",
    "question": "column of the instruction",
    "response": "column of the response",
    "system": "column of a system prompt, left out when not named",
    "config": "config of a Hub dataset",
    "split": "split of a Hub dataset",
    "revision": "branch, tag or commit of a Hub dataset",
    "license": "its licence, for the card",
    "origin": "Hub id of the dataset that a local part was made from, for the card",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PartSpec:
    """A part as it was asked for; None is what was not said."""

    source: str
    form: Form | None = None
    name: str | None = None
    weight: Fraction | None = None
    repeats: Fraction | None = None
    limit: int | None = None
    rows: int | None = None
    text: str | None = None
    question: str | None = None
    response: str | None = None
    system: str | None = None
    config: str | None = None
    split: str = "train"
    revision: str | None = None
    license: str | None = None
    origin: str | None = None

    def __post_init__(self) -> None:
        if self.form is not None and self.form not in FORMS:
            raise SettingsError(f"form={self.form} is no form of a part.{_meant(self.form, FORMS)}")
        for key in ("weight", "repeats"):
            value = getattr(self, key)
            if value is not None and value <= 0:
                raise SettingsError(f"{key}={value} of {self.source}: it must be greater than 0.")
        for key in ("limit", "rows"):
            value = getattr(self, key)
            if value is not None and value < 1:
                raise SettingsError(f"{key}={value} of {self.source}: it must be at least 1.")
        if self.name is not None and not re.fullmatch(r"[\w.+/-]{1,100}", self.name):
            raise SettingsError(
                f"name={self.name!r} can not be a name.", advice="Letters, digits and . + - _ / make a name."
            )
        of_pairs = [key for key in ("question", "response", "system") if getattr(self, key) is not None]
        if self.text is not None and of_pairs:
            raise SettingsError(f"text= and {of_pairs[0]}= of {self.source} contradict each other.")
        if of_pairs and self.form not in (None, "instructions"):
            raise SettingsError(f"{of_pairs[0]}= of {self.source} is for form=instructions, not form={self.form}.")
        if self.text is not None and self.form not in (None, "raw"):
            raise SettingsError(f"text= of {self.source} is for form=raw, not form={self.form}.")


def parse_part(part: str) -> PartSpec:
    """Read a part as written on the command line.

    Raises:
        SettingsError: a key that there is not, a value that can not be, a key twice.
    """
    # A comma or an equals sign may stand in a path; only `,word=` begins a key.
    source, *pairs = re.split(r",(?=[A-Za-z_-]+=)", part)
    if not source.strip():
        raise SettingsError(f"{part!r} names no source.", advice="A part is SOURCE[,key=value]….")
    values: dict[str, Any] = {}
    for pair in pairs:
        key, _, value = pair.partition("=")
        if key not in KEYS:
            raise SettingsError(f"A part has no key {key!r}.{_meant(key, KEYS)}", advice=f"Keys: {', '.join(KEYS)}.")
        if key in values:
            raise SettingsError(f"{key}= stands twice in {part!r}.")
        if not value.strip():
            raise SettingsError(f"{key}= of {source} is empty.")
        values[key] = value.strip()
    for key in ("weight", "repeats"):
        if key in values:
            values[key] = _fraction(key, values[key], source)
    for key in ("limit", "rows"):
        if key in values:
            if not re.fullmatch(r"-?\d{1,15}", values[key]):
                raise SettingsError(f"{key}={values[key]} of {source} is no number of rows.")
            values[key] = int(values[key])
    return PartSpec(source=source.strip(), **values)


def _fraction(key: str, value: str, source: str) -> Fraction:
    # Bounded, so that exact arithmetic stays cheap: 1e-999 is a fraction too.
    if not re.fullmatch(r"-?(\d{1,12}(\.\d{0,9})?|\.\d{1,9}|\d{1,9}/\d{1,9})", value):
        raise SettingsError(f"{key}={value} of {source} is no number.", advice="Give one such as 3, 0.5 or 1/3.")
    try:
        return Fraction(value.rstrip("."))
    except ZeroDivisionError:
        raise SettingsError(f"{key}={value} of {source} divides by zero.") from None


def _meant(given: str, known: Any) -> str:
    close = difflib.get_close_matches(given, list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""
