"""The card of a mixture: its manifest becomes a README with the metadata that the Hub and `datasets` read.

Keeps true: everything comes from the manifest, and what is unknown is left out; `dataset_info` agrees with the files
of both configs; the licences of parts are listed, and one that holds for some of them only is never said to hold for
all; what a person wrote in an earlier card survives, as in the card of a run.
Does not know the Hub's API.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import jinja2
import pyarrow.parquet as pq

from hub_instructpt import cards, resources
from hub_instructpt.mixing.manifest import Mixture, PackedShard, PartFacts
from hub_instructpt.runs.files import write_text
from hub_instructpt.runs.manifest import ShardFacts

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
    ours = card_metadata(mixture, folder)
    theirs, body = cards.split_card(earlier or "")
    metadata = dict(ours)
    if theirs:
        metadata = cards.merge_metadata(_without(theirs), ours, cards.written_before(body))
    if mixture.packed:
        metadata |= _with_packed(metadata, mixture, folder)
    values = _values(mixture, repo_id)
    part = _template().render(values, written=cards.digests(ours)).strip()
    return cards.page(metadata, cards.merge_body(body, part))


def card_metadata(mixture: Mixture, folder: Path) -> dict[str, Any]:
    """The YAML part of the card, with the default config only. Keys whose value is unknown are left out."""
    sources = [_origin(part) for part in mixture.parts]
    languages = [code for part in mixture.parts for code in part.source.language or []]
    metadata: dict[str, Any] = {
        "pretty_name": cards.flat(_title(mixture)),
        **_license(mixture.parts),
        **cards.language_metadata(list(dict.fromkeys(languages))),
        "task_categories": ["text-generation"],
        "size_categories": [next((name for bound, name in cards.SIZES.items() if mixture.num_texts < bound), "n>1T")],
        "source_datasets": list(dict.fromkeys(source for source in sources if source)),
        "tags": ["instruction-pretraining", "pretraining-mixture", "hub-instructpt"],
        "configs": [_config(cards.CONFIG, "data")],
        "dataset_info": _dataset_info(cards.CONFIG, mixture.shards, folder),
    }
    return {key: value for key, value in metadata.items() if value}


def _config(name: str, folder: str) -> dict[str, Any]:
    return {"config_name": name, "data_files": [{"split": "train", "path": f"{folder}/train-*.parquet"}]}


def _license(parts: list[PartFacts]) -> dict[str, Any]:
    """The licence that all parts share; several of them, or one beside unknown ones, are `other` and named."""
    names = list(dict.fromkeys(name for part in parts for name in part.license or ()))
    if not names:
        return {}
    if len(names) == 1 and all(part.license for part in parts):
        return dict(cards.license_metadata(names))
    return {"license": "other", "license_name": ", ".join(names)}


def _without(theirs: dict[str, Any]) -> dict[str, Any]:
    """An earlier card's metadata without what it says of the packed config, which is ours as well."""
    kept = dict(theirs)
    for key in ("configs", "dataset_info"):
        if isinstance(theirs.get(key), list):
            kept[key] = [i for i in theirs[key] if not (isinstance(i, dict) and i.get("config_name") == PACKED)]
    return kept


def _with_packed(metadata: dict[str, Any], mixture: Mixture, folder: Path) -> dict[str, Any]:
    infos = metadata.get("dataset_info") or []
    infos = infos if isinstance(infos, list) else [{"config_name": cards.CONFIG, **infos}]
    packed = {"config_name": PACKED, **_dataset_info(PACKED, mixture.packed, folder)}
    default, *others = metadata["configs"]
    # The one that `load_dataset` takes when none is named must say so, now that there are two.
    default = {"config_name": default["config_name"], "default": True, "data_files": default["data_files"]}
    return {"configs": [default, _config(PACKED, PACKED), *others], "dataset_info": [infos[0], packed, *infos[1:]]}


def _dataset_info(config: str, shards: list[ShardFacts] | list[PackedShard], folder: Path) -> dict[str, Any]:
    if not shards:
        return {}
    import datasets

    size = sum(shard.arrow_bytes for shard in shards)
    info = datasets.DatasetInfo(
        features=datasets.Features.from_arrow_schema(pq.read_schema(folder / shards[0].path)),
        splits=datasets.SplitDict(
            {"train": datasets.SplitInfo("train", size, sum(shard.num_rows for shard in shards))}
        ),
        download_size=sum(shard.num_bytes for shard in shards),
        dataset_size=size,
    )
    data: dict[str, Any] = {}
    datasets.info.DatasetInfosDict({config: info}).to_dataset_card_data(data)
    found = dict(data["dataset_info"])
    found.pop("config_name", None)
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
        "begin": cards.BEGIN,
        "end": cards.END,
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
        "unlicensed": [part.name for part in mixture.parts if not part.license],
        "augmented": [part for part in mixture.parts if part.form == "run" and part.model],
        "tiny": any(part.model == cards.TINY for part in mixture.parts),
        "repo_id": repo_id or "NAMESPACE/NAME",
        "dates": " to ".join(dates),
    }


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.2f} %"


@lru_cache(maxsize=1)
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(resources.find("cards")),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # the page is Markdown; every value goes through a filter
    )
    environment.filters |= {
        "md": cards.markdown, "code": cards.code_span, "fence": cards.fenced, "n": "{:,}".format, "words": cards.words,
        "percent": _percent,
    }  # fmt: skip
    return environment.get_template(TEMPLATE)
