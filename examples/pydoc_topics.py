"""Real text that every machine has: the prose of CPython's language reference, as JSON Lines on stdout.

    python examples/pydoc_topics.py > topics.jsonl

One row per topic of `help()` that has 40 words of it, with columns `text` and `title`. Headings, grammar, code and
notes on versions are left out, and lines are joined: a synthesizer asks about sentences.
"""

from __future__ import annotations

import json
import pydoc_data.topics
import re
import sys
from collections.abc import Iterator

SHORTEST = 40  # words
_PROSE = re.compile(r'["“*]?[A-Z].*\.', re.DOTALL)
_VERSION = re.compile(r"(?:New|Changed|Deprecated) (?:in|since) version")


def paragraphs(text: str) -> Iterator[str]:
    """Those that begin and end as sentences do, each on one line."""
    for block in re.split(r"\n\s*\n", text):
        words = re.sub(r"(?<=\w)-\s+(?=\w)", "-", block).split()
        paragraph = " ".join(words)
        if len(words) > 7 and _PROSE.fullmatch(paragraph) and not _VERSION.match(paragraph):
            yield paragraph


def main() -> None:
    """Write the topics, the shortest first, so that a small --limit is quick."""
    topics = {"\n".join(paragraphs(text)): title for title, text in pydoc_data.topics.topics.items()}  # some are equal
    for text, title in sorted(topics.items(), key=lambda topic: (len(topic[0]), topic[0])):
        if len(text.split()) >= SHORTEST:
            sys.stdout.write(json.dumps({"title": title, "text": text}) + "\n")


if __name__ == "__main__":
    main()
