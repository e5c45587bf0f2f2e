"""Readers of the files in which datasets are released: from a path to rows, one at a time.

Keeps true: files are read as UTF-8, a byte order mark left out; compressed ones (.gz) are read as they lie.
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

from hub_instructpt.collection.source import Row

csv.field_size_limit(2**31 - 1)


def opened(path: Path) -> IO[str]:
    """A text file, unpacked if its name ends in .gz."""
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def json_lines(path: Path) -> Iterator[Row]:
    """One JSON object a line."""
    with opened(path) as lines:
        for line in lines:
            if line.strip():
                yield orjson.loads(line)


def json_items(*keys: str) -> Callable[[Path], Iterator[Row]]:
    """A reader of one JSON document: what lies under `keys`, a list of rows or an object of rows by their id.

    The ids of an object become the column `id`, where the rows have none.
    """

    def read(path: Path) -> Iterator[Row]:
        with opened(path) as stream:
            value: Any = json.load(stream)
        for key in keys:
            value = value[key]
        if isinstance(value, dict):
            yield from ({"id": key, **row} for key, row in value.items())
        else:
            yield from value

    return read


def table_rows(delimiter: str = "\t", *, header: tuple[str, ...] | None = None) -> Callable[[Path], Iterator[Row]]:
    """A reader of a table with a header line, or with the columns given. Commas are read with quotes, tabs without."""

    def read(path: Path) -> Iterator[Row]:
        with opened(path) as lines:
            if delimiter == "\t":
                yield from csv.DictReader(lines, header, delimiter="\t", quoting=csv.QUOTE_NONE)
            else:
                yield from csv.DictReader(lines, header, delimiter=delimiter)

    return read
