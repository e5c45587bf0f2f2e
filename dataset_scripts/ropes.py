"""ROPES: reasoning over the effects that a background paragraph describes, in a situation that applies them.

The context is the background and then the situation, a blank line between them. Test rows have no answers.
"""

from collections.abc import Iterator
from typing import Any

from hub_instructpt.collection import Hub, Licence, Question, Rejected, Release, Row, Source
from hub_instructpt.collection.files import json_items
from hub_instructpt.collection.linear import passages
from hub_instructpt.collection.nested import structs


def questions(row: Row) -> Iterator[Question | Rejected]:
    for paragraph in row.get("paragraphs", [row]):
        context = passages([("", paragraph["background"]), ("", paragraph["situation"])])
        for qa in paragraph.get("qas", [paragraph]):
            yield _asked(context, qa)


def _asked(context: str, qa: dict[str, Any]) -> Question | Rejected:
    answers = structs(qa["answers"])
    return Question(context, qa["question"], answers[0]["text"]) if answers else Rejected("hidden_test_label")


SOURCE = Source(
    name="ROPES",
    title="Reasoning over the effects that a background paragraph describes, in a situation that applies them.",
    homepage="https://allenai.org/data/ropes",
    hub=Hub("allenai/ropes", num_rows=10_924),
    licence=Licence("CC BY 4.0", "cc-by-4.0"),
    citation="""@inproceedings{lin-etal-2019-reasoning,
  title = {Reasoning Over Paragraph Effects in Situations},
  author = {Lin, Kevin and Tafjord, Oyvind and Clark, Peter and Gardner, Matt},
  booktitle = {Proceedings of the 2nd Workshop on Machine Reading for Question Answering},
  year = {2019},
  url = {https://aclanthology.org/D19-5808}
}""",
    qa_type="extractive",
    questions=questions,
    example=(
        {
            "id": "1",
            "background": "Salt lowers the temperature at which water freezes.",
            "situation": "Of two puddles, only the northern one was salted. The night was cold.",
            "question": "Which puddle froze first?",
            "answers": {"text": ["southern"]},
        },
        {
            "context": "Salt lowers the temperature at which water freezes.\n\n"
            "Of two puddles, only the northern one was salted. The night was cold.",
            "QA_list": [{"Q": "Which puddle froze first?", "A": "southern"}],
            "QA_type": "extractive",
            "rc_name": "ROPES",
        },
    ),
    release=[Release("*train-v1*.json", json_items("data")), Release("*dev-v1*.json", json_items("data"))],
    extractive=True,
)

records = SOURCE.records
