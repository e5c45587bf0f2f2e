"""What of a directory goes to the Hub: a run, a mixture or a collection, seen alike.

Keeps true: everything is taken from one reading of the manifest, so that what is sent agrees with it, also while a run
goes on; a dataset of a collection whose licence forbids passing it on never becomes part of a publication.
Does not know how it is sent.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from hub_instructpt import cards
from hub_instructpt.collection import card as collection_card
from hub_instructpt.collection.manifest import Collection
from hub_instructpt.errors import SettingsError
from hub_instructpt.mixing import card as mixture_card
from hub_instructpt.mixing.manifest import Mixture
from hub_instructpt.runs.manifest import MANIFEST, Manifest

Kind = Literal["run", "mixture", "collection"]

# Files of a repo that a push has put there, of whatever kind it was.
_OURS = re.compile(
    r"(data|packed)/train-\d{5,}\.parquet"
    r"|[^/]+/(shard/\d{5,}\.jsonl|parquet/\d{5,}\.parquet|json/valid\.json|rejected\.jsonl)"
)


class SealedFile(Protocol):
    """A file as a manifest names it."""

    @property
    def path(self) -> str: ...
    @property
    def num_bytes(self) -> int: ...
    @property
    def sha256(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Publication:
    """A directory as it is published.

    Attributes:
        folder: where its files are.
        shards: its sealed files.
        manifest: as it is written into the repo.
        summary: what it holds, for the message of the commit.
        card: renders the card for a repo, given the card that is there.
        read: patterns of the files that its configs read.
        config: the first config, where there is no default one.
    """

    folder: Path
    shards: Sequence[SealedFile]
    manifest: str
    summary: str
    card: Callable[[str, str | None], str]
    read: Sequence[str] = (cards.DATA_FILES,)
    config: str | None = None


def is_ours(path: str) -> bool:
    """Whether a file of a repo has the name of one that a push puts there."""
    return _OURS.fullmatch(path) is not None


def kind_of(folder: Path) -> Kind:
    """What a directory holds; a run, where that can not be told."""
    try:
        found = json.loads((folder / MANIFEST).read_text("utf-8"))
    except (OSError, ValueError):
        return "run"  # whoever loads it as a run says what is wrong
    kind = found.get("kind") if isinstance(found, dict) else None
    return kind if kind in ("mixture", "collection") else "run"


def publication(folder: Path, leave_out: Sequence[str] = ()) -> Publication:
    """What of `folder` goes to the Hub.

    Args:
        leave_out: datasets of a collection that stay here.

    Raises:
        RunDirectoryError: there is no run.
        RunError: its manifest can not be believed.
        SettingsError: a dataset of a collection must not be passed on, and is not left out.
    """
    kind = kind_of(folder)
    if kind == "collection":
        return _collection(folder, leave_out)
    if leave_out:
        raise SettingsError(f"{folder} holds a {kind}, of which no dataset can be left out.")
    if kind == "mixture":
        mixture = Mixture.load(folder)
        return Publication(
            folder,
            mixture.files,
            mixture.model_dump_json(indent=1) + "\n",
            f"{len(mixture.shards):,} shards, {mixture.num_texts:,} texts of {len(mixture.parts):,} parts",
            lambda repo_id, earlier: mixture_card.render_card(mixture, folder, repo_id, earlier),
        )
    manifest = Manifest.load(folder)
    return Publication(
        folder,
        manifest.shards,
        manifest.model_dump_json(indent=1) + "\n",
        f"{len(manifest.shards):,} shards, {manifest.counts['pairs/kept']:,} instruction-response pairs",
        lambda repo_id, earlier: cards.render_card(manifest, folder, repo_id, earlier),
    )


def _collection(folder: Path, leave_out: Sequence[str]) -> Publication:
    collection = Collection.load(folder)
    for name in leave_out:
        if collection.find(name) is None:
            known = ", ".join(dataset.name for dataset in collection.datasets)
            raise SettingsError(f"{folder} holds no dataset {name[:100]!r}.", advice=f"It holds {known}.")
        collection.without(name)
    forbidden = [dataset for dataset in collection.datasets if not dataset.licence.redistributable]
    if forbidden:
        reasons = " ".join(f"{each.name}: {each.licence.name}. {each.licence.note}".strip() for each in forbidden)
        words = [word for each in forbidden for word in ("--leave-out", each.name)]
        raise SettingsError(
            f"{folder} holds what must not be passed on. {reasons}",
            advice=f"Publish the others with {shlex.join(words)}, or collect without them into another --out.",
        )
    return Publication(
        folder,
        collection.files,
        collection.model_dump_json(indent=1) + "\n",
        f"{len(collection.datasets):,} datasets, {collection.num_records:,} records, {collection.num_pairs:,} pairs",
        lambda repo_id, earlier: collection_card.render_card(collection, folder, repo_id, earlier),
        [path for each in collection.datasets for path in (f"{each.name}/shard/*", f"{each.name}/parquet/*")],
        collection.datasets[0].name if collection.datasets else None,
    )
