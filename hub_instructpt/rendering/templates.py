r"""Templates: strings with placeholders, checked when they are loaded and cut into pieces once.

`{instruction}` is a placeholder. `{question|questions}` stands for the first where one thing is spoken of, for the
second where there are several. A full stop after a placeholder is written only where the text that was filled in does
not end a sentence by itself.

Keeps true: a placeholder that is missing, unknown or doubled, an entry that stands there twice, one that is far longer
than the others or joins two of them: each is an error that names the entry. Text that is filled in is never looked at
again, so that braces in it are just braces.
Does not know files, nor what the templates are for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from statistics import median
from typing import Any

from pydantic import BeforeValidator

_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_BY_NUMBER = re.compile(r"\{([^{}|]*)\|([^{}|]*)\}")
_JOINED = re.compile(r"[a-z.!?:;,][A-Z]|[A-Za-z]\{\w|\w\}[A-Za-z]")
# Texts may end in these themselves, or need none of them: instructions are not always questions.
_ENDS_TWICE = re.compile(r"\{(?:instruction|response|reasoning|context)\}[\"')\]]?[?!,;:]")
_SENTENCE_ENDS = tuple(".!?…:;,。！？：；，、؟।")
# What these stand for is never a sentence, and a full stop after it is part of the layout.
_MARKS = ("n", "speaker")
_CLOSERS = " \t\r\n\"')]}»”’*_`"


class Template:
    """A string with placeholders, cut into pieces once and filled in many times."""

    __slots__ = ("_head", "_pieces", "labelled", "source")

    def __init__(self, source: str) -> None:
        self.source = source
        self._head, *rest = _PLACEHOLDER.split(source)
        self._pieces = tuple(
            (name, after[1:], True) if after.startswith(".") and name not in _MARKS else (name, after, False)
            for name, after in zip(rest[::2], rest[1::2], strict=True)
        )
        # It can follow another on the next line, and still be seen to begin.
        self.labelled = bool(self._head.strip()) and "\n\n" not in source

    def fill(self, values: Mapping[str, str]) -> str:
        """The string with the values in place of the placeholders."""
        out = [self._head]
        for name, after, full_stop in self._pieces:
            value = values[name]
            out.append(value)
            if full_stop and not value.rstrip(_CLOSERS).endswith(_SENTENCE_ENDS):
                out.append(".")
            out.append(after)
        return "".join(out)

    def __repr__(self) -> str:
        return f"Template({self.source!r})"


class ByNumber:
    """A template that speaks of one thing or of several."""

    __slots__ = ("_one", "_several")

    def __init__(self, source: str) -> None:
        self._one = Template(_BY_NUMBER.sub(r"\1", source))
        self._several = Template(_BY_NUMBER.sub(r"\2", source))

    def of(self, number: int) -> Template:
        return self._one if number == 1 else self._several


def _check(entries: Any, placeholders: tuple[str, ...], by_number: bool) -> list[str]:
    if not isinstance(entries, list) or not entries:
        raise ValueError("a list with at least one entry must stand here")
    seen: dict[str, int] = {}
    usual = median(len(str(entry)) for entry in entries)
    for number, entry in enumerate(entries, 1):
        where = f"entry {number}, {entry!r:.120},"
        if not isinstance(entry, str) or not entry.strip():
            raise ValueError(f"{where} must be a text")
        if entry != entry.strip():
            raise ValueError(f"{where} begins or ends with a blank")
        if bool(_BY_NUMBER.search(entry)) and not by_number:
            raise ValueError(f"{where} can not depend on a number")
        for form in {_BY_NUMBER.sub(r"\1", entry), _BY_NUMBER.sub(r"\2", entry)}:
            _check_form(form, placeholders, where)
        if len(entry) > max(60, 3.5 * usual):
            raise ValueError(f"{where} is far longer than the others: does it join two?")
        key = normalised(entry)
        if key in seen:
            raise ValueError(f"{where} says the same as entry {seen[key]}")
        seen[key] = number
    for key, number in seen.items():
        if any(key != other and key.startswith(other) and key[len(other) :].strip() in seen for other in seen):
            raise ValueError(f"entry {number}, {entries[number - 1]!r:.120}, joins two others")
    return entries


def _check_form(form: str, placeholders: tuple[str, ...], where: str) -> None:
    found = _PLACEHOLDER.findall(form)
    for name in placeholders:
        if found.count(name) != 1:
            raise ValueError(f"{where} must show {{{name}}} exactly once, not {found.count(name)} times")
    unknown = [name for name in found if name not in placeholders]
    if unknown:
        raise ValueError(f"{where} has an unknown placeholder {{{unknown[0]}}}")
    rest = _PLACEHOLDER.sub("", form)
    if "{" in rest or "}" in rest:
        raise ValueError(f"{where} has a brace that belongs to no placeholder")
    joined = _JOINED.search(form)
    if joined:
        raise ValueError(f"{where} looks like two entries joined at {joined[0]!r}")
    if _ENDS_TWICE.search(form):
        raise ValueError(f"{where} ends a text that may have an end of its own")
    if "{options}" in form and "{options}" not in form.split("\n"):
        raise ValueError(f"{where} must give {{options}} lines of their own")


def normalised(entry: str) -> str:
    """What is left of an entry when blanks and the case of letters do not count."""
    return " ".join(entry.split()).lower()


def template(*placeholders: str) -> BeforeValidator:
    """Reads one entry with these placeholders."""
    return BeforeValidator(lambda value: Template(_check([value], placeholders, by_number=False)[0]))


def templates(*placeholders: str) -> BeforeValidator:
    """Reads a list of entries with these placeholders."""
    return BeforeValidator(lambda value: tuple(map(Template, _check(value, placeholders, by_number=False))))


def templates_by_number(*placeholders: str) -> BeforeValidator:
    """Reads a list of entries that may speak of one thing or of several."""
    return BeforeValidator(lambda value: tuple(map(ByNumber, _check(value, placeholders, by_number=True))))
