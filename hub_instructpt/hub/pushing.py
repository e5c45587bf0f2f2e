"""A run, a mixture or a collection, pushed to the Hub as a dataset repo.

Keeps true: a push is one commit, so a reader sees the old state or the new one and nothing between: shards, manifest,
card, and the removal of shards that the manifest no longer names. What others wrote in the card meanwhile is kept: a
commit that came between is read again and built upon. HF_ENDPOINT, HF_TOKEN and a login are honoured as every Hub
tool does. No token is ever in a message.
Does not know engines, or how shards are made.
"""

from __future__ import annotations

import contextlib
import fnmatch
import hashlib
import json
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import huggingface_hub.utils
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, RepositoryNotFoundError

from hub_instructpt.cards import decode_card, read_card
from hub_instructpt.errors import HubError, HubInstructPTError, RunDirectoryError, SettingsError
from hub_instructpt.hub.failures import AGAIN, check_token, is_passing, new_api, status_of, told, wait_before_next
from hub_instructpt.hub.publications import Publication, is_ours, publication
from hub_instructpt.runs.files import sha256
from hub_instructpt.runs.manifest import MANIFEST
from hub_instructpt.version import __version__

TRIES = 6
TRIES_UNREACHED = 2
SILENCE_SECONDS = 120.0
"""How long a connection may say nothing; the Hub's client by itself waits for ever."""
CARD = "README.md"

# Names that are public there, which a type checker can not see.
_client: Any = huggingface_hub.utils


@dataclass(frozen=True, slots=True)
class Pushed:
    """Where a run went: the repo's page, and the commit. `changed` is False when all of it was there already,
    `config` the one to load where there is no default."""

    repo_id: str
    url: str
    commit: str
    changed: bool = True
    config: str | None = None


def push(folder: Path, repo_id: str, *, private: bool | None = None, leave_out: Sequence[str] = ()) -> Pushed:
    """Push a run, a mixture or a collection to a dataset repo, in one commit; the repo is made when there is none.

    Args:
        folder: its directory. An unfinished one may be pushed; its card says so.
        repo_id: NAMESPACE/NAME.
        private: visibility of a new repo; None takes the namespace's default.
        leave_out: datasets of a collection that are not published.

    Raises:
        HubError: no token, no right, no answer, or a repo that holds something else.
        RunDirectoryError: there is no run, or its files are not as they were sealed.
        CardError: the card there is broken, so that what a person wrote could be lost.
    """
    _check_repo_id(repo_id)
    published = publication(folder, leave_out)
    _check_files(published)
    work, doing = _Push(new_api(), published, repo_id, private), f"push to {repo_id}"
    check_token(doing)
    for attempt in range(1, TRIES + 1):
        try:
            with _bounded_silence():
                return work.attempt()
        except HubInstructPTError:
            raise
        except Exception as error:
            tries = TRIES if work.reached or status_of(error) is not None else TRIES_UNREACHED
            if attempt >= tries or not is_passing(error):
                raise told(error, doing) from None
            time.sleep(wait_before_next(error, attempt))
    raise AssertionError("unreachable")


@dataclass(slots=True)
class _There:
    """What a repo holds at one commit: its files with their digests (sha256 of large ones, Git's of the others), its
    card, its manifest."""

    commit: str
    private: bool
    files: dict[str, str | None]
    card: str | None
    manifest: str | None


@dataclass(slots=True)
class _Push:
    """One push, tried until it is through. `reached` tells that the Hub has answered, `sent` that it got a commit."""

    api: HfApi
    published: Publication
    repo_id: str
    private: bool | None
    reached: bool = field(default=False, init=False)
    sent: bool = field(default=False, init=False)

    def attempt(self) -> Pushed:
        """Read what is there, build on it, commit. Nothing is remembered of an earlier attempt but its traces there:
        a commit by somebody else is built upon, and one of ours whose answer got lost is found."""
        there = self._look() or self._make()
        if self.private is not None and there.private is not self.private:
            kind, other = ("private", "public") if there.private else ("public", "private")
            raise HubError(
                f"{self.repo_id} is there already, and it is {kind}.",
                advice=f"Make it {other} in its settings on the Hub, or push without --{other}.",
            )
        self._refuse_foreign(there)
        operations = self._operations(there)
        if not operations:
            return self._pushed(there.commit, self.sent)
        # Everything but the commit itself can be done twice without a trace.
        self.sent = True
        commit = self.api.create_commit(
            self.repo_id,
            operations,
            repo_type="dataset",
            parent_commit=there.commit,
            commit_message=f"{self.published.summary} (hub-instructpt {__version__})",
        )
        return self._pushed(commit.oid, True)

    def _pushed(self, commit: str, changed: bool) -> Pushed:
        address = f"{self.api.endpoint}/datasets/{self.repo_id}"
        return Pushed(self.repo_id, address, commit, changed, self.published.config)

    def _look(self) -> _There | None:
        """What the repo holds; None when there is no repo."""
        try:
            info = self.api.dataset_info(self.repo_id, files_metadata=True, timeout=SILENCE_SECONDS)
            files = {file.rfilename: file.lfs.sha256 if file.lfs else file.blob_id for file in info.siblings or ()}
            commit = str(info.sha)
        except RepositoryNotFoundError:
            self.reached = True
            return None
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            if isinstance(error, HFValidationError | HfHubHTTPError | OSError):
                raise
            raise HubError(
                f"{self.api.endpoint} answers, but not as a Hub does.", advice="Check the address in HF_ENDPOINT."
            ) from None
        self.reached = True
        card = self._read(CARD, commit) if CARD in files else None
        manifest = self._read(MANIFEST, commit) if MANIFEST in files else None
        return _There(
            commit,
            bool(info.private),
            files,
            None if card is None else decode_card(card),
            None if manifest is None else manifest.decode("utf-8", "replace"),
        )

    def _make(self) -> _There:
        for kind in ("model", "space"):
            with contextlib.suppress(HfHubHTTPError):
                self.api.repo_info(self.repo_id, repo_type=kind)
                raise HubError(
                    f"{self.repo_id} is a {kind} on the Hub, not a dataset.",
                    advice="Give another name, or make a dataset repo of that name on the Hub first.",
                )
        self.api.create_repo(self.repo_id, repo_type="dataset", private=self.private, exist_ok=True)
        there = self._look()
        if there is None:
            raise HubError(f"{self.repo_id} was made, but the Hub does not show it.", advice=AGAIN)
        return there

    def _read(self, path: str, commit: str) -> bytes:
        # Not through the client's cache: it may not be writable, and it takes a failing server for a missing file.
        url = hf_hub_url(self.repo_id, path, repo_type="dataset", revision=commit, endpoint=self.api.endpoint)
        response = _client.get_session().get(url, headers=_client.build_hf_headers())
        _client.hf_raise_for_status(response)
        return bytes(response.content)

    def _refuse_foreign(self, there: _There) -> None:
        if _is_ours(there.manifest):
            for pattern in self.published.read:
                strange = [path for path in there.files if fnmatch.fnmatch(path, pattern) and not is_ours(path)]
                if strange:
                    raise HubError(
                        f"{self.repo_id} holds {strange[0]}, which is no shard but would be read as one.",
                        advice=f"Remove it there, or give it a name that does not match {pattern}.",
                    )
            return
        foreign = [path for path in there.files if not re.match(r"\.|[^/]*\.md$|LICEN[SC]E", path)]
        if foreign:
            raise HubError(
                f"{self.repo_id} holds another dataset, which was not pushed by hub-instructpt ({foreign[0]}).",
                advice="Give the name of a new repo, or remove the files there.",
            )

    def _operations(self, there: _There) -> list[CommitOperationAdd | CommitOperationDelete]:
        """What makes the repo hold this run and nothing of an earlier one. Files that are there are not sent again."""
        folder, manifest = self.published.folder, self.published.manifest
        shards = {shard.path: shard.sha256 for shard in self.published.shards}
        earlier = read_card(folder) if there.card is None else there.card
        card = self.published.card(self.repo_id, earlier)
        return [
            *(
                CommitOperationAdd(path, folder / path)
                for path, digest in shards.items()
                if there.files.get(path) != digest and not _is_blob(folder / path, there.files.get(path))
            ),
            *([CommitOperationAdd(MANIFEST, manifest.encode())] if there.manifest != manifest else []),
            *([CommitOperationAdd(CARD, card.encode())] if there.card != card else []),
            *(CommitOperationDelete(path) for path in sorted(there.files) if is_ours(path) and path not in shards),
        ]


def _is_blob(path: Path, blob_id: str | None) -> bool:
    """Whether a file has that id as a blob of Git, as small files have on the Hub."""
    if blob_id is None or len(blob_id) != 40:
        return False
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0%s" % (len(content), content), usedforsecurity=False).hexdigest() == blob_id


def _is_ours(manifest: str | None) -> bool:
    """Whether a manifest in a repo is one of this package, of whatever version."""
    try:
        found = json.loads(manifest or "")
    except ValueError:
        return False
    keys = found.keys() if isinstance(found, dict) else set()
    return (
        {"format", "source", "engine", "shards"} <= keys
        or {"format", "parts", "reached", "shards"} <= keys
        or {"format", "kind", "datasets"} <= keys
    )


@contextlib.contextmanager
def _bounded_silence() -> Iterator[None]:
    """Give the client's connections a time limit, where its HTTP library has one for the whole session."""
    session = _client.get_session()
    if not hasattr(session, "timeout"):
        yield
        return
    before, session.timeout = session.timeout, SILENCE_SECONDS
    try:
        yield
    finally:
        session.timeout = before


def _check_repo_id(repo_id: str) -> None:
    try:
        _client.validate_repo_id(repo_id)
    except HFValidationError as error:
        reason = str(error).split(":")[0].rstrip(".")
        raise SettingsError(f"{repo_id!r} is no repo id: {reason}.", advice="Give NAMESPACE/NAME.") from None
    if repo_id.count("/") != 1:
        raise SettingsError(
            f"{repo_id!r} is no repo id.", advice="Give NAMESPACE/NAME: your user name or organisation."
        )


def _check_files(published: Publication) -> None:
    if not published.shards:
        raise RunDirectoryError(
            f"{published.folder} has no sealed shard yet.", advice="Run `hub-instructpt augment` on, or `mix`."
        )
    for shard in published.shards:
        path = published.folder / shard.path
        if not path.is_file() or path.stat().st_size != shard.num_bytes or sha256(path) != shard.sha256:
            raise RunDirectoryError(f"{path} is missing or not as it was sealed.", advice="Restore it from a copy.")
