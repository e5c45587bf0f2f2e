"""A mirror: a run is made in a local spool, and its sealed shards move to a store while it goes on.

The spool is an ordinary run directory under the Hugging Face cache, the same for all processes of this machine that
write to one URL; the store holds the run (remote.py). A shard's files go there in this order: data, ledger, and the
note that makes it count; then they leave the spool. Journals of open shards are copied there now and then, for whoever
goes on elsewhere (segments.py). The manifest goes there when a worker begins and when it ends.

Keeps true: what stands in the store counts there only when all of it has arrived, so kills at any moment lose nothing
that was answered; what others have sealed is not made again; the run waits for the store only when it is many shards
behind. There are no locks: who ends at the same moment as another reads the notes again, until nothing is new.
Does not know how shards are made, cards, or which store it is.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections import deque
from contextlib import suppress
from pathlib import Path

import xxhash

from hub_instructpt.answers import default_folder
from hub_instructpt.errors import HubInstructPTError, RunDirectoryError, RunError
from hub_instructpt.runs.ledger import LEDGER, ledger_path
from hub_instructpt.runs.locks import is_being_written, writing_manifest
from hub_instructpt.runs.manifest import BESIDE, MANIFEST, Manifest, ShardFacts, bring_up_to_date
from hub_instructpt.runs.registration import why_damaged
from hub_instructpt.runs.remote import fetch, note_path, read_manifest, settle, written_manifest
from hub_instructpt.runs.same_run import refuse_other_run
from hub_instructpt.runs.segments import JOURNAL, Segments
from hub_instructpt.runs.shards import journal_path
from hub_instructpt.runs.share import ALONE, Worker
from hub_instructpt.runs.stopping import Stop
from hub_instructpt.runs.store import Store

MOST_WAITING = 64
"""Sealed shards that wait for the store; then sealing waits, too."""
SECONDS_TO_STOP, SECONDS_TO_DRAIN = 5.0, 60.0
LOOK_SECONDS = 0.5
JOURNAL_SECONDS = 30.0
"""Between two copies of what was answered to the store."""

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
        self,
        store: Store,
        worker: Worker = ALONE,
        folder: Path | None = None,
        stop: Stop | None = None,
    ) -> None:
        self.store, self.worker, self.stop_asked = store, worker, stop or Stop()
        self.folder = folder or spool_folder(store.url)
        self.failure: HubInstructPTError | None = None
        self._there: Manifest | None = None
        self._data: dict[str, int] = {}
        self._ledgers: set[str] = set()
        self._damaged: list[ShardFacts] = []
        self._sent: list[ShardFacts] = []
        self._segments = Segments(store, self.folder, worker)
        self._queue: deque[ShardFacts] = deque()
        self._changed = threading.Condition()
        self._ending = self._dropped = False
        self._thread: threading.Thread | None = None

    def __str__(self) -> str:
        return str(self.store)

    @property
    def waiting(self) -> int:
        """Sealed shards that the store does not have yet."""
        return len(self._queue)

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
        self._ledgers = set(self.store.sizes(LEDGER))
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
        size = self._data.get(shard.path.rpartition("/")[2])
        why = None
        if size is None:
            why = "is missing"
        elif size != shard.num_bytes:
            why = f"has {size:,} bytes instead of {shard.num_bytes:,}"
        if why is not None:
            self._damaged.append(shard)
        return why

    def reopen(self) -> Manifest:
        """Bring the shards with texts that may be asked again into the spool, with their journals; they still count.

        Returns:
            The manifest of the run.
        """
        manifest = Manifest.load(self.folder)
        waiting = [shard for shard in manifest.shards if shard.retryable]
        # From now on their notes say what they are, so that data and note change within one step of each other.
        for shard in waiting:
            self._write_note(shard)
        if waiting and self._there is not None:
            sealed = [shard for shard in self._there.shards if not shard.retryable]
            self._write_manifest(self._there.model_copy(update={"shards": sealed, "finished": False}))
        self._start({shard.index for shard in manifest.shards if not shard.retryable})
        fetch(self.store, self.folder, waiting)
        return manifest

    def registered(self, manifest: Manifest) -> None:
        """Let the store know of the run, before anything of it is made; begin to send what is sealed here already."""
        self.store.make_folders("data", LEDGER, BESIDE, JOURNAL)
        for shard in self._damaged:
            self.store.remove(note_path(shard.index))
        there, damaged = self._there, {shard.path for shard in self._damaged}
        if there is None or damaged or there.license != manifest.license or is_other(there, manifest):
            sealed = [shard for shard in (there.shards if there else ()) if shard.path not in damaged]
            self._write_manifest(manifest.model_copy(update={"shards": sealed, "finished": False}))
        for shard in manifest.shards:
            if self.worker.has(shard.index) and (self.folder / shard.path).exists():
                self._queue.append(shard)
        self._start({shard.index for shard in manifest.shards})

    def _start(self, sealed: set[int]) -> None:
        self._segments.begin(sealed)
        self._thread = threading.Thread(target=self._work, name="mirror", daemon=True)
        self._thread.start()

    def sealed(self, shard: ShardFacts) -> None:
        """Send a sealed shard soon. Waits while too many wait already.

        Raises:
            HubInstructPTError: the store has failed for good.
        """
        with self._changed:
            self._queue.append(shard)
            self._changed.notify_all()
            while not self._may_go_on():
                self._changed.wait(LOOK_SECONDS)
        self._raise_failure()

    def finish(self) -> Manifest:
        """Wait for what is on its way, and bring the manifest in the store up to date.

        Returns:
            The manifest of the whole run, as it is now; finished when nothing of it is missing.

        Raises:
            HubInstructPTError: the store has failed for good. What is sealed is kept here; the same command sends it.
        """
        self._end(None)
        self._raise_failure()
        while True:
            written, self._there = written_manifest(self.store), read_manifest(self.store)
            if self._there is not None:
                self._there.add(*self._sent)
            manifest = bring_up_to_date(self.folder, self._merge)
            manifest.shards = self._there.shards if self._there else []  # what others have sent, and nothing that waits
            settle(manifest)
            if written is not None and _same(written, manifest):
                break
            self._write_manifest(manifest)
        with suppress(OSError):
            (self.folder / "data").rmdir()
        return manifest

    def stop(self) -> None:
        """Send what is sealed, for a while; what is left is kept here for the same command."""
        self._end(SECONDS_TO_STOP if self.stop_asked.wanted else SECONDS_TO_DRAIN)

    # -- in the thread

    def _work(self) -> None:
        try:
            copied = time.monotonic()
            while not self._dropped:
                with self._changed:
                    self._changed.wait_for(lambda: self._queue or self._ending, JOURNAL_SECONDS)
                    ending, shard = self._ending, self._queue[0] if self._queue else None
                # First what is small: in the end there may be little time.
                if time.monotonic() - copied >= JOURNAL_SECONDS or (ending and copied):
                    self._segments.send()
                    copied = 0.0 if ending else time.monotonic()
                if shard is None and ending:
                    return
                if shard is not None:
                    self._send(shard)
                    with self._changed:
                        self._queue.popleft()
                        self._changed.notify_all()
        except HubInstructPTError as error:
            self._fail(error)
        except BaseException as error:  # whatever it is, the run must not go on as if all were sent
            self._fail(RunError(f"{self.store}: sending failed: {type(error).__name__}.", advice="Please report it."))

    def _send(self, shard: ShardFacts) -> None:
        data, ledger = self.folder / shard.path, self.folder / ledger_path(shard.index)
        journal = self.folder / journal_path(shard.index)
        if not data.exists():  # another process of this machine has sent it
            return
        self.store.upload(data, shard.path)
        if ledger.exists():
            self.store.upload(ledger, ledger_path(shard.index))
        elif ledger.name in self._ledgers:
            self.store.remove(ledger_path(shard.index))
        if shard.retryable and journal.exists():
            self.store.upload(journal, journal_path(shard.index))
        # Last: from now on the shard counts.
        self._write_note(shard)
        self._sent.append(shard)
        self._segments.drop(shard.index, retryable=bool(shard.retryable))
        data.unlink()
        ledger.unlink(missing_ok=True)
        journal.unlink(missing_ok=True)

    def _fail(self, error: HubInstructPTError) -> None:
        with self._changed:
            if not self._dropped:
                self.failure = error
            self._changed.notify_all()
        if self.failure:
            self.stop_asked.now()

    # --

    def _end(self, seconds: float | None) -> None:
        with self._changed:
            self._ending = True
            self._changed.notify_all()
        if self._thread is None:
            return
        self._thread.join(seconds)
        if self._thread.is_alive():
            self._dropped = True
            self.store.given_up.set()
            self._thread.join(1.0)

    def _raise_failure(self) -> None:
        if self.failure is not None:
            raise self.failure

    def _write_note(self, shard: ShardFacts) -> None:
        self.store.write(note_path(shard.index), shard.model_dump_json(indent=1).encode() + b"\n")

    def _write_manifest(self, manifest: Manifest) -> None:
        self.store.write(MANIFEST, manifest.model_dump_json(indent=1).encode() + b"\n")

    def _merge(self, here: Manifest) -> None:
        """What the spool knows becomes what the store holds and what waits here to be sent."""
        waiting = [shard for shard in here.shards if (self.folder / shard.path).exists()]
        here.shards = []
        if self._there is not None:
            here.shards = list(self._there.shards)
            here.created_at, here.license = self._there.created_at, here.license or self._there.license
            here.num_rows = self._there.num_rows if here.num_rows is None else here.num_rows
        here.add(*waiting)
        settle(here)

    def _may_go_on(self) -> bool:
        return len(self._queue) <= MOST_WAITING or self.failure is not None or self.stop_asked.wanted

    def _empty(self) -> None:
        if is_being_written(self.folder):
            raise RunDirectoryError(
                f"{self.store} holds another run by now, and a process of this machine goes on with the old one.",
                advice="Stop it, then run the same again.",
            )
        for below in ("data", LEDGER, BESIDE, "journal"):
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
        refuse_other_run(one, another, Path())
    except RunDirectoryError:
        return True
    return False


def _same(one: Manifest, another: Manifest) -> bool:
    return one.finished == another.finished and one.shards == another.shards and one.num_rows == another.num_rows
