"""Whether a run directory belongs to the run that is about to write there.

Keeps true: whatever the content of the shards depends on is compared, and what differs is named.
Does not know what is done about it.
"""

from __future__ import annotations

from typing import Any

from hub_instructpt.errors import RunDirectoryError
from hub_instructpt.runs.manifest import Manifest


def refuse_other_run(there: Manifest, here: Manifest, where: object) -> None:
    """Raise when a run directory belongs to another run than the one that is about to write there.

    Args:
        where: what an error calls the directory.

    Raises:
        RunDirectoryError: naming the first setting that differs.
    """
    for group in ("settings", "source", "engine"):
        old, new = getattr(there, group).model_dump(), getattr(here, group).model_dump()
        for name in _decisive(group, old):
            if old[name] == new[name]:
                continue
            if name == "files":
                raise RunDirectoryError(
                    f"{where} holds another run: {_changed(old[name], new[name])} since.",
                    advice="Give another --out, or restore the source.",
                )
            raise RunDirectoryError(
                f"{where} holds another run: {_spoken(group, name)} was {_short(old[name])}, "
                f"now it is {_short(new[name])}.",
                advice="Give another --out, or the settings of that run.",
            )


def _decisive(group: str, facts: dict[str, Any]) -> list[str]:
    # A model may move to another server or version of it, and licences do not change a text.
    passing = {"engine": {"kind", "version", "dtype"}, "source": {"license", "language", "num_rows"}}.get(group, set())
    return [name for name in facts if name not in passing]


def _spoken(group: str, name: str) -> str:
    if group == "settings" or name in ("split", "revision"):
        return "--" + name.replace("_", "-").replace("keep-columns", "keep-column")
    return f"the {group}'s {name.replace('_', ' ')}"


def _changed(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> str:
    for before, now_ in zip(old, new, strict=False):
        if before != now_:
            same = before["name"] == now_["name"]
            return f"its source file {before['name']} has changed" if same else f"{before['name']} is no longer there"
    return f"its source had {len(old):,} files and has {len(new):,}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "…"
