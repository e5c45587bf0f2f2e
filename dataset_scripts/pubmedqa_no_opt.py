"""PubMedQA, answered in free words: research questions of abstracts in PubMed, each answered by its conclusion.

The context is the abstract without its conclusion, a paragraph a section, each under its label where there is one.
"""

from collections.abc import Iterator
from itertools import zip_longest

from hub_instructpt.collection import Hub, Licence, Question, Release, Row, Source
from hub_instructpt.collection.files import json_items
from hub_instructpt.collection.linear import passages


def abstract(row: Row) -> str:
    """The sections of an abstract, from the Hub's columns (in either nesting) or the release's."""
    if "CONTEXTS" in row:
        return sections(row["CONTEXTS"], row.get("LABELS", []))
    nested = row["context"]
    if isinstance(nested, list):  # a list of structs
        return sections([part["contexts"] for part in nested], [part.get("labels", "") for part in nested])
    return sections(nested["contexts"], nested.get("labels", []))


def sections(texts: list[str], labels: list[str]) -> str:
    if not isinstance(texts, list) or not isinstance(labels, list):
        raise TypeError("sections that are no list")
    return passages([(label, text) for text, label in zip_longest(texts, labels[: len(texts)], fillvalue="")])


def questions(row: Row) -> Iterator[Question]:
    release = "QUESTION" in row
    asked, answer = (row["QUESTION"], row["LONG_ANSWER"]) if release else (row["question"], row["long_answer"])
    yield Question(abstract(row), asked, answer)


CITATION = """@inproceedings{jin-etal-2019-pubmedqa,
  title = {{P}ub{M}ed{QA}: A Dataset for Biomedical Research Question Answering},
  author = {Jin, Qiao and Dhingra, Bhuwan and Liu, Zhengping and Cohen, William and Lu, Xinghua},
  booktitle = {Proceedings of EMNLP-IJCNLP},
  year = {2019},
  url = {https://aclanthology.org/D19-1259}
}"""
LICENCE = Licence("MIT", "mit", note="The abstracts belong to their publishers.")
HUB = Hub("qiaojin/PubMedQA", configs=("pqa_labeled",), num_rows=1_000)
RELEASE = [Release("**/ori_pqal.json", json_items())]
EXAMPLE: Row = {
    "pubid": 1,
    "question": "Does a shorter fast change the time in hospital?",
    "context": {
        "contexts": ["We compared two lengths of fasting.", "The groups left hospital after 4.0 and 4.1 days."],
        "labels": ["METHODS", "RESULTS"],
        "meshes": ["Fasting"],
        "reasoning_required_pred": ["n", "o"],
        "reasoning_free_pred": ["n", "o"],
    },
    "long_answer": "A shorter fast did not change the time in hospital.",
    "final_decision": "no",
}

SOURCE = Source(
    name="PubMedQA_no_opt",
    title="Research questions of abstracts in PubMed, each answered by its conclusion.",
    homepage="https://pubmedqa.github.io/",
    hub=HUB,
    licence=LICENCE,
    citation=CITATION,
    qa_type="free-form",
    questions=questions,
    example=(
        EXAMPLE,
        {
            "context": "METHODS\nWe compared two lengths of fasting.\n\n"
            "RESULTS\nThe groups left hospital after 4.0 and 4.1 days.",
            "QA_list": [
                {
                    "Q": "Does a shorter fast change the time in hospital?",
                    "A": "A shorter fast did not change the time in hospital.",
                }
            ],
            "QA_type": "free-form",
            "rc_name": "PubMedQA_no_opt",
        },
    ),
    release=RELEASE,
)

records = SOURCE.records
