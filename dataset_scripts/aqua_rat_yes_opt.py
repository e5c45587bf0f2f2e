"""AQuA-RAT: algebraic word problems with five options and a rationale.

There is no passage: the context is the problem, and what is asked is its last sentence, where that is a question (else
the whole problem once more). The rationale leads to the answer; a closing remark such as `Answer: B` is left off, since
options have no letters here. Read are the Hub's config `raw`, which is the release, and the tab-separated rows
(problem with options, letter, rationale) in which a part of it circulates.
"""

import re
from collections.abc import Iterator

from hub_instructpt.collection import Hub, Licence, Question, Release, Row, Source
from hub_instructpt.collection.choices import right_option, unlettered
from hub_instructpt.collection.files import json_lines, table_rows
from hub_instructpt.collection.linear import last_question

# `Correct answer - A`, `So the answer is (B).`, `CORRECT OPTION:OPTION E`, or a letter alone on the last line.
_CLOSING = re.compile(
    r"(?:^|(?<=[\s.,;:=]))(?=[^\n]*(?:answer|ans\b|option|choice))"
    r"(?:(?:so|hence|thus|therefore|the|correct|right|answer|ans|option|choice|is|must|be)\b[\s,:=.-]*)+"
    r"\(?[A-E]\)?[\s.!]*$|\n\s*\(?[A-E]\)?\.?\s*$",
    re.IGNORECASE,
)


def questions(row: Row) -> Iterator[Question]:
    problem, options, right = row["question"], row.get("options"), row.get("correct", row.get("answer"))
    rationale = row["rationale"]
    if options is None:
        problem, _, listed = problem.replace("\\n", "\n").partition("\nOptions:\n")
        options, rationale = listed.split("\n"), rationale.replace("\\n", "\n")
    texts = unlettered(options)
    problem = problem.strip()
    yield Question(
        problem,
        last_question(problem),
        right_option(texts, right),
        options=texts,
        rationale=_CLOSING.sub("", rationale),
    )


SOURCE = Source(
    name="AQUA_RAT_yes_opt",
    title="Algebraic word problems with five options and a rationale.",
    homepage="https://github.com/google-deepmind/AQuA",
    hub=Hub("deepmind/aqua_rat", configs=("raw",), num_rows=97_467),
    licence=Licence("Apache-2.0", "apache-2.0"),
    citation="""@inproceedings{ling-etal-2017-program,
  title = {Program Induction by Rationale Generation: Learning to Solve and Explain Algebraic Word Problems},
  author = {Ling, Wang and Yogatama, Dani and Dyer, Chris and Blunsom, Phil},
  booktitle = {Proceedings of ACL},
  year = {2017},
  url = {https://aclanthology.org/P17-1015}
}""",
    qa_type="arithmetic",
    questions=questions,
    example=(
        {
            "question": "A ferry crosses 12 km in 40 minutes. What is its speed in km per hour?",
            "options": ["A)12", "B)16", "C)18", "D)20", "E)24"],
            "rationale": "40 minutes are 2/3 of an hour.\n12 / (2/3) = 18 km per hour.\nAnswer: C",
            "correct": "C",
        },
        {
            "context": "A ferry crosses 12 km in 40 minutes. What is its speed in km per hour?",
            "QA_list": [
                {
                    "Q": "What is its speed in km per hour?\nOptions:\n- 12\n- 16\n- 18\n- 20\n- 24"
                    "\nLet's think step by step.",
                    "A": "40 minutes are 2/3 of an hour.\n12 / (2/3) = 18 km per hour.\nTherefore, the answer is 18",
                }
            ],
            "QA_type": "arithmetic",
            "rc_name": "AQUA_RAT_yes_opt",
        },
    ),
    release=[
        *(Release(f"{split}.json", json_lines) for split in ("train", "dev", "test")),
        Release("aqua_train.tsv", table_rows(header=("question", "answer", "rationale"))),
    ],
    also_called=("AQUA_RAT",),
)

records = SOURCE.records
