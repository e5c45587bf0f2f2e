"""TopiOCQA: conversations that change their topic, each turn with the passage of Wikipedia that answers it.

Each turn has a passage of its own, so what was said before can not be seen in other pairs: the context is the passage
under its title and, after a blank line, the conversation so far, a line a turn. Turns without an answer
(UNANSWERABLE) or without their passage are left out.
"""

from collections.abc import Iterator
from typing import Any

from hub_instructpt.collection import Hub, Licence, Question, Rejected, Release, Row, Source
from hub_instructpt.collection.files import json_items
from hub_instructpt.collection.linear import dialogue, passages


def questions(row: Row) -> Iterator[Question]:
    passage: Any = row.get("Gold_passage") or row.get("gold_passage")
    if not passage:
        raise Rejected("no_passage")
    answer = row["Answer"]
    if answer.strip().upper().rstrip(".") in ("", "UNANSWERABLE"):
        raise Rejected("unanswerable")
    said = row.get("Context") or []
    speakers = ("Q", "A") * (len(said) // 2 + 1)
    before = dialogue(zip(speakers, said, strict=False))
    context = passages([(passage.get("title", ""), passage["text"]), ("", before)])
    yield Question(context, row["Question"], answer)


SOURCE = Source(
    name="TopiOCQA",
    title="Conversations that change their topic, each turn with the passage of Wikipedia that answers it.",
    homepage="https://mcgill-nlp.github.io/topiocqa/",
    hub=Hub("McGill-NLP/TopiOCQA"),
    licence=Licence("CC BY-NC-SA 4.0", "cc-by-nc-sa-4.0", share_alike=True, non_commercial=True),
    citation="""@article{adlakha-etal-2022-topiocqa,
  title = {{T}opi{OCQA}: Open-domain Conversational Question Answering with Topic Switching},
  author = {Adlakha, Vaibhav and Dhuliawala, Shehzaad and Suleman, Kaheer and de Vries, Harm and Reddy, Siva},
  journal = {Transactions of the Association for Computational Linguistics},
  year = {2022},
  url = {https://aclanthology.org/2022.tacl-1.27}
}""",
    qa_type="conversational",
    questions=questions,
    example=(
        {
            "Conversation_no": 1,
            "Turn_no": 2,
            "Question": "when was it rebuilt?",
            "Answer": "In 1911.",
            "Topic": "Harbour",
            "Topic_section": "History",
            "Rationale": "It burnt down in 1909 and was rebuilt two years later, in 1911.",
            "is_nq": False,
            "Context": ["where is the old warehouse?", "In the harbour."],
            "Gold_passage": {
                "id": "wiki:1",
                "title": "Harbour [SEP] History",
                "text": "The warehouse burnt down in 1909 and was rebuilt two years later, in 1911.",
            },
        },
        {
            "context": "Harbour [SEP] History\n"
            "The warehouse burnt down in 1909 and was rebuilt two years later, in 1911.\n\n"
            "Q: where is the old warehouse?\nA: In the harbour.",
            "QA_list": [{"Q": "when was it rebuilt?", "A": "In 1911."}],
            "QA_type": "conversational",
            "rc_name": "TopiOCQA",
        },
    ),
    release=[Release(f"**/topiocqa_{split}.json", json_items()) for split in ("train", "dev", "valid")],
)

records = SOURCE.records
