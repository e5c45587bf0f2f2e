"""A command as it can be published, in a card: what to type to make the corpus again, and nothing of this machine.

Keeps true: no folder, address or password of whoever made the corpus is in it.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

LEFT_OUT = ("--out", "--worker", "--ray", "--ray-tasks", "--push-to", "--push-config", "--commit-every")
"""With their values: where it lay and went, and how the work was shared out, makes no corpus."""
FLAGS = ("--debug", "--private", "--public")
"""Options without a value, which make none either."""


def published_command(source: str, arguments: Sequence[str]) -> str:
    """The command as it can be published: paths become names, an address a placeholder."""
    shown: list[str] = []
    option = ""  # whose value comes next: every option of this command has one
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if option:
            shown += [] if option in LEFT_OUT else [_published_value(option, argument)]
            if option == "--engine" and shown[-2:] in (shown[i : i + 2] for i in range(len(shown) - 2)):
                del shown[-2:]  # a fleet of sixteen looks like one server, to others
            option = ""
        elif name in ("--engine", "--engines-file") and equals:
            shown.append(f"{name}={_published_value(name, value)}")
        elif argument == source:
            shown.append(_published_path(source))
        elif name not in (*LEFT_OUT, *FLAGS):
            shown.append(argument)
            option = argument if argument.startswith("--") and not equals else ""
        elif argument in LEFT_OUT:
            option = argument
    return shlex.join(["hub-instructpt", *shown, "--out", "DIR"])


def _published_path(path: str) -> str:
    whole = Path(path).expanduser()
    return whole.name if whole.is_absolute() or ".." in whole.parts else path


def _published_value(option: str, value: str) -> str:
    if option == "--engine":
        return _published_engine(value)
    return _published_path(value) if option == "--engines-file" else value


def _published_engine(engine: str) -> str:
    if "://" in engine:  # where a server stood says nothing to others, and its URL may hold a password
        return f"{engine.partition('://')[0]}://HOST:PORT"
    kind, colon, model = engine.partition(":")
    return f"{kind}{colon}{_published_path(model)}"
