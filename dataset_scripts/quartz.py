"""QuaRTz: questions about qualitative relations, each with the sentence that states the relation, two options."""

from collections.abc import Iterator

from hub_instructpt.collection import Hub, Licence, Question, Release, Row, Source
from hub_instructpt.collection.choices import by_label
from hub_instructpt.collection.files import json_lines


def questions(row: Row) -> Iterator[Question]:
    asked, choices = row["question"], row.get("choices")
    if isinstance(asked, dict):  # the release
        asked, choices = asked["stem"], asked["choices"]
    options, answer = by_label(choices, row.get("answerKey", ""))
    yield Question(row["para"], asked, answer, options=options)


SOURCE = Source(
    name="QuaRTz",
    title="Questions about qualitative relations, each with the sentence that states the relation, two options.",
    homepage="https://allenai.org/data/quartz",
    hub=Hub("allenai/quartz", num_rows=2_696),
    licence=Licence("CC BY 4.0", "cc-by-4.0"),
    citation="""@inproceedings{tafjord-etal-2019-quartz,
  title = {{Q}ua{RT}z: An Open-Domain Dataset of Qualitative Relationship Questions},
  author = {Tafjord, Oyvind and Gardner, Matt and Lin, Kevin and Clark, Peter},
  booktitle = {Proceedings of EMNLP-IJCNLP},
  year = {2019},
  url = {https://aclanthology.org/D19-1608}
}""",
    qa_type="multiple-choice",
    questions=questions,
    example=(
        {
            "id": "QRQA-1",
            "question": "If a pan is made thicker, the time it takes to heat up will",
            "choices": {"text": ["increase", "decrease"], "label": ["A", "B"]},
            "answerKey": "A",
            "para": "The thicker a pan is, the longer it takes to heat up.",
            "para_id": "QRSent-1",
        },
        {
            "context": "The thicker a pan is, the longer it takes to heat up.",
            "QA_list": [
                {
                    "Q": "If a pan is made thicker, the time it takes to heat up will\nOptions:\n"
                    "- increase\n- decrease",
                    "A": "increase",
                }
            ],
            "QA_type": "multiple-choice",
            "rc_name": "QuaRTz",
        },
    ),
    release=[Release(f"**/{split}.jsonl", json_lines) for split in ("train", "dev", "test")],
)

records = SOURCE.records
