"""DREAM: dialogues of English examinations, three options a question.

The context is the dialogue, a line a turn, each with its speaker as the source writes it (`M: …`, `W: …`). The Hub has
a row a question, the release a list of [turns, questions, id].
"""

import json
from collections.abc import Iterator
from pathlib import Path

from hub_instructpt.collection import Hub, Licence, Question, Rejected, Release, Row, Source
from hub_instructpt.collection.files import opened
from hub_instructpt.collection.linear import dialogue


def questions(row: Row) -> Iterator[Question]:
    context = dialogue(("", turn) for turn in row["dialogue"])
    for asked in row.get("questions", [row]):
        yield Question(context, asked["question"], asked["answer"], options=asked["choice"])


def dialogues(path: Path) -> Iterator[Row | Rejected]:
    """Rows of the release."""
    with opened(path) as stream:
        for item in json.load(stream):
            if isinstance(item, list) and len(item) == 3:
                yield {"dialogue": item[0], "questions": item[1], "id": item[2]}
            else:
                yield Rejected("not_a_dialogue")


SOURCE = Source(
    name="dream",
    title="Dialogues of English examinations, three options a question.",
    homepage="https://dataset.org/dream/",
    hub=Hub("dataset-org/dream", num_rows=6_116),
    licence=Licence(
        "DREAM, for non-commercial research only",
        "other",
        non_commercial=True,
        redistributable=False,
        note="Its licence file allows non-commercial research only.",
    ),
    citation="""@article{sun-etal-2019-dream,
  title = {{DREAM}: A Challenge Data Set and Models for Dialogue-Based Reading Comprehension},
  author = {Sun, Kai and Yu, Dian and Chen, Jianshu and Yu, Dong and Choi, Yejin and Cardie, Claire},
  journal = {Transactions of the Association for Computational Linguistics},
  year = {2019},
  url = {https://aclanthology.org/Q19-1014}
}""",
    qa_type="multiple-choice",
    questions=questions,
    example=(
        {
            "id": 0,
            "dialogue_id": "4-1",
            "dialogue": ["W: Did you post the parcel?", "M: No, the post office was closed. I'll go tomorrow."],
            "question": "When will the man post the parcel?",
            "choice": ["Today.", "Tomorrow.", "Never."],
            "answer": "Tomorrow.",
        },
        {
            "context": "W: Did you post the parcel?\nM: No, the post office was closed. I'll go tomorrow.",
            "QA_list": [
                {"Q": "When will the man post the parcel?\nOptions:\n- Today.\n- Tomorrow.\n- Never.", "A": "Tomorrow."}
            ],
            "QA_type": "multiple-choice",
            "rc_name": "dream",
        },
    ),
    release=[Release(f"**/{split}.json", dialogues) for split in ("train", "dev", "test")],
)

records = SOURCE.records
