"""`hub-instructpt status` and `card`: what a run directory says of itself. Asks no engine anything."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from hub_instructpt import cards
from hub_instructpt.runs.files import is_being_written
from hub_instructpt.runs.manifest import Manifest

RunDirectory = Annotated[Path, typer.Argument(metavar="DIR", help="A run directory.")]


def status(
    folder: RunDirectory, json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False
) -> None:
    """Say how far a run is, and what became of its rows."""
    manifest = Manifest.load(folder)
    facts = _facts(folder, manifest)
    if json:
        typer.echo(orjson.dumps(facts, option=orjson.OPT_INDENT_2))
        return
    total, done = facts["total_rows"], facts["rows"]
    share = f" of {total:,} ({100 * done / total:.0f} %)" if total else ""
    lines = [
        ("state", facts["state"]),
        ("source", manifest.source.name),
        ("synthesizer", f"{manifest.engine.model_id} ({cards.ENGINE_NAMES.get(manifest.engine.kind)})"),
        ("rows sealed", f"{done:,}{share}, in {len(manifest.shards):,} shards"),
        *([("answered, not sealed", f"{facts['journaled']:,} texts")] if facts["journaled"] else []),
        ("pairs", f"{facts['pairs']:,}"),
        ("time", f"{manifest.seconds:,.0f} s, {facts['rows_per_second']:.2f} rows a second"),
    ]
    for group, title in (
        ("rows_rejected", "rows left out"),
        ("texts_without_pairs", "texts without pairs"),
        ("pairs_dropped", "pairs dropped"),
        ("contexts", "contexts"),
    ):
        lines += [(title, f"{number:,}  {cards.words(name)}") for name, number in cards.counts_of(manifest, group)]
    for name, value in lines:
        typer.echo(f"{name:<20} {value}")


def card(folder: RunDirectory) -> None:
    """Write the dataset card of a run again, from its manifest."""
    typer.echo(str(cards.write_card(folder)))


def _facts(folder: Path, manifest: Manifest) -> dict[str, Any]:
    known = manifest.source.num_rows
    limit = manifest.settings.limit
    if manifest.finished:
        state = "finished"
    elif is_being_written(folder):
        state = "running"
    else:
        state = "stopped; the same command goes on"
    return {
        "state": state,
        "rows": manifest.next_row,
        "total_rows": limit if known is None else min(known, limit or known),
        "shards": len(manifest.shards),
        "journaled": 0 if manifest.finished else _journaled(folder),
        "pairs": manifest.counts["pairs/kept"],
        "rows_per_second": manifest.next_row / manifest.seconds if manifest.seconds else 0.0,
        "counts": dict(sorted(manifest.counts.items())),
        "engine": manifest.engine.model_dump(),
    }


def _journaled(folder: Path) -> int:
    """Answers that wait in journals for their shard to be sealed."""
    return sum(path.read_bytes().count(b"\n") for path in (folder / "journal").glob("*.jsonl"))
