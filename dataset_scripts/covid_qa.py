"""COVID-QA: questions of biomedical experts about scientific articles on the coronavirus, answers as spans.

Source: https://github.com/deepset-ai/COVID-QA. Licence: Apache-2.0 (the articles: their own open licences).

Row in (one article): {"paragraphs": [{"context": "…", "document_id": 630, "qas": [{"question": "What is the main
    cause of …?", "is_impossible": false, "answers": [{"text": "Mother-to-child transmission …"}]}]}]}
Contexts are whole articles, tens of thousands of characters long; whoever trains on them cuts them.
"""

from collections.abc import Iterable, Iterator
from typing import Any

SOURCE = {
    "name": "COVID_QA",
    "homepage": "https://github.com/deepset-ai/COVID-QA",
    "hub_id": "deepset/covid_qa_deepset",
    "licence": "Apache-2.0",
    "qa_type": "extractive",
}


def records(rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """One record for each article, with all its answerable questions."""
    for row in rows:
        for paragraph in row["paragraphs"]:
            pairs: dict[str, str] = {}
            for qa in paragraph["qas"]:
                answer = next((a["text"] for a in qa["answers"]), "")
                if qa["question"].strip() and answer.strip() and not qa.get("is_impossible"):
                    pairs.setdefault(qa["question"].strip(), answer.strip())
            if pairs:
                yield {
                    "context": paragraph["context"],
                    "QA_list": [{"Q": question, "A": answer} for question, answer in pairs.items()],
                    "QA_type": SOURCE["qa_type"],
                    "rc_name": SOURCE["name"],
                }
