"""NLQuAD: questions whose answers are long, about articles of the BBC; each answer a span of its article."""

from collections.abc import Iterator

from hub_instructpt.collection import Hub, Licence, Question, Rejected, Release, Row, Source
from hub_instructpt.collection.files import json_items
from hub_instructpt.collection.spans import asked, first_answer


def questions(row: Row) -> Iterator[Question | Rejected]:
    for context, qa in asked(row):
        answer = first_answer(qa["answers"])
        yield Question(context, qa["question"], answer) if answer.strip() else Rejected("unanswerable")


SOURCE = Source(
    name="NLQuAD",
    title="Questions about news articles whose answers are long spans of them.",
    homepage="https://github.com/ASoleimaniB/NLQuAD",
    hub=Hub("LLukas22/NLQuAD", num_rows=10_259),
    licence=Licence(
        "CC BY-NC",
        "cc-by-nc-4.0",
        non_commercial=True,
        redistributable=False,
        note="The source asks for non-commercial use; the articles belong to the BBC.",
    ),
    citation="""@inproceedings{soleimani-etal-2021-nlquad,
  title = {{NLQ}u{AD}: A Non-Factoid Long Question Answering Data Set},
  author = {Soleimani, Amir and Monz, Christof and Worring, Marcel},
  booktitle = {Proceedings of EACL},
  year = {2021},
  url = {https://aclanthology.org/2021.eacl-main.106}
}""",
    qa_type="extractive",
    questions=questions,
    example=(
        {
            "title": "Bridge closed",
            "date": "3 May 2016",
            "paragraphs": [
                {
                    "context": "The bridge is closed. Why? Its cables were found rusty, and new ones are awaited.",
                    "qas": [
                        {
                            "question": "Why is the bridge closed?",
                            "id": "1",
                            "answers": [
                                {
                                    "text": "Its cables were found rusty, and new ones are awaited.",
                                    "answer_start": 27,
                                    "answer_end": 81,
                                }
                            ],
                        }
                    ],
                }
            ],
        },
        {
            "context": "The bridge is closed. Why? Its cables were found rusty, and new ones are awaited.",
            "QA_list": [
                {
                    "Q": "Why is the bridge closed?",
                    "A": "Its cables were found rusty, and new ones are awaited.",
                }
            ],
            "QA_type": "extractive",
            "rc_name": "NLQuAD",
        },
    ),
    release=[Release(f"**/NLQuAD_{split}.json", json_items("data")) for split in ("train", "eval", "test")],
    extractive=True,
)

records = SOURCE.records
