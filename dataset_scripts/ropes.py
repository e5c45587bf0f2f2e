"""ROPES: reasoning over the effects that a background paragraph describes, in a situation that applies them.

Source: https://allenai.org/data/ropes (Hub: allenai/ropes). Licence: CC BY 4.0.

Row in (one article of the release): {"title": "ropes", "paragraphs": [{"background": "…", "situation": "…",
    "qas": [{"question": "Which cup has more sugar?", "answers": [{"text": "cup B"}]}]}]}
The context is the background and then the situation, a blank line between them.
"""

from collections.abc import Iterable, Iterator
from typing import Any

SOURCE = {
    "name": "ROPES",
    "homepage": "https://allenai.org/data/ropes",
    "hub_id": "allenai/ropes",
    "licence": "CC BY 4.0",
    "qa_type": "extractive",
}


def records(rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """One record for each pair of background and situation, with all its questions."""
    for row in rows:
        for paragraph in row["paragraphs"]:
            pairs: dict[str, str] = {}
            for qa in paragraph["qas"]:
                answer = next((a["text"] for a in qa["answers"]), "")
                if qa["question"].strip() and answer.strip():
                    pairs.setdefault(qa["question"].strip(), answer.strip())
            if pairs:
                yield {
                    "context": f"{paragraph['background'].strip()}\n\n{paragraph['situation'].strip()}",
                    "QA_list": [{"Q": question, "A": answer} for question, answer in pairs.items()],
                    "QA_type": SOURCE["qa_type"],
                    "rc_name": SOURCE["name"],
                }
