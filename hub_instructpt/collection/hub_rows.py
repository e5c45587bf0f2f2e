"""The Hub as the place where the rows of a dataset come from, streamed by `datasets`.

Keeps true: what is read is pinned to one commit; a repo that still holds a loading script, which `datasets` no longer
runs, is read from the Parquet export that the Hub keeps of it; whatever a loader may raise becomes one line.
Does not know the Hub's API: what it says of a dataset (commit, licence) is asked for through `FactsOf`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from hub_instructpt.collection.convert import Part
from hub_instructpt.collection.reading import Reading, where_to_get
from hub_instructpt.collection.source import Hub, Row, Source
from hub_instructpt.errors import InputError, RunError
from hub_instructpt.runs.manifest import SourceFacts
from hub_instructpt.runs.sources import one_line

PARQUET_EXPORT = "refs/convert/parquet"
FactsOf = Callable[[str, str | None, str, str | None], SourceFacts]
"""What the Hub knows of (repo id, config, split, revision)."""


def open_hub(source: Source, facts_of: FactsOf, revision: str | None = None) -> Reading:
    """A dataset on the Hub, streamed by `datasets`.

    Args:
        facts_of: asks the Hub; the commit that it gives is what is read.
        revision: another one than the declared.

    Raises:
        InputError: it is not there, or can not be read so.
    """
    hub = source.hub
    if hub is None:
        raise InputError(
            f"{source.name} is not on the Hub.", advice=where_to_get(source).rstrip(".") + ": --from PATH."
        )
    wanted = revision or hub.revision
    facts = facts_of(hub.repo_id, None, hub.split, wanted)
    parts = []
    exported = wanted == PARQUET_EXPORT
    for config in hub.configs:
        name = " ".join(filter(None, (hub.repo_id, config, hub.split)))
        if not exported:
            try:
                parts.append(Part(name, _hub_rows(name, _load(hub.repo_id, config, hub.split, facts.revision))))
                continue
            except RuntimeError as error:
                if "script" not in str(error):
                    raise _unreadable(name, error) from None
                try:
                    facts, exported = facts_of(hub.repo_id, None, hub.split, PARQUET_EXPORT), True
                except InputError:
                    raise _no_export(name) from None
        parts.append(Part(name, _hub_rows(name, _load_export(hub, config, facts))))
    configs = ", ".join(config for config in hub.configs if config) or None
    return Reading(facts.model_copy(update={"config_name": configs}), parts)


def _load(repo_id: str, config: str | None, split: str, revision: str | None) -> Any:
    import datasets

    try:
        return datasets.load_dataset(repo_id, config, split=split, revision=revision, streaming=True)
    except FileNotFoundError as error:  # DatasetNotFoundError is one
        raise InputError(
            one_line(error), advice="A private or gated dataset needs a token: `hf auth login` or HF_TOKEN."
        ) from None
    except (ConnectionError, TimeoutError) as error:
        raise InputError(f"The Hub can not be reached for {repo_id}: {type(error).__name__}.") from None
    except RuntimeError:
        raise
    except Exception as error:  # whatever a loader of `datasets` may raise
        raise _unreadable(" ".join(filter(None, (repo_id, config, split))), error) from None


def _load_export(hub: Hub, config: str | None, facts: SourceFacts) -> Any:
    """The Hub's own Parquet files of a dataset: CONFIG/SPLIT/0000.parquet, or CONFIG/partial-SPLIT/… of a large one."""
    import datasets
    import fsspec

    name = " ".join(filter(None, (hub.repo_id, config, hub.split)))
    root = f"datasets/{hub.repo_id}@{facts.revision}"
    try:
        files = fsspec.filesystem("hf")
        found: dict[str, list[str]] = {}
        for split in (hub.split, f"partial-{hub.split}"):
            for path in sorted(files.glob(f"{root}/{config or '*'}/{split}/*.parquet")):
                found.setdefault(str(path).split("/")[-3], []).append(f"hf://{path}")
        if len(found) > 1 and "default" in found:
            found = {"default": found["default"]}
        if len(found) > 1:
            raise InputError(
                f"{hub.repo_id} has several configs: {', '.join(sorted(found))}.", advice="Declare which is read."
            )
        for urls in found.values():
            return datasets.load_dataset("parquet", data_files={hub.split: urls}, split=hub.split, streaming=True)
    except InputError:
        raise
    except Exception as error:  # whatever the Hub's client or a loader may raise
        raise _unreadable(name, error) from None
    raise _no_export(name)


def _no_export(name: str) -> InputError:
    return InputError(
        f"{name} holds a loading script, which `datasets` no longer runs, and the Hub has no Parquet export of it.",
        advice="Get its release, and give it with --from PATH.",
    )


def _unreadable(name: str, error: Exception) -> InputError:
    return InputError(
        f"{name} can not be read: {one_line(error).rstrip('.')}.",
        advice="Try --revision, or get its release and give it with --from PATH.",
    )


def _hub_rows(name: str, dataset: Any) -> Iterator[Row]:
    number = 0
    try:
        for row in dataset:
            number += 1
            yield row
    except Exception as error:  # whatever a loader of `datasets` may raise
        raise RunError(
            f"Reading {name} broke off after row {number:,}: {one_line(error)}", advice="Run the same again."
        ) from None
