"""`hub-instructpt cache`: the answers that `Augment` keeps under the Hugging Face cache; to see, and to clear."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import orjson
import typer

from hub_instructpt import answers
from hub_instructpt.errors import InputError, RunError


def cache(
    folder: Annotated[
        Path | None, typer.Argument(metavar="[DIR]", help="Another folder: what Augment was given as journal=DIR.")
    ] = None,
    clear: Annotated[bool, typer.Option("--clear", help="Delete what no process is writing to.")] = False,
    json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    """Show or clear the answers that Augment keeps, so that the same map again asks only for what is missing."""
    if folder is not None and not folder.is_dir():
        raise InputError(f"There is no folder {folder}.", advice="Leave it out for the one in the Hugging Face cache.")
    root = folder or answers.default_folder()
    if clear:
        _clear(root, json)
        return
    try:
        held = answers.survey(root)
    except OSError as error:
        raise RunError(f"{root} can not be read: {error.strerror or error}.") from None
    if json:
        facts = {"folder": str(root), "bytes": sum(one.bytes for one in held), "held": held}
        typer.echo(orjson.dumps(facts, option=orjson.OPT_INDENT_2).decode())
        return
    segments, written = sum(one.segments for one in held), sum(one.being_written for one in held)
    lines = [
        ("folder", str(root)),
        ("size", f"{_size(sum(one.bytes for one in held))} in {segments:,} files, {written:,} of them being written"),
        ("answers", f"{sum(one.answers for one in held):,}"),
        *[("", f"{one.answers:,}  {_whose(one)}, {_size(one.bytes)}") for one in held],
    ]
    damaged = sum(one.damaged for one in held)
    if damaged:
        lines.append(("left out", f"{damaged:,} lines, torn or damaged: their prompts are asked again"))
    for name, value in lines:
        typer.echo(f"{name:<20} {value}")


def _clear(root: Path, json: bool) -> None:
    try:
        freed, stay = answers.clear(root)
    except OSError as error:
        raise RunError(
            f"{root} can not be cleared: {error.strerror or error}.", advice="See whose folder it is, and delete it."
        ) from None
    if json:
        typer.echo(orjson.dumps({"folder": str(root), "freed_bytes": freed, "still_being_written": stay}).decode())
        return
    typer.echo(f"{_size(freed)} freed in {root}.")
    if stay:
        typer.echo(f"{stay:,} files stay: a process is writing to them. Clear again when it has ended.")


def _whose(held: answers.Held) -> str:
    if not held.owner:
        return "of another format, which this version does not read"
    sampling = held.owner["sampling"]
    drawn = f", temperature {sampling['temperature']:g}, top-p {sampling['top_p']:g}" if sampling["temperature"] else ""
    sha = held.owner["model_sha"]
    return (
        f"{held.owner['model_id']}{f' @ {sha[:12]}' if sha else ''}, {sampling['max_new_tokens']:,} new tokens{drawn}"
    )


def _size(number: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if number < 1000:
            return f"{number:,.0f} {unit}" if unit == "bytes" else f"{number:,.1f} {unit}"
        number /= 1000
    return f"{number:,.1f} GB"
