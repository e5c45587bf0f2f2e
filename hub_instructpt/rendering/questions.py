r"""Questions: what kind of pair a pair is, and its parts.

    How many in ten days?\nLet's think step by step.     300 a day make 3000.\nTherefore, the answer is 3000
    What is it for?\nOptions:\n- sell cars\n- lend books                                          lend books

The published rules of the synthesizer's collection, with one difference: a pair that is not well-formed for its kind
is a free-form pair, shown as it is, where the published code drops it.

Keeps true: the parts together hold every word of the pair, but for the cues of its kind.
Does not know templates.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from hub_instructpt.records import Pair

Kind = Literal["free_form", "options", "chain_of_thought", "options_chain_of_thought"]
KINDS: tuple[Kind, ...] = ("free_form", "options", "chain_of_thought", "options_chain_of_thought")

THINK = "\nLet's think step by step."
THEREFORE = "\nTherefore, the answer is "
OPTIONS = "\nOptions:\n- "
NEXT_OPTION = "\n- "


class Question(NamedTuple):
    """A pair, taken apart. `options` holds the response, where there are options."""

    kind: Kind
    instruction: str
    response: str
    options: tuple[str, ...] = ()
    reasoning: str = ""


def read_pair(pair: Pair) -> Question:
    """Take a pair apart. Never raises."""
    instruction, response, reasoning = pair["instruction"], pair["response"], ""
    thinks = THINK in instruction or THEREFORE in response
    has_options = OPTIONS in instruction
    as_it_is = Question("free_form", instruction, response)
    if not (thinks or has_options):
        return as_it_is
    if thinks:
        pieces = response.split(THEREFORE)
        if not instruction.endswith(THINK) or len(pieces) != 2:
            return as_it_is
        instruction = instruction.removesuffix(THINK)
        reasoning, response = pieces[0].strip(), pieces[1].strip()
        if not (instruction.strip() and reasoning and response):
            return as_it_is
    if not has_options:
        return Question("chain_of_thought", instruction, response, (), reasoning)
    instruction, *lists = instruction.split(OPTIONS)
    if len(lists) != 1 or not instruction.strip():
        return as_it_is
    options = tuple(option.strip() for option in lists[0].split(NEXT_OPTION))
    response = response.strip()
    # Two options that read the same would leave it open which of them is right.
    if len(options) < 2 or not all(options) or len(set(options)) < len(options) or response not in options:
        return as_it_is
    return Question("options_chain_of_thought" if thinks else "options", instruction, response, options, reasoning)
