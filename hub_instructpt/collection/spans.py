"""Rows in the form of SQuAD and its kin: articles of paragraphs of questions, or any part of that by itself.

    {"paragraphs": [{"context": …, "qas": [{"question": …, "answers": [{"text": …}]}]}]}
    {"context": …, "qas": […]}          {"context": …, "question": …, "answers": …}

Does not know any dataset.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hub_instructpt.collection.nested import structs
from hub_instructpt.collection.source import Row


def asked(row: Row) -> Iterator[tuple[str, dict[str, Any]]]:
    """Contexts and the objects of the questions on them."""
    for paragraph in row.get("paragraphs", [row]):
        for qa in paragraph.get("qas", [paragraph]):
            yield paragraph["context"], qa


def first_answer(answers: Any) -> str:
    """The first of several gold answers: texts, or structs with a `text` in either nesting; empty where there is none.

    Raises:
        TypeError, KeyError, ValueError: it is none of these.
    """
    if isinstance(answers, list) and all(isinstance(answer, str) for answer in answers):
        return answers[0] if answers else ""
    if isinstance(answers, dict) and not answers.get("text", True):
        return ""
    found = structs(answers)
    text: str = found[0]["text"] if found else ""  # whoever writes the record checks that it is text
    return text
