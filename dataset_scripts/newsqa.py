"""NewsQA: questions about articles of CNN, each answer a span of its article.

Read are copies on the Hub and MRQA's rows (texts of answers), the release as a table (ranges of characters by several
workers: the commonest is taken), and the release as one document (the agreed range). Questions that are bad, or that
the article does not answer, are left out.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from hub_instructpt.collection import Hub, Licence, Question, Rejected, Release, Row, Source
from hub_instructpt.collection.files import json_items, json_lines, table_rows
from hub_instructpt.collection.spans import asked, first_answer


def questions(row: Row) -> Iterator[Question | Rejected]:
    if "story_text" in row:
        yield _ranged(row["story_text"], row["question"], _commonest(row["answer_char_ranges"]))
    elif "questions" in row:
        for one in row["questions"]:
            yield _agreed(row["text"], one)
    elif "header" in row:
        raise Rejected("header")  # the first line of MRQA's files
    else:
        for context, qa in asked(row):
            answer = first_answer(qa["answers"])
            yield Question(context, qa["question"], answer) if answer.strip() else Rejected("unanswerable")


def _commonest(workers: str) -> list[tuple[int, int]]:
    """The ranges that most workers gave, as in `196:228|196:202,217:228|None`; none where most gave none."""
    [(ranges, _)] = Counter(workers.split("|")).most_common(1)
    if ranges in ("None", ""):
        return []
    return [(int(start), int(stop)) for start, stop in (each.split(":") for each in ranges.split(","))]


def _agreed(text: str, question: dict[str, Any]) -> Question | Rejected:
    agreed = question["consensus"]
    if agreed.get("badQuestion"):
        return Rejected("bad_question")
    return _ranged(text, question["q"], [] if agreed.get("noAnswer") else [(agreed["s"], agreed["e"])])


def _ranged(text: str, question: str, ranges: list[tuple[int, int]]) -> Question | Rejected:
    if not ranges:
        return Rejected("unanswerable")
    return Question(text, question, ", ".join(text[start:stop].strip() for start, stop in ranges))


SOURCE = Source(
    name="NewsQA",
    title="Questions about articles of CNN, each answer a span of its article.",
    homepage="https://www.microsoft.com/en-us/research/project/newsqa-dataset/",
    hub=Hub("lucadiliello/newsqa"),
    licence=Licence(
        "MIT (the questions); the stories belong to CNN",
        "unknown",
        redistributable=False,
        note="The stories may not be redistributed.",
    ),
    citation="""@inproceedings{trischler-etal-2017-newsqa,
  title = {{N}ews{QA}: A Machine Comprehension Dataset},
  author = {Trischler, Adam and Wang, Tong and Yuan, Xingdi and Harris, Justin and Sordoni, Alessandro and
    Bachman, Philip and Suleman, Kaheer},
  booktitle = {Proceedings of the 2nd Workshop on Representation Learning for NLP},
  year = {2017},
  url = {https://aclanthology.org/W17-2623}
}""",
    qa_type="extractive",
    questions=questions,
    example=(
        {
            "context": "HARBOUR CITY (CNN) -- The ferry will not run on Monday, the company said.",
            "question": "When will the ferry not run?",
            "answers": ["on Monday"],
            "key": "1",
            "labels": [{"start": [45], "end": [53]}],
        },
        {
            "context": "HARBOUR CITY (CNN) -- The ferry will not run on Monday, the company said.",
            "QA_list": [{"Q": "When will the ferry not run?", "A": "on Monday"}],
            "QA_type": "extractive",
            "rc_name": "NewsQA",
        },
    ),
    release=[
        Release("**/combined-newsqa-data-v1.csv", table_rows(",")),
        Release("**/combined-newsqa-data-v1.json", json_items("data")),
        Release("**/NewsQA*.jsonl*", json_lines),
    ],
    extractive=True,
)

records = SOURCE.records
