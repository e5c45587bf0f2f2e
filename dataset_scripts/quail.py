"""QuAIL: fiction, news, blogs and user stories, some eighteen questions each, four options a question.

That a question can not be answered is one of its options, and stays one.
"""

from collections.abc import Iterator

from hub_instructpt.collection import Hub, Licence, Question, Release, Row, Source
from hub_instructpt.collection.choices import right_option
from hub_instructpt.collection.files import json_lines


def questions(row: Row) -> Iterator[Question]:
    options = row["answers"]
    yield Question(row["context"], row["question"], right_option(options, row["correct_answer_id"]), options=options)


SOURCE = Source(
    name="quail",
    title="Texts of four genres with questions of nine types, four options a question.",
    homepage="https://github.com/text-machine-lab/quail",
    hub=Hub("textmachinelab/quail", num_rows=10_246),
    licence=Licence("CC BY-NC-SA 4.0", "cc-by-nc-sa-4.0", share_alike=True, non_commercial=True),
    citation="""@inproceedings{rogers2020getting,
  title = {Getting Closer to {AI} Complete Question Answering: A Set of Prerequisite Real Tasks},
  author = {Rogers, Anna and Kovaleva, Olga and Downey, Matthew and Rumshisky, Anna},
  booktitle = {Proceedings of AAAI},
  year = {2020}
}""",
    qa_type="multiple-choice",
    questions=questions,
    example=(
        {
            "id": "f001_0",
            "context_id": "f001",
            "question_id": "0",
            "domain": "fiction",
            "metadata": {"author": "", "title": "", "url": ""},
            "context": "Rosa locked the shop and walked home through the rain.",
            "question": "What did Rosa do before she walked home?",
            "question_type": "Temporal_order",
            "answers": ["not enough information", "She locked the shop.", "She ate.", "She slept."],
            "correct_answer_id": 1,
        },
        {
            "context": "Rosa locked the shop and walked home through the rain.",
            "QA_list": [
                {
                    "Q": "What did Rosa do before she walked home?\nOptions:\n- not enough information\n"
                    "- She locked the shop.\n- She ate.\n- She slept.",
                    "A": "She locked the shop.",
                }
            ],
            "QA_type": "multiple-choice",
            "rc_name": "quail",
        },
    ),
    release=[Release("**/*.jsonl", json_lines)],
)

records = SOURCE.records
