"""`--ray [ADDRESS]`: an option that may stand without a value, which the command line's library does not know.

Keeps true: `--ray` alone means the cluster that Ray finds by itself; what follows it is its address only when it looks
like one, so that `--ray SOURCE` is not misread.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_ADDRESS = re.compile(r"auto|ray://\S+|[\w.-]+:\d+|\[[0-9a-fA-F:]+\]:\d+")


def with_address(arguments: Iterable[str]) -> list[str]:
    """The arguments, with `--ray` as `--ray=ADDRESS`."""
    given: list[str] = []
    for argument in arguments:
        if given and given[-1] == "--ray":
            if _ADDRESS.fullmatch(argument):
                given[-1] = f"--ray={argument}"
                continue
            given[-1] = "--ray=auto"
        given.append(argument)
    return [*given[:-1], "--ray=auto"] if given[-1:] == ["--ray"] else given
