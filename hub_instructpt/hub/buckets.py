"""A directory pushed to a storage bucket of the Hub, which has no commits: hf://buckets/NAMESPACE/NAME/PATH.

Keeps true: rows come first, then in one batch what names them (manifest, card) and the removal of what is stale; what
is there already, by its Xet hash, is not sent again. A reader may meet shards that no manifest names yet, and never a
manifest whose shards are not there.
Does not know repos.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi

from hub_instructpt import cards
from hub_instructpt.errors import HubError, SettingsError
from hub_instructpt.hub.attempts import Advance, until_through
from hub_instructpt.hub.failures import check_token, new_api
from hub_instructpt.hub.publications import Publication, check_sealed, publication
from hub_instructpt.hub.pushing import CARD, Pushed, is_manifest
from hub_instructpt.hub.uploads import FILES_AT_ONCE, File, not_as_sealed
from hub_instructpt.runs.files import sha256
from hub_instructpt.runs.manifest import MANIFEST

BEGINNING = "hf://buckets/"


@dataclass(frozen=True, slots=True)
class Address:
    """A bucket, and a folder in it (with a slash at its end, or nothing)."""

    bucket: str
    prefix: str = ""

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read hf://buckets/NAMESPACE/NAME[/PATH].

        Raises:
            SettingsError: it is nothing like that.
        """
        parts = text.removeprefix(BEGINNING).strip("/").split("/")
        if len(parts) < 2 or not all(re.fullmatch(r"[\w.-]+", part) and set(part) != {"."} for part in parts):
            raise SettingsError(
                f"{text[:200]!r} is no bucket.", advice=f"Give {BEGINNING}NAMESPACE/NAME, or a folder in it."
            )
        return cls("/".join(parts[:2]), "".join(f"{part}/" for part in parts[2:]))

    @property
    def name(self) -> str:
        """What `load_dataset` calls it."""
        return f"buckets/{self.bucket}/{self.prefix}".rstrip("/")


def push_to_bucket(folder: Path, address: str, *, private: bool | None = None, leave_out: Sequence[str] = ()) -> Pushed:
    """Push a run, a mixture or a collection to a bucket, which is made when there is none.

    Args:
        folder: its directory.
        address: hf://buckets/NAMESPACE/NAME[/PATH].
        private: visibility of a new bucket.
        leave_out: datasets of a collection that are not published.

    Raises:
        SettingsError: no such address, or a client of the Hub that knows no buckets.
        HubError: no token, no right, no answer, or a place that holds something else.
        RunDirectoryError: there is no run, or its files are not as they were sealed.
    """
    place = Address.parse(address)
    if not hasattr(HfApi, "batch_bucket_files"):
        raise SettingsError("This huggingface_hub knows no buckets.", advice="pip install -U huggingface_hub")
    published = publication(folder, leave_out)
    check_sealed(published)
    doing, advance = f"push to {BEGINNING}{place.bucket}", Advance()
    check_token(doing)
    work = _Work(new_api(), published, place, private, advance)
    return until_through(doing, work.attempt, advance)


@dataclass(slots=True)
class _Work:
    api: HfApi
    published: Publication
    place: Address
    private: bool | None
    advance: Advance

    def attempt(self) -> Pushed:
        """Look what is there, send what is not, then say so."""
        place, layout = self.place, self.published.layout
        self.api.create_bucket(place.bucket, private=self.private, exist_ok=True)
        self.advance.reached = True
        listed = self.api.list_bucket_tree(place.bucket, prefix=place.prefix or None, recursive=True)
        there = {
            each.path.removeprefix(place.prefix): each
            for each in listed
            if each.type == "file" and each.path.startswith(place.prefix)
        }
        manifest, card = self._read(there, layout.manifest), self._read(there, CARD)
        others = tuple(path.removesuffix(MANIFEST) for path in there if path.endswith(f"/{MANIFEST}"))
        beside = [path for path in there if not path.startswith(others)]
        if not is_manifest(manifest) and (foreign := layout.foreign(beside)):
            raise HubError(
                f"{BEGINNING}{place.bucket}/{place.prefix} holds something else ({foreign[0]}).",
                advice="Give another folder in it, or remove the files there.",
            )
        missing = [file for file in self.published.files if not self._is_there(file, there.get(file.there))]
        for start in range(0, len(missing), FILES_AT_ONCE):
            group = missing[start : start + FILES_AT_ONCE]
            for file in group:
                self._check(file)
            self._batch([(self.published.folder / file.path, file.there) for file in group], [])
            self.advance.steps += 1
        earlier = cards.read_card(self.published.folder) if card is None else cards.decode_card(card)
        page = self.published.card(place.name, earlier).encode()
        named = {file.there for file in self.published.files}
        wanted = ((manifest, self.published.manifest.encode(), layout.manifest), (card, page, CARD))
        last = [(new, path) for old, new, path in wanted if old != new]
        stale = [path for path in there if layout.is_ours(path) and path not in named]
        if last or stale:
            self._batch(last, stale)
        url = f"{self.api.endpoint}/buckets/{place.bucket}"
        return Pushed(place.name, url, "", bool(missing or last or stale), self.published.config, repo_type="bucket")

    def _batch(self, add: Sequence[tuple[Path | bytes, str]], delete: Sequence[str]) -> None:
        prefix = self.place.prefix
        self.api.batch_bucket_files(
            self.place.bucket,
            add=[(content if isinstance(content, bytes) else str(content), prefix + path) for content, path in add],
            delete=[prefix + path for path in delete],
        )

    def _read(self, there: dict[str, Any], path: str) -> bytes | None:
        if path not in there:
            return None
        with tempfile.TemporaryDirectory(prefix="hub-instructpt-") as folder:
            here = Path(folder) / "file"
            self.api.download_bucket_files(self.place.bucket, [(there[path], here)])
            return here.read_bytes()

    def _is_there(self, file: File, found: Any) -> bool:
        path = self.published.folder / file.path
        if found is None or found.size != path.stat().st_size:
            return False
        import hf_xet

        return bool(hf_xet.hash_files([str(path)])[0].hash == found.xet_hash)

    def _check(self, file: File) -> None:
        path = self.published.folder / file.path
        if file.sha256 is not None and sha256(path) != file.sha256:
            raise not_as_sealed(path)
