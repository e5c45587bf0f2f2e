"""The synthesizer's wire format: write a prompt, read a completion.

A prompt, for one context after one worked example (M-shot), with `·` for a space that matters:

    <s>·<CON>·{context of the example}·</CON>\n\n
    <QUE>·{instruction}·<ANS>·{response}·</END>\n\n<QUE>·…·</END></s><s>·<CON>·{context}·</CON>\n\n

The model answers with pairs of the same form. Byte for byte the published format and parsing rules
(instruction-pretrain/instruction-synthesizer; facts of the method, section 1).

Keeps true: text can not forge structure. The markers and the control strings of common tokenizers are *neutralised*
wherever text enters a prompt: a space goes in after their first character (`<s>` becomes `< s>`), so that neither the
parser nor a tokenizer takes them for the real thing. Only the prompt is changed; the raw text stays as it was.
Does not know engines: whether a server adds a BOS of its own is the engine's business.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from hub_instructpt.records import Example, Pair

BOS, EOS = "<s>", "</s>"
DELIMITER = "\n\n"
MARKERS = ("<CON>", "</CON>", "<QUE>", "<ANS>", "</END>")

# Strings that widespread tokenizers turn into a control token wherever they stand in a text.
CONTROL_STRINGS = (
    "<s>", "</s>", "<unk>", "<pad>", "<mask>", "<bos>", "<eos>", "<|begin_of_text|>", "<|end_of_text|>",
    "<|endoftext|>", "<|eot_id|>", "<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>",
    "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|file_sep|>", "<start_of_turn>", "<end_of_turn>",
    "[INST]", "[/INST]",
)  # fmt: skip


@lru_cache(maxsize=64)
def _forgery(extra: tuple[str, ...]) -> tuple[str, re.Pattern[str]]:
    """The characters with which a marker or control string can begin, and what finds one."""
    # One character can not be broken, and blanks at the ends of a control string are not needed to tell it.
    breakable = {s.strip() for s in extra if len(s.strip()) > 1}
    # Longest first, so that one string which begins another can not hide it.
    strings = sorted({*MARKERS, *CONTROL_STRINGS, *breakable}, key=lambda s: (-len(s), s))
    return "".join(sorted({s[0] for s in strings})), re.compile("|".join(re.escape(s) for s in strings))


def neutralise(text: str, extra: Iterable[str] = ()) -> tuple[str, int]:
    """Break every marker and control string in `text`, so that it reads as ordinary text.

    Args:
        text: any text.
        extra: further control strings, such as the special tokens of the model at hand.

    Returns:
        The text, and how many strings were broken. Neutralising twice changes nothing more.
    """
    (beginnings, forgery), broken = _forgery(tuple(extra)), 0
    if not any(character in text for character in beginnings):  # most texts: a search of their own is 20 times faster
        return text, 0
    # Once is enough for the strings listed here. Those of a model may lie within each other: again, until none is left.
    while True:
        text, number = forgery.subn(lambda found: f"{found[0][0]} {found[0][1:]}", text)
        broken += number
        if not number:
            return text, broken


def format_pairs(pairs: Sequence[Pair], extra: Iterable[str] = ()) -> str:
    """Write pairs as the model writes them: `<QUE> {instruction} <ANS> {response} </END>`, joined by a blank line."""
    extra = tuple(extra)
    return DELIMITER.join(
        f"<QUE> {neutralise(pair['instruction'], extra)[0]} <ANS> {neutralise(pair['response'], extra)[0]} </END>"
        for pair in pairs
    )


def format_context(context: str, *, bos: str = BOS, extra: Iterable[str] = ()) -> str:
    """Write a context; an empty one is a bare BOS, as published."""
    if not context:
        return bos
    # The space before <CON> is part of the format.
    return f"{bos} <CON> {neutralise(context, extra)[0]} </CON>{DELIMITER}"


def format_prompt(
    context: str,
    examples: Sequence[Example] = (),
    *,
    bos: str = BOS,
    eos: str = EOS,
    special_tokens: Iterable[str] = (),
) -> str:
    """The prompt that asks the synthesizer for pairs about `context`.

    Args:
        context: the raw text to write pairs for.
        examples: earlier contexts of the same chain with their pairs (M-shot), oldest first; those without pairs
            must not be given.
        bos: begin-of-sequence string of the synthesizer's tokenizer.
        eos: end-of-sequence string, written after the last pair of every example.
        special_tokens: further strings that the synthesizer's tokenizer treats as control tokens.

    Returns:
        A string that carries its own BOS: tokenise it without adding special tokens.
    """
    extra = (bos, eos, *special_tokens)
    shots = [
        format_context(example["context"], bos=bos, extra=extra) + format_pairs(example["pairs"], extra) + eos
        for example in examples
    ]
    return "".join(shots) + format_context(context, bos=bos, extra=extra)


@dataclass(frozen=True, slots=True)
class ParsedCompletion:
    """Pairs read from a completion, and how many pieces of it were dropped for which reason."""

    pairs: list[Pair]
    dropped: Counter[str] = field(default_factory=Counter)


def parse_completion(completion: str) -> ParsedCompletion:
    """Read a completion by the published rules, and count what they drop. Never raises.

    Reasons: `unfinished` (the last piece, cut before its `</END>`), `malformed` (not exactly one `<ANS>`, or not
    beginning with `<QUE>`), `empty_response`, `repeated_instruction` (in any case of letters).
    """
    pieces = completion.split("</END>")
    last = pieces.pop()
    pairs: list[Pair] = []
    seen: set[str] = set()
    dropped: Counter[str] = Counter()
    if last.strip():
        dropped["unfinished"] += 1
    for piece in pieces:
        question, separator, answer = piece.partition("<ANS>")
        question, answer = question.strip(), answer.strip()
        if not separator or "<ANS>" in answer or not question.startswith("<QUE>"):
            dropped["malformed"] += 1
            continue
        if not answer:
            dropped["empty_response"] += 1
            continue
        instruction = question.replace("<QUE>", "").strip()
        key = instruction.lower()
        if key in seen:
            dropped["repeated_instruction"] += 1
            continue
        seen.add(key)
        pairs.append({"instruction": instruction, "response": answer})
    return ParsedCompletion(pairs, dropped)


def parse_pairs(completion: str) -> list[Pair]:
    """Instruction-response pairs of a completion, by the published parsing rules. Never raises."""
    return parse_completion(completion).pairs
