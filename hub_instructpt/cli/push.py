"""`hub-instructpt push`: a run, a mixture or a collection becomes a dataset repo, a synthesizer a model repo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hub_instructpt import hub
from hub_instructpt.cli.places import folder_for
from hub_instructpt.errors import SettingsError


def push(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR",
            parser=folder_for("push"),
            help="Directory of a run, a mixture, a collection or a synthesizer.",
        ),
    ],
    repo_id: Annotated[
        str, typer.Argument(metavar="NAMESPACE/NAME", help="The repo, or a bucket: hf://buckets/NAMESPACE/NAME/FOLDER.")
    ],
    config_name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Push a run as this config, in a folder of its own; other configs stay."),
    ] = None,
    private: Annotated[bool | None, typer.Option("--private/--public", help="Visibility of a new repo.")] = None,
    revision: Annotated[str | None, typer.Option(help="Branch to push to; made when it is not there.")] = None,
    create_pr: Annotated[bool, typer.Option("--create-pr", help="Open a pull request instead.")] = False,
    leave_out: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A dataset of a collection that is not published.")
    ] = None,
) -> None:
    """Push shards, manifest, figures and card to the Hub, visible in one commit.

    Stopped in any way, the same command goes on; what has arrived is not sent twice.
    """
    if repo_id.startswith(hub.BUCKETS):
        if revision or create_pr or config_name:
            raise SettingsError("A bucket has no branches, pull requests or configs.", advice="Name a folder in it.")
        show_pushed(hub.push_to_bucket(folder, repo_id, private=private, leave_out=leave_out or ()))
        return
    pushed = hub.push(
        folder, repo_id, private=private, revision=revision, create_pr=create_pr, config_name=config_name,
        leave_out=leave_out or (),
    )  # fmt: skip
    show_pushed(pushed, revision)


def show_pushed(pushed: hub.Pushed, revision: str | None = None) -> None:
    """Say where it went, and how it is loaded from there."""
    if pushed.repo_type == "bucket":
        typer.echo(f"{pushed.url}{'' if pushed.changed else ' (nothing has changed)'}")
        typer.echo(f'Load it:  load_dataset("{pushed.repo_id}", split="train")')
        return
    what = f"commit {pushed.commit[:8]}" if pushed.changed else f"nothing has changed since commit {pushed.commit[:8]}"
    typer.echo(f"{pushed.pull_request or pushed.url} ({what})")
    if pushed.repo_type == "model":
        typer.echo(f"Use it:  hub-instructpt augment SOURCE --engine local:{pushed.repo_id} --out DIR")
    elif pushed.pull_request is None:
        config = f', "{pushed.config}"' if pushed.config else ""
        branch = f', revision="{revision}"' if revision else ""
        typer.echo(f'Load it:  load_dataset("{pushed.repo_id}"{config}, split="train"{branch})')
