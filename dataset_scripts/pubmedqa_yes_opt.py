"""PubMedQA with options: research questions of abstracts in PubMed, answered by yes, no or maybe.

The rows are those of PubMedQA_no_opt; the conclusion of the abstract is the rationale of the answer.
"""

from collections.abc import Iterator

from hub_instructpt.collection import Question, Rejected, Row, Source

from .pubmedqa_no_opt import CITATION, EXAMPLE, HUB, LICENCE, RELEASE, abstract

DECISIONS = ("yes", "no", "maybe")


def questions(row: Row) -> Iterator[Question]:
    release = "QUESTION" in row
    asked, conclusion = (row["QUESTION"], row["LONG_ANSWER"]) if release else (row["question"], row["long_answer"])
    decision = row.get("final_decision", "")
    if not decision.strip():
        raise Rejected("hidden_test_label")
    yield Question(abstract(row), asked, decision, options=DECISIONS, rationale=conclusion)


SOURCE = Source(
    name="PubMedQA_yes_opt",
    title="Research questions of abstracts in PubMed, answered by yes, no or maybe.",
    homepage="https://pubmedqa.github.io/",
    hub=HUB,
    licence=LICENCE,
    citation=CITATION,
    qa_type="multiple-choice",
    questions=questions,
    example=(
        EXAMPLE,
        {
            "context": "METHODS\nWe compared two lengths of fasting.\n\n"
            "RESULTS\nThe groups left hospital after 4.0 and 4.1 days.",
            "QA_list": [
                {
                    "Q": "Does a shorter fast change the time in hospital?\nOptions:\n- yes\n- no\n- maybe"
                    "\nLet's think step by step.",
                    "A": "A shorter fast did not change the time in hospital.\nTherefore, the answer is no",
                }
            ],
            "QA_type": "multiple-choice",
            "rc_name": "PubMedQA_yes_opt",
        },
    ),
    release=RELEASE,
)

records = SOURCE.records
