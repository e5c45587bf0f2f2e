"""Whole datasets in tests: read from files as `collect` reads them, and held to what every record promises.

Keeps true: nothing is written. Does not know which dataset it is.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from hub_instructpt.collection import Record
from hub_instructpt.collection.convert import Conversion
from hub_instructpt.collection.reading import open_files
from hub_instructpt.collection.registry import get_source
from hub_instructpt.markup import format_pairs, parse_completion
from hub_instructpt.rendering.questions import OPTIONS, THEREFORE, THINK, read_pair


def converted(name: str, path: Path | str, *, cap: int | None = None) -> tuple[list[Record], Counter[str]]:
    """The records of a dataset from a file, a folder or a glob, and what was counted; every record is sound."""
    with Conversion(get_source(name)) as conversion:
        for part in open_files(conversion.source, str(path)).parts:
            for _ in conversion.read(part):
                pass
        records = list(conversion.records(cap))
    assert_sound(name, records)
    return records, conversion.counts


def assert_sound(name: str, records: list[Record]) -> None:
    """Records keep their promise: one for each context, nothing empty, and read as they were written."""
    contexts = [record["context"] for record in records]
    assert len(set(contexts)) == len(contexts)
    for record in records:
        assert set(record) == {"context", "QA_list", "QA_type", "rc_name"}
        assert record["rc_name"] == name
        assert record["context"].strip()
        assert record["QA_list"]
        assert_read_as_written(record)


def assert_read_as_written(record: Record) -> None:
    """The pairs of a record pass through the wire format and the reader of questions without loss."""
    pairs = [{"instruction": qa["Q"], "response": qa["A"]} for qa in record["QA_list"]]
    parsed = parse_completion(format_pairs(pairs))  # type: ignore[arg-type]
    assert parsed.pairs == pairs
    assert not parsed.dropped
    for pair in parsed.pairs:
        question = read_pair(pair)
        asked = question.instruction
        if question.options:
            asked += OPTIONS + "\n- ".join(question.options)
            assert question.response in question.options
        answer = question.response
        if question.reasoning:
            asked, answer = asked + THINK, question.reasoning + THEREFORE + answer
        assert (asked, answer) == (pair["instruction"], pair["response"])
