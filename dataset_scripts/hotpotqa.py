"""HotpotQA: questions that join facts of two articles of Wikipedia, among eight others that distract.

The context is all ten paragraphs, each under its title, in their order. Supporting facts are left out.
"""

from collections.abc import Iterator
from typing import Any

from hub_instructpt.collection import Hub, Licence, Question, Release, Row, Source
from hub_instructpt.collection.files import any_json
from hub_instructpt.collection.linear import passages
from hub_instructpt.collection.nested import structs


def questions(row: Row) -> Iterator[Question]:
    context = passages((title, "".join(sentences)) for title, sentences in _paragraphs(row["context"]))
    yield Question(context, row["question"], row["answer"])


def _paragraphs(context: Any) -> list[tuple[str, list[str]]]:
    """Titles and sentences: structs in either nesting, or the release's pairs."""
    if isinstance(context, list) and context and all(isinstance(pair, list) for pair in context):
        return [(title, sentences) for title, sentences in context]
    return [(each["title"], each["sentences"]) for each in structs(context)]


SOURCE = Source(
    name="HotpotQA",
    title="Questions that join facts of two articles of Wikipedia, among eight others that distract.",
    homepage="https://hotpotqa.github.io/",
    hub=Hub("hotpotqa/hotpot_qa", configs=("distractor",), num_rows=90_447),
    licence=Licence("CC BY-SA 4.0", "cc-by-sa-4.0", share_alike=True),
    citation="""@inproceedings{yang-etal-2018-hotpotqa,
  title = {{H}otpot{QA}: A Dataset for Diverse, Explainable Multi-hop Question Answering},
  author = {Yang, Zhilin and Qi, Peng and Zhang, Saizheng and Bengio, Yoshua and Cohen, William and
    Salakhutdinov, Ruslan and Manning, Christopher D.},
  booktitle = {Proceedings of EMNLP},
  year = {2018},
  url = {https://aclanthology.org/D18-1259}
}""",
    qa_type="extractive",
    questions=questions,
    example=(
        {
            "id": "1",
            "question": "In which river does the town where Ida Holm was born lie?",
            "answer": "Alna",
            "type": "bridge",
            "level": "medium",
            "supporting_facts": {"title": ["Ida Holm", "Sandby"], "sent_id": [0, 0]},
            "context": {
                "title": ["Ida Holm", "Sandby"],
                "sentences": [["Ida Holm was born in Sandby.", " She painted."], ["Sandby lies in the river Alna."]],
            },
        },
        {
            "context": "Ida Holm\nIda Holm was born in Sandby. She painted.\n\nSandby\nSandby lies in the river Alna.",
            "QA_list": [{"Q": "In which river does the town where Ida Holm was born lie?", "A": "Alna"}],
            "QA_type": "extractive",
            "rc_name": "HotpotQA",
        },
    ),
    release=[Release("**/hotpot_*.json", any_json), Release("**/amor_*.jsonl", any_json)],
    extractive=True,
)

records = SOURCE.records
