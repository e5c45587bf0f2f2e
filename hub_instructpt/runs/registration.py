"""Registration: a run directory is made for a run, or found to be that of the same run and in order.

    new or empty                         the manifest is written
    another run, or something else       refused, by the name of what differs
    a sealed shard missing or altered    said, and taken out of the manifest: it is made again
    left by a killed run                 removed: temporary files, shards that were never noted, journals of sealed ones

Keeps true: nothing is removed that a sealed shard needs, or that is not ours. A worker looks after its own shards only.
Does not know engines or rows.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from hub_instructpt.errors import RunDirectoryError
from hub_instructpt.runs.files import is_temporary, sha256
from hub_instructpt.runs.ledger import LEDGER
from hub_instructpt.runs.locks import writing_manifest
from hub_instructpt.runs.manifest import BESIDE, MANIFEST, Manifest, ShardFacts, bring_up_to_date
from hub_instructpt.runs.same_run import refuse_other_run
from hub_instructpt.runs.shards import journal_path
from hub_instructpt.runs.share import ALONE, Worker

HASHING_THREADS = 4

_log = logging.getLogger("hub_instructpt")


def prepare(folder: Path) -> None:
    """Make a run directory, or see that nothing else is there.

    Raises:
        RunDirectoryError: it holds something else, or can not be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # A run that was killed before its first manifest leaves no more than these.
        foreign = any(not path.name.startswith((".lock", f".{MANIFEST}.")) for path in folder.iterdir())
        is_run = (folder / MANIFEST).exists()
    except OSError as error:
        raise RunDirectoryError(f"{folder} can not be used: {error.strerror}.", advice="Give another --out.") from None
    if foreign and not is_run:
        raise RunDirectoryError(
            f"{folder} is not empty, and what is there is no run.", advice="Give an empty or new folder as --out."
        )


class Shelf(Protocol):
    """Where sealed shards lie, when they do not stay in the run directory. Its name is shown to people."""

    def why_damaged(self, folder: Path, shard: ShardFacts) -> str | None:
        """In what a shard is not as it was sealed; None when it is."""

    def registered(self, manifest: Manifest) -> None:
        """The run is about to begin, or to go on; so far this is sealed."""

    def sealed(self, shard: ShardFacts) -> None:
        """One more shard is sealed. May wait, and sealing waits with it."""


def register(folder: Path, here: Manifest, worker: Worker = ALONE, shelf: Shelf | None = None) -> Manifest:
    """The manifest of the run in `folder`, which has the directory or is a worker of it.

    Args:
        here: the run that is about to begin, without shards.
        shelf: where its sealed shards lie, when they leave the directory.

    Raises:
        RunDirectoryError: the directory belongs to another run.
    """
    with writing_manifest(folder):
        if not (folder / MANIFEST).exists():
            here.save(folder)
            return here
        there = Manifest.load(folder)
        if not there.shards and worker == ALONE:  # nothing is lost by another try with other settings
            if (there.settings, there.engine.model_id, there.engine.model_sha) != (
                here.settings, here.engine.model_id, here.engine.model_sha,
            ):  # fmt: skip
                _drop_journals(folder)
            here.save(folder)
            _drop_leftovers(folder, here, worker)
            return here
        refuse_other_run(there, here, shelf or folder)
    damaged = {shard.path for shard in _damaged(folder, there, worker, shelf)}
    if damaged or (here.license and here.license != there.license):

        def change(manifest: Manifest) -> None:
            manifest.license = here.license or manifest.license
            manifest.shards = [shard for shard in manifest.shards if shard.path not in damaged]
            manifest.finished = manifest.finished and not damaged

        there = bring_up_to_date(folder, change)
    _drop_leftovers(folder, there, worker)
    return there


def _damaged(folder: Path, manifest: Manifest, worker: Worker, shelf: Shelf | None) -> Iterator[ShardFacts]:
    """Shards that are not as they were sealed. Their notes beside the manifest are removed."""
    look = shelf.why_damaged if shelf else why_damaged
    own = [shard for shard in manifest.shards if worker.has(shard.index)]
    with ThreadPoolExecutor(HASHING_THREADS) as pool:
        for shard, why in zip(own, pool.map(lambda shard: look(folder, shard), own), strict=True):
            if why is None:
                continue
            again = "its answers are in the journal" if (folder / journal_path(shard.index)).exists() else (
                f"its {shard.counts.get('texts/all', 0):,} texts are asked again"
            )  # fmt: skip
            _log.warning("%s/%s %s; it is made anew: %s.", shelf or folder, shard.path, why, again)
            (folder / BESIDE / f"train-{shard.index:05d}.json").unlink(missing_ok=True)
            yield shard


def why_damaged(folder: Path, shard: ShardFacts) -> str | None:
    """In what a shard is not as it was sealed; None when it is."""
    path = folder / shard.path
    try:
        size = path.stat().st_size
        if size != shard.num_bytes:
            return f"has {size:,} bytes instead of {shard.num_bytes:,}"
        return None if sha256(path) == shard.sha256 else "was altered since it was sealed"
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"can not be read ({error.strerror})"


def _drop_leftovers(folder: Path, manifest: Manifest, worker: Worker) -> None:
    """Remove what a killed run left: shards that were never noted, journals that nobody needs, temporary files."""
    sealed = {shard.index: shard for shard in manifest.shards}
    for path in (folder / "data").glob("train-*.parquet"):
        index = _index(path)
        if index is not None and worker.has(index) and index not in sealed:
            path.unlink()
    for path in (folder / "journal").glob("train-*.jsonl"):
        index = _index(path)
        if index is not None and worker.has(index) and index in sealed and not sealed[index].retryable:
            path.unlink()
    drop_temporary(folder, worker)


def drop_temporary(folder: Path, worker: Worker = ALONE) -> None:
    """Remove the temporary files of shards that nobody is writing any more."""
    for below in ("data", BESIDE, LEDGER):
        for path in filter(is_temporary, (folder / below).glob(".train-*")):
            index = _index(Path(path.name.lstrip(".").partition(".")[0]))
            if index is not None and worker.has(index):
                path.unlink()


def _index(path: Path) -> int | None:
    found = re.fullmatch(r"train-(\d{5,})", path.stem)
    return int(found[1]) if found else None


def _drop_journals(folder: Path) -> None:
    """Forget the answers to a first try with other settings: another model, or another way of sampling."""
    for path in (folder / journal_path(0)).parent.glob("*.jsonl"):
        path.unlink()
