"""TriviaQA: questions of quizzes, with pages of Wikipedia and of the web that hold their answers.

The context is all pages of a question, each under its title; the answer is the value that the quiz gives, whatever its
aliases. The release has its pages in files of their own, beside the questions or in one archive with them.
"""

import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hub_instructpt.collection import Hub, Licence, Question, Rejected, Release, Row, Source
from hub_instructpt.collection.linear import passages
from hub_instructpt.collection.nested import structs


def questions(row: Row) -> Iterator[Question]:
    pages = [(each["title"], each["wiki_context"]) for each in structs(row.get("entity_pages") or [])]
    pages += [(each["title"], each["search_context"]) for each in structs(row.get("search_results") or [])]
    context = passages(pages)
    if not context:
        raise Rejected("no_evidence")
    if not row.get("answer"):
        raise Rejected("hidden_test_label")
    yield Question(context, row["question"], row["answer"]["value"])


def released(path: Path) -> Iterator[Row | Rejected]:
    """Rows of a file of questions, with the pages in `evidence/` beside its folder."""
    folder = path.parent.parent / "evidence"

    def page(name: str) -> str:
        file = folder / name
        return file.read_text("utf-8", "replace") if file.is_file() else ""

    yield from _rows(json.loads(path.read_text("utf-8")), page)


def archived(path: Path) -> Iterator[Row | Rejected]:
    """Rows of an archive with `qa/` and `evidence/`."""
    with tarfile.open(path) as archive:
        members = {member.name.removeprefix("./"): member for member in archive if member.isfile()}

        def text(name: str) -> str:
            stream = archive.extractfile(members[name]) if name in members else None
            return stream.read().decode("utf-8", "replace") if stream else ""

        for name in sorted(members):
            if name.endswith(".json") and "qa/" in name:
                root = name.rpartition("qa/")[0]
                yield from _rows(json.loads(text(name)), lambda page, root=root: text(f"{root}evidence/{page}"))


def _rows(document: Any, page: Callable[[str], str]) -> Iterator[Row | Rejected]:
    for item in document["Data"]:
        if not isinstance(item, dict):
            yield Rejected("not_an_object")
            continue
        answer = item.get("Answer")
        yield {
            "question": item["Question"],
            "question_id": item["QuestionId"],
            "answer": {"value": answer["Value"]} if answer else None,
            "entity_pages": _pages(item.get("EntityPages"), "wiki_context", "wikipedia", page),
            "search_results": _pages(item.get("SearchResults"), "search_context", "web", page),
        }


def _pages(listed: Any, column: str, folder: str, page: Callable[[str], str]) -> list[dict[str, str]]:
    return [{"title": each["Title"], column: page(f"{folder}/{each['Filename']}")} for each in listed or ()]


SOURCE = Source(
    name="TriviaQA",
    title="Questions of quizzes, with pages of Wikipedia and of the web that hold their answers.",
    homepage="https://nlp.cs.washington.edu/triviaqa/",
    hub=Hub("mandarjoshi/trivia_qa", configs=("rc",), num_rows=138_384),
    licence=Licence(
        "Apache-2.0 (the questions); pages keep their own rights",
        "unknown",
        redistributable=False,
        note="Pages of Wikipedia are under CC BY-SA; those of the web belong to their owners.",
    ),
    citation="""@inproceedings{joshi-etal-2017-triviaqa,
  title = {{T}rivia{QA}: A Large Scale Distantly Supervised Challenge Dataset for Reading Comprehension},
  author = {Joshi, Mandar and Choi, Eunsol and Weld, Daniel and Zettlemoyer, Luke},
  booktitle = {Proceedings of ACL},
  year = {2017},
  url = {https://aclanthology.org/P17-1147}
}""",
    qa_type="extractive",
    questions=questions,
    example=(
        {
            "question": "Which bird stands on the arms of Sandby?",
            "question_id": "tc_1",
            "question_source": "",
            "entity_pages": {
                "doc_source": ["TagMe"],
                "filename": ["Sandby.txt"],
                "title": ["Sandby"],
                "wiki_context": ["Sandby is a town. Its arms show a heron."],
            },
            "search_results": {
                "description": [],
                "filename": [],
                "rank": [],
                "title": [],
                "url": [],
                "search_context": [],
            },
            "answer": {"aliases": ["Heron", "Herons"], "type": "WikipediaEntity", "value": "Heron"},
        },
        {
            "context": "Sandby\nSandby is a town. Its arms show a heron.",
            "QA_list": [{"Q": "Which bird stands on the arms of Sandby?", "A": "Heron"}],
            "QA_type": "extractive",
            "rc_name": "TriviaQA",
        },
    ),
    release=[
        Release("**/qa/*train.json", released),
        Release("**/qa/*dev.json", released),
        Release("**/triviaqa-*.tgz", archived),
        Release("**/triviaqa-*.tar.gz", archived),
    ],
    extractive=True,
)

records = SOURCE.records
