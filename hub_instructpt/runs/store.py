"""An object store, or whatever else `fsspec` opens by a URL: files are put there whole, listed, fetched and removed.

    s3://BUCKET/PATH   gs://…   abfs://…   hf://buckets/NAMESPACE/NAME/PATH   and every other protocol that can write

Keeps true: what fails for a reason that may pass is tried again for a while, and then becomes one line that says what
to do; listings are never remembered; no password of a URL is in a message. Credentials come from the environment, as
each implementation of `fsspec` reads them.
Does not know runs. There are no locks: who writes a name last has it.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from hub_instructpt.errors import HubInstructPTError, RunDirectoryError, RunError, SettingsError

Result = TypeVar("Result")

PATIENCE_SECONDS, QUICK_PATIENCE_SECONDS = 600.0, 20.0
"""So long a store may be away while a run goes on, and while somebody waits for a first answer."""
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.5, 30.0
SILENT_SECONDS = 5.0
READING_THREADS = 32

FLAT = frozenset({"s3", "s3a", "gs", "gcs", "hf", "abfs", "abfss", "az", "adl", "oss", "oci", "memory"})
"""Protocols of stores that have no folders to be made."""

PACKAGES = {"gs": "gcsfs", "gcs": "gcsfs", "s3": "s3fs", "s3a": "s3fs"}


_log = logging.getLogger("hub_instructpt")


class StoreFailed(RunError):
    """The store did not do what it was asked, for long enough."""


class Store:
    """A folder of a store.

    Args:
        url: as the user gave it, credentials left out.
        filesystem: of `fsspec`.
        root: the folder, as that file system calls it.
        patience_seconds: how long something is tried that fails.
    """

    def __init__(self, url: str, filesystem: Any, root: str, patience_seconds: float = QUICK_PATIENCE_SECONDS) -> None:
        self.url, self.root, self.patience_seconds = url, root.rstrip("/"), patience_seconds
        self.given_up = threading.Event()
        self._filesystem = filesystem
        protocol = filesystem.protocol
        self._flat = not FLAT.isdisjoint([protocol] if isinstance(protocol, str) else protocol)

    def __str__(self) -> str:
        return self.url

    def sizes(self, folder: str) -> dict[str, int]:
        """Files right in a folder, with their sizes in bytes; empty when there is no such folder."""

        def listed() -> list[dict[str, Any]]:
            self._filesystem.invalidate_cache()
            try:
                return list(self._filesystem.ls(self._path(folder), detail=True))
            except FileNotFoundError:
                return []

        found = self._try(f"list {folder}/", listed)
        files = (one for one in found if one["type"] == "file")
        return {one["name"].rpartition("/")[2]: int(one["size"] or 0) for one in files}

    def read(self, path: str) -> bytes | None:
        """The content of a file; None when there is none."""

        def content() -> bytes | None:
            try:
                return bytes(self._filesystem.cat_file(self._path(path)))
            except FileNotFoundError:
                return None

        return self._try(f"read {path}", content)

    def read_all(self, paths: Iterable[str]) -> list[bytes | None]:
        """The contents of many small files, in their order."""
        with ThreadPoolExecutor(READING_THREADS, thread_name_prefix="store") as pool:
            return list(pool.map(self.read, paths))

    def write(self, path: str, content: bytes) -> None:
        """Put a small file there."""
        self._try(f"write {path}", lambda: self._filesystem.pipe_file(self._path(path), content))

    def upload(self, local: Path, path: str) -> None:
        """Put a local file there, and see that all of it has arrived."""
        size = local.stat().st_size

        def send() -> None:
            self._filesystem.put_file(str(local), self._path(path))
            self._filesystem.invalidate_cache()
            try:
                arrived = self._filesystem.info(self._path(path))["size"]
            except FileNotFoundError:
                arrived = 0
            if arrived != size:
                raise OSError(f"{arrived:,} of {size:,} bytes have arrived")

        self._try(f"write {path}", send)

    def download(self, path: str, local: Path) -> bool:
        """Fetch a file; False when there is none."""

        def fetch() -> bool:
            try:
                self._filesystem.get_file(self._path(path), str(local))
            except FileNotFoundError:
                return False
            return True

        return self._try(f"read {path}", fetch)

    def remove(self, path: str) -> None:
        """Remove a file, if it is there."""

        def gone() -> None:
            self._filesystem.invalidate_cache()
            if self._filesystem.exists(self._path(path)):  # not all of them are silent when it is not
                self._filesystem.rm_file(self._path(path))

        self._try(f"remove {path}", gone)

    def make_folders(self, *folders: str) -> None:
        """Make folders, where the store has such a thing."""
        if not self._flat:
            for folder in folders:
                make = partial(self._filesystem.makedirs, self._path(folder), exist_ok=True)
                self._try(f"make {folder}", make)

    def _path(self, path: str) -> str:
        return f"{self.root}/{path}" if path else self.root

    def _try(self, doing: str, do: Callable[[], Result]) -> Result:
        begun, wait, told = time.monotonic(), FIRST_WAIT_SECONDS, False
        while True:
            try:
                return do()
            except Exception as error:  # each implementation has errors of its own
                waited = time.monotonic() - begun
                if waited > SILENT_SECONDS and not told and not _is_final(error):
                    told = True
                    _log.warning("%s is away (%s); trying on.", self.url, type(error).__name__)
                if _is_final(error) or waited + wait > self.patience_seconds or self.given_up.wait(wait):
                    raise self._failure(doing, error, waited) from None
            wait = min(2 * wait, LONGEST_WAIT_SECONDS)

    def _failure(self, doing: str, error: Exception, waited: float) -> HubInstructPTError:
        what = without_password(" ".join(str(error).split())[:200])
        told = f"{self.url}: can not {doing}: {type(error).__name__}{f': {what}' if what else ''}."
        if isinstance(error, FileNotFoundError):
            return RunDirectoryError(told, advice="Is there such a bucket? Make it, or give another --out.")
        if _is_refusal(error):
            return StoreFailed(
                told, advice="See to the credentials in the environment, then run the same again: what is done is kept."
            )
        tried = f" Tried for {waited:.0f} s." if waited >= 1 else ""
        return StoreFailed(told + tried, advice="When the store is back, run the same again: what is done is kept.")


def open_store(url: str, patience_seconds: float = QUICK_PATIENCE_SECONDS) -> Store:
    """A store by its URL; nothing is asked of it yet.

    Raises:
        SettingsError: no such protocol, or its implementation is not installed.
    """
    import fsspec

    shown, protocol = without_password(url), url.partition("://")[0]
    if protocol == "hf" and not url.startswith("hf://buckets/"):
        raise SettingsError(
            f"{shown} is a repo, and a commit for each file is no way to write a run.",
            advice="Use a bucket, hf://buckets/NAMESPACE/NAME/PATH; or a folder, with --push-to NAMESPACE/NAME.",
        )
    try:
        filesystem, root = fsspec.core.url_to_fs(url, use_listings_cache=False)
    except ImportError:
        raise SettingsError(f"{shown}: nothing here reads {protocol}://.", advice=_install(protocol)) from None
    except Exception as error:  # whatever an implementation may raise for a URL that it does not like
        what = " ".join(str(error).split())[:200]
        raise SettingsError(
            f"{shown} can not be opened: {type(error).__name__}: {what}.", advice="Give a folder, or a URL of fsspec."
        ) from None
    return Store(shown, filesystem, root, patience_seconds)


def without_password(url: str) -> str:
    """A URL as it can be shown."""
    return re.sub(r"(?<=://)[^/@]*@", "", url)


def _install(protocol: str) -> str:
    from fsspec.registry import known_implementations

    known = known_implementations.get(protocol, {})
    package = PACKAGES.get(protocol) or known.get("class", "").partition(".")[0]
    if package and package != "fsspec":
        return f"Install it: pip install {package}"
    return f"{known.get('err') or 'Install its implementation for fsspec'}."


def _is_final(error: Exception) -> bool:
    """Whether trying again can not help."""
    missing = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
    misused = (NotImplementedError, ImportError, TypeError, AttributeError, LookupError)
    return isinstance(error, (*missing, *misused)) or _is_refusal(error)


def _is_refusal(error: Exception) -> bool:
    status = getattr(getattr(error, "response", None), "status_code", None)  # of the Hub
    return isinstance(error, PermissionError) or "Credential" in type(error).__name__ or status in (401, 403)
