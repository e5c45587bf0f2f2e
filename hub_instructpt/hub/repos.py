"""A repo on the Hub as others left it: found or made, its files with their digests, and single files read.

Keeps true: everything that is said of a repo is said of one commit of it.
Does not know what is pushed there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from huggingface_hub import HfApi, hf_hub_url
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from hub_instructpt.errors import HubError, SettingsError
from hub_instructpt.hub import attempts
from hub_instructpt.hub.attempts import Advance, client
from hub_instructpt.hub.failures import AGAIN

RepoType = Literal["dataset", "model"]
MAIN = "main"


@dataclass(frozen=True, slots=True)
class There:
    """What a repo holds at one commit: its files with their digests (sha256 of large ones, Git's of the others)."""

    commit: str
    private: bool
    files: Mapping[str, str]


class Repo:
    """A repo on the Hub, at the head of one branch or of a pull request.

    Args:
        repo_id: NAMESPACE/NAME.
        revision: the branch; made when there is none.
        advance: is told when the Hub answers.
    """

    def __init__(
        self, api: HfApi, repo_id: str, repo_type: RepoType, revision: str | None, advance: Advance | None = None
    ) -> None:
        self.api, self.repo_id, self.repo_type = api, repo_id, repo_type
        self.revision, self.advance = revision or MAIN, advance or Advance()

    @property
    def url(self) -> str:
        """Its page."""
        return f"{self.api.endpoint}/{'datasets/' if self.repo_type == 'dataset' else ''}{self.repo_id}"

    def look(self, revision: str | None = None) -> There | None:
        """What the repo holds; None when there is no repo, or not that branch.

        Args:
            revision: another one than that of the repo.
        """
        try:
            info = self.api.repo_info(
                self.repo_id, repo_type=self.repo_type, revision=revision or self.revision,
                timeout=attempts.SILENCE_SECONDS,
            )  # fmt: skip
            commit, files = str(info.sha), {}
            tree = self.api.list_repo_tree(self.repo_id, repo_type=self.repo_type, revision=commit, recursive=True)
            for entry in tree:
                if (blob := getattr(entry, "blob_id", None)) is not None:
                    lfs = getattr(entry, "lfs", None)
                    files[entry.path] = str(lfs.sha256 if lfs else blob)
        except GatedRepoError:  # is one of those, but there is a repo
            raise
        except (RepositoryNotFoundError, RevisionNotFoundError):
            self.advance.reached = True
            return None
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            if isinstance(error, HFValidationError | HfHubHTTPError | OSError):
                raise
            raise HubError(
                f"{self.api.endpoint} answers, but not as a Hub does.", advice="Check the address in HF_ENDPOINT."
            ) from None
        self.advance.reached = True
        return There(commit, bool(info.private), files)

    def look_or_make(self, private: bool | None) -> There:
        """What the repo holds; the repo and its branch are made when they are not there.

        Args:
            private: visibility of a new repo; None takes the namespace's default. One that is there must have it.

        Raises:
            HubError: there is a repo of another kind of that name, or of another visibility.
        """
        there = self.look() or self._make(private)
        if private is not None and there.private is not private:
            kind, other = ("private", "public") if there.private else ("public", "private")
            raise HubError(
                f"{self.repo_id} is there already, and it is {kind}.",
                advice=f"Make it {other} in its settings on the Hub, or push without --{other}.",
            )
        return there

    def _make(self, private: bool | None) -> There:
        for kind in {"model", "dataset", "space"} - {self.repo_type}:
            with contextlib.suppress(HfHubHTTPError):
                self.api.repo_info(self.repo_id, repo_type=kind)
                raise HubError(
                    f"{self.repo_id} is a {kind} on the Hub, not a {self.repo_type}.",
                    advice=f"Give another name, or make a {self.repo_type} repo of that name on the Hub first.",
                )
        self.api.create_repo(self.repo_id, repo_type=self.repo_type, private=private, exist_ok=True)
        if self.revision != MAIN:
            self.api.create_branch(self.repo_id, branch=self.revision, repo_type=self.repo_type, exist_ok=True)
        there = self.look()
        if there is None:
            raise HubError(f"{self.repo_id} was made, but the Hub does not show it.", advice=AGAIN)
        return there

    def read(self, path: str, there: There) -> bytes | None:
        """A file at a commit; None where there is none."""
        if path not in there.files:
            return None
        # Not through the client's cache: it may not be writable, and it takes a failing server for a missing file.
        url = hf_hub_url(
            self.repo_id, path, repo_type=self.repo_type, revision=there.commit, endpoint=self.api.endpoint
        )
        response = client.get_session().get(url, headers=client.build_hf_headers())
        client.hf_raise_for_status(response)
        return bytes(response.content)


def check_repo_id(repo_id: str) -> None:
    """Raise SettingsError where something can not be NAMESPACE/NAME."""
    try:
        client.validate_repo_id(repo_id)
    except HFValidationError as error:
        reason = str(error).split(":")[0].rstrip(".")
        raise SettingsError(f"{repo_id!r} is no repo id: {reason}.", advice="Give NAMESPACE/NAME.") from None
    if repo_id.count("/") != 1:
        raise SettingsError(
            f"{repo_id!r} is no repo id.", advice="Give NAMESPACE/NAME: your user name or organisation."
        )
