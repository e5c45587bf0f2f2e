"""Style: the choices of one text, drawn when they are first needed.

Keeps true: one style a text. Every choice is a draw of its own; which of them a text needs changes no other.
Does not know the order in which a mode puts things.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cached_property
from typing import NamedTuple

from hub_instructpt.rendering.draws import Draws
from hub_instructpt.rendering.listing import COUNTS, OptionStyle, marks
from hub_instructpt.rendering.questions import Kind, Question
from hub_instructpt.rendering.templates import Template
from hub_instructpt.rendering.wording import Wording

# What asks is spoken of as a question; anything else may be a task as well.
_QUESTION_MARKS = "?？؟"

BARE_READING = 0.5
BARE_COMPREHENSION = 0.5
CLOSE = 0.25
BETWEEN_SHOTS = ("\n\n", "\n\n\n", "\n\n---\n\n", "\n\n***\n\n")


def _asks(question: Question) -> bool:
    return any(mark in question.instruction for mark in _QUESTION_MARKS)


class Shown(NamedTuple):
    """A question as this text shows it: its options listed, its answer as the style names it."""

    kind: Kind
    values: dict[str, str]


class Style:
    """The style of one text.

    Args:
        draws: the draws of the text.
        words: what there is to choose from.
        questions: all questions of the text.
    """

    def __init__(self, draws: Draws, words: Wording, questions: Collection[Question]) -> None:
        self._draws, self._words = draws, words
        self._kinds: set[Kind] = {question.kind for question in questions}
        self._all_ask = all(map(_asks, questions))
        self._chosen: dict[tuple[Kind, bool], Template] = {}
        self.between_shots = draws.pick("between_shots", BETWEEN_SHOTS)

    # -- pairs ---------------------------------------------------------------------------------------------------

    @cached_property
    def _options(self) -> OptionStyle:
        return OptionStyle(self._draws, self._words.items)

    def show(self, question: Question, position: str) -> Shown:
        """Lay out a question. Its place in the text makes the order of its options its own."""
        values = {"instruction": question.instruction, "response": question.response, "reasoning": question.reasoning}
        if question.options:
            options = self._draws.shuffled(f"options/order/{position}", question.options)
            values["options"], values["response"] = self._options.show(options, question.response)
        return Shown(question.kind, values)

    def pair(self, shown: Shown, answer_first: bool) -> str:
        return self._template(shown.kind, answer_first).fill(shown.values)

    def _template(self, kind: Kind, answer_first: bool) -> Template:
        template = self._chosen.get((kind, answer_first))
        if template is None:
            choices = self._words.pairs[kind]
            asked = choices.with_questions if self._all_ask else choices.templates
            among = choices.answer_first if answer_first else asked
            template = self._draws.pick(f"pair/{kind}", among)
            self._chosen[kind, answer_first] = template
        return template

    def join_pairs(self, pairs: Sequence[str], answer_first: bool) -> str:
        return ("\n" if self._close(answer_first) else "\n\n").join(pairs)

    def _close(self, answer_first: bool) -> bool:
        """Whether pairs stand on successive lines: only where each of them is seen to begin."""
        return self._draws.chance("pairs/close", CLOSE) and all(
            self._template(kind, answer_first).labelled for kind in self._kinds
        )

    def ask(self, shown: Shown) -> str:
        """The instruction alone, with its options."""
        options = shown.values.get("options")
        return f"{shown.values['instruction']}\n{options}" if options else shown.values["instruction"]

    def tell(self, shown: Shown) -> str:
        """The response alone, with its reasons."""
        if not shown.values["reasoning"]:
            return shown.values["response"]
        return self._draws.pick("conclusion", self._words.modes.conclusions).fill(shown.values)

    # -- around the pairs ----------------------------------------------------------------------------------------

    def reading_start(self, context: str) -> str:
        """The context, and in half of all texts what leads into it."""
        if self._draws.chance("reading/bare", BARE_READING):
            return context
        return self._draws.pick("reading/start", self._words.reading.reading_starts).fill({"context": context})

    def comprehension_start(self, num_pairs: int) -> str:
        """What leads from the context to its pairs; empty in half of all texts."""
        if self._draws.chance("comprehension/bare", BARE_COMPREHENSION):
            return ""
        reading = self._words.reading
        starts = reading.comprehension_starts_with_questions if self._all_ask else reading.comprehension_starts
        return self._draws.pick("comprehension/start", starts).of(num_pairs).source

    def question_start(self, num_pairs: int) -> str:
        """What leads into pairs that stand before their context."""
        reading = self._words.reading
        starts = reading.question_starts_with_questions if self._all_ask else reading.question_starts
        return self._draws.pick("question/start", starts).of(num_pairs).source

    def text_start(self, context: str) -> str:
        """The context, led into after its pairs."""
        return self._draws.pick("text/start", self._words.reading.text_starts).fill({"context": context})

    # -- conversations -------------------------------------------------------------------------------------------

    def dialogue_start(self) -> str:
        return self._draws.pick("dialogue/start", self._words.modes.dialogue_starts).source

    def turns(self, shown: Shown) -> list[str]:
        """What one speaker asks, and what the other answers."""
        asks, answers = self._draws.pick("dialogue/speakers", self._words.modes.speakers)
        turn = self._draws.pick("dialogue/turn", self._words.modes.turns)
        return [
            turn.fill({"speaker": asks, "turn": self.ask(shown)}),
            turn.fill({"speaker": answers, "turn": self.tell(shown)}),
        ]

    def join_turns(self, turns: Sequence[str]) -> str:
        return self._draws.pick("dialogue/between", ("\n", "\n\n")).join(turns)

    def next_turn(self, dialogue: str, following: str) -> str:
        layout = self._draws.pick("next_turn", self._words.modes.next_turn)
        return layout.fill({"dialogue": dialogue, "next": following})

    # -- lists ---------------------------------------------------------------------------------------------------

    def numbered(self, asked_and_told: Sequence[tuple[str, str]], answer_first: bool) -> str:
        """All instructions and all responses, numbered alike."""
        modes, items = self._words.modes, self._words.items
        layout = self._draws.pick("numbered", modes.numbered_answer_first if answer_first else modes.numbered)
        item = self._draws.pick("numbered/item", items.question_items)
        # Options are not counted in the same way as the questions that they belong to.
        taken = self._options.count if self._kinds & {"options", "options_chain_of_thought"} else ""
        count = self._draws.pick("numbered/count", [count for count in COUNTS if count.lower() != taken.lower()])
        labels = marks(count, len(asked_and_told))
        asked = [item.question.fill({"n": n, "item": ask}) for n, (ask, _) in zip(labels, asked_and_told, strict=True)]
        told = [item.answer.fill({"n": n, "item": tell}) for n, (_, tell) in zip(labels, asked_and_told, strict=True)]
        between = self._draws.pick("numbered/between", ("\n", "\n\n"))
        return layout.fill({"questions": between.join(asked), "answers": between.join(told)})

    def inline(self, examples: str, last: str, num_examples: int) -> str:
        """Worked examples, and one more that is done in the same way."""
        explained = not self._kinds & {"free_form", "options"}
        layouts = self._words.modes.inline_explained if explained else self._words.modes.inline
        layout = self._draws.pick("inline/explained" if explained else "inline", layouts)
        return layout.of(num_examples).fill({"examples": examples, "last": last})
