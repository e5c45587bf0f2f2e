"""Sources: a corpus as numbered rows, from local files or a dataset on the Hub.

Keeps true: the same source gives the same rows under the same numbers, from any row on. Local files are read through
once before anything is asked of an engine: a malformed line stops a run in its first minute and not in its last hour,
and the number of rows is known. A row that can not be used says why.
Does not know engines or shards.
"""

from __future__ import annotations

import glob
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import xxhash

from hub_instructpt.errors import InputError, RunError
from hub_instructpt.records import whole_text
from hub_instructpt.runs.manifest import SourceFacts, SourceFile
from hub_instructpt.runs.readers import READERS, RawRow, Reader, reader_of

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
    """A corpus that is ready to be read. `raw_rows(start)` begins at row `start`."""

    facts: SourceFacts
    text_column: str
    kept_types: dict[str, pa.DataType]
    raw_rows: Callable[[int], Iterator[RawRow]]

    def rows(self, start: int, stop: int | None) -> Iterator[SourceRow]:
        """Rows `start` to `stop`, numbered as in the source."""
        for index, raw in enumerate(self.raw_rows(start), start):
            if stop is not None and index >= stop:
                return
            yield self._row(index, raw)

    def _row(self, index: int, raw: RawRow) -> SourceRow:
        kept = {name: _fitted(raw.get(name), kind) for name, kind in self.kept_types.items()}
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
    kinds = {name: _Kind() for name in keep_columns}
    unusable: Counter[str] = Counter()
    facts = []
    for path in files:
        reader = reader_of(path)
        assert reader is not None  # find_files gave it
        rows = _check(path, reader, wanted, kinds, unusable, tick)
        facts.append(SourceFile(name=path.name, num_bytes=path.stat().st_size, num_rows=rows, xxh64=_digest(path)))
    total = sum(file.num_rows for file in facts)
    if not total:
        raise InputError(f"{_named(files)} holds no rows.")
    if unusable.total() == total:
        why = ", ".join(f"{number:,} {problem.replace('_', ' ')}" for problem, number in unusable.most_common())
        raise InputError(
            f"No row of {_named(files)} has a usable text in {text_column!r}: {why}.",
            advice="Name the right column with --text-column.",
        )

    def raw_rows(start: int) -> Iterator[RawRow]:
        for path, file in zip(files, facts, strict=True):
            if start >= file.num_rows:
                start -= file.num_rows
                continue
            reader = reader_of(path)
            assert reader is not None
            yield from reader.rows(path, start, wanted)
            start = 0

    source = SourceFacts(kind="files", name=_named(files), num_rows=total, files=facts)
    return Source(source, text_column, {name: kind.arrow() for name, kind in kinds.items()}, raw_rows)


def _check(
    path: Path,
    reader: Reader,
    wanted: Sequence[str],
    kinds: dict[str, _Kind],
    unusable: Counter[str],
    tick: Tick,
) -> int:
    """Read a file through; returns its number of rows, and counts into `unusable` those without a text."""
    if reader.schema is not None:
        schema = reader.schema(path)
        _require(wanted, schema.names, path.name)
        text_type = _plain(schema.field(wanted[0]).type)
        if not _is_text(text_type):
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
        _require(wanted, columns, path.name)
    return rows


def open_dataset(
    repo_id: str, config_name: str | None, split: str, facts: SourceFacts, text_column: str, keep_columns: Sequence[str]
) -> Source:
    """A dataset on the Hub, streamed.

    Args:
        facts: what the Hub says of it; a `revision` there pins what is read.

    Raises:
        InputError: no such dataset, config, split or column.
    """
    import datasets

    try:
        dataset = datasets.load_dataset(repo_id, config_name, split=split, revision=facts.revision, streaming=True)
        first = next(iter(dataset), None)
    except FileNotFoundError as error:  # DatasetNotFoundError is one
        raise InputError(
            _line(error), advice="A private or gated dataset needs a token: `hf auth login` or HF_TOKEN."
        ) from None
    except (ConnectionError, TimeoutError) as error:
        raise InputError(f"The Hub can not be reached for {repo_id}: {type(error).__name__}.") from None
    except Exception as error:  # whatever a loader of `datasets` may raise
        raise InputError(
            f"{repo_id} can not be read so: {_line(error)}", advice="Check --config and --split."
        ) from None
    if first is None:
        raise InputError(f"The split {split!r} of {repo_id} holds no rows.")
    features = dataset.features
    _require([text_column, *keep_columns], list(features or first), repo_id)
    # JSON files do not tell their types beforehand, and the first rows may mislead: strings hold whatever comes.
    kept = dict.fromkeys(keep_columns, pa.string())
    if features is not None:
        schema = features.arrow_schema
        if not _is_text(_plain(schema.field(text_column).type)):
            raise InputError(f"The column {text_column!r} of {repo_id} holds {features[text_column]}, not text.")
        kept = {name: _settled(schema.field(name).type) for name in keep_columns}

    def raw_rows(start: int) -> Iterator[RawRow]:
        try:
            for row in dataset.skip(start) if start else dataset:
                start += 1
                yield row
        except Exception as error:
            raise RunError(
                f"Reading {repo_id} broke off after row {start:,}: {_line(error)}",
                advice="Run the same again: what is sealed is safe.",
            ) from None

    return Source(facts, text_column, kept, raw_rows)


class _Kind:
    """The Arrow type that all values of a kept column fit; JSON text where there is none."""

    _ARROW = {str: pa.string(), bool: pa.bool_(), int: pa.int64(), float: pa.float64()}  # noqa: RUF012

    def __init__(self) -> None:
        self._types: set[pa.DataType] = set()
        self._exact_as_float = True

    def see(self, value: Any) -> None:
        if value is None:
            return
        kind = self._ARROW.get(type(value))
        if kind == pa.int64():
            self._exact_as_float &= -(2**53) <= value <= 2**53
            if not -(2**63) <= value < 2**63:
                kind = None
        self._types.add(kind)

    def see_type(self, kind: pa.DataType) -> None:
        self._types.add(_settled(kind))

    def arrow(self) -> pa.DataType:
        if self._types == {pa.int64(), pa.float64()} and self._exact_as_float:
            return pa.float64()
        only = next(iter(self._types)) if len(self._types) == 1 else None
        return only if only is not None else pa.string()


def _plain(kind: pa.DataType) -> pa.DataType:
    """The type of the values themselves, however they are stored."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _settled(kind: pa.DataType) -> pa.DataType:
    """The type that a kept column has in a shard: its own where `datasets` can load it, else a string."""
    import datasets

    kind = _plain(kind)
    if _is_text(kind) or pa.types.is_null(kind) or isinstance(kind, pa.BaseExtensionType):
        return pa.string()
    if pa.types.is_binary_view(kind) or pa.types.is_fixed_size_binary(kind):
        return pa.binary()
    try:
        same = datasets.Features.from_arrow_schema(pa.schema([("kept", kind)])).arrow_schema.field("kept").type
    except (ValueError, TypeError, NotImplementedError):
        return pa.string()
    return kind if same == kind else pa.string()


def _fitted(value: Any, kind: pa.DataType) -> Any:
    """A kept value as its column can hold it."""
    if value is None:
        return None
    if pa.types.is_string(kind):
        if not isinstance(value, str):
            value = json.dumps(value, ensure_ascii=False, default=str)
        return whole_text(value)[0]
    return float(value) if pa.types.is_float64(kind) and isinstance(value, int) else value


def _require(wanted: Iterable[str], columns: Iterable[str], where: str) -> None:
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


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _digest(path: Path) -> str:
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


def _line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else text[:299] + "…"
