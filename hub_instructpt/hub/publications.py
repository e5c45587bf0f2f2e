"""What of a directory goes to the Hub: a run or a mixture, seen alike.

Keeps true: everything is taken from one reading of the manifest, so that what is sent agrees with it, also while a run
goes on. Does not know how it is sent.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hub_instructpt import cards
from hub_instructpt.mixing import card as mixture_card
from hub_instructpt.mixing.manifest import Mixture, PackedShard
from hub_instructpt.runs.manifest import MANIFEST, Manifest, ShardFacts


@dataclass(frozen=True, slots=True)
class Publication:
    """A directory as it is published.

    Attributes:
        folder: where its files are.
        shards: its sealed files.
        manifest: as it is written into the repo.
        summary: what it holds, for the message of the commit.
        card: renders the card for a repo, given the card that is there.
    """

    folder: Path
    shards: Sequence[ShardFacts | PackedShard]
    manifest: str
    summary: str
    card: Callable[[str, str | None], str]


def is_mixture(folder: Path) -> bool:
    """Whether a directory holds a mixture rather than a run."""
    try:
        found = json.loads((folder / MANIFEST).read_text("utf-8"))
    except (OSError, ValueError):
        return False  # whoever loads it as a run says what is wrong
    return isinstance(found, dict) and found.get("kind") == "mixture"


def publication(folder: Path) -> Publication:
    """What of `folder` goes to the Hub.

    Raises:
        RunDirectoryError: there is no run.
        RunError: its manifest can not be believed.
    """
    if is_mixture(folder):
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
