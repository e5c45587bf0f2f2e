"""QED: questions of Natural Questions with a paragraph of Wikipedia that answers each, and an explanation.

Of several gold answers the first is taken; one of several spans is written as their list. The explanation aligns
phrases of question and paragraph and is no sentence of its own, so it is left out.
"""

from collections.abc import Iterator
from typing import Any

from hub_instructpt.collection import Hub, Licence, Question, Rejected, Release, Row, Source
from hub_instructpt.collection.files import json_lines
from hub_instructpt.collection.nested import structs


def questions(row: Row) -> Iterator[Question]:
    question = row["question_text"] if "question_text" in row else row["question"]
    answer = ", ".join(span["string"].strip() for span in _first(row["original_nq_answers"]))
    if not answer:
        raise Rejected("no_answer")
    yield Question(row["paragraph_text"], question, answer)


def _first(answers: Any) -> list[dict[str, Any]]:
    """The spans of the first answer: in a list of answers of spans, or of spans of which each is an answer."""
    if isinstance(answers, dict):
        return structs(answers)[:1]
    if not isinstance(answers, list):
        raise TypeError("answers that are no list")
    first = answers[0] if answers else []
    return [first] if isinstance(first, dict) and isinstance(first.get("string"), str) else structs(first)


SOURCE = Source(
    name="QED",
    title="Questions of Natural Questions with a paragraph of Wikipedia that answers each.",
    homepage="https://github.com/google-research-datasets/QED",
    hub=Hub("google-research-datasets/qed", num_rows=7_638),
    licence=Licence("CC BY-SA 3.0", "cc-by-sa-3.0", share_alike=True, note="The licence of the text of Wikipedia."),
    citation="""@article{lamm-etal-2021-qed,
  title = {{QED}: A Framework and Dataset for Explanations in Question Answering},
  author = {Lamm, Matthew and Palomaki, Jennimaria and Alberti, Chris and Andor, Daniel and Choi, Eunsol and
    Soares, Livio Baldini and Collins, Michael},
  journal = {Transactions of the Association for Computational Linguistics},
  year = {2021},
  url = {https://aclanthology.org/2021.tacl-1.48}
}""",
    qa_type="extractive",
    questions=questions,
    example=(
        {
            "example_id": 1,
            "title_text": "Lighthouse",
            "url": "",
            "question": "who built the old lighthouse",
            "paragraph_text": "The old lighthouse was built by the widow Berg in 1780 .",
            "sentence_starts": [0],
            "original_nq_answers": [{"start": 31, "end": 45, "string": "the widow Berg"}],
            "annotation": {"explanation_type": "single_sentence"},
        },
        {
            "context": "The old lighthouse was built by the widow Berg in 1780 .",
            "QA_list": [{"Q": "who built the old lighthouse", "A": "the widow Berg"}],
            "QA_type": "extractive",
            "rc_name": "QED",
        },
    ),
    release=[Release(f"**/qed-{split}.jsonlines", json_lines) for split in ("train", "dev")],
    extractive=True,
)

records = SOURCE.records
