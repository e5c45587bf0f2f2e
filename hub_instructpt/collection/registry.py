"""Finds sources by name: converters in dataset_scripts/, and those of other packages (`hub_instructpt.sources`).

    [project.entry-points."hub_instructpt.sources"]
    my_dataset = "my_package.my_dataset:SOURCE"

Keeps true: a source that is given out has passed its check; nothing is imported before it is asked for; a name that
two of them claim is refused. Does not know what a source holds.
"""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Callable, Iterator
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from hub_instructpt import resources
from hub_instructpt.collection import scripts
from hub_instructpt.collection.checks import check_source
from hub_instructpt.collection.source import Source
from hub_instructpt.errors import SettingsError

GROUP = "hub_instructpt.sources"


def get_source(name: str) -> Source:
    """The source of that name, letters of either case.

    Raises:
        SettingsError: there is none, with what may have been meant; or its declaration is wrong.
    """
    wanted = name.casefold()
    foreign = [entry for entry in entry_points(group=GROUP) if entry.name.casefold() == wanted]
    # A converter's file has the name of its dataset, so most are found without loading any other.
    found = [_script(wanted)] if wanted in _scripts() else []
    if found and found[0].name.casefold() != wanted:
        found = []
    if len(found) + len(foreign) > 1:
        places = [*(f"dataset_scripts/{wanted}.py" for _ in found), *map(_told, foreign)]
        raise _claimed_twice(name, *places[:2])
    if found or foreign:
        return found[0] if found else _foreign(foreign[0])
    sources, _ = survey()
    for source in sources:
        if wanted in (called.casefold() for called in source.also_called):
            return source
    raise unknown_source(name, [source.name for source in sources])


def unknown_source(name: str, known: list[str]) -> SettingsError:
    """The error for a name that is none of `known`, with what may have been meant."""
    folded = {each.casefold(): each for each in known}
    near = difflib.get_close_matches(name.casefold(), folded, n=3, cutoff=0.6)
    meant = f"Did you mean {' or '.join(folded[each] for each in near)}? " if near else ""
    return SettingsError(
        f"There is no dataset {name[:100]!r} in the collection.",
        advice=f"{meant}`hub-instructpt collect --list` shows all of them.",
    )


def all_sources() -> list[Source]:
    """Every source, by name.

    Raises:
        SettingsError: a declaration is wrong, or two have the same name.
    """
    sources, problems = survey()
    for problem in problems:
        raise problem
    return sources


def survey() -> tuple[list[Source], list[SettingsError]]:
    """Every source that can be used, by name, and what is wrong with the others."""
    sources: list[Source] = []
    problems: list[SettingsError] = []
    taken: dict[str, str] = {}
    for where, load in _loaders():
        try:
            source = load()
        except SettingsError as problem:
            problems.append(problem)
            continue
        names = [called.casefold() for called in (source.name, *source.also_called)]
        twice = next((name for name in names if name in taken), None)
        if twice is not None:
            problems.append(_claimed_twice(source.name, taken[twice], where))
            continue
        sources.append(source)
        taken |= dict.fromkeys(names, where)
    return sorted(sources, key=lambda source: source.name.casefold()), problems


def _claimed_twice(name: str, one: str, other: str) -> SettingsError:
    return SettingsError(f"Two datasets are called {name!r}: in {one} and in {other}.", advice="Rename one of them.")


def _loaders() -> Iterator[tuple[str, Callable[[], Source]]]:
    for stem in _scripts():
        yield f"dataset_scripts/{stem}.py", lambda stem=stem: _script(stem)  # type: ignore[misc]
    for entry in entry_points(group=GROUP):
        yield _told(entry), lambda entry=entry: _foreign(entry)  # type: ignore[misc]


@cache
def _scripts() -> tuple[str, ...]:
    """Names of the files in dataset_scripts/ that are converters."""
    stems = (path.stem for path in resources.find("dataset_scripts").glob("*.py"))
    return tuple(sorted(stem for stem in stems if not stem.startswith("_") and not stem.endswith("_corpus")))


@cache
def _script(stem: str) -> Source:
    where = f"dataset_scripts/{stem}.py"
    return check_source(_attribute(where, f"{scripts.__name__}.{stem}", "SOURCE"), where)


def _foreign(entry: EntryPoint) -> Source:
    # Without an attribute, the module is taken for a converter like those in dataset_scripts/.
    source = check_source(_attribute(_told(entry), entry.module, entry.attr or "SOURCE"), _told(entry))
    if source.name != entry.name:
        raise SettingsError(
            f"{_told(entry)} declares the dataset {source.name!r}.",
            advice=f"Call the entry point {source.name} as well.",
        )
    return source


def _attribute(where: str, module: str, attribute: str) -> Any:
    try:
        found: Any = importlib.import_module(module)
        for name in attribute.split("."):
            found = getattr(found, name)
    except AttributeError:
        raise SettingsError(
            f"{where} has no {attribute}.", advice="Declare it: see dataset_scripts/_template.py."
        ) from None
    except Exception as error:  # whatever somebody's module may raise
        line = " ".join(str(error).split())[:200]
        raise SettingsError(
            f"{where} can not be loaded: {type(error).__name__}: {line}.", advice="Mend it, or uninstall its package."
        ) from None
    return found


def _told(entry: EntryPoint) -> str:
    return f"the entry point {entry.name} ({entry.value})"


def code_of(source: Source) -> Path | None:
    """The file that holds a source's converter, where it lies in one."""
    module = sys.modules.get(getattr(source.questions, "__module__", ""))
    path = getattr(module, "__file__", None)
    return Path(path) if path else None
