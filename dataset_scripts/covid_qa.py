"""COVID-QA: questions of biomedical experts about scientific articles on the coronavirus, answers as spans.

Contexts are whole articles, tens of thousands of characters long; whoever trains on them cuts them. Questions that are
marked as impossible are left out. The Hub has a row a question, the release an article with all its paragraphs.
"""

from collections.abc import Iterator

from hub_instructpt.collection import Hub, Licence, Question, Rejected, Release, Row, Source
from hub_instructpt.collection.files import json_items
from hub_instructpt.collection.spans import asked, first_answer


def questions(row: Row) -> Iterator[Question | Rejected]:
    for context, qa in asked(row):
        answer = first_answer(qa["answers"])
        answered = answer.strip() and not qa.get("is_impossible")
        yield Question(context, qa["question"], answer) if answered else Rejected("unanswerable")


SOURCE = Source(
    name="COVID_QA",
    title="Questions of biomedical experts about scientific articles on the coronavirus.",
    homepage="https://github.com/deepset-ai/COVID-QA",
    hub=Hub("deepset/covid_qa_deepset", num_rows=2_019),
    licence=Licence("Apache-2.0", "apache-2.0", note="The articles have open licences of their own."),
    citation="""@inproceedings{moller-etal-2020-covid,
  title = {{COVID}-{QA}: A Question Answering Dataset for {COVID}-19},
  author = {M{\\"o}ller, Timo and Reina, Anthony and Jayakumar, Raghavan and Pietsch, Malte},
  booktitle = {Proceedings of the 1st Workshop on NLP for COVID-19 at ACL 2020},
  year = {2020},
  url = {https://aclanthology.org/2020.nlpcovid19-acl.18}
}""",
    qa_type="extractive",
    questions=questions,
    example=(
        {
            "document_id": 1,
            "context": "The samples were kept at four degrees for two days and then frozen.",
            "question": "How long were the samples kept before they were frozen?",
            "is_impossible": False,
            "id": 7,
            "answers": {"text": ["two days"], "answer_start": [41]},
        },
        {
            "context": "The samples were kept at four degrees for two days and then frozen.",
            "QA_list": [{"Q": "How long were the samples kept before they were frozen?", "A": "two days"}],
            "QA_type": "extractive",
            "rc_name": "COVID_QA",
        },
    ),
    release=[Release("**/*[cC][oO][vV][iI][dD]*QA.json", json_items("data"))],
    extractive=True,
)

records = SOURCE.records
