"""QED: questions of Natural Questions with a paragraph of Wikipedia that answers each, and an explanation.

Source: https://github.com/google-research-datasets/QED. Licence: CC BY-SA 3.0 (the text of Wikipedia).

Row in: {"question_text": "who got the first nobel prize in physics", "paragraph_text": "The first Nobel Prize …",
    "original_nq_answers": [[{"start": 56, "end": 78, "string": "Wilhelm Conrad Röntgen"}]], "annotation": {…}}
The explanation (`annotation`) is left out; a question without an answer string is left out too.
"""

from collections.abc import Iterable, Iterator
from typing import Any

SOURCE = {
    "name": "QED",
    "homepage": "https://github.com/google-research-datasets/QED",
    "hub_id": "google-research-datasets/qed",
    "licence": "CC BY-SA 3.0",
    "qa_type": "extractive",
}


def records(rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """One record for each paragraph; an answer of several spans is written as their list."""
    grouped: dict[str, dict[str, str]] = {}
    for row in rows:
        spans = next(iter(row["original_nq_answers"]), [])
        answer = ", ".join(span["string"].strip() for span in spans)
        if row["question_text"].strip() and answer:
            grouped.setdefault(row["paragraph_text"], {}).setdefault(row["question_text"].strip(), answer)
    for context, pairs in grouped.items():
        qa_list = [{"Q": question, "A": answer} for question, answer in pairs.items()]
        yield {"context": context, "QA_list": qa_list, "QA_type": SOURCE["qa_type"], "rc_name": SOURCE["name"]}
