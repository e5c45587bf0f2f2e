"""The card of a mixture: its manifest becomes a README with the metadata that the Hub and `datasets` read.

Keeps true: everything comes from the manifest, and what is unknown is left out; `dataset_info` agrees with the files
of both configs; the licences of parts are listed, and one that holds for some of them only is never said to hold for
all; what a person wrote in an earlier card survives, as in the card of a run.
Does not know the Hub's API.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hub_instructpt import cards
from hub_instructpt.mixing.manifest import Mixture, PartFacts
from hub_instructpt.runs.files import write_text

PACKED = "packed"
TEMPLATE = "mixture.md.jinja"


def write_card(folder: Path, repo_id: str | None = None) -> Path:
    """Write `README.md` of a mixture; parts of an earlier one that a person wrote are kept.

    Args:
        repo_id: where the mixture will lie on the Hub; the example of how to load it names it.
    """
    path = folder / "README.md"
    write_text(path, render_card(Mixture.load(folder), folder, repo_id, cards.read_card(folder)))
    return path


def render_card(mixture: Mixture, folder: Path, repo_id: str | None = None, earlier: str | None = None) -> str:
    """The card of a mixture.

    Args:
        mixture: its manifest.
        folder: where its files are; the columns are read from its first shards.
        repo_id: the repo it is for.
        earlier: a card that it takes the place of.

    Raises:
        CardError: the earlier card is broken, so that what a person wrote there could be lost.
    """

    def part(metadata: dict[str, Any]) -> str:
        return cards.render(TEMPLATE, _values(mixture, repo_id))

    ours = card_metadata(mixture, folder)
    return cards.assemble(ours, part, earlier, stale=lambda config: config.get("config_name") == PACKED)


def card_metadata(mixture: Mixture, folder: Path) -> dict[str, Any]:
    """The YAML part of the card. Keys whose value is unknown are left out."""
    sources = [_origin(part) for part in mixture.parts]
    languages = [code for part in mixture.parts for code in part.source.language or []]
    metadata: dict[str, Any] = {
        "pretty_name": cards.flat(_title(mixture)),
        **_license(mixture.parts),
        **cards.language_metadata(list(dict.fromkeys(languages))),
        "task_categories": ["text-generation"],
        "size_categories": [cards.size_category(mixture.num_texts)],
        "source_datasets": list(dict.fromkeys(source for source in sources if source)),
        "tags": ["instruction-pretraining", "pretraining-mixture", "hub-instructpt"],
        "configs": _configs(mixture),
        "dataset_info": [
            cards.info_entry(config, shards, folder)
            for config, shards in ((cards.CONFIG, mixture.shards), (PACKED, mixture.packed))
            if shards
        ],
    }
    return {key: value for key, value in metadata.items() if value}


def _configs(mixture: Mixture) -> list[dict[str, Any]]:
    entry = cards.config_entry()
    if not mixture.packed:
        return [entry]
    # The one that `load_dataset` takes when none is named must say so, now that there are two.
    default = {"config_name": entry["config_name"], "default": True, "data_files": entry["data_files"]}
    return [default, cards.config_entry(PACKED)]


def _license(parts: list[PartFacts]) -> dict[str, Any]:
    """The licence that all parts share; several of them, or one beside unknown ones, are `other` and named."""
    names = list(dict.fromkeys(name for part in parts for name in part.license or ()))
    if not names:
        return {}
    if len(names) == 1 and all(part.license for part in parts):
        return dict(cards.license_metadata(names))
    return {"license": "other", "license_name": ", ".join(names)}


def _restrictions(mixture: Mixture) -> dict[str, list[str]]:
    found = cards.restrictions([name for part in mixture.parts for name in part.license or ()])
    found.pop("unknown", None)  # the parts without a licence are named
    return found


def _origin(part: PartFacts) -> str | None:
    return part.origin or (part.source.name if part.source.kind == "hub" else None)


def _title(mixture: Mixture) -> str:
    names = [part.name for part in mixture.parts]
    return f"Mixture of {', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else f"Mixture of {names[0]}"


FORMS = {
    "run": "instruction-augmented texts",
    "raw": "raw texts",
    "instructions": "instructions and responses",
    "collection": "fine-tuning collection, rendered",
}


def _values(mixture: Mixture, repo_id: str | None) -> dict[str, Any]:
    counts = mixture.counts
    rejected: dict[str, list[tuple[str, int]]] = {}
    for key, number in sorted(counts.items()):
        group, _, rest = key.partition("/")
        if group == "rows_rejected":
            reason, _, part = rest.partition("/")
            rejected.setdefault(part, []).append((reason, number))
    dates = list(dict.fromkeys([mixture.created_at[:10], mixture.updated_at[:10]]))
    return {
        "m": mixture,
        "title": _title(mixture),
        "forms": FORMS,
        "origins": {
            part.name: cards.linked(_origin(part) or part.source.name, "datasets/", bool(_origin(part)))
            for part in mixture.parts
        },
        "num_tokens": sum(reached.tokens or 0 for reached in mixture.reached.values()),
        "num_sequences": sum(shard.num_rows for shard in mixture.packed),
        "rejected": rejected,
        "licensed": any(part.license for part in mixture.parts),
        "restrictions": _restrictions(mixture),
        "unlicensed": [part.name for part in mixture.parts if not part.license],
        "augmented": [part for part in mixture.parts if part.form == "run" and part.model],
        "tiny": any(part.model == cards.TINY for part in mixture.parts),
        "repo_id": repo_id or "NAMESPACE/NAME",
        "dates": " to ".join(dates),
    }
