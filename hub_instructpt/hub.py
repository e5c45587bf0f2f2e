"""The Hub: what it says of a source, and a run pushed to it as a dataset repo.

Keeps true: a push is one commit, so a reader sees the old state or the new one and nothing between: shards, manifest,
card, and the removal of shards that the manifest no longer names. What others wrote in the card meanwhile is kept: a
commit that came between is read again and built upon. HF_ENDPOINT, HF_TOKEN and a login are honoured as every Hub
tool does. No token is ever in a message.
Does not know engines, or how shards are made.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    HFValidationError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils._validators import validate_repo_id

from hub_instructpt.cards import render_card
from hub_instructpt.errors import HubError, InputError, RunDirectoryError, SettingsError
from hub_instructpt.runs.files import sha256
from hub_instructpt.runs.manifest import MANIFEST, Manifest, SourceFacts
from hub_instructpt.version import __version__

TRIES = 6
LOGIN = "Log in with `hf auth login`, or put a token with write access into HF_TOKEN."

# Answers after which the same commit may well succeed: somebody else's commit, a full or a failing server.
_PASSING = frozenset({408, 409, 412, 429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Pushed:
    """Where a run went: the repo's page, and the commit."""

    repo_id: str
    url: str
    commit: str


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
    """
    _check_repo_id(repo_id)
    manifest = Manifest.load(folder)
    _check_files(folder, manifest)
    api = _api()
    try:
        _make_repo(api, repo_id, private)
    except HubError:
        raise
    except Exception as error:
        raise _told(error, f"make the dataset repo {repo_id}") from None
    for attempt in range(1, TRIES + 1):
        try:
            return _commit(api, folder, manifest, repo_id)
        except HubError:
            raise
        except Exception as error:
            if attempt == TRIES or not _is_passing(error):
                raise _told(error, f"push to {repo_id}") from None
            time.sleep(random.uniform(0.5, 1.0) * min(0.5 * 2**attempt, 20.0))
    raise AssertionError("unreachable")


def _commit(api: HfApi, folder: Path, manifest: Manifest, repo_id: str) -> Pushed:
    """One try: read what is there, build on it, commit. Files that have arrived already are not sent again."""
    # Asked anew in every try: a commit by somebody else in between is built upon, not overwritten.
    info = api.dataset_info(repo_id)
    there = {sibling.rfilename for sibling in info.siblings or ()}
    if MANIFEST not in there and any(name.startswith("data/") or name.endswith(".parquet") for name in there):
        raise HubError(
            f"{repo_id} holds another dataset, which was not pushed by hub-instructpt.",
            advice="Give the name of a new repo, or remove the files under data/ there.",
        )
    earlier = _read(repo_id, "README.md", info.sha) if "README.md" in there else None
    card = render_card(manifest, folder, repo_id, earlier)
    shards = [shard.path for shard in manifest.shards]
    ours = {*shards, MANIFEST, "README.md"}
    stale = sorted(n for n in there - ours if n.startswith("data/train-") and n.endswith(".parquet"))
    operations: list[CommitOperationAdd | CommitOperationDelete] = [
        *(CommitOperationAdd(path, folder / path) for path in shards),
        CommitOperationAdd(MANIFEST, folder / MANIFEST),
        CommitOperationAdd("README.md", card.encode()),
        *(CommitOperationDelete(path) for path in stale),
    ]
    pairs = manifest.counts["pairs/kept"]
    commit = api.create_commit(
        repo_id,
        operations,
        repo_type="dataset",
        parent_commit=info.sha,
        commit_message=f"{len(shards):,} shards, {pairs:,} instruction-response pairs (hub-instructpt {__version__})",
    )
    return Pushed(repo_id, f"{api.endpoint}/datasets/{repo_id}", commit.oid)


def _make_repo(api: HfApi, repo_id: str, private: bool | None) -> None:
    try:
        api.dataset_info(repo_id)
        return
    except RepositoryNotFoundError:
        pass
    for kind in ("model", "space"):
        with contextlib.suppress(RepositoryNotFoundError):
            api.repo_info(repo_id, repo_type=kind)
            raise HubError(
                f"{repo_id} is a {kind} on the Hub, not a dataset.",
                advice="Give another name, or make a dataset repo of that name on the Hub first.",
            )
    api.create_repo(repo_id, repo_type="dataset", private=private, exist_ok=True)


def _check_repo_id(repo_id: str) -> None:
    try:
        validate_repo_id(repo_id)
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


def _read(repo_id: str, path: str, revision: str | None) -> str | None:
    try:
        return Path(hf_hub_download(repo_id, path, repo_type="dataset", revision=revision)).read_text("utf-8")
    except EntryNotFoundError:
        return None


def _api() -> HfApi:
    return HfApi(library_name="hub-instructpt", library_version=__version__)


# -- what went wrong, in words that say what to do -----------------------------------------------------------------


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__


def _status(error: BaseException) -> int | None:
    response = getattr(error, "response", None)
    return getattr(response, "status_code", None)


def _is_passing(error: BaseException) -> bool:
    status = _status(error)
    if status is not None:
        return status in _PASSING
    return not isinstance(error, OfflineModeIsEnabled | LocalTokenNotFoundError) and _is_network(error)


def _is_network(error: BaseException) -> bool:
    """Whether no answer came. Client libraries differ between releases of huggingface_hub, so their names decide."""
    names = {kind.__name__ for cause in _causes(error) for kind in type(cause).__mro__}
    return bool(names & {"ConnectionError", "TimeoutError", "TransportError", "RequestException", "Timeout"})


def _told(error: Exception, doing: str) -> HubError | SettingsError:
    """An error of the Hub's client as one of ours."""
    status, message = _status(error), str(getattr(error, "server_message", "") or "").strip()
    if isinstance(error, OfflineModeIsEnabled):
        return HubError(f"Can not {doing}: HF_HUB_OFFLINE is set.", advice="Unset it and try again.")
    if isinstance(error, LocalTokenNotFoundError) or status == 401:
        return HubError(f"Can not {doing}: the Hub knows no valid token of yours.", advice=LOGIN)
    if status == 403:
        return HubError(
            f"Can not {doing}: your token has no right to{f' ({message[:200]})' if message else ''}.",
            advice="Use a token with write access to that namespace, or another namespace.",
        )
    if isinstance(error, RepositoryNotFoundError):
        return HubError(f"Can not {doing}: there is no such repo, or no right to see it.", advice=LOGIN)
    if isinstance(error, HFValidationError):
        return SettingsError(f"Can not {doing}: {str(error).splitlines()[0][:200]}", advice="Give NAMESPACE/NAME.")
    if isinstance(error, HfHubHTTPError) and status is not None:
        return HubError(
            f"Can not {doing}: the Hub answered {status}{f' ({message[:200]})' if message else ''}.",
            advice="Run the same command again; what has arrived is not sent twice." if status in _PASSING else "",
        )
    if _is_network(error):
        return HubError(
            f"Can not {doing}: the Hub at {_api().endpoint} does not answer ({type(error).__name__}).",
            advice="Check the network and HF_ENDPOINT, then run the same command again.",
        )
    return HubError(f"Can not {doing}: {type(error).__name__}: {str(error).strip().splitlines()[0][:200]}")


def _strings(value: Any) -> list[str] | None:
    if isinstance(value, str):
        return [value]
    return [item for item in value if isinstance(item, str)] or None if isinstance(value, list) else None
