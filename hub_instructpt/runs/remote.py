"""A run in a store: its manifest and the notes of its sealed shards, read from there; and a look at it from here.

    URL/manifest.json             as in a directory; brought up to date when a worker begins or ends
    URL/shards/train-00000.json   a note for each sealed shard; they stay, for want of locks to fold them in under
    URL/data/…  URL/ledger/…      as in a directory

So a copy of a store is a run directory.

Keeps true: a shard counts when the manifest names it, or else when its note is there: reading a run that has been
brought up to date costs the same however many shards it has. A look needs no more disk than it says.
Does not know how a run gets into a store.
"""

from __future__ import annotations

import contextlib
import logging
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from pydantic import ValidationError

from hub_instructpt.errors import RunDirectoryError, RunError
from hub_instructpt.runs.ledger import ledger_path
from hub_instructpt.runs.manifest import BESIDE, MANIFEST, Manifest, ShardFacts
from hub_instructpt.runs.plan import known_rows
from hub_instructpt.runs.store import Store
from hub_instructpt.runs.verify import Files

_log = logging.getLogger("hub_instructpt")


def note_path(index: int) -> str:
    """Path of the note of a shard, within its run."""
    return f"{BESIDE}/train-{index:05d}.json"


def read_manifest(store: Store, wanted: Callable[[int], bool] = lambda index: True) -> Manifest | None:
    """The manifest of the run in a store, with the notes of shards that it does not name; None when there is no run.

    Args:
        wanted: of which shards the notes are read, by number.

    Raises:
        RunError: it can not be believed, or the store does not answer.
    """
    manifest = written_manifest(store)
    if manifest is not None:
        named = {shard.index for shard in manifest.shards}
        manifest.add(*read_notes(store, lambda index: index not in named and wanted(index)))
        settle(manifest)
    return manifest


def written_manifest(store: Store) -> Manifest | None:
    """The manifest as it stands in a store; None when there is none."""
    text = store.read(MANIFEST)
    return None if text is None else Manifest.parse(text, f"{store}/{MANIFEST}")


def read_notes(store: Store, wanted: Callable[[int], bool]) -> list[ShardFacts]:
    """The notes of sealed shards. One that can not be read does not count, so its shard is made anew."""
    found = (re.fullmatch(r"train-(\d{5,})\.json", name) for name in store.sizes(BESIDE))
    paths = [note_path(index) for index in sorted(int(name[1]) for name in found if name) if wanted(index)]
    notes = []
    for path, content in zip(paths, store.read_all(paths), strict=True):
        try:
            if content is not None:
                notes.append(ShardFacts.model_validate_json(content))
        except ValidationError:
            _log.warning("%s/%s can not be read; its shard is made anew.", store, path)
    return notes


def write_manifest(store: Store, manifest: Manifest) -> None:
    """Put a manifest into a store."""
    store.write(MANIFEST, manifest.model_dump_json(indent=1).encode() + b"\n")


def write_note(store: Store, shard: ShardFacts) -> None:
    """Note in a store that a shard counts."""
    store.write(note_path(shard.index), shard.model_dump_json(indent=1).encode() + b"\n")


def settle(manifest: Manifest) -> None:
    """Say of a manifest whether the run is finished, by the shards that it names."""
    num_rows = known_rows(manifest.model_copy(update={"finished": False}))
    if num_rows is not None:
        manifest.finished = manifest.rows_sealed >= num_rows


@contextlib.contextmanager
def look(store: Store) -> Iterator[tuple[Path, Manifest]]:
    """A temporary folder with the manifest and the card of a run in a store, as a run directory without data.

    Raises:
        RunDirectoryError: there is no run.
    """
    manifest = read_manifest(store)
    if manifest is None:
        raise RunDirectoryError(
            f"{store} holds no run: there is no {MANIFEST}.", advice="Make one with `hub-instructpt augment`."
        )
    with tempfile.TemporaryDirectory(prefix="hub-instructpt-") as name:
        folder = Path(name)
        text = manifest.model_dump_json(indent=1)  # as it is: a look changes no dates
        (folder / MANIFEST).write_text(text, "utf-8")
        store.download("README.md", folder / "README.md")
        yield folder, manifest


@contextlib.contextmanager
def brought(store: Store, folder: Path, shards: Iterable[ShardFacts]) -> Iterator[None]:
    """Files of some shards, with their ledgers, fetched into a folder, and removed from there afterwards."""
    shards = list(shards)
    try:
        fetch(store, folder, shards)
        yield
    finally:
        for path in (path for shard in shards for path in (shard.path, ledger_path(shard.index))):
            (folder / path).unlink(missing_ok=True)


def fetch(store: Store, folder: Path, shards: Iterable[ShardFacts]) -> None:
    """Copy the files of some shards, with their ledgers, into a folder. What is not in the store is not here, either.

    Raises:
        RunError: the folder can not be written to, or the store does not answer.
    """
    for path in (path for shard in shards for path in (shard.path, ledger_path(shard.index))):
        try:
            (folder / path).parent.mkdir(exist_ok=True)
            if not store.download(path, folder / path):
                (folder / path).unlink(missing_ok=True)
        except OSError as error:
            raise RunError(f"{folder} can not be written: {error.strerror or error}.", advice="Make room.") from None


class RemoteFiles(Files):
    """The files of a run in a store, brought into a folder shard by shard."""

    def __init__(self, store: Store, folder: Path) -> None:
        super().__init__(folder)
        self.store = store

    def brought(self, shard: ShardFacts) -> contextlib.AbstractContextManager[None]:
        return brought(self.store, self.folder, [shard])

    def data(self) -> list[str]:
        return sorted(name for name in self.store.sizes("data") if name.endswith(".parquet"))
