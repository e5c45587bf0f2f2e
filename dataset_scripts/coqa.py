"""CoQA: conversations about stories of seven domains, answered in free words.

The context is the story; the turns are its pairs, in their order. Turns answered by `unknown` are left out, and so are
the stories of MCTest and RACE, whose own licences do not let them be passed on. Read are the Hub's rows, the release,
and the instances of Natural Instructions (`story: … , question: …`).
"""

import re
from collections.abc import Iterator

from hub_instructpt.collection import Hub, Licence, Question, Rejected, Release, Row, Source
from hub_instructpt.collection.files import json_items
from hub_instructpt.collection.nested import structs

NOT_PASSED_ON = ("mctest", "race")
_INSTANCE = re.compile(r"story:\s*(?P<story>.*?)[\s,.]*\bquestion:\s*(?P<question>.*)", re.DOTALL)


def questions(row: Row) -> Iterator[Question | Rejected]:
    if "input" in row:
        found = _INSTANCE.fullmatch(row["input"].strip())
        if found is None:
            raise Rejected("no_story")
        yield _turn(found["story"], found["question"], row["output"][0])
        return
    if row.get("source") in NOT_PASSED_ON:
        raise Rejected("source_not_passed_on")
    asked = [each["input_text"] if isinstance(each, dict) else each for each in row["questions"]]
    for question, answer in zip(asked, structs(row["answers"]), strict=True):
        yield _turn(row["story"], question, answer["input_text"])


def _turn(story: str, question: str, answer: str) -> Question | Rejected:
    if answer.strip().lower().rstrip(".") in ("", "unknown"):
        return Rejected("unanswerable")
    return Question(story, question, answer)


SOURCE = Source(
    name="CoQA",
    title="Conversations about stories of several domains, answered in free words.",
    homepage="https://stanfordnlp.github.io/coqa/",
    hub=Hub("stanfordnlp/coqa", num_rows=7_199),
    licence=Licence(
        "CC BY-SA 4.0 and Apache-2.0, by domain",
        "other",
        share_alike=True,
        note="Wikipedia and Gutenberg: CC BY-SA 4.0; CNN: Apache-2.0; MCTest and RACE are left out.",
    ),
    citation="""@article{reddy-etal-2019-coqa,
  title = {{C}o{QA}: A Conversational Question Answering Challenge},
  author = {Reddy, Siva and Chen, Danqi and Manning, Christopher D.},
  journal = {Transactions of the Association for Computational Linguistics},
  year = {2019},
  url = {https://aclanthology.org/Q19-1016}
}""",
    qa_type="conversational",
    questions=questions,
    example=(
        {
            "source": "wikipedia",
            "story": "The tower of the mill was built in 1804 and is used as a library today.",
            "questions": ["When was the tower built?", "And what is it now?", "Who built it?"],
            "answers": {
                "input_text": ["in 1804", "a library", "unknown"],
                "answer_start": [32, 50, -1],
                "answer_end": [39, 62, -1],
            },
        },
        {
            "context": "The tower of the mill was built in 1804 and is used as a library today.",
            "QA_list": [
                {"Q": "When was the tower built?", "A": "in 1804"},
                {"Q": "And what is it now?", "A": "a library"},
            ],
            "QA_type": "conversational",
            "rc_name": "CoQA",
        },
    ),
    release=[Release("**/coqa-*-v1.0.json", json_items("data")), Release("**/task918_*.json", json_items("Instances"))],
)

records = SOURCE.records
