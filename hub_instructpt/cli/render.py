"""`hub-instructpt render`: a finished run with other wording, without asking any engine."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer
from tqdm import tqdm

from hub_instructpt import cards
from hub_instructpt.cli.places import folder_for
from hub_instructpt.rendering.modes import NAMES
from hub_instructpt.runs.manifest import Manifest
from hub_instructpt.runs.rerender import render_again


def render(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", parser=folder_for("render"), help="A finished run directory.")
    ],
    out: Annotated[Path, typer.Option(parser=folder_for("render"), help="Run directory of the new rendering.")],
    seed: Annotated[int, typer.Option(help="Another seed gives other modes and wording.")] = 0,
    mode: Annotated[
        str | None, typer.Option(metavar="MODE", help=f"One mode for all texts that allow it: {', '.join(NAMES)}.")
    ] = None,
) -> None:
    """Render the texts of a finished run again, with another seed or mode. No engine is asked anything."""
    rows = sum(shard.num_rows for shard in Manifest.load(folder).shards)
    with tqdm(total=rows, desc="Rendering", unit=" texts", mininterval=0.5, delay=0.5) as bar:
        manifest = render_again(
            folder, out, seed, mode, tick=lambda done: _tick(bar, done), command=_command(folder, seed, mode)
        )
    card = cards.write_card(out)
    typer.echo(f"{rows:,} texts in {len(manifest.shards):,} shards in {out}, card in {card}.")
    typer.echo(f"Publish it:  hub-instructpt push {shlex.quote(str(out))} NAMESPACE/NAME")


def _tick(bar: tqdm, rows: int) -> None:  # type: ignore[type-arg]
    bar.update(rows)


def _command(folder: Path, seed: int, mode: str | None) -> str:
    """How the run was made, and then rendered; without the folders of this machine."""
    before = Manifest.load(folder).command
    here = f"hub-instructpt render DIR --seed {seed}{f' --mode {mode}' if mode else ''} --out RENDERED"
    return f"{before} && {here}" if before else here
