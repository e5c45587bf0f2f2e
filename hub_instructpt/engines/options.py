"""The names of all engines' options: one name for one thing, whichever engine has it.

Keeps true: an option that an engine does not have is a SettingsError that says who has it, never a TypeError.
Does not know what the options do; the engines' docstrings say that.
"""

from __future__ import annotations

from collections.abc import Iterable

from hub_instructpt.errors import SettingsError

OF_ALL = frozenset({"concurrency"})
OF_SERVERS = frozenset(
    {
        "api_key",
        "bos",
        "connect_seconds",
        "eos",
        "max_total_tokens",
        "model",
        "retry",
        "timeout_seconds",
        "wake_seconds",
    }
)
OF_LOCAL = frozenset({"batch_size", "device", "model", "revision"})


def refuse(unknown: Iterable[str], engine: str) -> None:
    """Say that an engine lacks the options that are left over, if any are.

    Raises:
        SettingsError: when there is one.
    """
    for name in sorted(unknown):
        if name in OF_LOCAL:
            advice = "It is one of engines in this process: local, local:PATH_OR_MODEL_ID."
        elif name in OF_SERVERS:
            advice = "It is one of engines behind a URL."
        else:
            advice = f"Options are: {', '.join(sorted(OF_ALL | OF_SERVERS | OF_LOCAL))}."
        raise SettingsError(f"The {engine} engine has no option {name!r}.", advice=advice)
