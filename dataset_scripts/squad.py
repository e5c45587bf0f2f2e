"""SQuAD 1.1: questions of crowd workers about paragraphs of Wikipedia, each answer a span of its paragraph.

The Hub has a row a question, the release an article; grouped rows {"context", "qas": [{"question", "answer"}]} and flat
rows with a single `answer`, the forms in which parts of the train split circulate, are read too. Of several gold
answers the first is taken.
"""

from collections.abc import Iterator
from typing import Any

from hub_instructpt.collection import Hub, Licence, Question, Release, Row, Source
from hub_instructpt.collection.files import json_items


def questions(row: Row) -> Iterator[Question]:
    for paragraph in row.get("paragraphs", [row]):
        for qa in paragraph.get("qas", [paragraph]):
            yield Question(paragraph["context"], qa["question"], _first_answer(qa))


def _first_answer(qa: dict[str, Any]) -> Any:
    if "answer" in qa:
        return qa["answer"]  # whatever it is: the core refuses what is no text
    answers = qa["answers"]
    # A dict of lists (Sequence of a struct, as older exports have it) or a list of dicts.
    texts = answers["text"] if isinstance(answers, dict) else [answer["text"] for answer in answers]
    return texts[0] if texts else ""


SOURCE = Source(
    name="squad",
    title="Questions of crowd workers about paragraphs of Wikipedia, each answer a span of its paragraph.",
    homepage="https://rajpurkar.github.io/SQuAD-explorer/",
    hub=Hub("rajpurkar/squad", configs=("plain_text",), num_rows=87_599),
    licence=Licence("CC BY-SA 4.0", "cc-by-sa-4.0", share_alike=True),
    citation="""@inproceedings{rajpurkar-etal-2016-squad,
  title = {{SQ}u{AD}: 100,000+ Questions for Machine Comprehension of Text},
  author = {Rajpurkar, Pranav and Zhang, Jian and Lopyrev, Konstantin and Liang, Percy},
  booktitle = {Proceedings of EMNLP},
  year = {2016},
  url = {https://aclanthology.org/D16-1264}
}""",
    qa_type="extractive",
    questions=questions,
    example=(
        {
            "id": "5733be284776f41900661182",
            "title": "River_Wharfe",
            "context": "The River Wharfe rises near Beckermonds and joins the Ouse below Cawood.",
            "question": "Where does the Wharfe join the Ouse?",
            "answers": {"text": ["below Cawood"], "answer_start": [59]},
        },
        {
            "context": "The River Wharfe rises near Beckermonds and joins the Ouse below Cawood.",
            "QA_list": [{"Q": "Where does the Wharfe join the Ouse?", "A": "below Cawood"}],
            "QA_type": "extractive",
            "rc_name": "squad",
        },
    ),
    release=[
        Release("*dev-v1.*.json", json_items("data")),
        Release("*train-v1.*.json", json_items("data")),
        Release("train_part_*.json", json_items()),
        Release("grouped_*.json", json_items()),
    ],
    extractive=True,
)

records = SOURCE.records
