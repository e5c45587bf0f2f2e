"""Readers of local files: .jsonl, .csv, .txt and .parquet (the first three also compressed) as plain dicts, row by row.

`datasets` reads all of these too, but on bad input it says little: no line number, and a number in a text column turns
the whole column into something else. Here a row is what stands in the file, and an error names file and line.

Keeps true: rows come in file order, and `start` skips exactly that many of them; a file is never held in memory.
Does not know which column matters, or what becomes of a row.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any

import fsspec
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from hub_instructpt.errors import InputError

COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
RawRow = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Reader:
    """How one kind of file is read. `rows(path, start, columns)`; `columns` of a file that tells them beforehand."""

    rows: Callable[[Path, int, Sequence[str]], Iterator[RawRow]]
    schema: Callable[[Path], pa.Schema] | None = None


def reader_of(path: Path) -> Reader | None:
    """The reader for a file, by its name; None when there is none."""
    suffixes = path.suffixes
    if suffixes and suffixes[-1] in COMPRESSED:
        suffixes = suffixes[:-1]
        return READERS.get(suffixes[-1].lower() if suffixes else "") if suffixes != [".parquet"] else None
    return READERS.get(suffixes[-1].lower() if suffixes else "")


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    try:
        with fsspec.open(path, "rb", compression="infer") as stream:
            yield stream
    except InputError:
        raise
    except (OSError, EOFError, ValueError) as error:
        raise InputError(f"{path.name} can not be read: {getattr(error, 'strerror', None) or error}.") from None
    except ImportError as error:
        raise InputError(f"Reading {path.name} needs {error.name}.", advice=f"pip install {error.name}") from None


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Lines with their numbers, from 1; a byte order mark at the beginning is no part of the text."""
    with _opened(path) as stream:
        for number, line in enumerate(stream, 1):
            yield number, line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line


def _decoded(path: Path, number: int, line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path.name}, line {number}, is not UTF-8 (byte {error.start + 1} of the line).",
            advice="Convert the file, for example with `iconv -f latin1 -t utf-8`.",
        ) from None


def _jsonl(path: Path, start: int, _: Sequence[str]) -> Iterator[RawRow]:
    filled = ((number, line) for number, line in _lines(path) if line.strip())
    for number, line in islice(filled, start, None):
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError:
            # The standard library reads what is JSON but not Unicode (lone surrogates), and says where JSON ends.
            try:
                row = json.loads(_decoded(path, number, line))
            except (json.JSONDecodeError, RecursionError) as error:
                what = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else "too deep"
                raise InputError(
                    f"{path.name}, line {number}, is not JSON: {what}.",
                    advice="Each line must be one JSON object; mend or remove the line.",
                ) from None
        if not isinstance(row, dict):
            raise InputError(f"{path.name}, line {number}, is not a JSON object but a {type(row).__name__}.")
        yield row


def _text(path: Path, start: int, _: Sequence[str]) -> Iterator[RawRow]:
    for number, line in islice(_lines(path), start, None):
        yield {"text": _decoded(path, number, line).rstrip("\r\n")}


def _csv(path: Path, start: int, _: Sequence[str]) -> Iterator[RawRow]:
    csv.field_size_limit(sys.maxsize)  # the default refuses texts above 128 kB
    rows = csv.reader(_decoded(path, number, line) for number, line in _lines(path))
    try:
        header = next(rows, [])
        for row in islice(rows, start, None):
            if len(row) > len(header):
                raise InputError(
                    f"{path.name}, line {rows.line_num}, has {len(row)} fields; the header names {len(header)}.",
                    advice="Fields that hold commas or line breaks must be quoted.",
                )
            yield dict.fromkeys(header) | dict(zip(header, row, strict=False))
    except csv.Error as error:
        raise InputError(f"{path.name}, line {rows.line_num}, is not CSV: {error}.") from None


def _parquet_schema(path: Path) -> pa.Schema:
    try:
        return pq.read_schema(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{path.name} is not a readable Parquet file: {str(error).splitlines()[0]}.") from None


def _parquet(path: Path, start: int, columns: Sequence[str]) -> Iterator[RawRow]:
    _parquet_schema(path)
    try:
        with pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                if start >= rows:
                    start -= rows
                    continue
                for batch in file.iter_batches(256, row_groups=[group], columns=list(columns) or None):
                    yield from batch.slice(start).to_pylist()
                    start = max(0, start - batch.num_rows)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{path.name} is damaged: {str(error).splitlines()[0]}.") from None


READERS: dict[str, Reader] = {
    ".jsonl": Reader(_jsonl),
    ".ndjson": Reader(_jsonl),
    ".json": Reader(_jsonl),
    ".csv": Reader(_csv),
    ".txt": Reader(_text),
    ".parquet": Reader(_parquet, _parquet_schema),
}
