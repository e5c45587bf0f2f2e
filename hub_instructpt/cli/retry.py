"""`hub-instructpt retry`: what failed for reasons that may pass is asked again."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from hub_instructpt.cli.places import Place, looking, working, write_card
from hub_instructpt.cli.progress import Bar, say
from hub_instructpt.cli.stopping import stoppable
from hub_instructpt.engines import open_engine
from hub_instructpt.errors import SettingsError
from hub_instructpt.runs.manifest import Manifest
from hub_instructpt.runs.retry import retry_failed
from hub_instructpt.runs.share import ALONE


def retry(
    place: Annotated[
        Place, typer.Argument(metavar="DIR", parser=Place.parse, help="A run directory, or the URL of one in a store.")
    ],
    engine: Annotated[
        list[str] | None, typer.Option(help="As for augment; of the model that wrote the rest.", metavar="E")
    ] = None,
    engines_file: Annotated[
        Path | None, typer.Option(help="File with one engine a line; may be edited while it goes on.", metavar="FILE")
    ] = None,
    concurrency: Annotated[int | None, typer.Option(help="Requests in flight to each server.", min=1)] = None,
    timeout: Annotated[float, typer.Option(help="Seconds for one request, the server's queue included.")] = 300.0,
    model: Annotated[str | None, typer.Option(help="Which one, of a server that has several models.")] = None,
    max_total_tokens: Annotated[int | None, typer.Option(help="Tokens of prompt and completion.", min=1)] = None,
    wake_seconds: Annotated[
        float | None, typer.Option(help="Time for a server that scaled to zero to wake.", min=0.0)
    ] = None,
    max_failed_share: Annotated[float, typer.Option(help="Stop when a larger share of the texts fails again.")] = 0.05,
) -> None:
    """Ask again for the texts that failed for passing reasons, and for nothing else."""
    logging.basicConfig(format="%(message)s")
    with looking(place) as (folder, _):
        before = Manifest.load(folder)
    waiting = sum(shard.retryable for shard in before.shards)
    if not waiting:
        typer.echo("Nothing in this run failed for a reason that may pass.")
        return
    named = [*(engine or ()), *([f"@{engines_file}"] if engines_file else [])]
    if not named and before.engine.kind != "local":
        raise SettingsError("Which engine is to be asked?", advice="Name it: --engine http://HOST:PORT.")
    opened = open_engine(
        named or "local", timeout_seconds=timeout, concurrency=concurrency, model=model,
        max_total_tokens=max_total_tokens, wake_seconds=wake_seconds,
    )  # fmt: skip
    with stoppable() as stop, Bar() as bar, working(place, ALONE, stop) as work:
        work.reopen()
        manifest = retry_failed(
            opened, work.folder, stop=stop, max_failed_share=max_failed_share, progress=bar,
            on_sealed=work.shelf.sealed if work.shelf else None,
        )  # fmt: skip
        manifest = work.finish(manifest)
    write_card(place)
    left = sum(shard.retryable for shard in manifest.shards)
    pairs = manifest.counts["pairs/kept"] - before.counts["pairs/kept"]
    typer.echo(f"{waiting - left:,} of {waiting:,} texts that had failed are answered: {pairs:+,} pairs.")
    if left:
        say(f"{left:,} texts failed again; `hub-instructpt status {place}` says why.")
