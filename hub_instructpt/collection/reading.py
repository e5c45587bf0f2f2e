"""Where the rows of a dataset come from. Here: what that is, and files, which are a release or rows as on the Hub
(hub_rows.py has the Hub itself).

Keeps true: what is read is named, so that it can be told again: files by their name and digest, without the folder of
this machine; of a file that can not be read on, what is wrong is said with its name. Does not know any dataset.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from hub_instructpt.collection.convert import Part
from hub_instructpt.collection.files import any_json, json_lines, table_rows
from hub_instructpt.collection.source import Rejected, Row, Source
from hub_instructpt.errors import InputError
from hub_instructpt.runs.manifest import SourceFacts, SourceFile
from hub_instructpt.runs.readers import READERS
from hub_instructpt.runs.sources import digest_of, one_line

Reader = Callable[[Path], Iterator[Row | Rejected]]


@dataclass(frozen=True, slots=True)
class Reading:
    """A dataset that is ready to be read: where from, and its parts, to be read once, in this order."""

    facts: SourceFacts
    parts: Sequence[Part]


def _parquet(path: Path) -> Iterator[Row]:
    return READERS[".parquet"].rows(path, 0, ())


ROWS: dict[str, Reader] = {
    ".parquet": _parquet,
    ".jsonl": json_lines,
    ".jsonlines": json_lines,
    ".ndjson": json_lines,
    ".csv": table_rows(","),
    ".tsv": table_rows("\t"),
    ".json": any_json,
}
"""Files of rows with the columns of the Hub. Where a folder holds several kinds, the first of these is read."""


def open_files(source: Source, given: str) -> Reading:
    """Files of a dataset.

    Args:
        given: a file, a folder or a glob. Files that the declaration names are read as the source's release, others
            as rows with the columns of the Hub; of a folder, only the former where there are any, and otherwise those
            of the declared split where their names tell.

    Raises:
        InputError: there is nothing that can be read, with where to get it.
    """
    path = Path(given).expanduser()
    try:
        if path.is_dir():
            found = _in_folder(source, path)
        else:
            matched = [path] if path.exists() else sorted(map(Path, glob.glob(str(path), recursive=True)))
            found = [(file, file.name, _reader_of(source, file)) for file in matched if file.is_file()]
    except (OSError, ValueError) as error:
        raise InputError(f"{given[:200]} can not be read: {type(error).__name__}.") from None
    if not found:
        what = "holds nothing of" if path.is_dir() else "is not there, so nothing is read for"
        raise InputError(f"{given[:200]} {what} {source.name}.", advice=where_to_get(source))
    parts, files = [], []
    for file, name, reader in found:
        try:
            facts = SourceFile(name=name, num_bytes=file.stat().st_size, num_rows=0, xxh64=digest_of(file))
        except OSError as error:
            raise InputError(f"{file} can not be read: {error.strerror or type(error).__name__}.") from None
        files.append(facts)
        parts.append(Part(name, _file_rows(reader, file, facts)))
    names = files[0].name if len(files) == 1 else f"{files[0].name} and {len(files) - 1} more"
    return Reading(SourceFacts(kind="files", name=names, files=files), parts)


def has_files(source: Source, folder: Path) -> bool:
    """Whether a folder is there that holds anything of a dataset."""
    return folder.is_dir() and bool(_in_folder(source, folder))


def where_to_get(source: Source) -> str:
    """What to do when the rows of a dataset are not here."""
    names = ", ".join(file.pattern for file in source.release)
    ways = [f"Its release ({names}) is at {source.homepage}"] if names else []
    ways += [f"on the Hub it is {source.hub.repo_id}, which is read without --from and --data"] if source.hub else []
    ways = ways or [f"It is at {source.homepage}"]
    return "; ".join(ways) + "."


def _in_folder(source: Source, folder: Path) -> list[tuple[Path, str, Reader]]:
    def visible(path: Path) -> bool:
        return path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)

    found: dict[Path, tuple[Path, str, Reader]] = {}
    for release in (one for one in source.release if not one.only_named):
        for path in sorted(filter(visible, folder.glob(release.pattern))):
            found.setdefault(path, (path, path.relative_to(folder).as_posix(), release.rows))
    if found:
        return list(found.values())
    for suffix, reader in ROWS.items():
        files = sorted(p for p in filter(visible, folder.rglob(f"*{suffix}")) if p.name != "dataset_infos.json")
        split = re.compile(rf"(?:^|[^a-z]){re.escape(source.hub.split if source.hub else 'train')}(?:[^a-z]|$)")
        of_split = [path for path in files if split.search(path.relative_to(folder).as_posix())]
        if files:
            return [(path, path.relative_to(folder).as_posix(), reader) for path in of_split or files]
    return []


def _reader_of(source: Source, path: Path) -> Reader:
    tails = ["/".join(path.parts[start:]) for start in range(len(path.parts))]
    for release in source.release:
        if any(_pattern(release.pattern).fullmatch(tail) for tail in tails):
            return release.rows
    suffix = PurePath(path.name.removesuffix(".gz")).suffix.lower()
    if suffix not in ROWS or (suffix == ".parquet" and path.name.endswith(".gz")):
        named = ", ".join(release.pattern for release in source.release)
        raise InputError(
            f"{path.name} is no file of {source.name} that can be read.",
            advice=f"Readable: {f'{named} of its release; ' if named else ''}rows as {', '.join(ROWS)}.",
        )
    return ROWS[suffix]


def _pattern(pattern: str) -> re.Pattern[str]:
    """A glob as an expression over a path."""
    signs = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    pieces = re.split(r"(\*\*/|\*\*|\*|\?|\[[^\]]+\])", pattern)
    return re.compile(
        "".join(signs.get(p) or (p if p.startswith("[") and p.endswith("]") else re.escape(p)) for p in pieces)
    )


def _file_rows(reader: Reader, path: Path, facts: SourceFile) -> Iterator[Row | Rejected]:
    """Rows of a file, counted into its facts; whatever ends it early becomes one line with the file's name."""
    try:
        for row in reader(path):
            facts.num_rows += 1
            yield row
    except InputError:
        raise
    except Exception as error:  # whatever a reader of somebody's release, and what it builds upon, may raise
        what = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else one_line(error).rstrip(".")
        raise InputError(
            f"{facts.name} can not be read on after row {facts.num_rows:,}: {what}.",
            advice="Restore the file from its source.",
        ) from error
