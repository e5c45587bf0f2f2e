"""`hub-instructpt collection create`: what belongs together on the Hub, as a collection there."""

from __future__ import annotations

from typing import Annotated

import typer

from hub_instructpt.cli import SETTINGS
from hub_instructpt.hub import Item, gather

app = typer.Typer(help="A collection on the Hub, of what belongs together.", no_args_is_help=True, **SETTINGS)


@app.callback()
def _collection() -> None:
    pass


@app.command()
def create(
    title: Annotated[
        str, typer.Argument(metavar="TITLE", help="Its title; the one of that title is brought up to date.")
    ],
    add: Annotated[
        list[str] | None,
        typer.Option(
            help="A member: NAMESPACE/NAME, model:NAMESPACE/NAME, an address on the Hub, or the number of a paper such "
            "as 2406.14491; =NOTE behind it is its note. Repeatable.",
            metavar="ITEM[=NOTE]",
        ),
    ] = None,
    namespace: Annotated[str | None, typer.Option(help="Whose it is; by default yours.")] = None,
    description: Annotated[str | None, typer.Option(help="What it is about.")] = None,
    private: Annotated[bool | None, typer.Option("--private/--public", help="Visibility.")] = None,
    link: Annotated[
        bool, typer.Option("--link/--no-link", help="Let the cards of its members name it and each other.")
    ] = True,
) -> None:
    """Make a collection, or add to the one of that title. The same again changes nothing."""
    gathered = gather(
        title, [Item.parse(each) for each in add or ()], namespace=namespace, description=description, private=private,
        link=link,
    )  # fmt: skip
    for change in gathered.changes:
        typer.echo(change)
    for note in gathered.notes:
        typer.echo(note, err=True)
    typer.echo(f"{gathered.url} ({len(gathered.items)} items{'' if gathered.changes else ', nothing has changed'})")
