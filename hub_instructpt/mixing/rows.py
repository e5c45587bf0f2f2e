"""Rows: what of a row matters, and the text that it becomes.

Keeps true: a row that gives no text says why, in one word; lone surrogates become U+FFFD; question and response are
joined by exactly one blank; a collection is rendered in styles that depend on its record and a seed.
Does not know where rows come from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import xxhash

from hub_instructpt.mixing.parts import Form
from hub_instructpt.records import Example, whole_text
from hub_instructpt.rendering import render_example
from hub_instructpt.runs.readers import RawRow

Content = str | list[Example]
"""What is kept of a row until it becomes a text."""

Read = tuple[Callable[[RawRow], tuple[Content, str | None]], Callable[[Content, int], str]]
"""What of a row matters, or the reason why it gives nothing; and the text of that, in the styles of a seed."""


def _usable(value: Any) -> tuple[str, str | None]:
    if value is None:
        return "", "null"
    if not isinstance(value, str):
        return "", "not_a_string"
    return (whole_text(value)[0], None) if value.strip() else ("", "empty")


def _as_it_is(content: Content, seed: int) -> str:
    assert isinstance(content, str)
    return content


def _read_raw(columns: Mapping[str, str]) -> Read:
    return (lambda row: _usable(row.get(columns["text"]))), _as_it_is


def _read_instructions(columns: Mapping[str, str]) -> Read:
    needed = [columns["question"], columns["response"]]
    system = columns.get("system")

    def content(row: RawRow) -> tuple[str, str | None]:
        words = []
        for column in needed:
            text, problem = _usable(row.get(column))
            if problem:
                return "", problem
            words.append(text)
        if system and (prompt := _usable(row.get(system))[0]):
            words.insert(0, prompt)
        # Exactly one blank between them; what stands before the first and after the last is theirs.
        for i in range(len(words) - 1):
            words[i], words[i + 1] = words[i].rstrip(), words[i + 1].lstrip()
        return " ".join(words), None

    return content, _as_it_is


def _read_collection(columns: Mapping[str, str]) -> Read:
    def content(row: RawRow) -> tuple[list[Example], str | None]:
        context, problem = _usable(row.get(columns["context"]))
        pairs = row.get(columns["pairs"])
        if problem:
            return [], problem
        if not isinstance(pairs, list) or not pairs:
            return [], "no_pairs"
        found: Example = {"context": context, "pairs": []}
        for pair in pairs:
            if not isinstance(pair, Mapping):
                return [], "malformed_pairs"
            question, answer = _usable(pair.get("Q")), _usable(pair.get("A"))
            if question[1] or answer[1]:
                return [], "malformed_pairs"
            found["pairs"].append({"instruction": question[0], "response": answer[0]})
        return [found], None

    def write(content: Content, seed: int) -> str:
        assert isinstance(content, list)
        return render_example(content, xxhash.xxh32_intdigest(f"collection/{seed}".encode()))

    return content, write


READ: dict[Form, Callable[[Mapping[str, str]], Read]] = {
    "run": _read_raw, "raw": _read_raw, "instructions": _read_instructions, "collection": _read_collection,
}  # fmt: skip
