"""ECQA: the questions of CommonsenseQA with explanations, five options a question.

There is no passage: the context is the question itself. The explanation in free words (`taskB`) is the rationale. Read
are the Hub's rows, the release's table of the same columns, and the tab-separated rows (question with options, answer,
explanation) in which the training part circulates.
"""

from collections.abc import Iterator

from hub_instructpt.collection import Hub, Licence, Question, Rejected, Release, Row, Source
from hub_instructpt.collection.files import json_lines, table_rows


def questions(row: Row) -> Iterator[Question]:
    if "q_text" in row:
        asked, answer, explanation = row["q_text"], row["q_ans"], row["taskB"]
        options = [row[f"q_op{i}"] for i in range(1, 6)]
    else:
        asked, _, listed = row["question"].replace("\\n", "\n").partition("\nOptions:\n- ")
        options, answer, explanation = listed.split("\n- "), row["answer"], row["explanation"].replace("\\n", "\n")
    if not answer.strip():
        raise Rejected("hidden_test_label")
    yield Question(asked, asked, answer, options=options, rationale=explanation)


SOURCE = Source(
    name="ECQA",
    title="Commonsense questions with five options and an explanation in free words.",
    homepage="https://github.com/dair-iitd/ECQA-Dataset",
    hub=Hub("tasksource/ecqa", num_rows=7_598),
    licence=Licence("CDLA-Sharing-1.0", "cdla-sharing-1.0", share_alike=True),
    citation="""@inproceedings{aggarwal-etal-2021-explanations,
  title = {Explanations for {C}ommonsense{QA}: New Dataset and Models},
  author = {Aggarwal, Shourya and Mandowara, Divyanshu and Agrawal, Vishwajeet and Khandelwal, Dinesh and
    Singla, Parag and Garg, Dinesh},
  booktitle = {Proceedings of ACL-IJCNLP},
  year = {2021},
  url = {https://aclanthology.org/2021.acl-long.238}
}""",
    qa_type="multiple-choice",
    questions=questions,
    example=(
        {
            "q_no": "0001",
            "q_concept": "umbrella",
            "q_text": "Where would you leave a wet umbrella?",
            "q_op1": "bed",
            "q_op2": "hallway stand",
            "q_op3": "oven",
            "q_op4": "bookshelf",
            "q_op5": "wallet",
            "q_ans": "hallway stand",
            "taskA_pos": "A stand in the hallway catches the water.",
            "taskA_neg": "A bed must stay dry.",
            "taskB": "A wet umbrella drips. A stand in the hallway is made to catch the water.",
        },
        {
            "context": "Where would you leave a wet umbrella?",
            "QA_list": [
                {
                    "Q": "Where would you leave a wet umbrella?\nOptions:\n- bed\n- hallway stand\n- oven\n"
                    "- bookshelf\n- wallet\nLet's think step by step.",
                    "A": "A wet umbrella drips. A stand in the hallway is made to catch the water."
                    "\nTherefore, the answer is hallway stand",
                }
            ],
            "QA_type": "multiple-choice",
            "rc_name": "ECQA",
        },
    ),
    release=[
        Release("ecqa_train.tsv", table_rows(header=("question", "answer", "explanation"))),
        Release("cqa_data_*.csv", table_rows(",")),
        Release("ecqa.jsonl", json_lines),
    ],
)

records = SOURCE.records
