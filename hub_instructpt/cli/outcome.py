"""What `hub-instructpt augment` shows when it is done: one augmented text, the counts, and what to type next.

Does not know how any of it came about: it reads the manifest and the first shard.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import typer

from hub_instructpt.cli.places import Place, fetch
from hub_instructpt.cli.progress import say
from hub_instructpt.runs.ledger import LEDGER
from hub_instructpt.runs.manifest import Manifest


def show_outcome(manifest: Manifest, out: Place, card: str, *, named: bool, pushed: bool) -> None:
    """One augmented text, what came of it all, and what to type next."""
    sample = _sample(out.folder, manifest) if out.folder is not None else None
    if sample:
        typer.echo(f"\n{' One augmented text ':-^80}\n{sample}\n{'-' * 80}\n")
    counts = manifest.counts
    failed = sum(number for key, number in counts.items() if key.startswith("texts_without_pairs/failed_"))
    rejected = sum(number for key, number in counts.items() if key.startswith("rows_rejected/"))
    typer.echo(
        f"{counts['rows/read']:,} rows, {counts['pairs/kept']:,} instruction-response pairs, "
        f"{len(manifest.shards):,} shards in {out}, card in {card}."
    )
    if failed or rejected:
        told = f"{rejected:,} rows had no usable text and {failed:,} texts failed; {out}/{LEDGER} says which and why."
        again = f" `hub-instructpt retry {out.quoted()}` asks again for what may pass."
        say(told + (again if any(shard.retryable for shard in manifest.shards) else ""))
    if not named:
        typer.echo("The same with a real engine:  add --engine http://HOST:PORT and another --out")
    if out.folder is None:
        typer.echo(f"Fetch it, to push it:         {fetch(out)}")
    elif not pushed:
        typer.echo(f"Publish it:                   hub-instructpt push {out.quoted()} NAMESPACE/NAME")


def _sample(out: Path, manifest: Manifest, longest: int = 600) -> str | None:
    """The first text of the first shard that has two pairs, or else one, with long contexts shortened."""
    if not manifest.shards:
        return None
    columns = ["text", "examples", "num_pairs"]
    rows = pq.read_table(out / manifest.shards[0].path, columns=columns).to_pylist()
    row = next((row for enough in (2, 1) for row in rows if row["num_pairs"] >= enough), None)
    if row is None:
        return None
    text = str(row["text"])
    for example in row["examples"]:
        if len(example["context"]) > longest:
            text = text.replace(example["context"], example["context"][:longest].rstrip() + " […]", 1)
    return text
