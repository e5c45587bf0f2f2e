"""Sources: a corpus as numbered rows. Here: what a source is, and local files as one (hub_dataset.py has the Hub's).

Keeps true: the same source gives the same rows under the same numbers, from any row on. Local files are read through
once before anything is asked of an engine: a malformed line stops a run in its first minute and not in its last hour,
and the number of rows is known. A row that can not be used says why.
Does not know engines or shards.
"""

from __future__ import annotations

import glob
import re
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import xxhash

from hub_instructpt.errors import InputError
from hub_instructpt.records import whole_text
from hub_instructpt.runs.kept_columns import ColumnType, fitted, is_text, plain_type
from hub_instructpt.runs.manifest import SourceFacts, SourceFile
from hub_instructpt.runs.readers import READERS, RawRow, Reader, reader_of
from hub_instructpt.runs.store import without_password

Tick = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class SourceRow:
    """A row: its number in the source, its text, and the columns kept.

    `problem` is why the row has no usable text: `null`, `empty` or `not_a_string`. `repaired` tells that lone
    surrogates were replaced.
    """

    index: int
    text: str
    kept: dict[str, Any]
    problem: str | None = None
    repaired: bool = False


@dataclass(frozen=True, slots=True)
class Source:
    """A corpus that is ready to be read. `raw_rows(start)` begins at row `start`.

    It travels between processes: what travels is where the rows are and what is known of them, none of the rows.
    """

    facts: SourceFacts
    text_column: str
    kept_types: dict[str, pa.DataType]
    raw_rows: Callable[[int], Iterator[RawRow]]

    def rows(
        self,
        start: int,
        stop: int | None,
        wanted: Callable[[int], bool] = lambda index: True,
        ended: Callable[[int], None] = lambda index: None,
    ) -> Iterator[SourceRow]:
        """Rows `start` to `stop`, numbered as in the source.

        Args:
            wanted: whether to give a row, by its number.
            ended: told in the end how many rows there are up to `stop`.
        """
        index = start
        for raw in self.raw_rows(start):
            if index == stop:
                break
            if wanted(index):
                yield self._row(index, raw)
            index += 1
        ended(index)

    def _row(self, index: int, raw: RawRow) -> SourceRow:
        kept = {name: fitted(raw.get(name), kind) for name, kind in self.kept_types.items()}
        given: Any = raw.get(self.text_column)
        if problem := _problem(given):
            return SourceRow(index, "", kept, problem)
        text, repaired = whole_text(given)
        return SourceRow(index, text, kept, repaired=repaired)


def _problem(text: Any) -> str | None:
    """Why a value is no usable text; None when it is one."""
    if text is None:
        return "null"
    if not isinstance(text, str):
        return "not_a_string"
    return None if text.strip() else "empty"


def find_files(source: str) -> list[Path] | None:
    """The local files that `source` names: a file, a folder or a glob. None when it must be a Hub dataset id.

    Raises:
        InputError: it looks like a local path, and there is nothing.
    """
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", source):
        raise InputError(
            f"{without_password(source)[:200]} is a URL, and sources are read from disk or from the Hub.",
            advice="Copy it into a folder first, or give a Hub dataset id.",
        )
    missing = InputError(
        f"There is no file {source[:200]}.", advice="Give a file, a folder, a glob or a Hub dataset id."
    )
    try:
        path = Path(source).expanduser()
        if path.is_dir():
            files = sorted(p for p in path.rglob("*") if p.is_file() and not _hidden(p, path) and reader_of(p))
            if not files:
                raise InputError(f"The folder {source} holds no {_known()} file.")
            return files
        files = [path] if path.is_file() else sorted(p for p in map(Path, glob.glob(str(path), recursive=True)))
    except (OSError, RuntimeError, ValueError):  # a name too long, an unknown ~user
        raise missing from None
    files = [file for file in files if not file.is_dir()]
    for file in files:
        if reader_of(file) is None:
            raise InputError(f"{file.name} is of no kind that can be read.", advice=f"Readable: {_known()}.")
    if files:
        return files
    if reader_of(path) or not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", source):
        raise missing
    return None


def open_files(
    files: Sequence[Path], text_column: str, keep_columns: Sequence[str], tick: Tick = lambda rows: None
) -> Source:
    """A source of local files, read through once to check and count it.

    Args:
        tick: called now and then with the number of rows read since the last call.

    Raises:
        InputError: a file that can not be read, with its name and line; a column that is not there; no rows at all.
    """
    wanted = [text_column, *keep_columns]
    kinds = {name: ColumnType() for name in keep_columns}
    unusable: Counter[str] = Counter()
    facts = []
    for path in files:
        reader = reader_of(path)
        assert reader is not None  # find_files gave it
        rows = _check(path, reader, wanted, kinds, unusable, tick)
        facts.append(SourceFile(name=path.name, num_bytes=path.stat().st_size, num_rows=rows, xxh64=digest_of(path)))
    total = sum(file.num_rows for file in facts)
    if not total:
        raise InputError(f"{_named(files)} holds no rows.")
    if unusable.total() == total:
        why = ", ".join(f"{number:,} {problem.replace('_', ' ')}" for problem, number in unusable.most_common())
        raise InputError(
            f"No row of {_named(files)} has a usable text in {text_column!r}: {why}.",
            advice="Name the right column with --text-column.",
        )

    source = SourceFacts(kind="files", name=_named(files), num_rows=total, files=facts)
    raw_rows = FileRows([path.absolute() for path in files], [file.num_rows for file in facts], wanted)
    return Source(source, text_column, {name: kind.arrow() for name, kind in kinds.items()}, raw_rows)


@dataclass(frozen=True, slots=True)
class FileRows:
    """The rows of files of which is known how many each has, from any row on.

    Raises:
        InputError: when they are read, and a file is not there.
    """

    files: Sequence[Path]
    num_rows: Sequence[int]
    wanted: Sequence[str]

    def __call__(self, start: int) -> Iterator[RawRow]:
        for path, rows in zip(self.files, self.num_rows, strict=True):
            if start >= rows:
                start -= rows
                continue
            reader = reader_of(path)
            assert reader is not None
            if not path.exists():
                raise InputError(
                    f"There is no {path} on {socket.gethostname()}.",
                    advice="Put the source on storage that every machine of the run sees under the same path.",
                )
            yield from reader.rows(path, start, self.wanted)
            start = 0


def _check(
    path: Path,
    reader: Reader,
    wanted: Sequence[str],
    kinds: dict[str, ColumnType],
    unusable: Counter[str],
    tick: Tick,
) -> int:
    """Read a file through; returns its number of rows, and counts into `unusable` those without a text."""
    if reader.schema is not None:
        schema = reader.schema(path)
        require(wanted, schema.names, path.name)
        text_type = plain_type(schema.field(wanted[0]).type)
        if not is_text(text_type):
            raise InputError(f"The column {wanted[0]!r} of {path.name} holds {text_type}, not text.")
        for name, kind in kinds.items():
            kind.see_type(schema.field(name).type)
    columns: set[str] = set()
    rows = since = 0
    for rows, row in enumerate(reader.rows(path, 0, wanted), 1):  # noqa: B007
        columns.update(row)
        if problem := _problem(row.get(wanted[0])):
            unusable[problem] += 1
        if reader.schema is None:
            for name, kind in kinds.items():
                kind.see(row.get(name))
        since += 1
        if since == 1000:
            tick(since)
            since = 0
    tick(since)
    if rows:
        require(wanted, columns, path.name)
    return rows


def require(wanted: Iterable[str], columns: Iterable[str], where: str) -> None:
    """Raise when a column is missing; the first of `wanted` is the one with the text."""
    columns = sorted(columns) if isinstance(columns, set) else list(columns)
    for position, name in enumerate(wanted):
        if name not in columns:
            option = "--text-column" if position == 0 else "--keep-column"
            raise InputError(
                f"{where} has no column {name!r}; it has: {', '.join(columns) or 'none'}.",
                advice=f"Name the right one with {option}.",
            )


def _hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def digest_of(path: Path) -> str:
    """xxh64 of a file."""
    digest = xxhash.xxh64()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _named(files: Sequence[Path]) -> str:
    # Folders are left out: a manifest is published, and where files lay on this machine is nobody's business.
    return files[0].name if len(files) == 1 else f"{files[0].name} and {len(files) - 1} more"


def _known() -> str:
    return ", ".join(READERS)


def one_line(error: Exception) -> str:
    """The message of somebody else's error, on one line of bounded length."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else text[:299] + "…"
