"""Where a run lies, as it is typed: a folder, file:// and a folder, or the URL of an object store.

Keeps true: a command that needs a folder says what to do with a URL instead of taking it for one.
Does not know what the commands do there.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tqdm import tqdm

from hub_instructpt import cards
from hub_instructpt.cli.progress import say
from hub_instructpt.errors import SettingsError
from hub_instructpt.runs.manifest import Manifest, ShardFacts
from hub_instructpt.runs.mirror import Mirror
from hub_instructpt.runs.registration import Shelf
from hub_instructpt.runs.remote import brought, look
from hub_instructpt.runs.share import Worker
from hub_instructpt.runs.stopping import Stop
from hub_instructpt.runs.store import PATIENCE_SECONDS, Store, open_store, without_password


@dataclass(frozen=True, slots=True)
class Place:
    """A folder, or else the URL of a store."""

    folder: Path | None
    url: str = ""

    @classmethod
    def parse(cls, text: str) -> Place:
        """Read what was typed."""
        if not re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", text):
            return cls(Path(text))
        if text.lower().startswith(("file://", "local://")):
            parts = urlsplit(text)
            return cls(Path(unquote((parts.netloc if parts.netloc != "localhost" else "") + parts.path)))
        return cls(None, text.rstrip("/"))

    def __str__(self) -> str:
        return str(self.folder) if self.folder is not None else without_password(self.url)

    def quoted(self) -> str:
        """As it is typed in a shell."""
        return shlex.quote(str(self))

    def store(self) -> Store:
        """The store of a URL."""
        return open_store(self.url)


def folder_for(command: str) -> Callable[[str], Path]:
    """Reads a folder for a command that can not work in a store.

    Raises:
        SettingsError: it is the URL of one.
    """

    def parse(text: str) -> Path:
        place = Place.parse(text)
        if place.folder is not None:
            return place.folder
        raise SettingsError(
            f"`{command}` needs a folder, and {place} is none.", advice=f"Copy what lies there: {fetch(place)}"
        )

    return parse


def fetch(place: Place) -> str:
    """A command that copies what lies in a store into a folder."""
    protocol, _, path = str(place).partition("://")
    path = path if protocol != "hf" else f"hf://{path}"
    code = f"import fsspec; fsspec.filesystem({protocol!r}).get({path.rstrip('/')!r}, 'DIR', recursive=True)"
    return f'python -c "{code}"'


class Work:
    """A run that goes on somewhere: `folder` is where it is made, `shelf` where it goes from there, if anywhere."""

    def __init__(self, place: Place, worker: Worker, stop: Stop) -> None:
        self.place = place
        self.mirror = Mirror(place.store(), worker, stop=stop) if place.folder is None else None

    @property
    def folder(self) -> Path:
        return self.mirror.folder if self.mirror else self.place.folder or Path()

    @property
    def shelf(self) -> Shelf | None:
        return self.mirror

    def reopen(self) -> None:
        """Have here what may be asked again."""
        if self.mirror is not None:
            self.mirror.reopen()

    def finish(self, manifest: Manifest) -> Manifest:
        """Have everything where it belongs; gives the manifest of the whole run."""
        if self.mirror is None:
            return manifest
        if self.mirror.waiting:
            say(f"Sending {self.mirror.waiting:,} shards to {self.place}.")
        return self.mirror.finish()


@contextmanager
def working(place: Place, worker: Worker, stop: Stop) -> Iterator[Work]:
    """Work on a run, wherever it lies; where the block fails, what is sealed is sent all the same.

    Raises:
        HubInstructPTError: the store failed, and the run had to end for it.
    """
    work = Work(place, worker, stop)
    if work.mirror is None:
        yield work
        return
    with tqdm(desc=f"Reading {place}", bar_format="{desc}", leave=False, disable=None):
        work.mirror.begin()
    work.mirror.store.patience_seconds = PATIENCE_SECONDS  # from now on there is something to lose
    try:
        yield work
    except BaseException:
        work.mirror.stop()
        if work.mirror.failure is not None:
            raise work.mirror.failure from None
        raise


@contextmanager
def looking(
    place: Place, shards: Callable[[Manifest], Iterable[ShardFacts]] = lambda manifest: ()
) -> Iterator[tuple[Path, Manifest | None]]:
    """A folder where a run can be read: its own, or a temporary one with some of its shards.

    The manifest is given for a run in a store only.
    """
    if place.folder is not None:
        yield place.folder, None
        return
    store = place.store()
    with look(store) as (folder, manifest), brought(store, folder, shards(manifest)):
        yield folder, manifest


def write_card(place: Place) -> str:
    """Write the card of a run, and its figures; tells where it is now."""
    if place.folder is not None:
        return str(cards.write_card(place.folder))
    with looking(place, cards.shards_shown) as (folder, manifest):
        assert manifest is not None
        before = {path: path.read_bytes() for path in _files(folder)}
        card = cards.write_card(folder).relative_to(folder)
        store = place.store()
        store.make_folders(*{str(path.parent.relative_to(folder)) for path in _files(folder)} - {"."})
        for path in _files(folder):
            if before.get(path) != path.read_bytes():
                store.upload(path, path.relative_to(folder).as_posix())
    return f"{place}/{card}"


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
