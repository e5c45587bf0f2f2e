"""Contexts that are not plain text become plain text here, each kind in one way.

    table       Title: …            the title, where there is one
                name | year         the header
                Tom | 1969          a line a row; cells of several lines on one, bars inside a cell written as ¦
    dialogue    A: Hello.           a line a turn, with its speaker
                B: Hi.
    passages    First title         each passage under its title, a blank line between two
                Its text …

Keeps true: nothing is shortened, and no cell, turn or passage changes its place. Does not know the wire format.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence


def table(header: Sequence[str], rows: Iterable[Sequence[str]], title: str = "") -> str:
    """A table as lines of cells."""
    lines = [f"Title: {one_line(title)}"] if title.strip() else []
    lines += [" | ".join(one_line(cell).replace("|", "¦") for cell in row) for row in (header, *rows) if row]
    return "\n".join(lines)


def dialogue(turns: Iterable[tuple[str, str]]) -> str:
    """Turns of (speaker, words), a line each; an empty speaker stands for none."""
    said = ((one_line(speaker), one_line(words)) for speaker, words in turns)
    return "\n".join(f"{speaker}: {words}" if speaker else words for speaker, words in said)


def passages(parts: Iterable[tuple[str, str]]) -> str:
    """Passages of (title, text); those without text are left out, an empty title stands for none."""
    shown = ((title.strip(), text.strip()) for title, text in parts)
    return "\n\n".join(f"{title}\n{text}" if title else text for title, text in shown if text)


def one_line(text: str) -> str:
    """A text with all white space folded to single spaces."""
    return " ".join(text.split())


_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"'(])")


def last_question(text: str) -> str:
    """The last sentence of a text that asks something, with what follows it; the whole text where none does.

    For sources whose questions have no passage: the text is the context, and this is what is asked about it.
    """
    sentences = _SENTENCE.split(text.strip())
    for start in range(len(sentences) - 1, -1, -1):
        if "?" in sentences[start]:
            return " ".join(sentences[start:])
    return text.strip()
