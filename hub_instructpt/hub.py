"""The Hub: what it says of a source, and a run pushed to it as a dataset repo.

Keeps true: a push is one commit, so a reader sees the old state or the new one and nothing between: shards, manifest,
card, and the removal of shards that the manifest no longer names. What others wrote in the card meanwhile is kept: a
commit that came between is read again and built upon. HF_ENDPOINT, HF_TOKEN and a login are honoured as every Hub
tool does. No token is ever in a message.
Does not know engines, or how shards are made.
"""

from __future__ import annotations

import contextlib
import fnmatch
import json
import random
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import huggingface_hub.utils
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token, hf_hub_url
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from hub_instructpt.cards import DATA_FILES, decode_card, read_card, render_card
from hub_instructpt.errors import HubError, HubInstructPTError, InputError, RunDirectoryError, SettingsError
from hub_instructpt.runs.files import sha256
from hub_instructpt.runs.manifest import MANIFEST, Manifest, SourceFacts
from hub_instructpt.version import __version__

TRIES = 6
TRIES_UNREACHED = 2
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 1.0, 20.0
SILENCE_SECONDS = 120.0
"""How long a connection may say nothing; the Hub's client by itself waits for ever."""
CARD = "README.md"
LOGIN = "Log in with `hf auth login`, or put a token with write access into HF_TOKEN."
AGAIN = "Run the same command again; what has arrived is not sent twice."
_NO_ANSWER = {"ConnectionError", "TimeoutError", "TransportError", "RequestException", "Timeout", "JSONDecodeError"}

# Names that are public there, which a type checker can not see.
_client: Any = huggingface_hub.utils

# Answers after which the same commit may well succeed: somebody else's commit, a full or a failing server.
_PASSING = frozenset({408, 409, 412, 429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Pushed:
    """Where a run went: the repo's page, and the commit. `changed` is False when all of it was there already."""

    repo_id: str
    url: str
    commit: str
    changed: bool = True


def source_facts(repo_id: str, config_name: str | None, split: str, revision: str | None = None) -> SourceFacts:
    """What the Hub knows of a dataset: the commit that is read from now on, its licence and its languages.

    Raises:
        InputError: there is no such dataset or revision, or no right to see it.
    """
    try:
        info = _api().dataset_info(repo_id, revision=revision)
    except RevisionNotFoundError:
        raise InputError(f"The dataset {repo_id} has no revision {revision!r}.") from None
    except (RepositoryNotFoundError, HFValidationError):
        raise InputError(
            f"There is no dataset {repo_id} on the Hub, or it is private, and no local file of that name.",
            advice="Check the name; a private dataset needs `hf auth login` or HF_TOKEN.",
        ) from None
    except Exception as error:
        raise _told(error, f"read {repo_id}") from None
    card: Any = info.card_data or {}
    return SourceFacts(
        kind="hub",
        name=repo_id,
        config_name=config_name,
        split=split,
        revision=info.sha,
        license=_strings(card.get("license")),
        language=_strings(card.get("language")),
    )


def push(folder: Path, repo_id: str, *, private: bool | None = None) -> Pushed:
    """Push a run to a dataset repo, in one commit; the repo is made when there is none.

    Args:
        folder: the run directory. An unfinished run may be pushed; its card says so.
        repo_id: NAMESPACE/NAME.
        private: visibility of a new repo; None takes the namespace's default.

    Raises:
        HubError: no token, no right, no answer, or a repo that holds something else.
        RunDirectoryError: there is no run, or its files are not as they were sealed.
        CardError: the card there is broken, so that what a person wrote could be lost.
    """
    _check_repo_id(repo_id)
    manifest = Manifest.load(folder)
    _check_files(folder, manifest)
    work, doing = _Push(_api(), folder, manifest, repo_id, private), f"push to {repo_id}"
    _check_token(doing)
    for attempt in range(1, TRIES + 1):
        try:
            with _bounded_silence():
                return work.attempt()
        except HubInstructPTError:
            raise
        except Exception as error:
            tries = TRIES if work.reached or _status(error) is not None else TRIES_UNREACHED
            if attempt >= tries or not _is_passing(error):
                raise _told(error, doing) from None
            time.sleep(_wait(error, attempt))
    raise AssertionError("unreachable")


@dataclass(slots=True)
class _There:
    """What a repo holds at one commit: its files with the sha256 of the large ones, its card, its manifest."""

    commit: str
    private: bool
    files: dict[str, str | None]
    card: str | None
    manifest: str | None


@dataclass(slots=True)
class _Push:
    """One push, tried until it is through. `reached` tells that the Hub has answered, `sent` that it got a commit."""

    api: HfApi
    folder: Path
    manifest: Manifest
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
        pairs = self.manifest.counts["pairs/kept"]
        summary = f"{len(self.manifest.shards):,} shards, {pairs:,} instruction-response pairs"
        commit = self.api.create_commit(
            self.repo_id,
            operations,
            repo_type="dataset",
            parent_commit=there.commit,
            commit_message=f"{summary} (hub-instructpt {__version__})",
        )
        return self._pushed(commit.oid, True)

    def _pushed(self, commit: str, changed: bool) -> Pushed:
        return Pushed(self.repo_id, f"{self.api.endpoint}/datasets/{self.repo_id}", commit, changed)

    def _look(self) -> _There | None:
        """What the repo holds; None when there is no repo."""
        try:
            info = self.api.dataset_info(self.repo_id, files_metadata=True, timeout=SILENCE_SECONDS)
            files = {file.rfilename: file.lfs.sha256 if file.lfs else None for file in info.siblings or ()}
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
            strange = [path for path in there.files if fnmatch.fnmatch(path, DATA_FILES) and not _is_shard(path)]
            if strange:
                raise HubError(
                    f"{self.repo_id} holds {strange[0]}, which is no shard but would be read as one.",
                    advice="Remove it there, or give it a name that does not match data/train-*.parquet.",
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
        shards = {shard.path: shard.sha256 for shard in self.manifest.shards}
        # From memory: a run that goes on may have sealed more since, and the manifest must name what is sent with it.
        manifest = self.manifest.model_dump_json(indent=1) + "\n"
        earlier = read_card(self.folder) if there.card is None else there.card
        card = render_card(self.manifest, self.folder, self.repo_id, earlier)
        return [
            *(CommitOperationAdd(p, self.folder / p) for p, digest in shards.items() if there.files.get(p) != digest),
            *([CommitOperationAdd(MANIFEST, manifest.encode())] if there.manifest != manifest else []),
            *([CommitOperationAdd(CARD, card.encode())] if there.card != card else []),
            *(CommitOperationDelete(path) for path in sorted(there.files) if _is_shard(path) and path not in shards),
        ]


def _is_shard(path: str) -> bool:
    return re.fullmatch(r"data/train-\d{5,}\.parquet", path) is not None


def _is_ours(manifest: str | None) -> bool:
    """Whether a manifest in a repo is one of this package, of whatever version."""
    try:
        found = json.loads(manifest or "")
    except ValueError:
        return False
    return isinstance(found, dict) and {"format", "source", "engine", "shards"} <= found.keys()


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


def _wait(error: BaseException, attempt: int) -> float:
    wait: float = random.uniform(0.5, 1.0) * min(FIRST_WAIT_SECONDS * 2 ** (attempt - 1), LONGEST_WAIT_SECONDS)
    with contextlib.suppress(AttributeError, TypeError, ValueError):
        wait = max(wait, min(float(_response(error).headers.get("Retry-After")), 3 * LONGEST_WAIT_SECONDS))
    return wait


def _check_token(doing: str) -> None:
    try:
        token = get_token()
    except Exception as error:
        raise _told(error, doing) from None
    if token is None:
        raise HubError(f"Can not {doing}: there is no token.", advice=LOGIN)
    if not re.fullmatch(r"[!-~]+", token):  # no header can carry it, and the client's error would show it
        raise HubError(f"Can not {doing}: what stands in HF_TOKEN or the login is no token.", advice=LOGIN)


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


def _check_files(folder: Path, manifest: Manifest) -> None:
    if not manifest.shards:
        raise RunDirectoryError(f"{folder} has no sealed shard yet.", advice="Run `hub-instructpt augment` on.")
    for shard in manifest.shards:
        path = folder / shard.path
        if not path.is_file() or path.stat().st_size != shard.num_bytes or sha256(path) != shard.sha256:
            raise RunDirectoryError(f"{path} is missing or not as it was sealed.", advice="Restore it from a copy.")


def _api() -> HfApi:
    return HfApi(library_name="hub-instructpt", library_version=__version__)


# -- what went wrong, in words that say what to do -----------------------------------------------------------------


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__


def _response(error: BaseException) -> Any:
    """The answer that an error is about. The client wraps errors of uploads, so their causes are asked as well."""
    return next((found for cause in _causes(error) if (found := getattr(cause, "response", None)) is not None), None)


def _status(error: BaseException) -> int | None:
    return getattr(_response(error), "status_code", None)


def _is_passing(error: BaseException) -> bool:
    status = _status(error)
    if status is not None:
        return status in _PASSING
    return not isinstance(error, OfflineModeIsEnabled | LocalTokenNotFoundError) and _is_network(error)


def _is_network(error: BaseException) -> bool:
    """Whether no answer came, or none that can be read, such as a proxy's page.

    Client libraries differ between releases of huggingface_hub, so their names decide."""
    names = {kind.__name__ for cause in _causes(error) for kind in type(cause).__mro__}
    return bool(names & _NO_ANSWER)


def _told(error: Exception, doing: str) -> HubError | SettingsError:
    """An error of the Hub's client as one of ours."""
    status = _status(error)
    message = _line(next((m for cause in _causes(error) if (m := getattr(cause, "server_message", None))), ""))
    if isinstance(error, OfflineModeIsEnabled):
        return HubError(f"Can not {doing}: HF_HUB_OFFLINE is set.", advice="Unset it and try again.")
    if isinstance(error, ValueError) and str(error).startswith("Invalid metadata"):
        return HubError(
            f"Can not {doing}: the Hub refuses the metadata of the card: {_line(str(error).partition(chr(10))[2])}",
            advice="Correct it in README.md on the Hub or in the run directory, then push again.",
        )
    if isinstance(error, LocalTokenNotFoundError) or status == 401:
        return HubError(f"Can not {doing}: the Hub knows no valid token of yours.", advice=LOGIN)
    if status == 403:
        return HubError(
            f"Can not {doing}: your token has no right to{f' ({message})' if message else ''}.",
            advice="Use a token with write access to that namespace, or another namespace.",
        )
    if isinstance(error, RepositoryNotFoundError):
        return HubError(f"Can not {doing}: there is no such repo, or no right to see it.", advice=LOGIN)
    if isinstance(error, HFValidationError):
        return SettingsError(f"Can not {doing}: {_line(error)}", advice="Give NAMESPACE/NAME.")
    if status is not None:
        return HubError(
            f"Can not {doing}: the Hub at {_api().endpoint} answered {status}{f' ({message})' if message else ''}.",
            advice=AGAIN if status in _PASSING else "Check the name, and the address in HF_ENDPOINT.",
        )
    if _is_network(error):
        return HubError(
            f"Can not {doing}: the Hub at {_api().endpoint} does not answer ({type(error).__name__}).",
            advice="Check the network and HF_ENDPOINT, then run the same command again.",
        )
    return HubError(f"Can not {doing}: {type(error).__name__}: {_line(error)}")


def _line(text: object) -> str:
    """The beginning of a message of somebody else's, on one line and without our token."""
    flat = " ".join(str(text or "").split())
    with contextlib.suppress(Exception):
        flat = flat.replace(get_token() or flat, "…") if flat else flat
    return flat[:200].strip(" .")


def _strings(value: Any) -> list[str] | None:
    if isinstance(value, str):
        return [value]
    return [item for item in value if isinstance(item, str)] or None if isinstance(value, list) else None
