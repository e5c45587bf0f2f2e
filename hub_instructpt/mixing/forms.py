"""Forms: what a part turns out to be, and how a row of it becomes a text.

    run           a run or another mixture: the `text` of its sealed shards
    raw           a corpus: a column of texts
    instructions  question and response, joined by exactly one blank; no chat template
    collection    {"context", "QA_list": [{"Q", "A"}]}, rendered anew, in other styles at every repeat

Keeps true: what is found by looking can be said instead, and then nothing is guessed; a row that gives no text says
why. Asks the Hub only through what it is handed. Does not know proportions, tokens or shards.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import fsspec
import orjson

from hub_instructpt.errors import InputError, RunDirectoryError, RunError, SettingsError
from hub_instructpt.mixing.manifest import Mixture, PartFacts
from hub_instructpt.mixing.parts import Form, PartSpec
from hub_instructpt.mixing.rows import READ, Content
from hub_instructpt.rendering.wording import wording
from hub_instructpt.runs.files import sha256
from hub_instructpt.runs.hub_dataset import open_dataset
from hub_instructpt.runs.manifest import MANIFEST, Manifest, ShardFacts, SourceFacts
from hub_instructpt.runs.readers import RawRow, reader_of
from hub_instructpt.runs.sources import Source, Tick, find_files, open_files
from hub_instructpt.version import __version__

HubFacts = Callable[[str, str | None, str, str | None], SourceFacts]
"""What the Hub says of a dataset: (repo id, config, split, revision)."""

COLLECTION_FILES = "*/shard/*.jsonl"


@dataclass(frozen=True, slots=True)
class Part:
    """A part that is ready to be read.

    `rows(seed)` gives its rows in stored order (of a run, the shards in an order of the seed); `content` what of a row
    matters, or the reason why it gives nothing; `write` makes the text, in the styles of a seed.
    """

    facts: PartFacts
    rows: Callable[[int], Iterator[RawRow]]
    content: Callable[[RawRow], tuple[Content, str | None]]
    write: Callable[[Content, int], str]


def open_part(spec: PartSpec, name: str, hub_facts: HubFacts, tick: Tick = lambda rows: None) -> Part:
    """Find out what a part is, and check it.

    Args:
        spec: as it was asked for.
        name: what it is called.
        hub_facts: asks the Hub.
        tick: called with numbers of rows while files are read through.

    Raises:
        InputError: there is nothing, or not what was said; a column that is not there.
    """
    folder = Path(spec.source).expanduser()
    shards = sorted(folder.glob(COLLECTION_FILES)) if spec.form in (None, "collection") else []
    if (folder / MANIFEST).is_file() and not shards and spec.form in (None, "run"):
        return _open_run(spec, name, folder)
    if spec.form == "run":
        raise InputError(f"{spec.source} is no run directory.", advice=f"A run has a {MANIFEST}.")
    files = shards or find_files(spec.source)
    if files is None:
        facts = hub_facts(spec.source, spec.config, spec.split, spec.revision)
        form = spec.form or _form_of_columns(spec, _hub_columns(spec, facts))
        facts = facts.model_copy(update={"num_rows": facts.num_rows or _hub_rows(spec, facts)})
    else:
        facts = None
        form = spec.form or _form_of_columns(spec, _file_columns(files))
    columns = _columns(spec, form)
    source = _open_rows(spec, form, list(columns.values()), files, facts, tick)
    part = PartFacts(
        name=name,
        form=form,
        columns=columns,
        source=source.facts,
        num_rows=_at_most(source.facts.num_rows or spec.rows, spec.limit),
        license=[spec.license] if spec.license else source.facts.license or _collection_licenses(folder),
        wording=f"{__version__} {wording().digest}" if form == "collection" else None,
        **_asked(spec),
    )
    return Part(part, _limited(lambda seed: source.raw_rows(0), spec.limit), *READ[form](columns))


def _collection_licenses(folder: Path) -> list[str] | None:
    """The licences of a collection that `collect` made, as its manifest names them."""
    try:
        datasets = orjson.loads((folder / MANIFEST).read_bytes())["datasets"]
        licences = [dataset["licence"] for dataset in datasets]
        names = [each["name"] if each["hub_id"] in ("other", "unknown") else each["hub_id"] for each in licences]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return sorted(set(names)) or None


def default_name(spec: PartSpec) -> str:
    """What a part is called when nobody says: the Hub's id of it, or the file's or folder's own name."""
    path = Path(spec.source).expanduser()
    if path.is_dir():
        return _plain_name(path.resolve().name)
    files = find_files(spec.source)
    if files is None:
        return spec.source
    return _plain_name(files[0].name.partition(".")[0])


def _plain_name(name: str) -> str:
    return "".join(c if c.isalnum() or c in ".+-_" else "-" for c in name)[:100] or "part"


def _asked(spec: PartSpec) -> dict[str, Any]:
    def spoken(value: Fraction | None) -> str | None:
        return None if value is None else str(value)

    return {
        "weight": spoken(spec.weight), "repeats": spoken(spec.repeats), "limit": spec.limit, "origin": spec.origin,
    }  # fmt: skip


def _at_most(number: int | None, limit: int | None) -> int | None:
    return limit if number is None else min(number, limit or number)


def _limited(rows: Callable[[int], Iterator[RawRow]], limit: int | None) -> Callable[[int], Iterator[RawRow]]:
    def first(seed: int) -> Iterator[RawRow]:
        for number, row in enumerate(rows(seed)):
            if limit is not None and number >= limit:
                return
            yield row

    return first


# -- finding out ---------------------------------------------------------------------------------------------------


def _form_of_columns(spec: PartSpec, columns: Sequence[str]) -> Form:
    if spec.text is not None:
        return "raw"
    if spec.question or spec.response or spec.system:
        return "instructions"
    if {"context", "QA_list"} <= set(columns):
        return "collection"
    if {"question", "response"} <= set(columns) and "text" not in columns:
        return "instructions"
    return "raw"


def _columns(spec: PartSpec, form: Form) -> dict[str, str]:
    if form == "collection":
        return {"context": "context", "pairs": "QA_list"}
    if form == "instructions":
        found = {"question": spec.question or "question", "response": spec.response or "response"}
        return {**found, "system": spec.system} if spec.system else found
    return {"text": spec.text or "text"}


def _file_columns(files: Sequence[Path]) -> Sequence[str]:
    for path in files:
        reader = reader_of(path)
        row = next(reader.rows(path, 0, ()), None) if reader else None
        if row is not None:
            return list(row)
    return ()


def _hub_columns(spec: PartSpec, facts: SourceFacts) -> Sequence[str]:
    """Columns of a Hub dataset; none when it can not be opened so, which opening it will explain."""
    import datasets

    try:
        dataset = datasets.load_dataset(
            spec.source, spec.config, split=spec.split, revision=facts.revision, streaming=True
        )
        return dataset.column_names or list(next(iter(dataset), ()))
    except Exception:  # whatever a loader of `datasets` may raise
        return ()


def _hub_rows(spec: PartSpec, facts: SourceFacts) -> int | None:
    """Rows of a Hub dataset, where its card tells."""
    import datasets

    try:
        builder = datasets.load_dataset_builder(spec.source, spec.config, revision=facts.revision)
        return int(builder.info.splits[spec.split].num_examples) or None
    except Exception:  # none of them matters: it is a wish, and opening tells what is wrong
        return None


# -- opening -------------------------------------------------------------------------------------------------------


def _open_rows(
    spec: PartSpec, form: Form, columns: list[str], files: list[Path] | None, facts: SourceFacts | None, tick: Tick
) -> Source:
    try:
        if files is not None:
            return open_files(files, columns[0], columns[1:], tick)
        assert facts is not None
        if form == "collection" and spec.config is None:
            return _open_hub_collection(spec, facts)
        return open_dataset(spec.source, spec.config, spec.split, facts, columns[0], columns[1:])
    except InputError as error:
        if "-column" not in error.advice:
            raise
        keys = {"raw": "text=", "instructions": "question=, response= or system="}.get(form)
        advice = f"Name the right one with {keys}." if keys else "A record is {context, QA_list: [{Q, A}]}."
        raise InputError(error.message, advice=advice) from None


def _open_hub_collection(spec: PartSpec, facts: SourceFacts) -> Source:
    """All of a collection on the Hub, file by file: its datasets have a config each, and not the same columns."""
    try:
        files = fsspec.filesystem("hf")
        paths = sorted(files.glob(f"datasets/{spec.source}@{facts.revision}/{COLLECTION_FILES}"))
    except Exception as error:  # whatever the Hub's client may raise
        raise InputError(f"{spec.source} can not be read as a collection: {_line(error)}") from None
    if not paths:
        raise InputError(
            f"{spec.source} holds no {COLLECTION_FILES}, so it is no collection.",
            advice="Name one of its configs with config=, or another form=.",
        )

    def raw_rows(start: int) -> Iterator[RawRow]:
        return islice(lines(), start, None)

    def lines() -> Iterator[RawRow]:
        for path in paths:
            name = path.partition("/")[2]
            try:
                with files.open(path, "rb") as stream:
                    for number, line in enumerate(stream, 1):
                        row = orjson.loads(line) if line.strip() else None
                        if isinstance(row, dict):
                            yield row
                        elif row is not None:
                            raise InputError(f"{name}, line {number}, is not a JSON object.")
            except InputError:
                raise
            except orjson.JSONDecodeError as error:
                raise InputError(f"{name} is not JSON lines: {_line(error)}") from None
            except Exception as error:
                raise RunError(
                    f"Reading {name} broke off: {_line(error)}", advice="Run the same again: what is sealed is safe."
                ) from None

    return Source(facts, "context", {}, raw_rows)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _open_run(spec: PartSpec, name: str, folder: Path) -> Part:
    if spec.text or spec.question or spec.response or spec.system:
        raise SettingsError(f"{spec.source} is a run: its texts are taken as they are, so no column can be named.")
    shards, facts = _run_facts(folder)
    digest = hashlib.sha256()
    for shard in shards:
        path = folder / shard.path
        if not path.is_file() or path.stat().st_size != shard.num_bytes or sha256(path) != shard.sha256:
            raise RunDirectoryError(f"{path} is missing or not as it was sealed.", advice="Restore it from a copy.")
        digest.update(shard.sha256.encode())
    rows = sum(shard.num_rows for shard in shards)
    if not rows:
        raise InputError(f"The run {spec.source} holds no texts.")
    part = facts.model_copy(
        update={
            "name": name,
            "num_rows": _at_most(rows, spec.limit),
            "content": digest.hexdigest(),
            "license": [spec.license] if spec.license else facts.license,
            **{key: value for key, value in _asked(spec).items() if value is not None},
        }
    )

    def rows_of(seed: int) -> Iterator[RawRow]:
        for shard in random.Random(f"shards/{seed}").sample(shards, len(shards)):
            if shard.num_rows:
                reader = reader_of(folder / shard.path)
                assert reader is not None
                yield from reader.rows(folder / shard.path, 0, ("text",))

    return Part(part, _limited(rows_of, spec.limit), *READ["run"]({"text": "text"}))


def _run_facts(folder: Path) -> tuple[list[ShardFacts], PartFacts]:
    """Shards and facts of a finished run, or of a finished mixture."""
    try:
        kind = orjson.loads((folder / MANIFEST).read_bytes()).get("kind")
    except (OSError, ValueError, AttributeError):
        kind = None  # loading it says what is wrong
    if kind == "mixture":
        mixture = Mixture.load(folder)
        known = [part.license for part in mixture.parts]
        licenses = sorted({name for names in known for name in names or ()}) if all(known) else None
        source = SourceFacts(kind="files", name=folder.resolve().name)
        finished, shards = mixture.finished, mixture.shards
        facts = PartFacts(name="", form="run", source=source, license=licenses)
    else:
        run = Manifest.load(folder)
        finished, shards = run.finished, run.shards
        facts = PartFacts(
            name="",
            form="run",
            source=run.source,
            license=[run.license] if run.license else run.source.license,
            model=run.engine.model_id,
        )
    if not finished:
        raise InputError(f"{folder} is not finished.", advice="Run its command again first; then mix.")
    return shards, facts
