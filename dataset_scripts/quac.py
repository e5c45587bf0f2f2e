"""QuAC: dialogues in which a student asks a teacher about a section of Wikipedia.

The context is the section; the turns are its pairs, in their order. Questions that the section does not answer
(CANNOTANSWER) are left out; of several answers the first is taken.
"""

from collections.abc import Iterator

from hub_instructpt.collection import Hub, Licence, Question, Rejected, Release, Row, Source
from hub_instructpt.collection.files import json_items
from hub_instructpt.collection.nested import structs
from hub_instructpt.collection.spans import asked, first_answer


def questions(row: Row) -> Iterator[Question | Rejected]:
    if "questions" in row:
        turns = zip(row["questions"], structs(row["answers"]), strict=True)
        for question, answers in turns:
            yield turn(row["context"], question, first_answer(answers["texts"]))
    else:
        for context, qa in asked(row):
            yield turn(context, qa["question"], first_answer(qa["answers"]))


def turn(context: str, question: str, answer: str) -> Question | Rejected:
    """A turn of a dialogue about a text, in QuAC and in DoQA. A section of QuAC ends in the word CANNOTANSWER."""
    if answer.strip() in ("", "CANNOTANSWER"):
        return Rejected("unanswerable")
    return Question(context.removesuffix("CANNOTANSWER").rstrip(), question, answer)


SOURCE = Source(
    name="Quac",
    title="Dialogues in which a student asks a teacher about a section of Wikipedia.",
    homepage="https://quac.ai/",
    hub=Hub("allenai/quac", configs=("plain_text",), revision="refs/convert/parquet", num_rows=11_567),
    licence=Licence("CC BY-SA 4.0", "cc-by-sa-4.0", share_alike=True),
    citation="""@inproceedings{choi-etal-2018-quac,
  title = {{Q}u{AC}: Question Answering in Context},
  author = {Choi, Eunsol and He, He and Iyyer, Mohit and Yatskar, Mark and Yih, Wen-tau and Choi, Yejin and
    Liang, Percy and Zettlemoyer, Luke},
  booktitle = {Proceedings of EMNLP},
  year = {2018},
  url = {https://aclanthology.org/D18-1241}
}""",
    qa_type="conversational",
    questions=questions,
    example=(
        {
            "dialogue_id": "C_1_q",
            "wikipedia_page_title": "Harbour choir",
            "background": "The choir sings in the harbour.",
            "section_title": "History",
            "context": "The choir was founded by dockers in 1921. It sang on ships. CANNOTANSWER",
            "turn_ids": ["C_1_q#0", "C_1_q#1", "C_1_q#2"],
            "questions": ["Who founded the choir?", "Where did it sing?", "Was it paid?"],
            "followups": [0, 1, 2],
            "yesnos": [2, 2, 2],
            "answers": {
                "texts": [["dockers"], ["It sang on ships."], ["CANNOTANSWER"]],
                "answer_starts": [[26], [42], [60]],
            },
            "orig_answers": {"texts": ["dockers", "It sang on ships.", "CANNOTANSWER"], "answer_starts": [26, 42, 60]},
        },
        {
            "context": "The choir was founded by dockers in 1921. It sang on ships.",
            "QA_list": [
                {"Q": "Who founded the choir?", "A": "dockers"},
                {"Q": "Where did it sing?", "A": "It sang on ships."},
            ],
            "QA_type": "conversational",
            "rc_name": "Quac",
        },
    ),
    release=[Release(f"**/{name}.json", json_items("data")) for name in ("train_v0.2", "val_v0.2", "quac_sample")],
    extractive=True,
)

records = SOURCE.records
