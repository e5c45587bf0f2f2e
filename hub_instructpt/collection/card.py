"""The card of a collection: its manifest becomes a README with a config for every dataset.

Keeps true: everything comes from the manifest, but for one sample of each dataset; the configs name exactly the files
that are there; a licence that holds for some datasets only is never said to hold for all; what a person wrote in an
earlier card survives, as in the card of a run.
Does not know the Hub's API.
"""

from __future__ import annotations

import re
import shlex
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from hub_instructpt import cards
from hub_instructpt.collection.collect import pairs_of
from hub_instructpt.collection.manifest import CAP, Collection, DatasetFacts
from hub_instructpt.runs.files import write_text

TEMPLATE = "collection.md.jinja"
LEFT_OUT = (
    ("rows_rejected", "rows left out"),
    ("rows_cut", "rows left out in part"),
    ("questions_rejected", "questions left out"),
)
FEATURES = [
    {"name": "context", "dtype": "string"},
    {"name": "QA_list", "list": [{"name": "Q", "dtype": "string"}, {"name": "A", "dtype": "string"}]},
    {"name": "QA_type", "dtype": "string"},
    {"name": "rc_name", "dtype": "string"},
]


def write_card(folder: Path, repo_id: str | None = None) -> Path:
    """Write `README.md` of a collection with its figures; parts of an earlier one that a person wrote are kept.

    Args:
        repo_id: where the collection will lie on the Hub; the example of how to load it names it.
    """
    collection = Collection.load(folder)
    cards.write_figures(folder, draw_figures(collection))
    path = folder / "README.md"
    write_text(path, render_card(collection, folder, repo_id, cards.read_card(folder)))
    return path


def render_card(collection: Collection, folder: Path, repo_id: str | None = None, earlier: str | None = None) -> str:
    """The card of a collection.

    Args:
        collection: its manifest.
        folder: where its files are; a sample of each dataset is read from its first shard.
        repo_id: the repo it is for.
        earlier: a card that it takes the place of.

    Raises:
        CardError: the earlier card is broken, so that what a person wrote there could be lost.
    """

    def part(metadata: dict[str, Any]) -> str:
        return cards.render(TEMPLATE, _values(collection, folder, repo_id))

    return cards.assemble(card_metadata(collection), part, earlier, stale=_is_ours)


def card_metadata(collection: Collection) -> dict[str, Any]:
    """The YAML part of the card."""
    # `datasets` reads all configs of a repo in one format, the first one's: Parquet only where every dataset has it.
    kind = "parquet/*.parquet" if all(dataset.settings.parquet for dataset in collection.datasets) else "shard/*.jsonl"
    configs: list[dict[str, Any]] = []
    infos: list[dict[str, Any]] = []
    for dataset in collection.datasets:
        for name in (dataset.name, *dataset.also_called):
            configs.append({"config_name": name, "data_files": [{"split": "train", "path": f"{dataset.name}/{kind}"}]})
            read = [file for file in dataset.files if f"/{kind.partition('/')[0]}/" in file.path]
            size = sum(file.arrow_bytes or 0 for file in read)
            infos.append(
                {
                    "config_name": name,
                    "features": FEATURES,
                    "splits": [{"name": "train", "num_bytes": size, "num_examples": dataset.num_records}],
                    "download_size": sum(file.num_bytes for file in read),
                    "dataset_size": size,
                }
            )
    hub_sources = [dataset.source.name for dataset in collection.datasets if dataset.source.kind == "hub"]
    kinds = {dataset.qa_type for dataset in collection.datasets}
    metadata: dict[str, Any] = {
        "pretty_name": _title(collection),
        **_license(collection),
        "language": ["en"],
        "task_categories": [
            "text-generation",
            "question-answering",
            *(["multiple-choice"] if "multiple-choice" in kinds else []),
            *(["table-question-answering"] if "table" in kinds else []),
        ],
        "size_categories": [cards.size_category(collection.num_records)],
        "source_datasets": list(dict.fromkeys(hub_sources)),
        "tags": ["instruction-pretraining", "instruction-synthesizer", "reading-comprehension", "hub-instructpt"],
        "configs": configs,
        "dataset_info": infos,
    }
    return {key: value for key, value in metadata.items() if value}


def _license(collection: Collection) -> dict[str, Any]:
    """The licence that all share; several of them are `other` and named."""
    named = {d.licence.hub_id if d.licence.hub_id not in ("other", "unknown") else d.licence.name: d.licence.hub_id
             for d in collection.datasets}  # fmt: skip
    if len(named) == 1:
        return dict(cards.license_metadata(list(named)))
    return {"license": "other", "license_name": ", ".join(sorted(named, key=str.casefold))} if named else {}


def _is_ours(config: Any) -> bool:
    """Whether a config of an earlier card is of a dataset in the layout of a collection."""
    files = config.get("data_files") if isinstance(config, dict) else None
    paths = [file.get("path") for file in files if isinstance(file, dict)] if isinstance(files, list) else []
    return any(re.fullmatch(r"[^/]+/(shard/\*\.jsonl|parquet/\*\.parquet)", str(path)) for path in paths)


def _title(collection: Collection) -> str:
    names = [dataset.name for dataset in collection.datasets]
    if len(names) <= 3:
        return f"Instruction synthesizer collection: {', '.join(names)}"
    return f"Instruction synthesizer collection of {len(names)} datasets"


def _values(collection: Collection, folder: Path, repo_id: str | None) -> dict[str, Any]:
    datasets = collection.datasets
    dates = list(dict.fromkeys([collection.created_at[:10], collection.updated_at[:10]]))
    return {
        "c": collection,
        "title": _title(collection),
        "first": datasets[0].name if datasets else "NAME",
        "marks": _marks,
        "spans": _spans,
        "sources": {dataset.name: _source(dataset) for dataset in datasets},
        "anchors": {dataset.name: _anchor(dataset.name) for dataset in datasets},
        "samples": {dataset.name: _sample(dataset, folder) for dataset in datasets},
        "non_commercial": [dataset.name for dataset in datasets if dataset.licence.non_commercial],
        "share_alike": [dataset.name for dataset in datasets if dataset.licence.share_alike],
        "unclear": [dataset.name for dataset in datasets if "unclear" in dataset.licence.restrictions],
        "forbidden": [dataset.name for dataset in datasets if not dataset.licence.redistributable],
        "left_out": LEFT_OUT,
        "evidence": collection.evidence if collection.num_pairs else None,
        "figures": cards.figures_in(folder),
        "commands": _commands(collection),
        "repo_id": repo_id or "NAMESPACE/NAME",
        "dates": " to ".join(dates),
    }


def _marks(dataset: DatasetFacts) -> str:
    licence = dataset.licence
    marks = [*licence.restrictions, *(["share-alike"] if licence.share_alike else [])]
    return f" ({', '.join(marks)})" if marks else ""


def _spans(dataset: DatasetFacts) -> str:
    counts = dataset.counts
    exact = counts.get("answers/in_context", 0)
    folded = exact + counts.get("answers/in_folded_context", 0)
    total = counts["answers/all"]
    more = f"; {100 * folded / total:.1f} % with case and white space folded" if folded > exact else ""
    return f"{100 * exact / total:.1f} %{more}"


def _source(dataset: DatasetFacts) -> str:
    source = dataset.source
    config = f", config {cards.markdown(source.config_name)}" if source.config_name else ""
    split = f", split {cards.markdown(source.split)}" if source.split else ""
    return cards.linked(source.name, "datasets/", source.kind == "hub") + config + split


def _anchor(name: str) -> str:
    """As the Hub makes it of a heading."""
    return re.sub(r"[^\w-]", "", name.lower())


def _sample(dataset: DatasetFacts, folder: Path) -> list[str]:
    """The record that the manifest has chosen, as lines; the first one, where it has chosen none."""
    evidence = dataset.gathered()
    wanted = evidence.samples[0].row if evidence and evidence.samples else 0
    try:
        for shard in dataset.shards:
            if wanted < (shard.num_rows or 0):
                with (folder / shard.path).open("rb") as lines:
                    record = orjson.loads(next(islice(lines, wanted, None)))
                return cards.shown(str(record["context"]), pairs_of(record), ("Q", "A"))
            wanted -= shard.num_rows or 0
    except (OSError, ValueError, LookupError, TypeError, AttributeError, StopIteration):
        pass  # verifying says what is wrong with the file
    return []


def draw_figures(collection: Collection) -> dict[str, str]:
    """The figures of the card, as SVG, by their names."""
    counts, evidence = collection.counts, collection.evidence
    if not counts["rows/read"] or evidence is None:
        return {}
    lost = cards.losses(counts, "questions_rejected")
    if counts["pairs/over_cap"]:
        lost = [*lost, ("beyond the cap", counts["pairs/over_cap"])]
    asked = collection.num_pairs + sum(number for _, number in lost)
    rejected = cards.losses(counts, "rows_rejected")
    read, left_out = counts["rows/read"], sum(number for _, number in rejected)
    stages = [
        cards.Stage("rows read", read, read),
        cards.Stage("rows used", read - left_out, read, rejected),
        cards.Stage("questions", asked, asked),
        cards.Stage("pairs kept", collection.num_pairs, asked, lost),
    ]
    return {"funnel": cards.funnel("From rows to pairs", stages), **cards.draw_distributions(evidence, "context")}


def _commands(collection: Collection) -> list[str]:
    """The commands that make it again: the datasets of the Hub at once, those of files each on its own."""
    commands: dict[tuple[str, ...], list[str]] = {}
    for dataset in collection.datasets:
        settings = dataset.settings
        words = ([] if settings.cap == CAP else ["--cap", str(settings.cap or 0)]) + (
            ["--seed", str(settings.seed)] if settings.seed else []
        )
        words += ["--parquet"] if settings.parquet else []
        if dataset.source.kind == "files":
            words += ["--from", "PATH"]
            commands[(dataset.name, *words)] = [dataset.name]
        else:
            commands.setdefault(tuple(words), []).append(dataset.name)
    return [
        shlex.join(["hub-instructpt", "collect", *names, *(word for word in key if word not in names), "--out", "DIR"])
        for key, names in commands.items()
    ]
