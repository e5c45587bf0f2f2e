"""One dataset of the collection, from its rows to its folder.

Keeps true: a dataset is there whole or not at all: it is made in a hidden folder, which takes its name when everything
is on disk, and the manifest names it last; a finished one is not made again unless what it depends on has changed.
There is one writer at a time. Does not know the Hub's API, or which datasets there are.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from hub_instructpt.collection.convert import Conversion
from hub_instructpt.collection.manifest import Collection, CollectSettings, DatasetFacts, FileFacts, LicenceFacts
from hub_instructpt.collection.reading import Reading
from hub_instructpt.collection.registry import code_of
from hub_instructpt.collection.source import Record, Source
from hub_instructpt.collection.writing import write_bytes, write_records
from hub_instructpt.errors import InputError, RunDirectoryError, RunError
from hub_instructpt.evidence import Evidence
from hub_instructpt.records import Pair
from hub_instructpt.runs.files import sync_folder
from hub_instructpt.runs.locks import only_writer
from hub_instructpt.runs.manifest import MANIFEST, SourceFacts

Tick = Callable[[int], None]


@contextmanager
def open_collection(folder: Path) -> Iterator[Collection]:
    """The collection in a folder, or a new one where the folder is empty; nobody else writes to it meanwhile.

    Raises:
        RunDirectoryError: the folder holds something else, or is being written to.
        RunError: its manifest can not be believed.
    """
    _refuse_strange(folder)
    with only_writer(folder):
        collection = Collection.load(folder) if (folder / MANIFEST).exists() else Collection()
        if not collection.datasets:
            # From now on the folder is known for a collection, whatever a crash may leave in it.
            collection.save(folder)
        try:
            yield collection
        finally:
            if _visible(folder) == [MANIFEST]:
                (folder / MANIFEST).unlink()


def _visible(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if not path.name.startswith(".")]


def _refuse_strange(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        strange = _visible(folder)
    except OSError as error:
        raise RunDirectoryError(f"{folder} can not be made: {error.strerror}.", advice="Give another --out.") from None
    if (folder / MANIFEST).exists():
        Collection.load(folder)
    elif strange:
        raise RunDirectoryError(f"{folder} holds {strange[0]} and no collection.", advice="Give another --out.")


def settings_for(
    source: Source, *, cap: int | None, seed: int, parquet: bool = False, revision: str | None = None
) -> CollectSettings:
    """What a dataset's records depend on, its converter included."""
    code = code_of(source)
    converter = hashlib.sha256(code.read_bytes()).hexdigest()[:16] if code else ""
    return CollectSettings(cap=cap, seed=seed, parquet=parquet, revision=revision, converter=converter)


def is_finished(
    folder: Path, collection: Collection, source: Source, settings: CollectSettings, files: SourceFacts | None
) -> bool:
    """Whether a dataset is there already, made of the same in the same way.

    Args:
        files: the files that it would be read from; None for the Hub, where the commit that was read is good enough.
    """
    there = collection.find(source.name)
    if there is None or there.settings != settings:
        return False
    if files is not None:
        if there.source.kind != "files" or _content(there.source) != _content(files):
            return False
    elif source.hub is not None:
        configs = ", ".join(config for config in source.hub.configs if config) or None
        wanted = ("hub", source.hub.repo_id, configs, source.hub.split)
        if (there.source.kind, there.source.name, there.source.config_name, there.source.split) != wanted:
            return False
    return all(_has(folder, file) for file in there.files)


def _content(facts: SourceFacts) -> list[tuple[str, str]]:
    return [(file.name, file.xxh64) for file in facts.files]


def _has(folder: Path, file: FileFacts) -> bool:
    path = folder / file.path
    return path.is_file() and path.stat().st_size == file.num_bytes


def collect(
    source: Source,
    reading: Reading,
    folder: Path,
    collection: Collection,
    settings: CollectSettings,
    tick: Tick = lambda rows: None,
) -> DatasetFacts:
    """Make a dataset of the collection; whoever calls this is the folder's only writer.

    Args:
        tick: called now and then with the number of rows read since the last call.

    Raises:
        InputError: its rows can not be read, or none of them gives a record.
        RunError: reading or writing broke off. What was there before is still there.
    """
    began = time.monotonic()
    work = folder / f".{source.name}.making"
    _clear(work)
    try:
        work.mkdir()
        with Conversion(source, work / "pairs.sqlite") as conversion:
            _read(conversion, reading, tick)
            made = work / source.name
            evidence = Evidence()
            records = _measured(conversion.records(settings.cap, settings.seed), source, conversion.counts)
            records = _seen(records, evidence)
            files = list(write_records(records, made, source.name, settings.parquet))
            counts, ledger = conversion.counts, conversion.ledger
        if not counts["records/kept"]:
            raise _nothing(source, reading, counts)
        if ledger.entries:
            files.append(write_bytes(made, "rejected.jsonl", source.name, ledger.lines()))
        facts = _facts(source, reading, settings, counts, files)
        facts.evidence = evidence.as_dict()
        facts.seconds = round(time.monotonic() - began, 1)
        _put_in_place(folder, made, facts, collection)
    except OSError as error:
        raise RunError(
            f"{work} can not be written: {error.strerror or error}.", advice="Make room, then run the same again."
        ) from None
    finally:
        _clear(work)
    return facts


def _read(conversion: Conversion, reading: Reading, tick: Tick) -> None:
    since = 0
    for part in reading.parts:
        for _ in conversion.read(part):
            since += 1
            if since == 500:
                tick(since)
                since = 0
    tick(since)


def _measured(records: Iterator[Record], source: Source, counts: Counter[str]) -> Iterator[Record]:
    """Counts how many answers of an extractive source stand in their context: as they are, and with case and white
    space folded."""
    for record in records:
        if source.extractive:
            context = record["context"]
            folded = ""
            for qa in record["QA_list"]:
                counts["answers/all"] += 1
                if qa["A"] in context:
                    counts["answers/in_context"] += 1
                    continue
                folded = folded or fold(context)
                counts["answers/in_folded_context"] += fold(qa["A"]) in folded
        yield record


def _seen(records: Iterator[Record], evidence: Evidence) -> Iterator[Record]:
    """Gathers of what kind the pairs are."""
    for at, record in enumerate(records):
        evidence.take(at, [(at, record["context"], pairs_of(record))])
        yield record


def pairs_of(record: Record) -> list[Pair]:
    """The pairs of a record, under their names in the rest of the package."""
    return [{"instruction": qa["Q"], "response": qa["A"]} for qa in record["QA_list"]]


def fold(text: str) -> str:
    """A text with case and white space folded."""
    return " ".join(text.split()).casefold()


def _facts(
    source: Source, reading: Reading, settings: CollectSettings, counts: Counter[str], files: list[FileFacts]
) -> DatasetFacts:
    licence = LicenceFacts(**asdict(source.licence), restrictions=source.licence.restrictions)
    return DatasetFacts(
        name=source.name,
        also_called=list(source.also_called),
        title=source.title,
        homepage=source.homepage,
        citation=source.citation,
        qa_type=source.qa_type,
        extractive=source.extractive,
        licence=licence,
        source=reading.facts.model_copy(update={"num_rows": counts["rows/read"], "license": None, "language": None}),
        declared_rows=source.hub.num_rows if source.hub else None,
        settings=settings,
        counts=dict(sorted((key, number) for key, number in counts.items() if number)),
        files=files,
    )


def _nothing(source: Source, reading: Reading, counts: Counter[str]) -> InputError:
    name = reading.facts.name
    if not counts["rows/read"]:
        return InputError(f"{name} holds no rows for {source.name}.", advice="Check what is given as its source.")
    reasons = ", ".join(
        f"{number:,} {key.partition('/')[2].replace('_', ' ')}"
        for key, number in counts.most_common()
        if "rejected/" in key or "cut/" in key
    )
    return InputError(
        f"None of {counts['rows/read']:,} rows of {name} gives a record of {source.name}: {reasons or 'no questions'}.",
        advice="They have other columns than the converter reads.",
    )


def _put_in_place(folder: Path, made: Path, facts: DatasetFacts, collection: Collection) -> None:
    """From here on a crash costs this dataset at most, and never leaves a manifest that names what is not there."""
    there = folder / facts.name
    if collection.find(facts.name):
        collection.without(facts.name)
        collection.save(folder)
    if there.exists():
        old = folder / f".{facts.name}.making" / "old"
        there.rename(old)
    made.rename(there)
    sync_folder(folder)
    collection.put(facts)
    collection.save(folder)


def _clear(work: Path) -> None:
    shutil.rmtree(work, ignore_errors=True)
