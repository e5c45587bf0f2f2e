"""CosmosQA: commonsense questions about everyday narratives from blogs, four options a question.

An option may say that none of the others is right; it is one like any other. Test rows have no label.
"""

from collections.abc import Iterator

from hub_instructpt.collection import Hub, Licence, Question, Release, Row, Source
from hub_instructpt.collection.choices import right_option
from hub_instructpt.collection.files import json_lines, table_rows


def questions(row: Row) -> Iterator[Question]:
    options = [row[f"answer{i}"] for i in range(4)]
    yield Question(row["context"], row["question"], right_option(options, row.get("label", "")), options=options)


SOURCE = Source(
    name="CosmosQA",
    title="Commonsense questions about everyday narratives, four options a question.",
    homepage="https://wilburone.github.io/cosmos/",
    hub=Hub("allenai/cosmos_qa", num_rows=25_262),
    licence=Licence("CC BY 4.0", "cc-by-4.0", note="As its card on the Hub says; its repository states none."),
    citation="""@inproceedings{huang-etal-2019-cosmos,
  title = {Cosmos {QA}: Machine Reading Comprehension with Contextual Commonsense Reasoning},
  author = {Huang, Lifu and Le Bras, Ronan and Bhagavatula, Chandra and Choi, Yejin},
  booktitle = {Proceedings of EMNLP-IJCNLP},
  year = {2019},
  url = {https://aclanthology.org/D19-1243}
}""",
    qa_type="multiple-choice",
    questions=questions,
    example=(
        {
            "id": "a##b##c",
            "context": "We missed the last train and the hotel was full, so we walked around until it got light.",
            "question": "Why did they walk around?",
            "answer0": "They had nowhere to sleep .",
            "answer1": "They wanted to exercise .",
            "answer2": "They were looking for a lost dog .",
            "answer3": "None of the above choices .",
            "label": 0,
        },
        {
            "context": "We missed the last train and the hotel was full, so we walked around until it got light.",
            "QA_list": [
                {
                    "Q": "Why did they walk around?\nOptions:\n- They had nowhere to sleep .\n"
                    "- They wanted to exercise .\n- They were looking for a lost dog .\n- None of the above choices .",
                    "A": "They had nowhere to sleep .",
                }
            ],
            "QA_type": "multiple-choice",
            "rc_name": "CosmosQA",
        },
    ),
    release=[
        *(Release(f"**/{split}.csv", table_rows(",")) for split in ("train", "valid")),
        Release("**/test.jsonl", json_lines),
    ],
)

records = SOURCE.records
