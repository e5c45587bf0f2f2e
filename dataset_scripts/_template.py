"""NAME: what it asks about, in one sentence.

To add a dataset, copy this file to dataset_scripts/<its name in lower case>.py and fill it in; nothing else is needed.
In a package of your own, declare it in pyproject.toml instead:

    [project.entry-points."hub_instructpt.sources"]
    my_dataset = "my_package.my_dataset:SOURCE"

Then `hub-instructpt collect my_dataset --out DIR` makes it, and says by field what is wrong with the declaration.
Say here what is done with several gold answers, with questions that can not be answered, and what the context is where
the source has no passage.
"""

from collections.abc import Iterator

from hub_instructpt.collection import Hub, Licence, Question, Rejected, Release, Row, Source
from hub_instructpt.collection.files import json_items


def questions(row: Row) -> Iterator[Question | Rejected]:
    """The questions of one row. A missing column or a wrong type may simply raise: the row is counted as malformed.

    Questions on one context come together by themselves, from whichever rows. Options are written without letters, in
    the source's order, and the answer is the text of the right one; a rationale leads to the answer.
    """
    if row["label"] == -1:
        raise Rejected("hidden_test_label")  # the whole row; `yield Rejected(…)` leaves out one question of it
    options = row["options"]
    yield Question(row["passage"], row["question"], options[row["label"]], options=options)


SOURCE = Source(
    name="my_dataset",  # the folder, and the config
    title="Questions about passages, each with two options.",
    homepage="https://example.org/my_dataset",
    # One commit, where you know it. For a repo that still holds a loading script: revision="refs/convert/parquet".
    hub=Hub("my-name/my_dataset", configs=(None,), split="train", revision=None, num_rows=1_000),
    # `redistributable=False` keeps it from being pushed; `note` then says why.
    licence=Licence("CC BY 4.0", "cc-by-4.0", share_alike=False, non_commercial=False),
    citation="""@misc{name2026dataset,
  title = {The Title},
  author = {Family, Given},
  year = {2026}
}""",
    qa_type="multiple-choice",  # extractive, free-form, multiple-choice, yes-no, conversational, arithmetic, table
    questions=questions,
    example=(
        {
            "passage": "The river museum closed in 1999 after a flood.",
            "question": "Why did the museum close?",
            "options": ["a fire", "a flood"],
            "label": 1,
        },
        {
            "context": "The river museum closed in 1999 after a flood.",
            "QA_list": [{"Q": "Why did the museum close?\nOptions:\n- a fire\n- a flood", "A": "a flood"}],
            "QA_type": "multiple-choice",
            "rc_name": "my_dataset",
        },
    ),
    # Files of its own release, found below a folder or given with --from, each with a reader of rows.
    release=[Release("my_dataset-*.json", json_items("data"))],
    extractive=False,  # whether answers are spans of their context: then the share that are is reported
)

records = SOURCE.records
