"""A run pushed while it goes on: shards go up as they are sealed, and now and then a commit shows how far it is.

Keeps true: the run never waits for the Hub; whatever the Hub does, nothing of the run is lost by it: what could not be
sent is sent with the next commit, and at the end by `push` itself. Killed and begun again, it sends what is missing.
Needs the run directory and what the Hub holds, and remembers nothing else. Does not know how shards are made.
"""

from __future__ import annotations

import queue
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from hub_instructpt.errors import HubInstructPTError
from hub_instructpt.hub.attempts import client, until_through
from hub_instructpt.hub.failures import check_token, new_api
from hub_instructpt.hub.layout import Layout
from hub_instructpt.hub.publications import check_sealed, publication, shard_file
from hub_instructpt.hub.pushing import Push, Pushed, refuse_foreign
from hub_instructpt.hub.repos import Repo, check_repo_id
from hub_instructpt.hub.uploads import File, Uploads
from hub_instructpt.runs.manifest import MANIFEST, Manifest, ShardFacts

COMMIT_EVERY = 20
"""Shards between two commits, unless told otherwise."""
SECONDS_BETWEEN_COMMITS = 60.0
"""At least so many: the Hub counts the commits of an hour."""
SECONDS_TO_STOP = 5.0


class PushingAlong:
    """The side of the Hub of a run that goes on.

    Use: `begin()` before it, `sealed` as its `on_sealed`, then `finish()`; `settle()` where it
    fails, and `stop()` where a person stops it.

    Args:
        folder: the run directory.
        repo_id: NAMESPACE/NAME.
        commit_every: shards between two commits.
        private: visibility of a new repo; None takes the namespace's default.
        config_name: push as this config, in a folder of its own.
        say: is told what a person should know meanwhile.
    """

    def __init__(
        self,
        folder: Path,
        repo_id: str,
        *,
        commit_every: int = COMMIT_EVERY,
        private: bool | None = None,
        config_name: str | None = None,
        say: Callable[[str], None] = lambda message: None,
    ) -> None:
        self.folder, self.repo_id, self.commit_every = folder, repo_id, commit_every
        self.private, self.layout, self.say = private, Layout.named(config_name), say
        check_repo_id(repo_id)
        self._api = new_api()
        self._uploads = Uploads(self._api, Repo(self._api, repo_id, "dataset", None), folder)
        self._sealed: queue.SimpleQueue[File | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="pushing along", daemon=True)
        self._stopping = threading.Event()
        self._doing = f"push to {repo_id}"
        self._quiet_until = 0.0
        self._in_trouble = self._changed = False

    def begin(self) -> None:
        """See to it that the repo is there, that it is ours and that we may write, before anything is paid for.

        Raises:
            HubError: no token, no right, no answer, or a repo that holds something else.
        """
        check_token(self._doing)
        repo = self._uploads.repo

        def attempt() -> None:
            there = repo.look_or_make(self.private)
            refuse_foreign(repo, self.layout, there, repo.read(self.layout.manifest, there), self.layout.patterns)
            self._uploads.check_right()

        until_through(self._doing, attempt, repo.advance)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # where the environment says that bars are shown, it has the last word
            client.disable_progress_bars()  # the run has a bar of its own
        self._thread.start()

    def sealed(self, shard: ShardFacts) -> None:
        """Take note of a sealed shard; comes back at once."""
        self._sealed.put(shard_file(shard, self.layout))

    def finish(self) -> Pushed:
        """Wait for what is on its way, then push the run as it is now.

        Raises:
            HubError: as `push`. The run itself is whole, and `push` can be told again.
        """
        self._sealed.put(None)
        self._thread.join()
        return replace(self._commit(), changed=self._changed)

    def settle(self) -> None:
        """Show what is sealed by now, after a run that failed: what a night has made is to be seen in the morning."""
        self._sealed.put(None)
        self._thread.join()
        if (self.folder / MANIFEST).exists() and Manifest.load(self.folder).shards:
            self._without_harm(self._commit)

    def stop(self) -> None:
        """Send nothing more. What has arrived need not be sent again by the next process."""
        self._stopping.set()
        self._sealed.put(None)
        if self._thread.is_alive():
            self._thread.join(SECONDS_TO_STOP)

    # -- in the thread

    def _work(self) -> None:
        if (self.folder / MANIFEST).exists() and Manifest.load(self.folder).shards:
            self._without_harm(self._commit)  # what an earlier process has sealed
        waiting: list[File] = []
        number, next_commit = 0, time.monotonic() + SECONDS_BETWEEN_COMMITS
        while (file := self._sealed.get()) is not None and not self._stopping.is_set():
            waiting.append(file)
            number += 1
            if time.monotonic() < self._quiet_until:
                continue
            if self._without_harm(partial(self._send, waiting)):
                waiting = []
            if number >= self.commit_every and time.monotonic() >= next_commit:
                number = 0 if self._without_harm(self._commit) else number
                next_commit = time.monotonic() + SECONDS_BETWEEN_COMMITS

    def _send(self, files: list[File]) -> None:
        """Make shards arrive; nobody sees them yet."""
        until_through(self._doing, lambda: list(self._uploads.send(files)), self._uploads.repo.advance)

    def _commit(self) -> Pushed:
        """Show what is sealed by now."""
        published = publication(self.folder, config=self.layout.config)
        check_sealed(published)
        work = Push(self._api, published, self.repo_id, self.private, uploads=self._uploads)
        pushed = until_through(self._doing, work.attempt, work.repo.advance)
        self._changed |= pushed.changed
        return pushed

    def _without_harm(self, step: Callable[[], object]) -> bool:
        """Take a step that may fail: it is made up for by a later one."""
        try:
            step()
        except HubInstructPTError as error:
            if not self._in_trouble:
                self.say(f"{error.message} The run goes on; what is sealed is sent later.")
            self._in_trouble = True
            self._quiet_until = time.monotonic() + SECONDS_BETWEEN_COMMITS
            return False
        self._in_trouble = False
        return True
