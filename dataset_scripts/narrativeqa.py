"""NarrativeQA: questions about books and films, written and answered from a summary of the plot.

The context is the summary, never the whole book; of the two answers the first is taken. Read are the Hub's rows, the
release (questions in `qaps.csv`, summaries in a file of their own), and grouped rows {"context", "qas": [{"question",
"answer"}]}, a form in which a part of it circulates.
"""

import csv
from collections.abc import Iterator
from pathlib import Path

from hub_instructpt.collection import Hub, Licence, Question, Rejected, Release, Row, Source
from hub_instructpt.collection.files import json_items, opened, table_rows
from hub_instructpt.collection.spans import first_answer


def questions(row: Row) -> Iterator[Question]:
    if "document" in row:
        yield Question(row["document"]["summary"]["text"], row["question"]["text"], first_answer(row["answers"]))
    elif "qas" in row:
        for qa in row["qas"]:
            yield Question(row["context"], qa["question"], qa["answer"])
    else:
        yield Question(row["summary"], row["question"], row["answer1"])


def released(path: Path) -> Iterator[Row | Rejected]:
    """Rows of qaps.csv, each with the summary of its document."""
    places = (path.parent / "summaries.csv", path.parent / "third_party" / "wikipedia" / "summaries.csv")
    found = next((place for place in places if place.is_file()), None)
    summaries: dict[str, str] = {}
    if found is not None:
        with opened(found) as lines:
            summaries = {row["document_id"]: row["summary"] for row in csv.DictReader(lines)}
    for row in table_rows(",")(path):
        summary = summaries.get(row["document_id"])
        yield {**row, "summary": summary} if summary else Rejected("no_summary")


SOURCE = Source(
    name="NarrativeQA",
    title="Questions about books and films, written and answered from a summary of the plot.",
    homepage="https://github.com/google-deepmind/narrativeqa",
    hub=Hub("deepmind/narrativeqa", num_rows=32_747),
    licence=Licence(
        "Apache-2.0", "apache-2.0", share_alike=True, note="The summaries are from Wikipedia, under CC BY-SA."
    ),
    citation="""@article{kocisky-etal-2018-narrativeqa,
  title = {The {N}arrative{QA} Reading Comprehension Challenge},
  author = {Ko{\\v{c}}isk{\\'y}, Tom{\\'a}{\\v{s}} and Schwarz, Jonathan and Blunsom, Phil and Dyer, Chris and
    Hermann, Karl Moritz and Melis, G{\\'a}bor and Grefenstette, Edward},
  journal = {Transactions of the Association for Computational Linguistics},
  year = {2018},
  url = {https://aclanthology.org/Q18-1023}
}""",
    qa_type="free-form",
    questions=questions,
    example=(
        {
            "document": {
                "id": "1",
                "kind": "movie",
                "url": "",
                "summary": {
                    "text": "A cook opens a bakery on a ship and falls in love with its pilot.",
                    "title": "Bread",
                },
                "text": "",
            },
            "question": {"text": "Where is the bakery?", "tokens": ["Where", "is", "the", "bakery", "?"]},
            "answers": [{"text": "On a ship.", "tokens": []}, {"text": "A ship", "tokens": []}],
        },
        {
            "context": "A cook opens a bakery on a ship and falls in love with its pilot.",
            "QA_list": [{"Q": "Where is the bakery?", "A": "On a ship."}],
            "QA_type": "free-form",
            "rc_name": "NarrativeQA",
        },
    ),
    release=[Release("**/qaps.csv", released), Release("**/grouped_*.json", json_items())],
)

records = SOURCE.records
