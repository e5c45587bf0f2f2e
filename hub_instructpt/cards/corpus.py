"""The card of an instruction-augmented corpus: the manifest of a run becomes a README, with figures beside it.

Keeps true: everything comes from the manifest, and what is unknown is left out, but for the words of the samples, which
the manifest chooses and the shards hold; `dataset_info` agrees with the files.
Does not know the Hub's API.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hub_instructpt.cards.escaping import LONGEST, code_span, flat, linked, markdown
from hub_instructpt.cards.figures import (
    Stage,
    draw_distributions,
    figures_in,
    funnel,
    losses,
    write_figures,
)
from hub_instructpt.cards.front import read_card
from hub_instructpt.cards.merging import assemble
from hub_instructpt.cards.metadata import (
    CONFIG,
    config_entry,
    info_entry,
    language_metadata,
    license_metadata,
    restrictions,
    size_category,
)
from hub_instructpt.cards.samples import read_samples, shards_sampled
from hub_instructpt.cards.templates import render
from hub_instructpt.cards.words import TINY, engine_name, group
from hub_instructpt.runs.files import write_text
from hub_instructpt.runs.manifest import Manifest, ShardFacts

TEMPLATE = "corpus.md.jinja"


def write_card(folder: Path, repo_id: str | None = None) -> Path:
    """Write `README.md` of a run directory with its figures; parts of an earlier one that a person wrote are kept.

    Args:
        repo_id: where the corpus will lie on the Hub; the example of how to load it names it.
    """
    manifest = Manifest.load(folder)
    write_figures(folder, draw_figures(manifest))
    path = folder / "README.md"
    write_text(path, render_card(manifest, folder, repo_id, read_card(folder)))
    return path


def render_card(
    manifest: Manifest, folder: Path, repo_id: str | None = None, earlier: str | None = None, config: str = CONFIG
) -> str:
    """The card of a run.

    Args:
        manifest: of the run.
        folder: the run directory; columns and samples are read from its shards, and the figures that it has are shown.
        repo_id: the repo it is for.
        earlier: a card that it takes the place of.
        config: which config of the repo the run becomes; the parts of others stay.

    Raises:
        CardError: the earlier card is broken, so that what a person wrote there could be lost.
    """

    def part(metadata: dict[str, Any]) -> str:
        samples = read_samples(folder, manifest.shards)
        values = _values(manifest, repo_id, metadata, config)
        return render(TEMPLATE, values | {"samples": samples, "figures": figures_in(folder, config)})

    return assemble(card_metadata(manifest, folder, config), part, earlier, name=config)


def shards_shown(manifest: Manifest) -> list[ShardFacts]:
    """The shards that must be there for the card to be written: the others are known by the manifest."""
    shards = manifest.shards
    return [shards[at] for at in sorted({0, *shards_sampled(shards)})] if shards else []


def card_metadata(manifest: Manifest, folder: Path, config: str = CONFIG) -> dict[str, Any]:
    """The YAML part of the card. Keys whose value is unknown are left out."""
    num_rows = sum(shard.num_rows for shard in manifest.shards)
    metadata: dict[str, Any] = {
        "pretty_name": flat(_title(manifest)),
        **license_metadata(_licences(manifest)),
        **language_metadata(manifest.source.language or []),
        "task_categories": ["text-generation"],
        "size_categories": [size_category(num_rows)],
        "source_datasets": [manifest.source.name[:LONGEST]] if manifest.source.kind == "hub" else None,
        "tags": ["instruction-pretraining", "instruction-augmented", "synthetic", "hub-instructpt"],
        "configs": [config_entry(config, shards=manifest.shards)],
        "dataset_info": [info_entry(config, manifest.shards, folder)] if manifest.shards else None,
    }
    return {key: value for key, value in metadata.items() if value}


def draw_figures(manifest: Manifest) -> dict[str, str]:
    """The figures of the card, as SVG, by their names."""
    counts, evidence = manifest.counts, manifest.evidence
    read, texts, kept = counts["rows/read"], counts["texts/all"], counts["pairs/kept"]
    if not read:
        return {}
    without, dropped = losses(counts, "texts_without_pairs"), losses(counts, "pairs_dropped")
    written = kept + sum(number for _, number in dropped)
    drawn = {
        "funnel": funnel(
            "From raw texts to pairs",
            [
                Stage("rows read", read, read),
                Stage("raw texts", texts, read, losses(counts, "rows_rejected")),
                Stage("texts with pairs", texts - sum(number for _, number in without), read, without),
                Stage("pairs written", written, written),
                Stage("pairs kept", kept, written, dropped),
            ],
        )
    }
    if evidence is not None and kept:
        drawn |= draw_distributions(evidence, "text")
    return drawn


def _licences(manifest: Manifest) -> list[str]:
    return [manifest.license] if manifest.license else manifest.source.license or []


def _title(manifest: Manifest) -> str:
    return f"{manifest.source.name}, instruction-augmented"


def _values(manifest: Manifest, repo_id: str | None, metadata: dict[str, Any], config: str) -> dict[str, Any]:
    counts = manifest.counts
    without = sum(number for _, number in group(counts, "texts_without_pairs"))
    with_pairs = counts["texts/all"] - without
    source, engine, limit = manifest.source, manifest.engine, manifest.settings.limit
    tiny = engine.model_id == TINY
    on_hub = not tiny and re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+", engine.model_id) is not None
    licence, by_person = _stated(license_metadata(_licences(manifest)), metadata)
    dates = list(dict.fromkeys([manifest.created_at[:10], manifest.updated_at[:10]]))
    return {
        "m": manifest,
        "counts": counts,
        "evidence": manifest.evidence if counts["pairs/kept"] else None,
        "rows_done": manifest.rows_sealed,
        "engine_seconds": sum(shard.engine_seconds for shard in manifest.shards),
        "part": (repo_id or "NAMESPACE/NAME") + (f",config={config}" if config != CONFIG else ""),
        "group": lambda name: group(counts, name),
        "title": _title(manifest),
        "total": min(filter(None, (limit, source.num_rows)), default=None),
        "without_pairs": without,
        "pairs_per_text": f"{counts['pairs/kept'] / with_pairs:.2f}" if with_pairs else None,
        "num_rows": sum(shard.num_rows for shard in manifest.shards),
        "kept": ", ".join(f"`{code_span(name)}`" for name in manifest.kept_types),
        "repo_id": repo_id or "NAMESPACE/NAME",
        "config": config,
        "source": linked(source.name, "datasets/", source.kind == "hub")
        + (f", config {markdown(source.config_name)}" if source.config_name else "")
        + (f", split {markdown(source.split)}" if source.split else ""),
        "model": linked(engine.model_id, "", on_hub),
        "tiny": tiny,
        "license": licence,
        "license_from": "stated by whoever made the corpus"
        if by_person or manifest.license
        else "as its source states",
        "restrictions": restrictions(licence),
        "engine_name": engine_name(engine.kind),
        "dates": " to ".join(dates),
    }


def _stated(ours: dict[str, Any], metadata: dict[str, Any]) -> tuple[list[str], bool]:
    """The licences to show, and whether a person has put them on the card."""
    by_person = not {*_list(ours["license"])} <= {*map(str, _list(metadata.get("license")))}
    shown = metadata if by_person or not ours["license"] else ours
    names = [str(each) for each in _list(shown.get("license")) if each != "other"]
    return names + [str(each) for each in _list(shown.get("license_name")) if each], by_person


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]
