"""Checks: settings, parts and a folder that can not be, told before any work is done.

Keeps true: an error names the option or the part, and what to say instead.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from hub_instructpt.errors import RunDirectoryError, SettingsError
from hub_instructpt.mixing.forms import Part
from hub_instructpt.mixing.manifest import MixSettings
from hub_instructpt.runs.manifest import MANIFEST


def check_settings(settings: MixSettings, names: Sequence[str], *, counted: bool) -> None:
    """Raise SettingsError for settings that can not be. Costs nothing: for before the parts are opened."""
    if not names:
        raise SettingsError("There is nothing to mix.", advice="Name at least one part.")
    if reserved := {"first", "all"} & set(names):
        raise SettingsError(f"A part can not be called {min(reserved)}.", advice="Give it another name=.")
    if twice := [name for name, number in Counter(names).items() if number > 1]:
        raise SettingsError(f"Two parts are called {twice[0]}.", advice="Tell them apart with name=.")
    for name in ("limit", "tokens", "rows_per_shard", "shuffle"):
        value = getattr(settings, name)
        if value is not None and value < 1:
            raise SettingsError(f"--{name.replace('_', '-')} must be at least 1, not {value}.")
    if settings.pack is not None and settings.pack < 2:
        raise SettingsError(f"--pack must be at least 2, not {settings.pack}.")
    if not counted:
        for given, option in (
            (settings.by == "tokens", "--by tokens"),
            (settings.tokens, "--tokens"),
            (settings.pack, "--pack"),
        ):
            if given:
                raise SettingsError(f"{option} needs a tokenizer.", advice="Name it with --tokenizer.")
    if settings.stop not in ("first", "all", *names):
        raise SettingsError(
            f"--stop {settings.stop} names no part.", advice=f"Say first, all, or one of: {', '.join(names)}."
        )
    if settings.by == "repeats" and settings.stop != "first":
        raise SettingsError("--stop says nothing with --by repeats: each part is taken as often as it asks.")


def check_parts(parts: Sequence[Part], settings: MixSettings) -> None:
    """Raise SettingsError for parts that do not fit the settings."""
    for part in parts:
        facts = part.facts
        if settings.by == "repeats" and facts.weight is not None:
            raise SettingsError(f"weight= of {facts.name} says nothing with --by repeats.", advice="Say repeats=.")
        if settings.by != "repeats" and facts.repeats is not None:
            raise SettingsError(
                f"repeats= of {facts.name} says nothing with --by {settings.by}.", advice="Say weight=."
            )
        if settings.by == "repeats" and facts.num_rows is None:
            raise SettingsError(
                f"Nobody knows how many rows {facts.name} has, so it can not be spread evenly by repeats.",
                advice="Say about how many: rows=N.",
            )


def prepare(folder: Path) -> None:
    """Make a folder for a mixture, or see that there is one and nothing else.

    Raises:
        RunDirectoryError: there is something else.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # A mix that was killed before its first manifest leaves no more than these.
        foreign = any(not path.name.startswith((".lock", f".{MANIFEST}.")) for path in folder.iterdir())
    except OSError as error:
        raise RunDirectoryError(f"{folder} can not be made: {error.strerror}.", advice="Give another --out.") from None
    if foreign and not (folder / MANIFEST).exists():
        raise RunDirectoryError(
            f"{folder} is not empty, and what is there is no mixture.", advice="Give an empty or new folder as --out."
        )
