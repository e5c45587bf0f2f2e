"""QASC: questions of grade-school science that join two facts, eight options a question.

The context is the two facts, a line each; the fact that joins them (`combinedfact`) is the rationale. Test rows have
neither facts nor answers.
"""

from collections.abc import Iterator

from hub_instructpt.collection import Hub, Licence, Question, Release, Row, Source
from hub_instructpt.collection.choices import by_label
from hub_instructpt.collection.files import json_lines


def questions(row: Row) -> Iterator[Question]:
    asked, choices = row["question"], row.get("choices")
    if isinstance(asked, dict):  # the release
        asked, choices = asked["stem"], asked["choices"]
    options, answer = by_label(choices, row.get("answerKey", ""))
    context = "\n".join(fact.strip() for fact in (row["fact1"], row["fact2"]))
    yield Question(context.strip(), asked, answer, options=options, rationale=row["combinedfact"])


SOURCE = Source(
    name="QASC",
    title="Questions of grade-school science that join two facts, eight options a question.",
    homepage="https://allenai.org/data/qasc",
    hub=Hub("allenai/qasc", num_rows=8_134),
    licence=Licence("CC BY 4.0", "cc-by-4.0"),
    citation="""@inproceedings{khot2020qasc,
  title = {{QASC}: A Dataset for Question Answering via Sentence Composition},
  author = {Khot, Tushar and Clark, Peter and Guerquin, Michal and Jansen, Peter and Sabharwal, Ashish},
  booktitle = {Proceedings of AAAI},
  year = {2020}
}""",
    qa_type="multiple-choice",
    questions=questions,
    example=(
        {
            "id": "3E7TUJ2E",
            "question": "What can warm a greenhouse?",
            "choices": {"text": ["sunlight", "shade", "ice"], "label": ["A", "B", "C"]},
            "answerKey": "A",
            "fact1": "Glass traps the heat of sunlight.",
            "fact2": "A greenhouse is made of glass.",
            "combinedfact": "Sunlight warms a greenhouse.",
            "formatted_question": "What can warm a greenhouse? (A) sunlight (B) shade (C) ice",
        },
        {
            "context": "Glass traps the heat of sunlight.\nA greenhouse is made of glass.",
            "QA_list": [
                {
                    "Q": "What can warm a greenhouse?\nOptions:\n- sunlight\n- shade\n- ice\nLet's think step by step.",
                    "A": "Sunlight warms a greenhouse.\nTherefore, the answer is sunlight",
                }
            ],
            "QA_type": "multiple-choice",
            "rc_name": "QASC",
        },
    ),
    release=[Release(f"**/{split}.jsonl", json_lines) for split in ("train", "dev", "test")],
)

records = SOURCE.records
