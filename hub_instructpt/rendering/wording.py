"""Wording: the sentences and layouts of templates/, one model a file.

Keeps true: what is loaded is whole. An unknown or doubled key, or an entry that is not as templates.py asks, is an
error that names the file and the entry. The digest changes with every change of the wording.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Annotated, Any, Literal, TypeVar

import xxhash
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hub_instructpt.errors import HubInstructPTError
from hub_instructpt.rendering.questions import Kind
from hub_instructpt.rendering.templates import ByNumber, Template, normalised, template, templates, templates_by_number

Templates = tuple[Template, ...]
Sentences = tuple[ByNumber, ...]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


def _all_differ(entries: Sequence[Template]) -> None:
    seen: set[str] = set()
    for entry in entries:
        key = normalised(entry.source)
        if key in seen:
            raise ValueError(f"the entry {entry.source!r} stands there twice")
        seen.add(key)


class _File(_Model):
    version: Literal[1]


class PairTemplates(_File):
    """How pairs of one kind are written: the instruction first, or the answer first.

    Those for questions are used only where every instruction of a text asks one.
    """

    templates: Templates
    for_questions: Templates = ()
    answer_first: Templates

    @cached_property
    def with_questions(self) -> Templates:
        return self.templates + self.for_questions

    @model_validator(mode="after")
    def _lists_differ(self) -> PairTemplates:
        _all_differ(self.with_questions)
        return self


class FreeForm(PairTemplates):
    """templates/free_form.yaml"""

    templates: Annotated[Templates, templates("instruction", "response")]
    for_questions: Annotated[Templates, templates("instruction", "response")]
    answer_first: Annotated[Templates, templates("instruction", "response")]


class WithOptions(PairTemplates):
    """templates/options.yaml"""

    templates: Annotated[Templates, templates("instruction", "options", "response")]
    answer_first: Annotated[Templates, templates("instruction", "options", "response")]


class ChainOfThought(PairTemplates):
    """templates/chain_of_thought.yaml"""

    templates: Annotated[Templates, templates("instruction", "reasoning", "response")]
    for_questions: Annotated[Templates, templates("instruction", "reasoning", "response")]
    answer_first: Annotated[Templates, templates("instruction", "reasoning", "response")]


class OptionsChainOfThought(PairTemplates):
    """templates/options_chain_of_thought.yaml"""

    templates: Annotated[Templates, templates("instruction", "options", "reasoning", "response")]
    answer_first: Annotated[Templates, templates("instruction", "options", "reasoning", "response")]


class Reading(_File):
    """templates/reading.yaml: what leads into a context, and from it to its pairs."""

    reading_starts: Annotated[Templates, templates("context")]
    comprehension_starts: Annotated[Sentences, templates_by_number()]
    comprehension_starts_for_questions: Annotated[Sentences, templates_by_number()]
    question_starts: Annotated[Sentences, templates_by_number()]
    question_starts_for_questions: Annotated[Sentences, templates_by_number()]
    text_starts: Annotated[Templates, templates("context")]

    @cached_property
    def comprehension_starts_with_questions(self) -> Sentences:
        return self.comprehension_starts + self.comprehension_starts_for_questions

    @cached_property
    def question_starts_with_questions(self) -> Sentences:
        return self.question_starts + self.question_starts_for_questions

    @model_validator(mode="after")
    def _lists_differ(self) -> Reading:
        _all_differ([entry.of(2) for entry in self.comprehension_starts_with_questions])
        _all_differ([entry.of(2) for entry in self.question_starts_with_questions])
        return self


class OptionItem(_Model):
    """How a labelled option is listed, and how an answer names it."""

    item: Annotated[Template, template("n", "option")]
    label: Annotated[Template, template("n")]
    both: Annotated[Template, template("n", "option")]


class QuestionItem(_Model):
    """How a numbered question and its answer are listed."""

    question: Annotated[Template, template("n", "item")]
    answer: Annotated[Template, template("n", "item")]


class Items(_File):
    """templates/items.yaml: how options and numbered questions are listed."""

    option_starts: Annotated[Templates, templates()]
    option_items: Annotated[tuple[OptionItem, ...], Field(min_length=1)]
    bullets: Annotated[Templates, templates("option")]
    question_items: Annotated[tuple[QuestionItem, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _looks_differ(self) -> Items:
        _all_differ([item.item for item in self.option_items])
        _all_differ([item.question for item in self.question_items])
        return self


class Modes(_File):
    """templates/modes.yaml: the layouts of the modes that are not classic."""

    speakers: Annotated[tuple[tuple[str, str], ...], Field(min_length=1)]
    turns: Annotated[Templates, templates("speaker", "turn")]
    dialogue_starts: Annotated[Templates, templates()]
    conclusions: Annotated[Templates, templates("reasoning", "response")]
    next_turn: Annotated[Templates, templates("dialogue", "next")]
    numbered: Annotated[Templates, templates("questions", "answers")]
    numbered_answer_first: Annotated[Templates, templates("questions", "answers")]
    inline: Annotated[Sentences, templates_by_number("examples", "last")]
    inline_explained: Annotated[Sentences, templates_by_number("examples", "last")]

    @model_validator(mode="after")
    def _speakers_differ(self) -> Modes:
        seen = set()
        for number, (asks, answers) in enumerate(self.speakers, 1):
            key = normalised(f"{asks} / {answers}")
            if normalised(asks) == normalised(answers) or not (asks.strip() and answers.strip()) or key in seen:
                raise ValueError(f"speakers: entry {number}, {key!r}, must name two speakers that no other entry names")
            if any(len(name) > 30 or set(name) & set("{}\n:") for name in (asks, answers)):
                raise ValueError(f"speakers: entry {number}, {key!r}, must be two short names")
            seen.add(key)
        return self


@dataclass(frozen=True, slots=True)
class Wording:
    """Everything in templates/."""

    pairs: dict[Kind, PairTemplates]
    reading: Reading
    items: Items
    modes: Modes
    digest: str


class _Loader(yaml.SafeLoader):
    """YAML, and a key that stands there twice is an error instead of the loss of the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} stands there twice")
        return super().construct_mapping(node, deep)


_M = TypeVar("_M", bound=_File)


def load_wording(folder: Traversable) -> Wording:
    """Load and check a folder of templates.

    Raises:
        HubInstructPTError: for a file that is missing or not valid; names the file and the entry.
    """
    digest = xxhash.xxh3_128()

    def load(name: str, model: type[_M]) -> _M:
        try:
            content = (folder / name).read_bytes()
            digest.update(b"%s %d\n" % (name.encode(), len(content)) + content)
            return model.model_validate(yaml.load(content, Loader=_Loader))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part + 1 if isinstance(part, int) else part) for part in first["loc"])
            problem = f"{where}: {first['msg'].removeprefix('Value error, ')}" if where else first["msg"]
        except (OSError, ValueError, yaml.YAMLError) as error:
            problem = " ".join(str(error).split())
        raise HubInstructPTError(f"templates/{name} is not valid: {problem}.")

    return Wording(
        pairs={
            "free_form": load("free_form.yaml", FreeForm),
            "options": load("options.yaml", WithOptions),
            "chain_of_thought": load("chain_of_thought.yaml", ChainOfThought),
            "options_chain_of_thought": load("options_chain_of_thought.yaml", OptionsChainOfThought),
        },
        reading=load("reading.yaml", Reading),
        items=load("items.yaml", Items),
        modes=load("modes.yaml", Modes),
        digest=digest.hexdigest(),
    )


@lru_cache(maxsize=1)
def wording() -> Wording:
    """The wording of this package."""
    return load_wording(files("hub_instructpt") / "templates")
