"""Finds the folders of knowledge that lie beside the package: `cards/` and `dataset_scripts/`.

Keeps true: the same call works in a checkout, where they lie next to the package, and in an installed wheel, which
carries them inside it. Does not know what they hold.
"""

from __future__ import annotations

from pathlib import Path

from hub_instructpt.errors import HubInstructPTError

_PACKAGE = Path(__file__).parent


def find(name: str) -> Path:
    """The folder called `name`.

    Raises:
        HubInstructPTError: when neither a wheel nor a checkout holds it.
    """
    for place in (_PACKAGE / "_share" / name, _PACKAGE.parent / name):
        if place.is_dir():
            return place
    raise HubInstructPTError(f"The installation lacks its folder {name!r}.", advice="Install hub-instructpt again.")
