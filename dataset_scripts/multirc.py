"""MultiRC: paragraphs with questions of several sentences; any number of the candidate answers may be right.

A pair of the collection has one answer, and options one right one, so candidates are not listed as options: the answer
is the first right candidate, further right ones are repetitions of the question, and wrong ones are left out (counted
as `wrong_candidate`). Read are SuperGLUE's rows of one candidate each, those of ERASER (`question || candidate`), and
SuperGLUE's release of a paragraph a line.
"""

from collections.abc import Iterator
from typing import Any

from hub_instructpt.collection import Hub, Licence, Question, Rejected, Release, Row, Source
from hub_instructpt.collection.files import json_lines


def questions(row: Row) -> Iterator[Question | Rejected]:
    if "query_and_answer" in row:
        asked, bars, answer = row["query_and_answer"].partition("||")
        if not bars:
            raise Rejected("no_candidate")
        yield _candidate(row["passage"], asked, answer, row["label"])
    elif isinstance(row.get("passage"), dict):
        for question in row["passage"]["questions"]:
            for answer in question["answers"]:
                yield _candidate(row["passage"]["text"], question["question"], answer["text"], answer.get("label", -1))
    else:
        yield _candidate(row["paragraph"], row["question"], row["answer"], row["label"])


def _candidate(context: str, question: str, answer: str, label: Any) -> Question | Rejected:
    if label in (-1, None):
        return Rejected("hidden_test_label")
    if label not in (0, 1, "0", "1", "False", "True"):
        return Rejected("no_such_label")
    return Question(context, question, answer) if label in (1, "1", "True") else Rejected("wrong_candidate")


SOURCE = Source(
    name="multirc",
    title="Paragraphs of seven genres with questions whose answers draw on several sentences.",
    homepage="https://cogcomp.seas.upenn.edu/multirc/",
    hub=Hub("aps/super_glue", configs=("multirc",), num_rows=27_243),
    licence=Licence(
        "Research and Academic Use License (CogComp)",
        "other",
        non_commercial=True,
        redistributable=False,
        note="The authors' licence is for research and academic use; SuperGLUE states none.",
    ),
    citation="""@inproceedings{khashabi-etal-2018-looking,
  title = {Looking Beyond the Surface: A Challenge Set for Reading Comprehension over Multiple Sentences},
  author = {Khashabi, Daniel and Chaturvedi, Snigdha and Roth, Michael and Upadhyay, Shyam and Roth, Dan},
  booktitle = {Proceedings of NAACL},
  year = {2018},
  url = {https://aclanthology.org/N18-1023}
}""",
    qa_type="free-form",
    questions=questions,
    example=(
        {
            "paragraph": "The orchard was planted in 1820. A storm felled most of it, and the village replanted it.",
            "question": "Who replanted the orchard?",
            "answer": "The village",
            "idx": {"paragraph": 0, "question": 0, "answer": 1},
            "label": 1,
        },
        {
            "context": "The orchard was planted in 1820. A storm felled most of it, and the village replanted it.",
            "QA_list": [{"Q": "Who replanted the orchard?", "A": "The village"}],
            "QA_type": "free-form",
            "rc_name": "multirc",
        },
    ),
    release=[Release(f"**/{split}.jsonl", json_lines) for split in ("train", "val", "test")],
)

records = SOURCE.records
