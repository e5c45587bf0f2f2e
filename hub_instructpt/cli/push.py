"""`hub-instructpt push`: a run, a mixture or a collection becomes a dataset repo on the Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hub_instructpt import hub


def push(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Directory of a run, a mixture or a collection.")],
    repo_id: Annotated[str, typer.Argument(metavar="NAMESPACE/NAME", help="The dataset repo.")],
    private: Annotated[bool | None, typer.Option("--private/--public", help="Visibility of a new repo.")] = None,
    leave_out: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A dataset of a collection that is not published.")
    ] = None,
) -> None:
    """Push shards, manifest and card to the Hub, in one commit."""
    pushed = hub.push(folder, repo_id, private=private, leave_out=leave_out or ())
    what = f"commit {pushed.commit[:8]}" if pushed.changed else f"nothing has changed since commit {pushed.commit[:8]}"
    typer.echo(f"{pushed.url} ({what})")
    config = f', "{pushed.config}"' if pushed.config else ""
    typer.echo(f'Load it:  load_dataset("{pushed.repo_id}"{config}, split="train")')
