"""A run, a mixture, a collection or a synthesizer, pushed to a repo on the Hub.

Keeps true: a push ends with one commit, so a reader sees the old state or the new one and nothing between: shards,
manifest, card, figures, and the removal of what the manifest no longer names. Files go up before it, a few at a time,
and none that has arrived is sent again, whenever a push was killed. What others wrote meanwhile is kept: a commit that
came between is read again and built upon. HF_ENDPOINT, HF_TOKEN and a login are honoured as every Hub tool does. No
token is ever in a message.
Does not know engines, or how shards are made.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

from hub_instructpt import cards
from hub_instructpt.errors import HubError
from hub_instructpt.hub.attempts import until_through
from hub_instructpt.hub.failures import check_token, new_api
from hub_instructpt.hub.layout import Layout
from hub_instructpt.hub.publications import Publication, check_sealed, publication
from hub_instructpt.hub.repos import Repo, There, check_repo_id
from hub_instructpt.hub.uploads import File, Uploads
from hub_instructpt.runs.files import sha256
from hub_instructpt.version import __version__

FILES_IN_A_COMMIT = 10_000
"""The Hub takes no more than 25,000."""
PULL_REQUESTS_LOOKED_AT = 10
LARGEST_REGULAR = 10 * 1024 * 1024
"""Bytes of a file that the Hub keeps in Git itself."""
CARD = "README.md"

Operation = CommitOperationAdd | CommitOperationDelete


@dataclass(frozen=True, slots=True)
class Pushed:
    """Where a directory went: the repo's page, and the commit. `changed` is False when all of it was there already,
    `config` the one to load where there is no default, `pull_request` the page of the one that was opened."""

    repo_id: str
    url: str
    commit: str
    changed: bool = True
    config: str | None = None
    pull_request: str | None = None
    repo_type: str = "dataset"


def push(
    folder: Path,
    repo_id: str,
    *,
    private: bool | None = None,
    revision: str | None = None,
    create_pr: bool = False,
    config_name: str | None = None,
    leave_out: Sequence[str] = (),
) -> Pushed:
    """Push a run, a mixture or a collection to a dataset repo, a synthesizer to a model repo.

    The repo is made when there is none.

    Args:
        folder: its directory. An unfinished one may be pushed; its card says so.
        repo_id: NAMESPACE/NAME.
        private: visibility of a new repo; None takes the namespace's default.
        revision: the branch to push to; made from main when there is none.
        create_pr: open a pull request instead; one of ours that is open and holds the same is found again.
        config_name: the name that a run gets as a config of the repo, in a folder of its own beside others.
        leave_out: datasets of a collection that are not published.

    Raises:
        HubError: no token, no right, no answer, or a repo that holds something else.
        RunDirectoryError: there is no run, or its files are not as they were sealed.
        CardError: the card there is broken, so that what a person wrote could be lost.
    """
    check_repo_id(repo_id)
    published = publication(folder, leave_out, config_name)
    check_sealed(published)
    doing = f"push to {repo_id}"
    check_token(doing)
    work = Push(new_api(), published, repo_id, private, revision, create_pr)
    return until_through(doing, work.attempt, work.repo.advance)


class Push:
    """One push, tried until it is through. Nothing is remembered of an earlier attempt but which files have arrived,
    and that a commit was sent: the rest is seen from what is there."""

    def __init__(
        self,
        api: HfApi,
        published: Publication,
        repo_id: str,
        private: bool | None = None,
        revision: str | None = None,
        create_pr: bool = False,
        uploads: Uploads | None = None,
    ) -> None:
        self.api, self.published, self.private, self.create_pr = api, published, private, create_pr
        self.repo = uploads.repo if uploads else Repo(api, repo_id, published.repo_type, revision)
        self.uploads = uploads or Uploads(api, self.repo, published.folder, create_pr=create_pr)
        self.sent = False

    def attempt(self) -> Pushed:
        """Read what is there, send what is not, commit."""
        there = self.repo.look_or_make(self.private)
        plan = self._plan(there)
        if self.create_pr and plan.changes and (earlier := self._open_pull_request()):
            return earlier
        if not plan.changes:
            return self._pushed(there.commit, self.sent)
        drawn = {file.there for file in plan.files if file.sha256 is None}
        shards: list[CommitOperationAdd] = []
        for addition in self.uploads.send(plan.files):
            (plan.rest if addition.path_in_repo in drawn else shards).append(addition)
        return self._commit(there, shards, plan.rest)

    def _pushed(self, commit: str, changed: bool, pull_request: str | None = None) -> Pushed:
        config = self.published.config
        return Pushed(self.repo.repo_id, self.repo.url, commit, changed, config, pull_request, self.published.repo_type)

    # -- what is to be done

    def _plan(self, there: There) -> _Plan:
        """What makes the repo hold this directory and nothing of an earlier one. What is there is not sent again."""
        published, layout = self.published, self.published.layout
        manifest, card = self.repo.read(layout.manifest, there), self.repo.read(CARD, there)
        refuse_foreign(self.repo, layout, there, manifest, published.read)
        earlier = published.first_card() if card is None else cards.decode_card(card)
        new_card = published.card(self.repo.repo_id, earlier).encode()
        new_manifest = published.manifest.encode()
        named = {file.there for file in published.files}
        return _Plan(
            [file for file in published.files if not _is_same(published.folder, file, there.files.get(file.there))],
            [
                *([CommitOperationAdd(layout.manifest, new_manifest)] if manifest != new_manifest else []),
                *([CommitOperationAdd(CARD, new_card)] if card is None or _shown(card) != _shown(new_card) else []),
                *(CommitOperationDelete(path) for path in self._stale(there, card, manifest, named)),
            ],
        )

    def _stale(self, there: There, card: bytes | None, manifest: bytes | None, named: set[str]) -> list[str]:
        """Files that an earlier push has put there: shards, files of a model, and figures that our part of the card
        shows. What a person shows elsewhere on it is a person's."""
        layout, body = self.published.layout, (card or b"").decode("utf-8", "replace")
        name = layout.config or cards.CONFIG
        ours = body.partition(cards.begin(name))[2].partition(cards.end(name))[0]
        others = body.replace(ours, "") if ours else body
        pictures = [path for path in there.files if path.startswith(layout.path("figures/")) or layout.of_model]
        earlier = {path for path in pictures if path.endswith((".svg", ".png")) and path in ours and path not in others}
        earlier |= _files_of(manifest) if layout.of_model else set()
        return sorted(path for path in there.files if path not in named and (layout.is_ours(path) or path in earlier))

    # -- doing it

    def _commit(self, there: There, shards: list[CommitOperationAdd], last: list[Operation]) -> Pushed:
        """Make the commit. Where it is more than the Hub takes at once, shards go before, and what names them last."""
        summary = f"{self.published.summary} (hub-instructpt {__version__})"
        room = max(FILES_IN_A_COMMIT - len(last), 1)
        parts = [shards[at : at + room] for at in range(0, len(shards), room)] or [[]]
        parent, revision, pull_request = there.commit, self.repo.revision, None
        for number, part in enumerate(parts, 1):
            whole = number == len(parts)
            self.sent = True  # everything but the commit itself can be done twice without a trace
            made = self.api.create_commit(
                self.repo.repo_id,
                [*part, *(last if whole else [])],
                repo_type=self.repo.repo_type,
                revision=revision,
                create_pr=self.create_pr and number == 1,
                parent_commit=parent,
                commit_message=summary if len(parts) == 1 else f"{summary} (part {number} of {len(parts)})",
            )
            self.uploads.committed([*part, *(last if whole else [])])
            parent = made.oid
            if made.pr_revision:
                revision, pull_request = made.pr_revision, made.pr_url
        return self._pushed(parent, True, pull_request)

    def _open_pull_request(self) -> Pushed | None:
        """A pull request that brings about just this, as one does that was opened before a push was killed."""
        repo = self.repo
        opened = self.api.get_repo_discussions(
            repo.repo_id, repo_type=repo.repo_type, discussion_type="pull_request", discussion_status="open"
        )
        for found in islice((each for each in opened if "hub-instructpt" in each.title), PULL_REQUESTS_LOOKED_AT):
            there = repo.look(found.git_reference or f"refs/pr/{found.num}")
            if there is not None and not self._plan(there).changes:
                return self._pushed(there.commit, self.sent, f"{repo.url}/discussions/{found.num}")
        return None


@dataclass(frozen=True, slots=True)
class _Plan:
    """Files to be sent, and what else is to be changed."""

    files: list[File]
    rest: list[Operation] = field(default_factory=list)

    @property
    def changes(self) -> bool:
        return bool(self.files or self.rest)


def refuse_foreign(repo: Repo, layout: Layout, there: There, manifest: bytes | None, read: Sequence[str]) -> None:
    """Raise HubError where a repo holds something else in the place where a directory goes.

    Args:
        manifest: the one that is in that place.
        read: patterns of the files that the configs of the directory read.
    """
    if is_manifest(manifest):
        for pattern in read:
            strange = [path for path in there.files if fnmatch.fnmatch(path, pattern) and not layout.is_ours(path)]
            if strange:
                raise HubError(
                    f"{repo.repo_id} holds {strange[0]}, which is no shard but would be read as one.",
                    advice=f"Remove it there, or give it a name that does not match {pattern}.",
                )
        return
    if foreign := layout.foreign(there.files):
        where = f" in the folder {layout.config}" if layout.config else ""
        raise HubError(
            f"{repo.repo_id} holds another {repo.repo_type}{where}, not pushed by hub-instructpt ({foreign[0]}).",
            advice="Give the name of a new repo, or remove the files there.",
        )


def is_manifest(content: bytes | None) -> bool:
    """Whether a manifest in a repo is one of this package, of whatever version."""
    try:
        found = json.loads(content or b"")
    except ValueError:
        return False
    keys = found.keys() if isinstance(found, dict) else set()
    return (
        {"format", "source", "engine", "shards"} <= keys
        or {"format", "parts", "reached", "shards"} <= keys
        or {"format", "kind", "datasets"} <= keys
        or {"format", "kind", "base", "settings", "data"} <= keys
    )


def _files_of(manifest: bytes | None) -> set[str]:
    """Files of a model, as the record of an earlier push names them."""
    try:
        return {str(each["path"]) for each in json.loads(manifest or b"{}").get("files", ())}
    except (ValueError, TypeError, KeyError, AttributeError):
        return set()


def _shown(card: bytes) -> bytes:
    """A card without the digests in it: those of a config change when another one comes, and are good as they are."""
    return re.sub(rb"<!-- hub-instructpt: wrote [^>]*-->", b"", card)


def _is_same(folder: Path, file: File, digest: str | None) -> bool:
    """Whether a repo holds a file: by its sha256 where it is a large one there, by Git's id of it where it is small."""
    path = folder / file.path
    if digest is None:
        return False
    if len(digest) == 64:
        if file.sha256 is not None:
            return file.sha256 == digest
        return sha256(path) == digest
    if path.stat().st_size > LARGEST_REGULAR:
        return False
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0%s" % (len(content), content), usedforsecurity=False).hexdigest() == digest
