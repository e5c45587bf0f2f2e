"""`hub-instructpt push`: a run directory becomes a dataset repo on the Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hub_instructpt import hub


def push(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Directory of a run or a mixture.")],
    repo_id: Annotated[str, typer.Argument(metavar="NAMESPACE/NAME", help="The dataset repo.")],
    private: Annotated[bool | None, typer.Option("--private/--public", help="Visibility of a new repo.")] = None,
) -> None:
    """Push shards, manifest and card to the Hub, in one commit."""
    pushed = hub.push(folder, repo_id, private=private)
    what = f"commit {pushed.commit[:8]}" if pushed.changed else f"nothing has changed since commit {pushed.commit[:8]}"
    typer.echo(f"{pushed.url} ({what})")
    typer.echo(f'Load it:  load_dataset("{pushed.repo_id}", split="train")')
