"""A declaration, checked when it is loaded: who writes a converter learns by file and field what is wrong with it.

Keeps true: a source that passes has every field of its kind, and its example row becomes its example record.
Does not know where declarations come from.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

from hub_instructpt import cards
from hub_instructpt.collection.convert import convert
from hub_instructpt.collection.source import Hub, Licence, QAType, Release, Source
from hub_instructpt.errors import SettingsError

NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,95}"
REPO_ID = r"[\w.-]+/[\w.-]+"
REVISION = r"[0-9a-f]{40}|[\w.-]+(/[\w.-]+)*"
RESERVED = {"data", "packed", "default", "readme.md", "manifest.json"}


def check_source(source: Any, where: str) -> Source:
    """The source, if it may be used.

    Args:
        where: its file, for the message.

    Raises:
        SettingsError: naming the file and the field.
    """
    if not isinstance(source, Source):
        raise SettingsError(
            f"{where}: SOURCE is {type(source).__name__}, not a hub_instructpt.collection.Source.",
            advice="See dataset_scripts/_template.py.",
        )
    for field, problem in _problems(source):
        raise SettingsError(f"{where}: {field}: {problem}.", advice="Mend the declaration.")
    return source


def _problems(source: Any) -> Iterator[tuple[str, str]]:
    """Fields that are wrong, each with what is wrong about it; a later one may rely on the earlier ones."""
    for field, name in (("name", source.name), *(("also_called", name) for name in source.also_called)):
        if not _is_text(name) or not re.fullmatch(NAME, name):
            yield field, f"{name!r} can not be the name of a folder and of a config"
        elif name.casefold() in RESERVED:
            yield field, f"{name!r} is taken"
    if not _is_text(source.title) or "\n" in source.title:
        yield "title", "must be one sentence on one line"
    if not _is_text(source.homepage) or not re.match(r"https?://\S+$", source.homepage):
        yield "homepage", "must be an address"
    if source.hub is not None:
        yield from _hub_problems(source.hub)
    yield from _licence_problems(source.licence)
    if not _is_text(source.citation) or not source.citation.lstrip().startswith("@"):
        yield "citation", "must be BibTeX"
    if source.qa_type not in get_args(QAType):
        yield "qa_type", f"must be one of {', '.join(get_args(QAType))}"
    if not callable(source.questions):
        yield "questions", "must be a function"
    if not isinstance(source.release, Sequence) or not all(isinstance(file, Release) for file in source.release):
        yield "release", "must be a list of Release"
    for file in source.release:
        if not _is_text(file.pattern) or file.pattern.startswith("/") or ".." in file.pattern.split("/"):
            yield "release", f"{file.pattern!r} is no pattern below the dataset's folder"
        if not callable(file.rows):
            yield "release", f"the reader of {file.pattern!r} must be a function"
    if source.hub is None and not source.release:
        yield "hub", "with neither a dataset on the Hub nor files of a release there is nothing to read"
    yield from _example_problems(source)


def _hub_problems(hub: Any) -> Iterator[tuple[str, str]]:
    if not isinstance(hub, Hub):
        yield "hub", "must be a Hub, or None"
        return
    if not _is_text(hub.repo_id) or not re.fullmatch(REPO_ID, hub.repo_id):
        yield "hub.repo_id", f"{hub.repo_id!r} is not NAMESPACE/NAME"
    if isinstance(hub.configs, str) or not hub.configs or not all(c is None or _is_text(c) for c in hub.configs):
        yield "hub.configs", "must be a list of names; (None,) is the default config"
    if not _is_text(hub.split):
        yield "hub.split", "must be a name"
    if hub.revision is not None and not re.fullmatch(REVISION, hub.revision):
        yield "hub.revision", f"{hub.revision!r} is no commit"
    if hub.num_rows is not None and (not isinstance(hub.num_rows, int) or hub.num_rows < 1):
        yield "hub.num_rows", "must be a number of rows, or None"


def _licence_problems(licence: Any) -> Iterator[tuple[str, str]]:
    if not isinstance(licence, Licence):
        yield "licence", "must be a Licence"
        return
    if not _is_text(licence.name):
        yield "licence.name", "must be its name"
    known = cards.knowledge("licences.yaml")["known"].split()
    if licence.hub_id not in known:
        yield "licence.hub_id", f"{licence.hub_id!r} is none that the Hub knows; take `other` or `unknown`"
    if not licence.redistributable and not licence.note.strip():
        yield "licence.note", "must say why the dataset must not be passed on"
    for word, mark in (("-nc", "non_commercial"), ("-sa", "share_alike")):
        if word in str(licence.hub_id) and not getattr(licence, mark):
            yield f"licence.{mark}", f"must be set for {licence.hub_id}"


def _example_problems(source: Any) -> Iterator[tuple[str, str]]:
    if not isinstance(source.example, tuple) or len(source.example) != 2:
        yield "example", "must be a row and a record"
        return
    row, record = source.example
    if not isinstance(row, Mapping) or not isinstance(record, Mapping):
        yield "example", "must be a row and a record"
        return
    counts: Counter[str] = Counter()
    records = list(convert(source, [dict(row)], counts))
    if records != [record]:
        left_out = ", ".join(key for key in counts if "_rejected/" in key or "_cut/" in key)
        came = f"{len(records)} records" if len(records) != 1 else f"{records[0]!r:.300}"
        yield "example", f"its row becomes {came}{f' ({left_out})' if left_out else ''}, not its record"


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())
