"""Multiple choice, as sources write it: options with and without letters, and the right one by letter or by number.

Keeps true: the wording of an option is not changed, but for the letter before it. A right one that is not there is a
`Rejected`, never another option. Does not know any dataset.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from hub_instructpt.collection.nested import structs
from hub_instructpt.collection.source import Question, Rejected, Row

_LETTER = re.compile(r"\s*(?:\(\s*[A-Z]\s*\)|[A-Z]\s*[).:])\s*")


def unlettered(options: Sequence[str]) -> list[str]:
    """Options without `A)`, `(A)`, `A.` or `A:` before them, where each of them has its own letter there."""
    found = [_LETTER.match(option) for option in options]
    own = [match is not None and chr(ord("A") + i) in match[0] for i, match in enumerate(found)]
    if not all(own):
        return list(options)
    return [option[match.end() :] for option, match in zip(options, found, strict=True) if match is not None]


def right_option(options: Sequence[str], right: Any) -> str:
    """The option that is right, told by its letter (either case) or by its number from 0; also as a string.

    Raises:
        Rejected: `hidden_test_label` for an empty or negative one, `no_such_option` for one that is not there.
        TypeError: it is neither a letter nor a number.
    """
    if isinstance(right, str):
        right = right.strip().strip("()").upper()
        if not right:
            raise Rejected("hidden_test_label")
        right = int(right) if right.lstrip("-").isdigit() else ord(right) - ord("A")
    if isinstance(right, bool) or not isinstance(right, int):
        raise TypeError("neither a letter nor a number")
    if right == -1:
        raise Rejected("hidden_test_label")
    if not 0 <= right < len(options):
        raise Rejected("no_such_option")
    return options[right]


def exam(row: Row) -> Iterator[Question | Rejected]:
    """Questions of an examination (RACE and its kin): a row a question, or a file an article with all of them."""
    if "questions" not in row:
        yield Question(
            row["article"], row["question"], right_option(row["options"], row["answer"]), options=row["options"]
        )
        return
    for question, options, right in zip(row["questions"], row["options"], row["answers"], strict=True):
        try:
            yield Question(row["article"], question, right_option(options, right), options=options)
        except Rejected as rejected:
            yield rejected


def by_label(choices: Any, right: str) -> tuple[list[str], str]:
    """Texts of labelled choices, and the text of the one whose label is `right`.

    Raises:
        Rejected: as `right_option` does.
    """
    labelled = structs(choices)
    if not right.strip():
        raise Rejected("hidden_test_label")
    for choice in labelled:
        if choice["label"] == right:
            return [each["text"] for each in labelled], choice["text"]
    raise Rejected("no_such_option")
