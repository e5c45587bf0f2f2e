"""Readers of the files in which datasets are released: from a path to rows, one at a time.

Keeps true: files are read as UTF-8, a byte order mark left out; compressed ones (.gz) are read as they lie; a row that
can not be read is a `Rejected` in its place. A file that can not be read on raises OSError, EOFError or ValueError.
Does not know any dataset.
"""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import orjson

from hub_instructpt.collection.json_stream import items
from hub_instructpt.collection.source import Rejected, Row

csv.field_size_limit(2**31 - 1)


def opened(path: Path) -> IO[str]:
    """A text file, unpacked if its name ends in .gz."""
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def json_lines(path: Path) -> Iterator[Row | Rejected]:
    """One JSON object a line; a line that is none is rejected, and the others are read."""
    with opened(path) as lines:
        for line in lines:
            if line.strip():
                yield _parsed(line)


def _parsed(line: str) -> Row | Rejected:
    try:
        return _row(orjson.loads(line))
    except orjson.JSONDecodeError:
        pass
    try:  # what is JSON but no Unicode, such as a lone surrogate
        return _row(json.loads(line))
    except (ValueError, RecursionError):
        return Rejected("not_json")


def _row(value: Any) -> Row | Rejected:
    return value if isinstance(value, dict) else Rejected("not_an_object")


def json_items(*keys: str) -> Callable[[Path], Iterator[Row | Rejected]]:
    """A reader of one JSON document: what lies under `keys`, a list of rows or an object of rows by their id.

    The ids of an object become the column `id`, where the rows have none. The document is never in memory as a whole.
    """

    def read(path: Path) -> Iterator[Row | Rejected]:
        with opened(path) as stream:
            for key, value in items(stream, keys):
                row = _row(value)
                yield row if key is None or isinstance(row, Rejected) else {"id": key, **row}

    return read


def any_json(path: Path) -> Iterator[Row | Rejected]:
    """A file of rows as people export them: one list of objects, or one object a line."""
    with opened(path) as stream:
        start = next((line.lstrip()[:1] for line in stream if line.strip()), "")
    return json_items()(path) if start == "[" else json_lines(path)


def table_rows(delimiter: str = "\t", *, header: tuple[str, ...] | None = None) -> Callable[[Path], Iterator[Row]]:
    """A reader of a table with a header line, or with the columns given. Commas are read with quotes, tabs without."""

    def read(path: Path) -> Iterator[Row]:
        with opened(path) as lines:
            if delimiter == "\t":
                yield from csv.DictReader(lines, header, delimiter="\t", quoting=csv.QUOTE_NONE)
            else:
                yield from csv.DictReader(lines, header, delimiter=delimiter)

    return read
