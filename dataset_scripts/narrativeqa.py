"""NarrativeQA: questions about books and films, written and answered from a summary of the plot.

Source: https://github.com/google-deepmind/narrativeqa. Licence: Apache-2.0 (the summaries: Wikipedia, CC BY-SA).

Row in: {"document": {"summary": {"text": "…"}}, "question": {"text": "…"}, "answers": [{"text": "…"}, {"text": "…"}]}
Grouped rows {"context": "…", "qas": [{"question": "…", "answer": "…"}]}, a form in which a part of it circulates,
are read too. The context is the summary, never the whole book.
"""

from collections.abc import Iterable, Iterator
from typing import Any

SOURCE = {
    "name": "NarrativeQA",
    "homepage": "https://github.com/google-deepmind/narrativeqa",
    "hub_id": "deepmind/narrativeqa",
    "licence": "Apache-2.0",
    "qa_type": "free-form",
}


def _pairs(row: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    if "document" in row:
        answer = next((a["text"] for a in row["answers"]), "")
        yield row["document"]["summary"]["text"], row["question"]["text"], answer
    else:
        for qa in row["qas"]:
            yield row["context"], qa["question"], qa["answer"]


def records(rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """One record for each summary, with all its questions; of the two gold answers the first."""
    grouped: dict[str, dict[str, str]] = {}
    for row in rows:
        for context, question, answer in _pairs(row):
            if question.strip() and answer.strip():
                grouped.setdefault(context.strip(), {}).setdefault(question.strip(), answer.strip())
    for context, pairs in grouped.items():
        qa_list = [{"Q": question, "A": answer} for question, answer in pairs.items()]
        yield {"context": context, "QA_list": qa_list, "QA_type": SOURCE["qa_type"], "rc_name": SOURCE["name"]}
