"""Documents to work on: N texts of about 1.5 kB, the same ones for every client.

    python -m benchmarks.documents N FILE

They are made of the documentation of Python's own modules, so that nothing has to be fetched.
"""

from __future__ import annotations

import json
import pydoc
import random
import sys
from pathlib import Path

WORDS_A_DOCUMENT = 230
TOPICS = (
    "asyncio", "collections", "datetime", "decimal", "email", "functools", "http", "itertools", "json", "logging",
    "pathlib", "random", "shutil", "statistics", "subprocess", "zipfile",
)  # fmt: skip


def write_documents(number: int, path: Path, seed: int = 0) -> None:
    """Write documents as JSON Lines with the columns `id` and `text`; none is like another."""
    words = " ".join(pydoc.plain(pydoc.render_doc(topic)) for topic in TOPICS).split()
    draw = random.Random(seed)
    with path.open("w") as stream:
        for index in range(number):
            at = draw.randrange(len(words) - WORDS_A_DOCUMENT)
            text = f"Document {index}. " + " ".join(words[at : at + WORDS_A_DOCUMENT])
            stream.write(json.dumps({"id": str(index), "text": text[:1500]}) + "\n")


if __name__ == "__main__":
    write_documents(int(sys.argv[1]), Path(sys.argv[2]))
