"""SQuAD 1.1: questions of crowd workers about paragraphs of Wikipedia, each answer a span of its paragraph.

Source: https://rajpurkar.github.io/SQuAD-explorer/ (Hub: rajpurkar/squad). Licence: CC BY-SA 4.0.

Row in (one article of the release):
    {"title": "…", "paragraphs": [{"context": "…", "qas": [{"question": "…", "answers": [{"text": "…"}]}]}]}
Flat rows {"context", "question", "answer"} and grouped rows {"context", "qas": [{"question", "answer"}]}, the two
forms in which parts of the train split circulate, are read too.
"""

from collections.abc import Iterable, Iterator
from typing import Any

SOURCE = {
    "name": "squad",
    "homepage": "https://rajpurkar.github.io/SQuAD-explorer/",
    "hub_id": "rajpurkar/squad",
    "licence": "CC BY-SA 4.0",
    "qa_type": "extractive",
}


def _pairs(row: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    for paragraph in row.get("paragraphs", [row]):
        for qa in paragraph.get("qas", [paragraph]):
            answer = qa["answer"] if "answer" in qa else next((a["text"] for a in qa["answers"]), "")
            yield paragraph["context"], qa["question"], answer


def records(rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """One record for each paragraph, with all its questions; of several gold answers the first."""
    grouped: dict[str, dict[str, str]] = {}
    for row in rows:
        for context, question, answer in _pairs(row):
            if question.strip() and answer.strip():
                grouped.setdefault(context, {}).setdefault(question.strip(), answer.strip())
    for context, pairs in grouped.items():
        qa_list = [{"Q": question, "A": answer} for question, answer in pairs.items()]
        yield {"context": context, "QA_list": qa_list, "QA_type": SOURCE["qa_type"], "rc_name": SOURCE["name"]}
