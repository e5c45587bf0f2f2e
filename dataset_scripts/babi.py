"""bAbI: twenty toy tasks of reasoning over short made-up stories.

Questions stand within their stories, and what is asked about may change afterwards: the context of a question is what
was told before it, without the questions. Questions with nothing told between them share their context.
"""

from collections.abc import Iterator
from pathlib import Path

from hub_instructpt.collection import Hub, Licence, Question, Release, Row, Source
from hub_instructpt.collection.files import opened
from hub_instructpt.collection.nested import structs

ASKED = (1, "1", "question")


def questions(row: Row) -> Iterator[Question]:
    told: list[str] = []
    for line in structs(row["story"]):
        if line["type"] in ASKED:
            yield Question("\n".join(told), line["text"], line["answer"])
        else:
            told.append(line["text"].strip())


def stories(path: Path) -> Iterator[Row]:
    """Rows of the release: numbered lines, a story from each 1 on; question, answer and supporting lines by tabs."""
    story: list[dict[str, object]] = []
    with opened(path) as lines:
        for line in lines:
            number, _, text = line.strip().partition(" ")
            if number == "1" and story:
                yield {"story": story}
                story = []
            if not text:
                continue
            asked, *answer = text.split("\t")
            kind = "question" if answer else "context"
            story.append({"id": number, "type": kind, "text": asked.strip(), "answer": answer[0] if answer else ""})
    if story:
        yield {"story": story}


SOURCE = Source(
    name="bAbI",
    title="Twenty toy tasks of reasoning over short made-up stories.",
    homepage="https://research.facebook.com/downloads/babi/",
    hub=Hub(
        "facebook/babi_qa",
        configs=tuple(f"en-10k-qa{task}" for task in range(1, 21)),
        revision="refs/convert/parquet",
    ),
    licence=Licence("CC BY 3.0", "cc-by-3.0"),
    citation="""@misc{weston2015towards,
  title = {Towards {AI}-Complete Question Answering: A Set of Prerequisite Toy Tasks},
  author = {Weston, Jason and Bordes, Antoine and Chopra, Sumit and Rush, Alexander M. and
    van Merri{\\"e}nboer, Bart and Joulin, Armand and Mikolov, Tomas},
  year = {2015},
  eprint = {1502.05698},
  archivePrefix = {arXiv}
}""",
    qa_type="free-form",
    questions=questions,
    example=(
        {
            "story": {
                "id": ["1", "2", "3", "4"],
                "type": [0, 0, 1, 1],
                "text": ["Ann went to the attic.", "Bo took the lamp.", "Where is Ann?", "Who has the lamp?"],
                "supporting_ids": [[], [], ["1"], ["2"]],
                "answer": ["", "", "attic", "Bo"],
            }
        },
        {
            "context": "Ann went to the attic.\nBo took the lamp.",
            "QA_list": [{"Q": "Where is Ann?", "A": "attic"}, {"Q": "Who has the lamp?", "A": "Bo"}],
            "QA_type": "free-form",
            "rc_name": "bAbI",
        },
    ),
    release=[Release("**/qa[0-9]*_*.txt", stories)],
)

records = SOURCE.records
