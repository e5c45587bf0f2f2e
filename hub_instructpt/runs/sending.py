"""Sending: sealed shards on their way from a spool to a store, in a thread of their own.

A shard's files go in this order: data, ledger, and the note that makes it count; then they leave the spool. Now and
then, and when the end has come, what stands in the journals of open shards goes first.

Keeps true: the run waits for the store only when it is many shards behind; a store that has failed for good stops the
run; what was not sent stays in the spool.
Does not know whose run it is, or how shards are made.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from pathlib import Path

from hub_instructpt.errors import HubInstructPTError, RunError
from hub_instructpt.runs.ledger import LEDGER, ledger_path
from hub_instructpt.runs.manifest import ShardFacts
from hub_instructpt.runs.remote import write_note
from hub_instructpt.runs.segments import Segments
from hub_instructpt.runs.shards import journal_path
from hub_instructpt.runs.share import Worker
from hub_instructpt.runs.stopping import Stop
from hub_instructpt.runs.store import Store

MOST_WAITING = 64
"""Sealed shards that wait for the store; then sealing waits, too."""
JOURNAL_SECONDS = 30.0
"""Between two copies of what was answered."""
SECONDS_TO_STOP, SECONDS_TO_DRAIN = 5.0, 60.0
LOOK_SECONDS = 0.5


class Sender:
    """Sends the shards of one worker.

    Args:
        folder: the spool.
        stop: ends the run when the store has failed for good.

    Attributes:
        failure: why it did.
        sent: the shards that count in the store by now.
    """

    def __init__(self, store: Store, folder: Path, worker: Worker, stop: Stop) -> None:
        self.store, self.folder, self.stop_asked = store, folder, stop
        self.failure: HubInstructPTError | None = None
        self.sent: list[ShardFacts] = []
        self._segments = Segments(store, folder, worker)
        self._ledgers: set[str] = set()
        self._queue: deque[ShardFacts] = deque()
        self._changed = threading.Condition()
        self._ending = self._dropped = False
        self._thread: threading.Thread | None = None

    @property
    def waiting(self) -> int:
        """Sealed shards that the store does not have yet."""
        return len(self._queue)

    def begin(self, sealed: set[int]) -> None:
        """Bring what others have answered into the spool, but of sealed shards; then begin to send."""
        self._segments.begin(sealed)
        self._ledgers = set(self.store.sizes(LEDGER))
        self._thread = threading.Thread(target=self._work, name="sending", daemon=True)
        self._thread.start()

    def put(self, shard: ShardFacts) -> None:
        """Send a sealed shard soon. Waits while too many wait already.

        Raises:
            HubInstructPTError: the store has failed for good.
        """
        with self._changed:
            self._queue.append(shard)
            self._changed.notify_all()
            while len(self._queue) > MOST_WAITING and self.failure is None and not self.stop_asked.wanted:
                self._changed.wait(LOOK_SECONDS)
        self._raise_failure()

    def leave(self, shard: ShardFacts) -> None:
        """Remove the files of a shard from the spool: the store has them."""
        for path in self._files(shard):
            path.unlink(missing_ok=True)

    def finish(self) -> None:
        """Wait until all is sent.

        Raises:
            HubInstructPTError: the store has failed for good. What is sealed is kept here; the same command sends it.
        """
        self._end(None)
        self._raise_failure()

    def stop(self) -> None:
        """Send what is sealed, for a while; what is left is kept here for the same command."""
        self._end(SECONDS_TO_STOP if self.stop_asked.wanted else SECONDS_TO_DRAIN)

    def _files(self, shard: ShardFacts) -> tuple[Path, Path, Path]:
        paths = shard.path, ledger_path(shard.index), journal_path(shard.index)
        return self.folder / paths[0], self.folder / paths[1], self.folder / paths[2]

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

    # -- in the thread

    def _work(self) -> None:
        try:
            copied, ending = time.monotonic(), False
            while not self._dropped:
                with self._changed:
                    self._changed.wait_for(lambda: self._queue or self._ending, JOURNAL_SECONDS)
                    last, ending = self._ending and not ending, self._ending
                    shard = self._queue[0] if self._queue else None
                # First what is small: in the end there may be little time.
                if last or time.monotonic() - copied >= JOURNAL_SECONDS:
                    self._segments.send()
                    copied = time.monotonic()
                if shard is not None:
                    self._send(shard)
                    with self._changed:
                        self._queue.popleft()
                        self._changed.notify_all()
                elif ending:
                    return
        except HubInstructPTError as error:
            self._fail(error)
        except BaseException as error:  # whatever it is, the run must not go on as if all were sent
            self._fail(RunError(f"{self.store}: sending failed: {type(error).__name__}.", advice="Please report it."))

    def _send(self, shard: ShardFacts) -> None:
        data, ledger, journal = self._files(shard)
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
        write_note(self.store, shard)
        self.sent.append(shard)
        self._segments.drop(shard.index, retryable=bool(shard.retryable))
        self.leave(shard)

    def _fail(self, error: HubInstructPTError) -> None:
        with self._changed:
            self.failure = None if self._dropped else error
            self._changed.notify_all()
        if self.failure:
            self.stop_asked.now()
