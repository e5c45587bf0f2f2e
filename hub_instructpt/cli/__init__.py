"""The command line: thin words around the rooms below.

    hub-instructpt augment SOURCE --out DIR    status DIR    verify DIR    retry DIR    card DIR
    hub-instructpt render DIR --out DIR2    cache [--clear]
    hub-instructpt mix PART… --out DIR         collect NAME… --out DIR    push DIR NAMESPACE/NAME
    hub-instructpt collection create TITLE --add ITEM…
    hub-instructpt tune COLLECTION --base MODEL --out DIR    evaluate-synthesizer ENGINE --data COLLECTION

Keeps true: an error is one line on stderr that says what happened and what to do; a traceback only with --debug.
Exit status: 0 done, 1 failed (what is done is safe, the same command goes on), 2 wrong use or bad input.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from hub_instructpt.cli.ray_address import with_address
from hub_instructpt.errors import HubInstructPTError
from hub_instructpt.version import __version__

COMMANDS = {
    "augment": "augment",
    "retry": "retry",
    "status": "inspect",
    "verify": "verify",
    "card": "inspect",
    "render": "render",
    "mix": "mix",
    "collect": "collect",
    "tune": "tune",
    "evaluate-synthesizer": "evaluate_synthesizer",
    "push": "push",
    "collection": "collection",
    "cache": "cache",
}
"""The room that each command is in."""

SETTINGS: dict[str, Any] = {
    "add_completion": False,
    "pretty_exceptions_enable": False,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}


class _Commands(TyperGroup):
    """Loads the command that is asked for, and no other: most of what they need takes long to load."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        room = import_module(f"hub_instructpt.cli.{COMMANDS[cmd_name]}")
        found = getattr(room, "app", None)  # several commands of one name
        if found is None:
            found = typer.Typer(**SETTINGS)
            found.command(cmd_name)(getattr(room, cmd_name.replace("-", "_")))
        command = typer.main.get_command(found)
        command.name = cmd_name
        return command


app = typer.Typer(
    name="hub-instructpt",
    cls=_Commands,
    help="Turn raw text into instruction-augmented training data, and publish it on the Hugging Face Hub.",
    no_args_is_help=True,
    epilog="With --debug, an error shows where it came from.",
    **SETTINGS,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"hub-instructpt {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


def extension() -> None:
    """Entry point of `hf-instructpt`, which the Hub's own command line runs as `hf instructpt`."""
    main(program="hf instructpt")


def main(argv: list[str] | None = None, program: str = "hub-instructpt") -> None:
    """Entry point of `hub-instructpt`."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    arguments = with_address(argument for argument in arguments if argument != "--debug")
    try:
        app(arguments, prog_name=program)
    except HubInstructPTError as error:
        if debug:
            raise
        _say(f"hub-instructpt: {error}")
        raise SystemExit(error.exit_status) from None
    except Exception as error:
        if debug:
            raise
        # Only its kind: the words of a foreign error may hold a prompt.
        _say(f"hub-instructpt: an unforeseen {type(error).__name__}. --debug shows where; please report it.")
        raise SystemExit(1) from None


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
