"""DoQA: dialogues about threads of Stack Exchange on cooking, travel and films.

The context is the post that answers the thread; the turns are its pairs, in their order. Questions that it does not
answer (CANNOTANSWER) are left out; of several answers the first is taken. The Hub has a row a turn.
"""

from collections.abc import Iterator

from hub_instructpt.collection import Hub, Licence, Question, Rejected, Release, Row, Source
from hub_instructpt.collection.files import json_items
from hub_instructpt.collection.spans import asked, first_answer

from .quac import turn


def questions(row: Row) -> Iterator[Question | Rejected]:
    for context, qa in asked(row):
        yield turn(context, qa["question"], first_answer(qa["answers"]))


SOURCE = Source(
    name="DoQA",
    title="Dialogues about threads of Stack Exchange on cooking.",
    homepage="https://ixa.eus/node/12931",
    # Travel and films have test splits only.
    hub=Hub("community-datasets/doqa", configs=("cooking",), num_rows=4_612),
    licence=Licence("CC BY-SA 4.0", "cc-by-sa-4.0", share_alike=True),
    citation="""@inproceedings{campos-etal-2020-doqa,
  title = {{D}o{QA} - Accessing Domain-Specific {FAQ}s via Conversational {QA}},
  author = {Campos, Jon Ander and Otegi, Arantxa and Soroa, Aitor and Deriu, Jan and Cieliebak, Mark and
    Agirre, Eneko},
  booktitle = {Proceedings of ACL},
  year = {2020},
  url = {https://aclanthology.org/2020.acl-main.652}
}""",
    qa_type="conversational",
    questions=questions,
    example=(
        {
            "title": "Keeping bread fresh",
            "background": "My bread dries out within a day.",
            "context": "Keep it in a linen bag. A box of wood does as well.",
            "question": "How do I keep bread fresh?",
            "id": "C_1_q#0",
            "answers": {"text": ["Keep it in a linen bag."], "answer_start": [0]},
            "followup": "y",
            "yesno": "x",
            "orig_answer": {"text": ["Keep it in a linen bag."], "answer_start": [0]},
        },
        {
            "context": "Keep it in a linen bag. A box of wood does as well.",
            "QA_list": [{"Q": "How do I keep bread fresh?", "A": "Keep it in a linen bag."}],
            "QA_type": "conversational",
            "rc_name": "DoQA",
        },
    ),
    release=[Release("**/doqa-*.json", json_items("data"))],
    extractive=True,
)

records = SOURCE.records
