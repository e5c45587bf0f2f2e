"""From rows to records: questions are checked, written in the wire format, and grouped by their context.

Keeps true: what `source.py` says of a record; every question left out is counted with its reason; contexts come in the
order in which they first appear. Does not know files, or which dataset it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from hub_instructpt.collection.source import Question, Record, Rejected, Row, Source

MALFORMED = (KeyError, TypeError, ValueError, IndexError, AttributeError)
MARKERS = ("<CON>", "</CON>", "<QUE>", "<ANS>", "</END>")


def written(question: Question) -> tuple[str, str]:
    """A question and its answer in the wire format: options and rationale inside.

    Raises:
        Rejected: when something is empty, holds a marker, or does not fit together.
    """
    asked, answer = question.question.strip(), question.answer.strip()
    rationale, options = question.rationale.strip(), [" ".join(option.split()) for option in question.options]
    if not question.context.strip():
        raise Rejected("empty_context")
    if not asked:
        raise Rejected("empty_question")
    if not answer:
        raise Rejected("empty_answer")
    whole = "\0".join([question.context, asked, answer, rationale, *options])
    if any(marker in whole for marker in MARKERS):
        raise Rejected("marker_in_text")
    if options:
        answer = " ".join(answer.split())
        if "" in options or len(set(options)) < len(options):
            raise Rejected("unusable_options")
        if answer not in options:
            raise Rejected("answer_not_an_option")
        asked += "\nOptions:\n- " + "\n- ".join(options)
    if rationale:
        asked += "\nLet's think step by step."
        answer = f"{rationale}\nTherefore, the answer is {answer}"
    return asked, answer


def convert(source: Source, rows: Iterable[Row], counts: Counter[str] | None = None) -> Iterator[Record]:
    """Records of rows, grouped in memory."""
    counts = Counter() if counts is None else counts
    grouped: dict[str, dict[str, str]] = {}
    for row in rows:
        counts["rows/read"] += 1
        try:
            for question in source.questions(row):
                try:
                    if isinstance(question, Rejected):
                        raise question
                    asked, answer = written(question)
                except Rejected as rejected:
                    counts[f"questions_rejected/{rejected.reason}"] += 1
                    continue
                pairs = grouped.setdefault(question.context.strip(), {})
                counts["questions_rejected/repeated_on_context"] += asked in pairs
                pairs.setdefault(asked, answer)
        except Rejected as rejected:
            counts[f"rows_rejected/{rejected.reason}"] += 1
        except MALFORMED as error:
            counts[f"rows_rejected/malformed_{type(error).__name__}"] += 1
    for context, pairs in grouped.items():
        yield {
            "context": context,
            "QA_list": [{"Q": question, "A": answer} for question, answer in pairs.items()],
            "QA_type": source.qa_type,
            "rc_name": source.name,
        }
