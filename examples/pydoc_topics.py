"""Real text that every machine has: the language reference that ships with CPython, as JSON Lines on stdout.

    python examples/pydoc_topics.py > topics.jsonl

One row per topic of `help()`, with columns `text` and `title`. Sphinx's underlines and references are left as they are.
"""

from __future__ import annotations

import json
import pydoc_data.topics
import sys


def main() -> None:
    """Write the topics, the shortest first, so that a small --limit is quick."""
    for title, text in sorted(pydoc_data.topics.topics.items(), key=lambda topic: (len(topic[1]), topic[0])):
        sys.stdout.write(json.dumps({"title": title, "text": text.strip()}) + "\n")


if __name__ == "__main__":
    main()
