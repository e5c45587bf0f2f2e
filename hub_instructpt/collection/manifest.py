"""The manifest of a collection: every dataset in it with its terms, where it was read from, what came of it, its files.

Keeps true: checked when it is read, written whole, and a dataset stands in it only after its files are on disk; what it
holds can be published: no folder of this machine stands in it.
Does not know how a collection is made.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hub_instructpt.errors import RunDirectoryError, RunError
from hub_instructpt.evidence import Evidence
from hub_instructpt.runs.files import write_text
from hub_instructpt.runs.manifest import MANIFEST, SourceFacts, now
from hub_instructpt.version import __version__

CAP = 10_000
"""Records of each dataset in the published collection, at most."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class LicenceFacts(_Strict):
    """The terms of a dataset, as its declaration has them. `restrictions` are why they ask to be accepted."""

    name: str
    hub_id: str
    share_alike: bool
    non_commercial: bool
    redistributable: bool
    note: str
    restrictions: list[str]


class CollectSettings(_Strict):
    """Everything that the records depend on, besides the rows: `converter` is a digest of the file that holds it,
    `revision` the one that was asked for, None for the newest."""

    cap: int | None = CAP
    seed: int = 0
    parquet: bool = False
    revision: str | None = None
    converter: str = ""


class FileFacts(_Strict):
    """A file of a dataset. `num_rows` of those that hold records, `arrow_bytes` their size in memory."""

    path: str = Field(
        pattern=r"^[A-Za-z0-9][\w.-]*/(shard/\d{5,}\.jsonl|parquet/\d{5,}\.parquet|json/\w+\.json|rejected\.jsonl)$"
    )
    num_bytes: int
    sha256: str
    num_rows: int | None = None
    arrow_bytes: int | None = None


class DatasetFacts(_Strict):
    """One dataset of the collection. `source.num_rows` is what was read, `declared_rows` what its card promises,
    `evidence` of what kind its pairs are, as `Evidence` writes it; rows are counted over all its shards."""

    name: str
    also_called: list[str] = Field(default_factory=list)
    title: str
    homepage: str
    citation: str
    qa_type: str
    extractive: bool
    licence: LicenceFacts
    source: SourceFacts
    declared_rows: int | None = None
    settings: CollectSettings
    version: str = __version__
    collected_at: str = Field(default_factory=now)
    seconds: float = 0.0
    counts: dict[str, int]
    evidence: dict[str, str] | None = None
    files: list[FileFacts]

    @property
    def shards(self) -> list[FileFacts]:
        """The files that hold the records, as JSON Lines."""
        return [file for file in self.files if "/shard/" in file.path]

    @property
    def num_records(self) -> int:
        """Records in all shards."""
        return sum(shard.num_rows or 0 for shard in self.shards)

    @property
    def num_pairs(self) -> int:
        """Instruction-response pairs in all shards."""
        return self.counts.get("pairs/kept", 0)

    def gathered(self) -> Evidence | None:
        """The evidence, to be worked with; None where nobody gathered it.

        Raises:
            RunError: it can not be believed.
        """
        try:
            return None if self.evidence is None else Evidence.from_dict(self.evidence)
        except ValueError as error:
            raise RunError(
                f"The manifest is damaged: the evidence of {self.name} is {error}.", advice="Restore it from a copy."
            ) from None

    def rejected(self, what: str) -> list[tuple[str, int]]:
        """Reasons of one group of counts with their numbers, the largest first."""
        found = [(key.partition("/")[2], number) for key, number in self.counts.items() if key.startswith(f"{what}/")]
        return sorted(found, key=lambda item: (-item[1], item[0]))


class Collection(_Strict):
    """The record of a collection."""

    kind: Literal["collection"] = "collection"
    format: Literal[1] = 1
    version: str = __version__
    created_at: str = Field(default_factory=now)
    updated_at: str = Field(default_factory=now)
    datasets: list[DatasetFacts] = Field(default_factory=list)

    def find(self, name: str) -> DatasetFacts | None:
        """The dataset of that name."""
        return next((dataset for dataset in self.datasets if dataset.name == name), None)

    def put(self, dataset: DatasetFacts) -> None:
        """Add a dataset, or put it in the place of the one of its name."""
        others = [other for other in self.datasets if other.name != dataset.name]
        self.datasets = sorted([*others, dataset], key=lambda each: each.name.casefold())

    def without(self, name: str) -> None:
        """Take a dataset out."""
        self.datasets = [dataset for dataset in self.datasets if dataset.name != name]

    @property
    def files(self) -> list[FileFacts]:
        """Every file of every dataset."""
        return [file for dataset in self.datasets for file in dataset.files]

    @property
    def counts(self) -> Counter[str]:
        """Counts over all datasets."""
        total: Counter[str] = Counter()
        for dataset in self.datasets:
            total.update(dataset.counts)
        return total

    @property
    def evidence(self) -> Evidence | None:
        """Of all datasets; None where nobody gathered it for one of them."""
        found = [dataset.gathered() for dataset in self.datasets]
        known = [each for each in found if each is not None]
        return sum(known, Evidence()) if len(known) == len(found) else None

    @property
    def num_records(self) -> int:
        """Records of all datasets."""
        return sum(dataset.num_records for dataset in self.datasets)

    @property
    def num_pairs(self) -> int:
        """Instruction-response pairs of all datasets."""
        return sum(dataset.num_pairs for dataset in self.datasets)

    def save(self, folder: Path) -> None:
        """Write the manifest whole."""
        self.updated_at = now()
        write_text(folder / MANIFEST, self.model_dump_json(indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Collection:
        """Read the manifest of a collection.

        Raises:
            RunDirectoryError: there is none.
            RunError: there is one, but it can not be believed.
        """
        path = folder / MANIFEST
        try:
            return cls.model_validate_json(path.read_text("utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            raise RunDirectoryError(
                f"{folder} holds no collection: there is no {MANIFEST}.",
                advice="Make one with `hub-instructpt collect NAME --out DIR`.",
            ) from None
        except (OSError, UnicodeDecodeError) as error:
            raise RunError(f"{path} can not be read: {type(error).__name__}.") from None
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the file"
            raise RunError(
                f"{path} is damaged, or of something else than a collection: {where}: {first['msg']}.",
                advice="Restore it from a copy, or give another --out.",
            ) from None
