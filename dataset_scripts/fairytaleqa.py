"""FairytaleQA: questions of education experts about sections of children's stories, explicit and implicit.

Source: https://github.com/uci-soe/FairytaleQAData. Licence: Apache-2.0 (the tales: public domain).

Rows in (one story): its questions
    {"question_id": "1", "local-or-sum": "local", "cor_section": "4", "question": "Who gave a ball?",
     "ex-or-im1": "explicit", "answer1": "the King's son", "answer4": "the King's son", …}
and its sections {"section": "4", "text": "…"}. A question on several sections ("4,5") gets their texts joined.
"""

from collections.abc import Iterable, Iterator
from typing import Any

SOURCE = {
    "name": "FairyTaleQA",
    "homepage": "https://github.com/uci-soe/FairytaleQAData",
    "hub_id": "WorkInTheDark/FairytaleQA",
    "licence": "Apache-2.0",
    "qa_type": "free-form",
}


def records(stories: Iterable[tuple[Iterable[dict[str, str]], Iterable[dict[str, str]]]]) -> Iterator[dict[str, Any]]:
    """One record for each section (or joined sections) that has questions, from (questions, sections) of each story."""
    for questions, sections in stories:
        texts = {row["section"].strip(): row["text"].strip() for row in sections}
        grouped: dict[str, dict[str, str]] = {}
        for row in questions:
            wanted = [name.strip() for name in row["cor_section"].split(",")]
            question, answer = row["question"].strip(), row["answer1"].strip()
            if question and answer and all(name in texts for name in wanted):
                context = "\n\n".join(texts[name] for name in wanted)
                grouped.setdefault(context, {}).setdefault(question, answer)
        for context, pairs in grouped.items():
            qa_list = [{"Q": question, "A": answer} for question, answer in pairs.items()]
            yield {"context": context, "QA_list": qa_list, "QA_type": SOURCE["qa_type"], "rc_name": SOURCE["name"]}
