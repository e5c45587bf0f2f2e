"""SpartQA: where things stand in scenes of blocks and shapes that a text describes.

One right candidate makes a question with options. Where several are right, they are the answer as a list, without
options; where none is, the question is left out. Questions for yes or no have no candidates. Read are the release (a
scene with all its questions; right ones by number or by name) and rows of one question each.
"""

from collections.abc import Iterator
from typing import Any

from hub_instructpt.collection import Hub, Licence, Question, Rejected, Release, Row, Source
from hub_instructpt.collection.files import json_items


def questions(row: Row) -> Iterator[Question | Rejected]:
    story = row["story"]
    context = "\n".join(story) if isinstance(story, list) else story
    for asked in row.get("questions", [row]):
        yield _asked(context, asked)


def _asked(context: str, asked: dict[str, Any]) -> Question | Rejected:
    candidates = [candidate.strip() for candidate in asked.get("candidate_answers") or ()]
    answer = asked["answer"]
    right = [_named(one, candidates) for one in (answer if isinstance(answer, list) else [answer])]
    if not right or None in right:
        return Rejected("no_right_candidate" if not right else "no_such_option")
    names = [name for name in right if name is not None]
    options = candidates if len(names) == 1 and names[0] in candidates else ()
    return Question(context, asked["question"], ", ".join(names), options=options)


def _named(right: Any, candidates: list[str]) -> str | None:
    """The text of an answer that is given by its number or by its name; None where there is no such candidate."""
    if isinstance(right, str) and candidates and right.strip().isdigit() and right.strip() not in candidates:
        right = int(right)
    if isinstance(right, bool) or not isinstance(right, str | int):
        raise TypeError("an answer that is neither a name nor a number")
    if isinstance(right, int):
        return candidates[right] if 0 <= right < len(candidates) else None
    return right.strip()


SOURCE = Source(
    name="SpartQA",
    title="Where things stand in scenes of blocks and shapes that a text describes.",
    homepage="https://github.com/HLR/SpartQA_generation",
    hub=Hub("tasksource/spartqa-mchoice"),
    licence=Licence("MIT", "mit"),
    citation="""@inproceedings{mirzaee-etal-2021-spartqa,
  title = {{SPARTQA}: A Textual Question Answering Benchmark for Spatial Reasoning},
  author = {Mirzaee, Roshanak and Rajaby Faghihi, Hossein and Ning, Qiang and Kordjamshidi, Parisa},
  booktitle = {Proceedings of NAACL},
  year = {2021},
  url = {https://aclanthology.org/2021.naacl-main.364}
}""",
    qa_type="free-form",
    questions=questions,
    example=(
        {
            "story": ["Block A is above block B. In B there is a small black circle."],
            "questions": [
                {"q_id": 1, "q_type": "YN", "question": "Is B below A?", "answer": ["Yes"], "candidate_answers": ""},
                {
                    "q_id": 2,
                    "q_type": "FB",
                    "question": "Which block has a circle?",
                    "answer": ["B"],
                    "candidate_answers": ["A", "B"],
                },
                {
                    "q_id": 3,
                    "q_type": "FR",
                    "question": "Where may A stand, seen from B?",
                    "answer": [0, 1],
                    "candidate_answers": ["above", "far from", "DK"],
                },
            ],
        },
        {
            "context": "Block A is above block B. In B there is a small black circle.",
            "QA_list": [
                {"Q": "Is B below A?", "A": "Yes"},
                {"Q": "Which block has a circle?\nOptions:\n- A\n- B", "A": "B"},
                {"Q": "Where may A stand, seen from B?", "A": "above, far from"},
            ],
            "QA_type": "free-form",
            "rc_name": "SpartQA",
        },
    ),
    release=[Release("**/human_*.json", json_items("data"))],
)

records = SOURCE.records
