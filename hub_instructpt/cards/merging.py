"""A card that is there already: what a person wrote on it survives, and so do the parts of other configs.

    <!-- hub-instructpt:begin NAME -->     the generated part of config NAME; `default` where there is but one
    <!-- hub-instructpt: wrote … -->       digests of the metadata that it wrote
    …
    <!-- hub-instructpt:end NAME -->

Keeps true: what stands outside of a part is a person's, and is kept to the letter; of the metadata we touch only our
own keys and configs, and no value that a person has changed. Where parts of other configs stand in the card too, what
is said of all of them (licence, languages) is joined.
Does not know what a part says.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from typing import Any

from hub_instructpt.cards.front import page, split_card
from hub_instructpt.cards.metadata import CONFIG, size_category
from hub_instructpt.errors import CardError, SettingsError

# Keys that are a matter of judgement: a person's value stays. The others follow from the files.
JUDGED = ("pretty_name", "license", "license_name", "language", "language_bcp47", "task_categories", "source_datasets")

LINKS = "links"
"""The part that names what belongs together with a repo. It is no config's."""

_EARLIER = {
    "<!-- hub-instructpt: begin of the generated part; what stands outside of it is kept -->": "begin",
    "<!-- hub-instructpt: end of the generated part -->": "end",
}
"""The marks of versions that knew one part only."""
_MARK = re.compile(r"<!-- hub-instructpt:(begin|end) ([^\n<>]+) -->")


def begin(name: str = CONFIG) -> str:
    """The mark above the generated part of a config."""
    return f"<!-- hub-instructpt:begin {_checked(name)} -->"


def end(name: str = CONFIG) -> str:
    """The mark below it."""
    return f"<!-- hub-instructpt:end {_checked(name)} -->"


def _checked(name: str) -> str:
    if not re.fullmatch(r"\w[\w.-]{0,99}", name) or "--" in name:
        raise SettingsError(
            f"{name[:100]!r} is no name for a config.", advice="Take letters, digits, '_', '.' and single '-'."
        )
    return name


def parts_of(body: str) -> list[str]:
    """Names of the generated parts in a card, in their order."""
    return list(dict.fromkeys(name for what, name in _MARK.findall(_with_new_marks(body)) if what == "begin"))


def assemble(
    ours: dict[str, Any],
    part: Callable[[dict[str, Any]], str],
    earlier: str | None = None,
    *,
    name: str = CONFIG,
    stale: Callable[[dict[str, Any]], bool] = lambda config: False,
) -> str:
    """A whole card: our metadata and our part, put into the card that is there.

    Args:
        ours: our metadata; `configs` and `dataset_info` are lists, and need not be there.
        part: writes the generated part, given the metadata as they stand on the card.
        earlier: the card that this one takes the place of.
        name: of the generated part.
        stale: tells of a config of the earlier card whether it is one that we had written, and goes.

    Raises:
        CardError: the earlier card is broken, so that what a person wrote there could be lost.
    """
    theirs, body = split_card(earlier or "")
    body = _with_new_marks(body)
    others = [other for other in parts_of(body) if other not in (name, LINKS)]
    metadata = merge_metadata(theirs, ours, written_before(body), joined=bool(others), stale=stale)
    written = {key: metadata[key] if others and key in metadata else ours[key] for key in JUDGED if key in ours}
    digests = " ".join(f"{key}={_digest(value)}" for key, value in written.items())
    text = f"{begin(name)}\n<!-- hub-instructpt: wrote {digests} -->\n\n{part(metadata).strip()}\n\n{end(name)}"
    return page(metadata, merge_body(body, text, name))


def merge_body(theirs: str, ours: str, name: str = CONFIG) -> str:
    """Our part in its place; a body that has no such place gets ours below its other parts, or below all.

    Raises:
        CardError: the place has lost one of its ends, so nobody can tell what is whose.
    """
    first, last = begin(name), end(name)
    if first not in theirs and last not in theirs:
        marks = [found for found in _MARK.finditer(theirs) if found[1] == "end"]
        above, below = (theirs[: marks[-1].end()], theirs[marks[-1].end() :]) if marks else (theirs, "")
        return "\n\n".join(piece for piece in (above.strip(), ours, below.strip()) if piece)
    start, stop = theirs.find(first), theirs.find(last)
    if theirs.count(first) != 1 or theirs.count(last) != 1 or start > stop:
        raise CardError(
            "The generated part of the card has lost one of the two comments around it, or has them twice.",
            advice="Put them back, or remove both and what stands between.",
        )
    return theirs[:start] + ours + theirs[stop + len(last) :]


def _with_new_marks(body: str) -> str:
    for mark, what in _EARLIER.items():
        body = body.replace(mark, begin() if what == "begin" else end())
    return body


# -- metadata --------------------------------------------------------------------------------------------------------


def merge_metadata(
    theirs: dict[str, Any],
    ours: dict[str, Any],
    written: dict[str, set[str]],
    *,
    joined: bool = False,
    stale: Callable[[dict[str, Any]], bool] = lambda config: False,
) -> dict[str, Any]:
    """Ours over theirs; other configs, further keys and tags, and what a person has judged stay.

    Args:
        theirs: of the card that is there.
        ours: of this config, or these.
        written: digests of what we wrote there, by key: what differs from them was changed by a person.
        joined: parts of other configs stand there too; what is said of all of them is joined.
        stale: tells of a config whether it was ours, and goes.
    """
    changed = {key for key in JUDGED if key in theirs and _digest(theirs[key]) not in written.get(key, ())}
    if "license" in changed:  # a licence that a person has set takes no name from ours
        changed.add("license_name")
    if joined:
        together = {key: _joined(key, theirs.get(key), ours.get(key)) for key in JUDGED if key not in changed}
        ours = ours | {key: value for key, value in together.items() if value}
    merged = {
        key: theirs[key] if key in changed or key not in ours else ours[key]
        for key in dict.fromkeys([*theirs, *ours])  # a card that is rendered again keeps its order
        if key in ours or key not in JUDGED or key in changed
        if key not in changed or key in theirs
    }
    merged["tags"] = list(dict.fromkeys([*map(str, _list(theirs.get("tags"))), *ours.get("tags", ())]))
    gone = [config.get("config_name", CONFIG) for config in _dicts(theirs.get("configs")) if stale(config)]
    for key in ("configs", "dataset_info"):
        merged[key] = _in_place(_dicts(theirs.get(key)), ours.get(key, []), gone)
    if len(merged["dataset_info"]) > 1:  # in a list, each must say whose it is; a default config by itself need not
        merged["dataset_info"] = [{"config_name": CONFIG, **info} for info in merged["dataset_info"]]
    rows = [_rows(info) for info in merged["dataset_info"]]
    if len(merged["dataset_info"]) > len(ours.get("dataset_info", ())) and "size_categories" in ours:
        merged["size_categories"] = [size_category(sum(rows))]
    if len(rows) == 1 and merged["dataset_info"][0].get("config_name") == CONFIG:
        (info,) = merged["dataset_info"]
        merged["dataset_info"] = {key: value for key, value in info.items() if key != "config_name"}
    kept = {key for key in theirs if key not in ours and key not in _ALWAYS_OURS}
    return {key: value for key, value in merged.items() if value or key in kept}


_ALWAYS_OURS = ("configs", "dataset_info", "tags", "size_categories")


def _in_place(theirs: list[dict[str, Any]], ours: list[dict[str, Any]], gone: list[Any]) -> list[dict[str, Any]]:
    """Entries of configs: ours together, where the first of them stood, or at the end; without those that are gone."""
    names = [entry["config_name"] for entry in ours]  # a person may have written anything there, also a list
    merged: list[dict[str, Any]] = []
    waiting = list(ours)
    for entry in theirs:
        name = entry.get("config_name", CONFIG)
        if name in names or name in gone:
            merged += waiting
            waiting = []
        else:
            merged.append(entry)
    return merged + waiting


def _joined(key: str, theirs: Any, ours: Any) -> Any:
    if key == "pretty_name" and theirs:
        return theirs
    if key in ("pretty_name", "license_name"):
        names = [name for value in (theirs, ours) if isinstance(value, str) for name in value.split(", ")]
        return ", ".join(dict.fromkeys(names))
    both = list(dict.fromkeys(str(value) for value in (*_list(theirs), *_list(ours))))
    return both[0] if key == "license" and len(both) == 1 else both


def _rows(info: dict[str, Any]) -> int:
    examples = [split.get("num_examples") for split in _dicts(info.get("splits"))]
    return sum(number for number in examples if isinstance(number, int))


def written_before(body: str) -> dict[str, set[str]]:
    """Digests of what the parts of a card wrote into its metadata, by key."""
    written: dict[str, set[str]] = {}
    for digests in re.findall(r"<!-- hub-instructpt: wrote ([^>]*)-->", body):
        for item in digests.split():
            key, _, digest = item.partition("=")
            written.setdefault(key, set()).add(digest)
    return written


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:12]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [item for item in _list(value) if isinstance(item, dict)]
