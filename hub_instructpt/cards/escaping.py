"""Text from outside, made fit for a place on a card: names, cells of tables, code, samples.

Keeps true: whatever the text, it stays in its place. Nothing in it is read as Markdown, HTML or one of our marks; no
character of it is unseen, moves the cursor or turns the direction of reading; and it is never long enough to drown the
page.
Does not know cards.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote

LONGEST = 300
"""Characters of a name that a card shows."""
LONGEST_LINE = 10_000
"""Characters of a line of code."""

# Joiners shape words of Persian and Hindi, and families of emoji; they neither hide nor move anything.
_JOINERS = "\u200c\u200d"


def seen(text: str) -> str:
    """Text without what nobody can see, which becomes a space: control characters, marks of direction, line ends."""
    return "".join(c if c.isprintable() or c in _JOINERS else " " for c in text)


def flat(text: object, longest: int = LONGEST) -> str:
    """Text on one line; only the beginning of a very long one."""
    line = seen(str(text)[: longest + 1])
    return line if len(line) <= longest else line[: longest - 1] + "…"


def markdown(text: object) -> str:
    """Text as itself: nothing in it that Markdown or HTML would read as a sign."""
    escaped = re.sub(r"([\\`*_{}\[\]<>()#|~$!&@:])", lambda found: f"&#{ord(found[0])};", flat(text))
    return re.sub(r"(?i)\b(www)\.", r"\1&#46;", escaped)  # some readers make a link of it


def code_span(text: object) -> str:
    """Text for a code span inside a table: no back ticks, bars or comments, and never empty."""
    return re.sub("[`|]|<!--", " ", flat(text)).strip() or " "


def fenced(text: object) -> str:
    """Text for one line of a block between fences of three: nothing that would close it, or one of our parts."""
    return re.sub("`{3,}|<!--", lambda found: " ".join(found[0]), flat(text, LONGEST_LINE))


def block(lines: Iterable[object], language: str = "text") -> str:
    """Lines as a block of code, between fences that are longer than anything like them within."""
    shown = [fenced(line) for line in lines]
    return "\n".join([f"```{language}", *shown, "```"])


def address(text: object) -> str:
    """Text for an address between angle brackets."""
    return re.sub(r"[<>\s|`]", "", flat(text, LONGEST_LINE))


def linked(name: str, prefix: str, on_hub: bool) -> str:
    """A name, with a link to its page where it lies on the Hub; `prefix` is `datasets/` or nothing."""
    if not on_hub or len(name) > LONGEST:
        return markdown(name)
    return f"[{markdown(name)}](https://huggingface.co/{prefix}{quote(name)})"
