"""One JSON document, item by item: releases are single documents of up to some gigabytes.

    {"version": "1.1", "data": [{…}, {…}]}      items(stream, ("data",)) gives each {…}

Keeps true: of the document, one item is held in memory, and a block of text. Items of an object come with their keys.
Does not know rows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import IO, Any

BLOCK = 1 << 20
_BLANKS = re.compile(r"[ \t\r\n]*")
_ENDS = frozenset(" \t\r\n,:]}")
_decode = json.JSONDecoder().raw_decode


class _Text:
    """A document of which a window is in memory. `at` is where reading goes on in it."""

    def __init__(self, stream: IO[str]) -> None:
        self.stream = stream
        self.window = ""
        self.at = self.passed = 0

    def more(self) -> bool:
        """Lengthen the window, at least to twice what is unread in it; False at the end of the document."""
        self.passed += self.at
        self.window = self.window[self.at :]
        self.at = 0
        block = self.stream.read(max(BLOCK, len(self.window)))
        self.window += block
        return bool(block)

    def sign(self) -> str:
        """The next character that is no blank, without passing it."""
        while True:
            found = _BLANKS.match(self.window, self.at)
            assert found is not None  # it matches nothing as well
            self.at = found.end()
            if self.at < len(self.window) or not self.more():
                return self.window[self.at : self.at + 1]

    def expect(self, sign: str) -> None:
        if self.sign() != sign:
            raise self.error(f"{sign!r} is missing")
        self.at += 1

    def value(self) -> Any:
        """The next value, whole."""
        self.sign()
        while True:
            start = self.at
            try:
                value, end = _decode(self.window, start)
            except json.JSONDecodeError as error:
                if self.more():
                    continue
                self.at = min(error.pos - start, len(self.window))
                raise self.error(error.msg) from None
            except RecursionError:
                raise self.error("it is too deep") from None
            if self.window[end : end + 1] in _ENDS:
                self.at = end
                return value
            if not self.more():  # a number may go on beyond the window
                self.at = end - start
                return value

    def members(self) -> Iterator[str]:
        """Keys of the object that begins here; whoever takes one reads or descends into its value before the next."""
        self.expect("{")
        if self.sign() == "}":
            self.at += 1
            return
        while True:
            key = self.value()
            if not isinstance(key, str):
                raise self.error("a key is no string")
            self.expect(":")
            yield key
            if self.sign() == "}":
                self.at += 1
                return
            self.expect(",")

    def elements(self) -> Iterator[Any]:
        """Values of the list that begins here."""
        self.expect("[")
        if self.sign() == "]":
            self.at += 1
            return
        while True:
            yield self.value()
            if self.sign() == "]":
                self.at += 1
                return
            self.expect(",")

    def error(self, what: str) -> ValueError:
        return ValueError(f"it is not JSON: {what} at character {self.passed + self.at + 1:,}")


def items(stream: IO[str], keys: Sequence[str] = ()) -> Iterator[tuple[str | None, Any]]:
    """Items of the list or the object under `keys`, each with its key, which is None in a list.

    Raises:
        ValueError: there is no such place, or what is read is no JSON, with the character where it ceases to be.
    """
    text = _Text(stream)
    for key in keys:
        if text.sign() != "{" or not any(_found(text, member, key) for member in text.members()):
            raise ValueError(f"it has no {key!r}")
    sign = text.sign()
    if sign == "[":
        yield from ((None, item) for item in text.elements())
    elif sign == "{":
        yield from ((member, text.value()) for member in text.members())
    else:
        raise ValueError(f"{keys[-1]!r} is no list" if keys else "it holds no list" if sign else "it is empty")


def _found(text: _Text, member: str, key: str) -> bool:
    """Whether a member is the one; the value of any other is passed over."""
    if member == key:
        return True
    text.value()
    return False
