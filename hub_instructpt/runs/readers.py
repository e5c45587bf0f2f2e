"""Readers of local files: .jsonl, .csv, .txt and .parquet (the first three also compressed) as plain dicts, row by row.

`datasets` reads all of these too, but on bad input it says little: no line number, and a number in a text column turns
the whole column into something else. Here a row is what stands in the file, and an error names file and line.

Keeps true: rows come in file order, and `start` skips exactly that many of them; a file is never held in memory.
Does not know which column matters, or what becomes of a row.
"""

from __future__ import annotations

import csv
import json
import lzma
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any

import fsspec.utils
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.compression import compr

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
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in COMPRESSED:
        reader = READERS.get(suffixes[-2]) if len(suffixes) > 1 else None
        return reader if reader and reader.schema is None else None  # Parquet is compressed within
    return READERS.get(suffixes[-1]) if suffixes else None


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    # fsspec.open itself would read a name with "::" in it as a chain of file systems.
    compression = fsspec.utils.infer_compression(path.name)
    if compression is None and path.suffix.lower() in COMPRESSED:
        raise InputError(f"Reading {path.name} needs a package.", advice="pip install zstandard")
    try:
        with path.open("rb") as file, compr[compression](file, mode="rb") as stream:
            yield stream
    except InputError:
        raise
    except (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError) as error:
        what = getattr(error, "strerror", None) or str(error).rstrip(".") or type(error).__name__
        raise InputError(f"{path.name} can not be read: {what}.") from None


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
            if _was_wide(row):
                row = _slow_json(path, number, line)
        except (orjson.JSONDecodeError, RecursionError):
            row = _slow_json(path, number, line)
        if not isinstance(row, dict):
            raise InputError(
                f"{path.name}, line {number}, is not a JSON object but {_JSON_NAMES.get(type(row), 'a number')}.",
                advice="Each line must be one JSON object.",
            )
        yield row


def _slow_json(path: Path, number: int, line: bytes) -> Any:
    """By the standard library, which reads what is JSON but not Unicode (lone surrogates), and says where JSON ends."""
    try:
        return json.loads(_decoded(path, number, line))
    except (ValueError, RecursionError) as error:
        what = "too deep" if isinstance(error, RecursionError) else "a number of too many digits"
        if isinstance(error, json.JSONDecodeError):
            what = f"{error.msg} at column {error.colno}"
        raise InputError(
            f"{path.name}, line {number}, is not JSON: {what}.",
            advice="Each line must be one JSON object; mend or remove the line.",
        ) from None


def _was_wide(value: Any) -> bool:
    """Whether a number may have been an integer beyond 64 bits, which orjson gives as a float."""
    if isinstance(value, float):
        return abs(value) >= 2.0**63
    if isinstance(value, dict):
        return any(map(_was_wide, value.values()))
    return isinstance(value, list) and any(map(_was_wide, value))


def _text(path: Path, start: int, _: Sequence[str]) -> Iterator[RawRow]:
    for number, line in islice(_lines(path), start, None):
        yield {"text": _decoded(path, number, line).rstrip("\r\n")}


def _csv(path: Path, start: int, _: Sequence[str]) -> Iterator[RawRow]:
    csv.field_size_limit(sys.maxsize)  # the default refuses texts above 128 kB
    # Without strict, a quote that is never closed would swallow the rest of the file as one field.
    rows = csv.reader((_decoded(path, number, line) for number, line in _lines(path)), strict=True)
    header: list[str] = []
    began = 1
    try:
        for row in rows:
            line, began = began, rows.line_num + 1
            if not row:
                continue
            if not header:
                header = row
                continue
            if len(row) > len(header):
                raise InputError(
                    f"{path.name}, line {line}, has {len(row)} fields; the header names {len(header)}.",
                    advice="Fields that hold commas or line breaks must be quoted.",
                )
            if start:
                start -= 1
                continue
            yield dict.fromkeys(header) | dict(zip(header, row, strict=False))
    except csv.Error as error:
        raise InputError(
            f"{path.name} is not CSV: the row that begins in line {began}: {error}.",
            advice="Quotes within a quoted field must be doubled.",
        ) from None


def _parquet_schema(path: Path) -> pa.Schema:
    try:
        return pq.read_schema(path)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path.name} is not a readable Parquet file: {_first_line(error)}") from None


def _parquet(path: Path, start: int, columns: Sequence[str]) -> Iterator[RawRow]:
    _parquet_schema(path)
    row = 0
    try:
        with pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                if row + rows <= start:
                    row += rows
                    continue
                for batch in file.iter_batches(256, row_groups=[group], columns=list(dict.fromkeys(columns)) or None):
                    yield from batch.slice(min(max(start - row, 0), batch.num_rows)).to_pylist()
                    row += batch.num_rows
    except UnicodeDecodeError:
        raise InputError(
            f"{path.name} holds a text that is not UTF-8, in rows {row:,} to {row + 255:,}.", advice="Mend the file."
        ) from None
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        raise InputError(f"{path.name} is damaged after row {row:,}: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    return f"{(str(error).strip().splitlines() or [type(error).__name__])[0].rstrip('.')[:200]}."


_JSON_NAMES = {list: "a list", str: "a string", bool: "true or false", type(None): "null"}

READERS: dict[str, Reader] = {
    ".jsonl": Reader(_jsonl),
    ".ndjson": Reader(_jsonl),
    ".json": Reader(_jsonl),
    ".csv": Reader(_csv),
    ".txt": Reader(_text),
    ".parquet": Reader(_parquet, _parquet_schema),
}
