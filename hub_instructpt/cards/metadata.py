"""Values of the metadata that all kinds of cards share: licences, languages, sizes, configs, columns.

Keeps true: only what the Hub takes stands under a key that it checks; `dataset_info` agrees with the files.
Does not know manifests, or what stood on an earlier card.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import pyarrow.parquet as pq

from hub_instructpt.cards.escaping import flat
from hub_instructpt.cards.words import knowledge

CONFIG, DATA_FILES = "default", "data/train-*.parquet"
FILES_IN_A_FOLDER = 10_000
"""More of them in one folder, and the Hub refuses a commit."""

# Upper bounds of the Hub's size categories.
SIZES = {
    1_000: "n<1K", 10_000: "1K<n<10K", 100_000: "10K<n<100K", 1_000_000: "100K<n<1M", 10_000_000: "1M<n<10M",
    100_000_000: "10M<n<100M", 1_000_000_000: "100M<n<1B", 10_000_000_000: "1B<n<10B", 100_000_000_000: "10B<n<100B",
    1_000_000_000_000: "100B<n<1T",
}  # fmt: skip


class Shard(Protocol):
    """A sealed file of rows, as a manifest names it."""

    @property
    def path(self) -> str: ...
    @property
    def num_rows(self) -> int: ...
    @property
    def num_bytes(self) -> int: ...
    @property
    def arrow_bytes(self) -> int: ...


def size_category(num_rows: int) -> str:
    """The Hub's name for so many rows."""
    return next((name for bound, name in SIZES.items() if num_rows < bound), "n>1T")


def license_metadata(names: Sequence[str]) -> dict[str, Any]:
    """The Hub takes only identifiers that it knows; any other licence is `other`, with its name beside."""
    known = knowledge("licences.yaml")["known"].split()
    ids = list(dict.fromkeys(name.lower() if name.lower() in known else "other" for name in names))
    others = [flat(name) for name in names if name.lower() not in known]
    return {"license": ids[0] if len(ids) == 1 else ids, "license_name": ", ".join(others)}


def restrictions(names: Sequence[str]) -> dict[str, list[str]]:
    """What licences ask of whoever uses the data, and which of them do.

    Returns:
        Some of `non_commercial`, `share_alike`, `no_derivatives`, `other` (none of those that the Hub knows) with their
        licences; `unknown`, with none, where there is no licence or nobody knows it.
    """
    file = knowledge("licences.yaml")
    kinds = ("non_commercial", "share_alike", "no_derivatives")
    found = {kind: [name for name in names if name.lower() in file[kind].split()] for kind in kinds}
    found["other"] = [name for name in names if name.lower() not in file["known"].split() or name.lower() == "other"]
    found = {kind: list(dict.fromkeys(named)) for kind, named in found.items() if named}
    return found if names and "unknown" not in map(str.lower, names) else found | {"unknown": []}


def language_metadata(codes: Sequence[str]) -> dict[str, Any]:
    """The Hub takes ISO 639 codes; longer tags such as zh-CN have a key of their own, and the rest is no language."""
    iso = [code.lower() for code in codes if re.fullmatch(r"[A-Za-z]{2,3}|code|multilingual", code)]
    tags = [code for code in codes if re.fullmatch(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){1,8}", code)]
    iso += [tag.partition("-")[0].lower() for tag in tags]
    return {"language": list(dict.fromkeys(iso)), "language_bcp47": list(dict.fromkeys(tags))}


def data_folder(config: str = CONFIG) -> str:
    """Where the shards of a config lie in a repo, as `datasets` puts them."""
    return "data" if config == CONFIG else config


def config_entry(config: str = CONFIG, folder: str | None = None, shards: Sequence[Shard] = ()) -> dict[str, Any]:
    """What the metadata say of a config: which files it reads. In a repo, shards from number 10,000 on lie in folders
    below the first one."""
    first = f"{folder or data_folder(config)}/train-*.parquet"
    numbers = (int(shard.path.rpartition("-")[2].removesuffix(".parquet")) for shard in shards)
    spread = max(numbers, default=0) >= FILES_IN_A_FOLDER
    path = [first, first.replace("/train", "/*/train")] if spread else first
    return {"config_name": config, "data_files": [{"split": "train", "path": path}]}


def info_entry(config: str, shards: Sequence[Shard], folder: Path) -> dict[str, Any]:
    """What the metadata say of the columns and sizes of a config; the columns are read from its first shard."""
    import datasets

    size = sum(shard.arrow_bytes for shard in shards)
    info = datasets.DatasetInfo(
        features=datasets.Features.from_arrow_schema(pq.read_schema(folder / shards[0].path)),
        splits=datasets.SplitDict(
            {"train": datasets.SplitInfo("train", size, sum(shard.num_rows for shard in shards))}
        ),
        download_size=sum(shard.num_bytes for shard in shards),
        dataset_size=size,
    )
    data: dict[str, Any] = {}
    datasets.info.DatasetInfosDict({config: info}).to_dataset_card_data(data)
    return {"config_name": config, **data["dataset_info"]}
