"""What of a directory goes to the Hub: a run, a mixture, a collection or a synthesizer, seen alike.

Keeps true: everything is taken from one reading of the manifest, so that what is sent agrees with it, also while a run
goes on; a dataset of a collection whose licence forbids passing it on never becomes part of a publication.
Does not know how it is sent.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hub_instructpt import cards
from hub_instructpt.collection import card as collection_card
from hub_instructpt.collection.manifest import Collection
from hub_instructpt.errors import RunDirectoryError, SettingsError
from hub_instructpt.hub.layout import Layout
from hub_instructpt.hub.repos import RepoType
from hub_instructpt.hub.uploads import File, not_as_sealed
from hub_instructpt.mixing import card as mixture_card
from hub_instructpt.mixing.manifest import Mixture
from hub_instructpt.runs.manifest import MANIFEST, Manifest, ShardFacts
from hub_instructpt.tuning import card as synthesizer_card
from hub_instructpt.tuning.facts import FACTS, TuningFacts

Kind = Literal["run", "mixture", "collection", "synthesizer"]
FIGURES = "figures"


@dataclass(frozen=True, slots=True)
class Publication:
    """A directory as it is published.

    Attributes:
        folder: where its files are.
        files: all of them but manifest and card.
        manifest: as it is written into the repo.
        summary: what it holds, for the message of the commit.
        card: renders the card for a repo, given the card that is there.
        layout: where in the repo its files go.
        read: patterns of the files that its configs read.
        config: what to name when loading it, where there is no default config.
        repo_type: of the repo.
    """

    folder: Path
    files: Sequence[File]
    manifest: str
    summary: str
    card: Callable[[str, str | None], str]
    layout: Layout
    read: Sequence[str] = ()
    config: str | None = None
    repo_type: RepoType = "dataset"

    def first_card(self) -> str | None:
        """The card in the directory, which is what a first push builds on: somebody may have written there."""
        card = cards.read_card(self.folder)
        if card is None or self.layout.config is None:
            return card
        metadata, body = cards.split_card(card)
        for key in ("configs", "dataset_info"):  # by itself the directory is a default config
            metadata.pop(key, None)
        body = body.replace(cards.begin(), cards.begin(self.layout.config))
        return cards.page(metadata, body.replace(cards.end(), cards.end(self.layout.config)))


def kind_of(folder: Path) -> Kind:
    """What a directory holds; a run, where that can not be told."""
    if (folder / FACTS).is_file() and not (folder / MANIFEST).exists():
        return "synthesizer"
    try:
        found = json.loads((folder / MANIFEST).read_text("utf-8"))
    except (OSError, ValueError):
        return "run"  # whoever loads it as a run says what is wrong
    kind = found.get("kind") if isinstance(found, dict) else None
    return kind if kind in ("mixture", "collection") else "run"


def publication(folder: Path, leave_out: Sequence[str] = (), config: str | None = None) -> Publication:
    """What of `folder` goes to the Hub.

    Args:
        leave_out: datasets of a collection that stay here.
        config: the name that a run gets as a config of the repo, beside others; None makes it the default one.

    Raises:
        RunDirectoryError: there is no run, or nothing in it yet.
        RunError: its manifest can not be believed.
        SettingsError: a dataset of a collection must not be passed on, and is not left out.
    """
    kind, layout = kind_of(folder), Layout.named(config)
    if kind != "run" and config is not None:
        raise SettingsError(f"{folder} holds a {kind}, which can not be a config of a name.")
    if kind == "collection":
        return _collection(folder, leave_out, layout)
    if leave_out:
        raise SettingsError(f"{folder} holds a {kind}, of which no dataset can be left out.")
    if kind == "synthesizer":
        return _synthesizer(folder)
    if kind == "mixture":
        mixture = Mixture.load(folder)
        return Publication(
            folder,
            [File(Path(each.path), layout.path(each.path), each.num_bytes, each.sha256) for each in mixture.files],
            mixture.model_dump_json(indent=1) + "\n",
            f"{len(mixture.shards):,} shards, {mixture.num_texts:,} texts of {len(mixture.parts):,} parts",
            lambda repo_id, earlier: mixture_card.render_card(mixture, folder, repo_id, earlier),
            layout,
            layout.patterns,
        )
    manifest = Manifest.load(folder)
    with suppress(OSError):  # where nothing can be written, the card shows the figures that are there
        cards.write_figures(folder, cards.draw_figures(manifest))
    return Publication(
        folder,
        [
            *(shard_file(each, layout) for each in manifest.shards),
            *_figures(folder, layout),
        ],
        manifest.model_dump_json(indent=1) + "\n",
        f"{len(manifest.shards):,} shards, {manifest.counts['pairs/kept']:,} instruction-response pairs",
        lambda repo_id, earlier: cards.render_card(manifest, folder, repo_id, earlier, config or cards.CONFIG),
        layout,
        layout.patterns,
        config,
    )


def _synthesizer(folder: Path) -> Publication:
    facts = TuningFacts.load(folder)
    if facts.finished_at is None:
        raise RunDirectoryError(
            f"{folder} holds a synthesizer that is not finished: {facts.steps_done:,} of {facts.steps:,} steps.",
            advice="Run the same `hub-instructpt tune` again, which goes on from there.",
        )
    plots = [File(path.relative_to(folder), path.name) for path in sorted(folder.glob("[!.]*.svg"))]
    return Publication(
        folder,
        [*(File(Path(each.path), each.path, each.num_bytes, each.sha256) for each in facts.files), *plots],
        facts.model_dump_json(indent=1) + "\n",
        f"Instruction synthesizer tuned from {cards.flat(facts.base.name, 100)}",
        lambda repo_id, earlier: synthesizer_card.render_card(facts, repo_id, earlier),
        Layout(of_model=True),
        repo_type="model",
    )


def shard_file(shard: ShardFacts, layout: Layout) -> File:
    """A sealed shard of a run, as it is published."""
    return File(Path(shard.path), layout.path(shard.path), shard.num_bytes, shard.sha256)


def _figures(folder: Path, layout: Layout) -> list[File]:
    """Pictures that the card shows."""
    found = sorted(path for path in (folder / FIGURES).glob("*") if re.search(r"^[^.].*\.(svg|png)$", path.name))
    return [File(path.relative_to(folder), layout.path(f"{FIGURES}/{path.name}")) for path in found]


def _collection(folder: Path, leave_out: Sequence[str], layout: Layout) -> Publication:
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
    with suppress(OSError):  # as for a run; they are of what is published, also where that is not everything
        cards.write_figures(folder, collection_card.draw_figures(collection))
    return Publication(
        folder,
        [
            *(File(Path(each.path), each.path, each.num_bytes, each.sha256) for each in collection.files),
            *_figures(folder, layout),
        ],
        collection.model_dump_json(indent=1) + "\n",
        f"{len(collection.datasets):,} datasets, {collection.num_records:,} records, {collection.num_pairs:,} pairs",
        lambda repo_id, earlier: collection_card.render_card(collection, folder, repo_id, earlier),
        layout,
        [path for each in collection.datasets for path in (f"{each.name}/shard/*", f"{each.name}/parquet/*")],
        collection.datasets[0].name if collection.datasets else None,
    )


def check_sealed(published: Publication) -> None:
    """Raise RunDirectoryError where there is nothing to publish, or a file is not there or not of its size.

    That the content is what was sealed is found when a file is read to be sent.
    """
    if not any(file.sha256 for file in published.files):
        raise RunDirectoryError(
            f"{published.folder} has no sealed shard yet.", advice="Run `hub-instructpt augment` on, or `mix`."
        )
    for file in published.files:
        path = published.folder / file.path
        if not path.is_file() or (file.num_bytes is not None and path.stat().st_size != file.num_bytes):
            raise not_as_sealed(path)
