"""Files on their way into a repo, before any commit shows them.

Keeps true: a file that has arrived is not sent again, whether this process sent it or an earlier one; what is sent is
what was sealed; a few files at a time, so that a corpus of any size needs the same memory, and a stop costs little.
Does not know commits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

from hub_instructpt.errors import RunDirectoryError
from hub_instructpt.hub.repos import Repo

FILES_AT_ONCE = 50
"""Files that are hashed and sent before the next ones are."""


@dataclass(frozen=True, slots=True)
class File:
    """A file as it is published.

    Attributes:
        path: below the directory.
        there: in the repo.
        num_bytes, sha256: as they were sealed; None where nobody has sealed it.
    """

    path: Path
    there: str
    num_bytes: int | None = None
    sha256: str | None = None


class Uploads:
    """What of `folder` has arrived at a repo and waits for a commit."""

    def __init__(self, api: HfApi, repo: Repo, folder: Path, *, create_pr: bool = False) -> None:
        self.api, self.repo, self.folder, self.create_pr = api, repo, folder, create_pr
        self._arrived: dict[str, CommitOperationAdd] = {}

    def check_right(self) -> None:
        """Ask the Hub how it would take a file, which it tells those only who may write."""
        self._announce([CommitOperationAdd("README.md", b"-")])

    def send(self, files: Sequence[File]) -> Iterator[CommitOperationAdd]:
        """Make files arrive, a few at a time; gives what puts them into a commit.

        Raises:
            RunDirectoryError: one is not as it was sealed.
        """
        for start in range(0, len(files), FILES_AT_ONCE):
            group = files[start : start + FILES_AT_ONCE]
            fresh = {file.there: self._addition(file) for file in group if not self._has(file)}
            if fresh:
                self._announce(list(fresh.values()))
                self._arrived |= fresh
                self.repo.advance.steps += 1
            yield from (self._arrived[file.there] for file in group)

    def committed(self, operations: Sequence[CommitOperationAdd | CommitOperationDelete]) -> None:
        """Forget files that a commit shows by now."""
        for operation in operations:
            self._arrived.pop(operation.path_in_repo, None)

    def _has(self, file: File) -> bool:
        there = self._arrived.get(file.there)
        if there is None or (file.sha256 is not None and there.upload_info.sha256.hex() != file.sha256):
            return False
        if hasattr(there, "_remote_oid"):  # what it remembers of the branch was true some time ago
            there._remote_oid = None
        return True

    def _announce(self, additions: list[CommitOperationAdd]) -> None:
        self.api.preupload_lfs_files(
            self.repo.repo_id, additions, repo_type=self.repo.repo_type, revision=self.repo.revision,
            create_pr=self.create_pr, free_memory=False,
        )  # fmt: skip

    def _addition(self, file: File) -> CommitOperationAdd:
        path = self.folder / file.path
        try:
            addition = CommitOperationAdd(file.there, path)
        except (OSError, ValueError):
            raise not_as_sealed(path) from None
        if file.sha256 is not None and addition.upload_info.sha256.hex() != file.sha256:
            raise not_as_sealed(path)
        return addition


def not_as_sealed(path: Path) -> RunDirectoryError:
    """The error of a file that is not what its manifest says."""
    return RunDirectoryError(f"{path} is missing or not as it was sealed.", advice="Restore it from a copy.")
