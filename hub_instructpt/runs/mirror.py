"""A mirror: a run is made in a local spool, and its sealed shards move to a store while it goes on.

The spool is an ordinary run directory under the Hugging Face cache, the same for all processes of this machine that
write to one URL; the store holds the run (remote.py). Shards go there as they are sealed (sending.py), the manifest
when a worker begins and when it ends.

Keeps true: what stands in the store counts there only when all of it has arrived, so kills at any moment lose nothing
that was answered; what others have sealed is not made again. There are no locks: who ends at the same moment as another
reads the notes again, until nothing is new.
Does not know how shards are made, cards, or which store it is.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path

import xxhash

from hub_instructpt.answers import default_folder
from hub_instructpt.errors import HubInstructPTError, RunDirectoryError
from hub_instructpt.runs.ledger import LEDGER
from hub_instructpt.runs.locks import is_being_written, writing_manifest
from hub_instructpt.runs.manifest import BESIDE, MANIFEST, Manifest, ShardFacts, bring_up_to_date
from hub_instructpt.runs.registration import why_damaged
from hub_instructpt.runs.remote import (
    fetch,
    note_path,
    read_manifest,
    settle,
    write_manifest,
    write_note,
    written_manifest,
)
from hub_instructpt.runs.same_run import refuse_other_run
from hub_instructpt.runs.segments import JOURNAL
from hub_instructpt.runs.sending import Sender
from hub_instructpt.runs.share import ALONE, Worker
from hub_instructpt.runs.stopping import Stop
from hub_instructpt.runs.store import Store

_log = logging.getLogger("hub_instructpt")


class Mirror:
    """The side of the store of a run that goes on.

    Use: `begin()` before it, the run in `folder` with this as its `shelf`, then `finish()`; `stop()` where it ends in
    an error, which may be `failure`.

    Args:
        store: where the run belongs.
        worker: which part of it is made here.
        folder: the spool; by default under the Hugging Face cache, by the URL.
        stop: ends the run when the store has failed for good.
    """

    def __init__(
        self, store: Store, worker: Worker = ALONE, folder: Path | None = None, stop: Stop | None = None
    ) -> None:
        self.store, self.worker = store, worker
        self.folder = folder or spool_folder(store.url)
        self._sender = Sender(store, self.folder, worker, stop or Stop())
        self._there: Manifest | None = None
        self._data: dict[str, int] = {}
        self._damaged: list[ShardFacts] = []

    def __str__(self) -> str:
        return str(self.store)

    @property
    def failure(self) -> HubInstructPTError | None:
        """Why the store has failed for good, if it has."""
        return self._sender.failure

    @property
    def waiting(self) -> int:
        """Sealed shards that the store does not have yet."""
        return self._sender.waiting

    def begin(self) -> None:
        """Bring what the store holds into the spool.

        Raises:
            RunError: the store does not answer, or holds what can not be believed.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunDirectoryError(
                f"{self.folder} can not be made: {error.strerror}.", advice="Set HF_HOME to a folder with room."
            ) from None
        self._there = read_manifest(self.store, self.worker.has)
        self._data = self.store.sizes("data")
        if self._there is None and any(name.startswith("train-") for name in self._data):
            raise RunDirectoryError(
                f"{self.store} holds data, but no run.", advice="Give an empty or new place as --out."
            )
        here = Manifest.load(self.folder) if (self.folder / MANIFEST).exists() else None
        if here is not None and self._there is not None and is_other(here, self._there):
            self._empty()  # somebody has made room for another run there
            here = None
        if here is not None:
            bring_up_to_date(self.folder, self._merge)
        elif self._there is not None:
            with writing_manifest(self.folder):
                self._there.save(self.folder)

    def why_damaged(self, folder: Path, shard: ShardFacts) -> str | None:
        """In what a shard is not as it was sealed, wherever it lies; None when it is."""
        if (folder / shard.path).exists():
            if (why := why_damaged(folder, shard)) is None:
                return None
            (folder / shard.path).unlink()
            _log.warning("%s %s.", folder / shard.path, why)
        size = self._size(shard)
        if size == shard.num_bytes:
            return None
        self._damaged.append(shard)
        return "is missing" if size is None else f"has {size:,} bytes instead of {shard.num_bytes:,}"

    def _size(self, shard: ShardFacts) -> int | None:
        return self._data.get(shard.path.rpartition("/")[2])

    def registered(self, manifest: Manifest) -> None:
        """Let the store know of the run, before anything of it is made; begin to send what is sealed here already."""
        self.store.make_folders("data", LEDGER, BESIDE, JOURNAL)
        for shard in self._damaged:
            self.store.remove(note_path(shard.index))
        there, damaged = self._there, {shard.path for shard in self._damaged}
        if there is None or damaged or there.license != manifest.license or is_other(there, manifest):
            sealed = [shard for shard in (there.shards if there else ()) if shard.path not in damaged]
            write_manifest(self.store, manifest.model_copy(update={"shards": sealed, "finished": False}))
        self._sender.begin({shard.index for shard in manifest.shards})
        known = {shard.path: shard.sha256 for shard in (there.shards if there else ()) if shard.path not in damaged}
        for shard in manifest.shards:
            if self.worker.has(shard.index) and (self.folder / shard.path).exists():
                arrived = known.get(shard.path) == shard.sha256 and self._size(shard) == shard.num_bytes
                (self._sender.leave if arrived else self._sender.put)(shard)

    def reopen(self) -> None:
        """Bring the shards with texts that may be asked again into the spool, with their journals; they still count."""
        manifest = Manifest.load(self.folder)
        waiting = [shard for shard in manifest.shards if shard.retryable]
        # From now on their notes say what they are, so that data and note change within one step of each other.
        for shard in waiting:
            write_note(self.store, shard)
        if waiting and self._there is not None:
            sealed = [shard for shard in self._there.shards if not shard.retryable]
            write_manifest(self.store, self._there.model_copy(update={"shards": sealed, "finished": False}))
        self._sender.begin({shard.index for shard in manifest.shards if not shard.retryable})
        fetch(self.store, self.folder, waiting)

    def sealed(self, shard: ShardFacts) -> None:
        """Send a sealed shard soon. Waits while too many wait already.

        Raises:
            HubInstructPTError: the store has failed for good.
        """
        self._sender.put(shard)

    def finish(self) -> Manifest:
        """Wait for what is on its way, and bring the manifest in the store up to date.

        Returns:
            The manifest of the whole run, as it is now; finished when nothing of it is missing.

        Raises:
            HubInstructPTError: the store has failed for good. What is sealed is kept here; the same command sends it.
        """
        self._sender.finish()
        while True:
            written, self._there = written_manifest(self.store), read_manifest(self.store)
            if self._there is not None:
                self._there.add(*self._sender.sent)
            manifest = bring_up_to_date(self.folder, self._merge)
            manifest.shards = self._there.shards if self._there else []  # what others have sent, and nothing that waits
            manifest.finished = False
            settle(manifest)
            if written is not None and _said(written) == _said(manifest):
                break
            write_manifest(self.store, manifest)
        for (
            shard
        ) in manifest.shards:  # also what another worker has made meanwhile of what an earlier one had left here
            if (self.folder / shard.path).exists():
                self._sender.leave(shard)
        return manifest

    def stop(self) -> None:
        """Send what is sealed, for a while; what is left is kept here for the same command."""
        self._sender.stop()

    def _merge(self, here: Manifest) -> None:
        """What the spool knows becomes what the store holds and what waits here to be sent."""
        waiting = [shard for shard in here.shards if (self.folder / shard.path).exists()]
        here.shards = []
        if self._there is not None:
            here.shards = list(self._there.shards)
            here.created_at, here.license = self._there.created_at, here.license or self._there.license
            here.num_rows = self._there.num_rows if here.num_rows is None else here.num_rows
        here.add(*waiting)
        here.finished = False
        settle(here)

    def _empty(self) -> None:
        if is_being_written(self.folder):
            raise RunDirectoryError(
                f"{self.store} holds another run by now, and a process of this machine goes on with the old one.",
                advice="Stop it, then run the same again.",
            )
        for below in ("data", LEDGER, BESIDE, JOURNAL):
            for path in (self.folder / below).glob("train-*"):
                path.unlink(missing_ok=True)
        (self.folder / MANIFEST).unlink(missing_ok=True)


def spool_folder(url: str) -> Path:
    """Where a run waits for its store."""
    digest = xxhash.xxh3_64_hexdigest(url.rstrip("/").encode())
    name = re.sub(r"[^\w.-]+", "-", url.rstrip("/").rpartition("/")[2])[:40]
    return default_folder().with_name("runs") / f"{name}-{digest}"


def is_other(one: Manifest, another: Manifest) -> bool:
    """Whether two manifests are of different runs."""
    try:
        refuse_other_run(one, another, "")
    except RunDirectoryError:
        return True
    return False


def _said(manifest: Manifest) -> tuple[bool, int | None, list[tuple[str, str]]]:
    """What a manifest says of the run, whoever wrote it."""
    return manifest.finished, manifest.num_rows, [(shard.path, shard.sha256) for shard in manifest.shards]
