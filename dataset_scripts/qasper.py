"""Qasper: questions of readers about papers in language processing, answered from their full text.

The context is the paper: title and abstract, then each section under its name. Of several answers the first is taken:
its spans as a list, its free words, or yes or no; what is unanswerable is left out. Read are the Hub's rows and the
release, and two forms in which parts circulate: questions with their evidence alone, which is their context then, and
papers as one text with lists of questions and answers.
"""

import ast
from collections.abc import Iterator
from typing import Any

from hub_instructpt.collection import Hub, Licence, Question, Rejected, Release, Row, Source
from hub_instructpt.collection.files import json_items, table_rows
from hub_instructpt.collection.linear import passages
from hub_instructpt.collection.nested import structs


def questions(row: Row) -> Iterator[Question | Rejected]:
    if "qas" in row:
        sections = structs(row["full_text"])
        named = [(each["section_name"] or "", "\n".join(each["paragraphs"])) for each in sections]
        context = passages([(row["title"], row["abstract"]), *named])
        for qa in structs(row["qas"]):
            yield _asked(context, qa["question"], [each["answer"] for each in structs(qa["answers"])])
    elif "evidence" in row:
        yield _asked("\n\n".join(row["evidence"]), row["text"], [row])
    else:
        listed = (ast.literal_eval(row[column]) for column in ("questions", "answers"))
        for question, answer in zip(*listed, strict=True):
            known = answer != "Unacceptable"  # what the copy says of answers that are no short span
            yield Question(row["paper"].replace("\t", "\n"), question, answer) if known else Rejected("unanswerable")


def _asked(context: str, question: str, answers: list[dict[str, Any]]) -> Question | Rejected:
    if not answers or answers[0].get("unanswerable"):
        return Rejected("unanswerable")
    first = answers[0]
    if first.get("yes_no") is not None:
        return Question(context, question, "Yes" if first["yes_no"] else "No")
    return Question(context, question, ", ".join(first["extractive_spans"]) or first.get("free_form_answer") or "")


SOURCE = Source(
    name="qasper",
    title="Questions of readers about papers in language processing, answered from their full text.",
    homepage="https://allenai.org/data/qasper",
    hub=Hub("allenai/qasper", revision="refs/convert/parquet", num_rows=888),
    licence=Licence("CC BY 4.0", "cc-by-4.0"),
    citation="""@inproceedings{dasigi-etal-2021-dataset,
  title = {A Dataset of Information-Seeking Questions and Answers Anchored in Research Papers},
  author = {Dasigi, Pradeep and Lo, Kyle and Beltagy, Iz and Cohan, Arman and Smith, Noah A. and Gardner, Matt},
  booktitle = {Proceedings of NAACL},
  year = {2021},
  url = {https://aclanthology.org/2021.naacl-main.365}
}""",
    qa_type="free-form",
    questions=questions,
    example=(
        {
            "id": "2101.00001",
            "title": "Counting Gulls",
            "abstract": "We count gulls.",
            "full_text": {"section_name": ["Method"], "paragraphs": [["Two people count.", "They agree."]]},
            "qas": {
                "question": ["Who counts?"],
                "question_id": ["a"],
                "answers": [
                    {
                        "answer": [
                            {
                                "unanswerable": False,
                                "extractive_spans": ["Two people"],
                                "yes_no": None,
                                "free_form_answer": "",
                                "evidence": ["Two people count."],
                                "highlighted_evidence": ["Two people count."],
                            }
                        ],
                        "annotation_id": ["b"],
                        "worker_id": ["c"],
                    }
                ],
            },
        },
        {
            "context": "Counting Gulls\nWe count gulls.\n\nMethod\nTwo people count.\nThey agree.",
            "QA_list": [{"Q": "Who counts?", "A": "Two people"}],
            "QA_type": "free-form",
            "rc_name": "qasper",
        },
    ),
    release=[
        Release("**/qasper-*-v0.*.json", json_items()),
        Release("**/qasper_sample*.json", json_items(), only_named=True),
        Release("**/dev_question_dict.json", json_items()),
        Release("**/test_1.csv", table_rows(",")),
    ],
)

records = SOURCE.records
