"""Every source of the collection: its declaration, its example, and the way of a record through the wire format.

Held here for all of them at once: a record is read at the other end as it was written, options and reasoning included.
"""

from __future__ import annotations

import pytest

from hub_instructpt.collection import Source
from hub_instructpt.collection.convert import convert
from hub_instructpt.collection.registry import get_source, survey
from tests.collection.whole import assert_read_as_written

SOURCES, PROBLEMS = survey()
PUBLISHED = {
    "squad", "TopiOCQA", "HotpotQA", "WikiTableQuestions", "Quac", "QED", "FairyTaleQA", "mctest", "NarrativeQA",
    "race", "race_c", "ReClor", "LogiQA", "AQUA_RAT_yes_opt", "TriviaQA", "CosmosQA", "ECQA", "NLQuAD", "NewsQA",
    "tweet_qa", "quail", "dream", "multirc", "ROPES", "QuaRTz", "CoQA", "DoQA", "qasper", "PubMedQA_no_opt",
    "PubMedQA_yes_opt", "COVID_QA", "ConvFinQA", "SpartQA", "bAbI", "QASC",
}  # fmt: skip
BY_NAME = pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)


@BY_NAME
def test_the_example_row_becomes_the_example_record(source: Source) -> None:
    row, record = source.example
    assert list(convert(source, [row])) == [record]
    assert set(record) == {"context", "QA_list", "QA_type", "rc_name"}
    assert record["rc_name"] == source.name


@BY_NAME
def test_the_example_record_is_read_as_it_was_written(source: Source) -> None:
    assert_read_as_written(source.example[1])


@BY_NAME
def test_a_source_is_found_by_its_name_in_any_case(source: Source) -> None:
    for name in (source.name, source.name.upper(), source.name.lower(), *source.also_called):
        assert get_source(name) == source


def test_every_dataset_of_the_published_card_is_there() -> None:
    assert PROBLEMS == []
    assert {source.name for source in SOURCES} == PUBLISHED
