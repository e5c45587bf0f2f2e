"""ReClor: logical reasoning of admission tests (LSAT, GMAT), four options a question. Test rows have no label."""

from collections.abc import Iterator

from hub_instructpt.collection import Hub, Licence, Question, Release, Row, Source
from hub_instructpt.collection.choices import right_option
from hub_instructpt.collection.files import json_items


def questions(row: Row) -> Iterator[Question]:
    options = row["answers"]
    yield Question(row["context"], row["question"], right_option(options, row.get("label", "")), options=options)


SOURCE = Source(
    name="ReClor",
    title="Logical reasoning of admission tests, four options a question.",
    homepage="https://whyu.me/reclor/",
    hub=Hub("metaeval/reclor", num_rows=4_638),
    licence=Licence(
        "ReClor, for non-commercial research only",
        "other",
        non_commercial=True,
        redistributable=False,
        note="Its authors ask for non-commercial research only; the questions are those of the tests' owners.",
    ),
    citation="""@inproceedings{yu2020reclor,
  title = {{ReClor}: A Reading Comprehension Dataset Requiring Logical Reasoning},
  author = {Yu, Weihao and Jiang, Zihang and Dong, Yanfei and Feng, Jiashi},
  booktitle = {International Conference on Learning Representations},
  year = {2020}
}""",
    qa_type="multiple-choice",
    questions=questions,
    example=(
        {
            "context": "Every bus of the town is electric. The vehicle at the stop burns diesel.",
            "question": "Which one of the following must be true?",
            "answers": [
                "The vehicle at the stop is late.",
                "The vehicle at the stop is no bus of the town.",
                "All vehicles of the town are electric.",
                "The town has one bus.",
            ],
            "label": "1",
            "id_string": "train_0",
        },
        {
            "context": "Every bus of the town is electric. The vehicle at the stop burns diesel.",
            "QA_list": [
                {
                    "Q": "Which one of the following must be true?\nOptions:\n- The vehicle at the stop is late.\n"
                    "- The vehicle at the stop is no bus of the town.\n- All vehicles of the town are electric.\n"
                    "- The town has one bus.",
                    "A": "The vehicle at the stop is no bus of the town.",
                }
            ],
            "QA_type": "multiple-choice",
            "rc_name": "ReClor",
        },
    ),
    release=[Release(f"{split}.json", json_items()) for split in ("train", "val", "test")],
)

records = SOURCE.records
