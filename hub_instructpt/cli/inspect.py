"""`hub-instructpt status` and `card`: what a run directory says of itself. Asks no engine anything."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from hub_instructpt import cards, hub
from hub_instructpt.cli.places import Place, looking, write_card
from hub_instructpt.collection import card as collection_card
from hub_instructpt.collection.manifest import Collection
from hub_instructpt.engines.load import verdict
from hub_instructpt.mixing import card as mixture_card
from hub_instructpt.mixing.manifest import Mixture
from hub_instructpt.runs import load_file
from hub_instructpt.runs.locks import is_being_written
from hub_instructpt.runs.manifest import Manifest
from hub_instructpt.tuning import card as synthesizer_card
from hub_instructpt.tuning.facts import TuningFacts

RunDirectory = Annotated[
    Place, typer.Argument(metavar="DIR", parser=Place.parse, help="A run directory, or the URL of one in a store.")
]


def status(
    place: RunDirectory, json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False
) -> None:
    """Say how far a run is, and what became of its rows."""
    with looking(place) as (folder, remote):
        _show(folder, json, in_store=remote is not None)


def _show(folder: Path, json: bool, *, in_store: bool) -> None:
    kind = hub.kind_of(folder)
    if kind != "run":
        show = {"mixture": _show_mixture, "collection": _show_collection, "synthesizer": _show_synthesizer}
        show[kind](folder, json)
        return
    manifest = Manifest.load(folder)
    facts = _facts(folder, manifest)
    if in_store and not manifest.finished:
        facts["state"] = "not finished; the same commands go on"  # nothing there tells whether anybody is at it
    if json:
        typer.echo(orjson.dumps(facts, option=orjson.OPT_INDENT_2))
        return
    total, done = facts["total_rows"], facts["rows"]
    share = f" of {total:,} ({100 * done / total:.0f} %)" if total else ""
    lines = [
        ("state", facts["state"]),
        ("source", manifest.source.name),
        (
            "synthesizer",
            f"{manifest.engine.model_id} ({cards.engine_name(manifest.engine.kind)})",
        ),
        ("rows sealed", f"{done:,}{share}, in {len(manifest.shards):,} shards"),
        *([("answered, not sealed", f"{facts['journaled']:,} texts")] if facts["journaled"] else []),
        ("pairs", f"{facts['pairs']:,}"),
        ("time", f"{manifest.seconds:,.0f} s, {facts['rows_per_second']:.2f} rows a second"),
    ]
    lines += _engine_lines(folder)
    for group, title in (
        ("rows_rejected", "rows left out"),
        ("texts_without_pairs", "texts without pairs"),
        ("pairs_dropped", "pairs dropped"),
        ("contexts", "contexts"),
    ):
        lines += [(title, f"{number:,}  {cards.words(name)}") for name, number in cards.group(manifest.counts, group)]
    for name, value in lines:
        typer.echo(f"{name:<20} {value}")


def _engine_lines(folder: Path) -> list[tuple[str, str]]:
    """What each server did, and what holds the run up."""
    loads, cpu_share = load_file.load(folder)
    lines: list[tuple[str, str]] = []
    for load in loads:
        troubles = [
            f", {n:,} {what}"
            for n, what in ((load.refused, "refused"), (load.failed, "failed"), (load.backups, "begun elsewhere"))
            if n
        ]
        told = (
            f"{load.address}: {load.state}, {load.in_flight} of {load.limit} in flight (mean {load.mean_in_flight:.0f})"
            f", full {100 * load.full_share:.0f} % of the time, {load.answered:,} answers, {load.latency:.2f} s each"
        )
        lines.append(("" if lines else "servers", told + "".join(troubles)))
    if any(load.answered for load in loads):
        lines.append(("held up by", verdict(loads, cpu_share)))
    return lines


def card(place: RunDirectory) -> None:
    """Write the dataset card of a run again, from its manifest."""
    folder = place.folder
    if folder is None:
        typer.echo(write_card(place))
        return
    write = {
        "run": cards.write_card,
        "mixture": mixture_card.write_card,
        "collection": collection_card.write_card,
        "synthesizer": synthesizer_card.write_card,
    }
    typer.echo(str(write[hub.kind_of(folder)](folder)))


def _show_collection(folder: Path, json: bool) -> None:
    collection = Collection.load(folder)
    if json:
        shown = collection.model_dump_json(indent=2, exclude={"datasets": {"__all__": {"files", "citation"}}})
        typer.echo(shown)
        return
    width = max([20, *(len(dataset.name) for dataset in collection.datasets)])
    typer.echo(f"{'datasets':<{width}} {len(collection.datasets):,}")
    typer.echo(f"{'records':<{width}} {collection.num_records:,}, {collection.num_pairs:,} pairs")
    for dataset in collection.datasets:
        counted = f"{dataset.num_records:,} records, {dataset.num_pairs:,} pairs"
        typer.echo(f"{dataset.name:<{width}} {counted}, from {dataset.source.name}")


def _show_synthesizer(folder: Path, json: bool) -> None:
    facts = TuningFacts.load(folder)
    if json:
        typer.echo(facts.model_dump_json(indent=2, exclude={"log", "files"}))
        return
    state = "finished" if facts.finished_at else _state(folder, False)
    lines = [("state", state), ("base", facts.base.name), ("steps", f"{facts.steps_done:,} of {facts.steps:,}")]
    lines += [("time", f"{facts.seconds:,.0f} s"), ("tuned on", ", ".join(each.name for each in facts.trained))]
    for name, value in lines:
        typer.echo(f"{name:<20} {value}")


def _show_mixture(folder: Path, json: bool) -> None:
    mixture = Mixture.load(folder)
    if json:
        typer.echo(mixture.model_dump_json(indent=2, exclude={"shards", "packed"}))
        return
    typer.echo(f"{'state':<20} {_state(folder, mixture.finished)}")
    typer.echo(f"{'texts':<20} {mixture.num_texts:,}, in {len(mixture.shards):,} shards")
    for name, reached in mixture.reached.items():
        tokens = "" if reached.tokens is None else f", {reached.tokens:,} tokens"
        typer.echo(f"{name:<20} {reached.texts:,} texts ({100 * reached.texts_share:.1f} %){tokens}")


def _facts(folder: Path, manifest: Manifest) -> dict[str, Any]:
    known = manifest.source.num_rows
    limit = manifest.settings.limit
    return {
        "state": _state(folder, manifest.finished),
        "rows": manifest.rows_sealed,
        "total_rows": manifest.rows_sealed if manifest.finished else min(filter(None, (known, limit)), default=None),
        "shards": len(manifest.shards),
        "journaled": 0 if manifest.finished else _journaled(folder),
        "pairs": manifest.counts["pairs/kept"],
        "rows_per_second": manifest.rows_sealed / manifest.seconds if manifest.seconds else 0.0,
        "servers": [load.as_dict() for load in load_file.load(folder)[0]],
        "counts": dict(sorted(manifest.counts.items())),
        "engine": manifest.engine.model_dump(),
    }


def _state(folder: Path, finished: bool) -> str:
    if finished:
        return "finished"
    return "running" if is_being_written(folder) else "stopped; the same command goes on"


def _journaled(folder: Path) -> int:
    """Answers that wait in journals for their shard to be sealed."""
    return sum(path.read_bytes().count(b"\n") for path in (folder / "journal").glob("*.jsonl"))
