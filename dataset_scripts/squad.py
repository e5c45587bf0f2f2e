"""SQuAD 1.1: questions of crowd workers about paragraphs of Wikipedia, each answer a span of its paragraph.

The Hub has a row a question, the release an article; grouped rows {"context", "qas": [{"question", "answer"}]} and flat
rows with a single `answer`, the forms in which parts of the train split circulate, are read too. Of several gold
answers the first is taken.
"""

from collections.abc import Iterator

from hub_instructpt.collection import Hub, Licence, Question, Release, Row, Source
from hub_instructpt.collection.files import json_items
from hub_instructpt.collection.spans import asked, first_answer


def questions(row: Row) -> Iterator[Question]:
    for context, qa in asked(row):
        yield Question(context, qa["question"], qa["answer"] if "answer" in qa else first_answer(qa["answers"]))


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
