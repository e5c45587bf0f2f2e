"""The manifest: what a run was asked to do, and what of it is sealed.

    manifest.json              the record; brought up to date now and then while a run goes on, and at its end
    shards/train-00000.json    what belongs into it about one shard, from when that is sealed until it stands there

So sealing costs the same at the first shard and at the forty-thousandth, and workers do not wait for each other.

Keeps true: checked when it is read; written whole; a shard stands in it only after the shard itself is on disk. What is
loaded names every sealed shard, in order, wherever that stands.
Cards, pushes and resumption believe the manifest and nothing else.
Does not know how shards come to be.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hub_instructpt.errors import RunDirectoryError, RunError
from hub_instructpt.evidence import Evidence, Place, places_of
from hub_instructpt.records import PROMPT_FORMAT, EngineInfo
from hub_instructpt.runs.files import is_temporary, write_text
from hub_instructpt.runs.locks import writing_manifest
from hub_instructpt.version import __version__

MANIFEST = "manifest.json"
BESIDE = "shards"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class SourceFile(_Strict):
    """A file of a local source: its name without folders, its size in bytes, its rows, and a digest of its content."""

    name: str
    num_bytes: int
    num_rows: int
    xxh64: str


class SourceFacts(_Strict):
    """Where the raw texts come from. What is unknown is None."""

    kind: Literal["hub", "files"]
    name: str
    config_name: str | None = None
    split: str | None = None
    revision: str | None = None
    license: list[str] | None = None
    language: list[str] | None = None
    num_rows: int | None = None
    files: list[SourceFile] = Field(default_factory=list)


class Settings(_Strict):
    """Everything that the content of the shards depends on, besides the source and the model."""

    text_column: str
    keep_columns: list[str]
    num_shots: int
    max_new_tokens: int
    temperature: float
    top_p: float
    rows_per_shard: int
    limit: int | None
    seed: int
    mode: str | None = None
    prompt_format: str = PROMPT_FORMAT


class EngineFacts(_Strict):
    """Which model wrote the pairs, and through what."""

    kind: str
    model_id: str
    model_sha: str | None
    version: str | None
    dtype: str | None
    bos: str
    eos: str

    @classmethod
    def of(cls, info: EngineInfo) -> EngineFacts:
        """What an engine said of itself."""
        return cls(
            kind=info.kind, model_id=info.model_id, model_sha=info.model_sha, version=info.version,
            dtype=info.dtype, bos=info.bos, eos=info.eos,
        )  # fmt: skip


class ShardFacts(_Strict):
    """One sealed shard.

    Attributes:
        source_rows: [first, one past the last] of the rows that it covers.
        arrow_bytes: their size in memory.
        counts: what happened to them, by `group/name`.
        retryable: texts that failed for reasons that may pass; their journal is kept.
        evidence: of what kind their pairs are, as `Evidence` writes it.
        seconds: of work, since the process that made it had sealed another.
        engine_seconds: of answering at servers meanwhile, summed over requests that may have run at the same time.
    """

    path: str = Field(pattern=r"^data/train-\d{5,}\.parquet$")
    num_rows: int
    num_bytes: int
    arrow_bytes: int
    sha256: str
    source_rows: tuple[int, int]
    counts: dict[str, int]
    retryable: int = 0
    evidence: dict[str, str] | None = None
    seconds: float = 0.0
    engine_seconds: float = 0.0

    @property
    def num_source_rows(self) -> int:
        return self.source_rows[1] - self.source_rows[0]

    @property
    def index(self) -> int:
        """The number of the shard."""
        return int(self.path[len("data/train-") : -len(".parquet")])

    def add_evidence_to(self, total: Evidence) -> None:
        """Add what was gathered of it, but for its samples.

        Raises:
            RunError: it can not be believed.
        """
        try:
            total.take_from(self.evidence or {})
        except ValueError as error:
            raise self._damaged(error) from None

    def samples(self) -> list[Place]:
        """The places of its samples.

        Raises:
            RunError: they can not be believed.
        """
        try:
            return places_of(self.evidence or {})
        except ValueError as error:
            raise self._damaged(error) from None

    def _damaged(self, error: ValueError) -> RunError:
        return RunError(
            f"The manifest is damaged: the evidence of {self.path} is {error}.", advice="Restore it from a copy."
        )


class Manifest(_Strict):
    """The record of a run. `num_rows` are those that it covers, once that is known."""

    format: Literal[1] = 1
    version: str = __version__
    created_at: str = Field(default_factory=lambda: now())
    updated_at: str = Field(default_factory=lambda: now())
    finished: bool = False
    num_rows: int | None = None
    seconds: float = 0.0
    command: str | None = None
    license: str | None = None
    source: SourceFacts
    settings: Settings
    engine: EngineFacts
    kept_types: dict[str, str] = Field(default_factory=dict)
    shards: list[ShardFacts] = Field(default_factory=list)

    @property
    def counts(self) -> Counter[str]:
        """Counts over all sealed shards."""
        total: Counter[str] = Counter()
        for shard in self.shards:
            total.update(shard.counts)
        return total

    @property
    def rows_sealed(self) -> int:
        """Source rows that sealed shards cover."""
        return sum(shard.num_source_rows for shard in self.shards)

    def add(self, *facts: ShardFacts) -> None:
        """Take in sealed shards; they replace older ones of their numbers."""
        shards = {shard.index: shard for shard in (*self.shards, *facts)}
        self.shards = [shards[index] for index in sorted(shards)]

    @property
    def evidence(self) -> Evidence | None:
        """Of all sealed shards; None where nobody gathered it for one of them.

        Raises:
            RunError: that of a shard can not be believed.
        """
        total = Evidence()
        for shard in self.shards:
            if shard.evidence is None:
                return None
            shard.add_evidence_to(total)
        return total

    def save(self, folder: Path) -> None:
        """Write the manifest whole."""
        self.updated_at = now()
        self.seconds = round(sum(shard.seconds for shard in self.shards), 1)
        write_text(folder / MANIFEST, self.model_dump_json(indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Manifest:
        """Read the manifest of a run directory.

        Raises:
            RunDirectoryError: there is none.
            RunError: there is one, but it can not be believed.
        """
        path = folder / MANIFEST
        # In this order nothing is missed: what leaves the folder of shards stands in the manifest by then.
        beside = [facts for name in sorted((folder / BESIDE).glob("train-*.json")) if (facts := _beside(name))]
        try:
            text = path.read_text("utf-8")
        except (FileNotFoundError, NotADirectoryError):
            raise RunDirectoryError(
                f"{folder} holds no run: there is no {MANIFEST}.", advice="Make one with `hub-instructpt augment`."
            ) from None
        except (OSError, UnicodeDecodeError) as error:
            raise RunError(f"{path} can not be read: {type(error).__name__}.") from None
        manifest = cls.parse(text, path)
        manifest.add(*beside)
        return manifest

    @classmethod
    def parse(cls, text: str | bytes, name: object) -> Manifest:
        """Read a manifest.

        Args:
            name: what an error calls it.

        Raises:
            RunError: it can not be believed.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise RunError(
                f"{name} is damaged or of another version: {_first(error)}.",
                advice="Restore it from a copy, or start again with another --out.",
            ) from None


def write_beside(folder: Path, facts: ShardFacts) -> None:
    """Note that a shard is sealed."""
    path = folder / BESIDE / f"train-{facts.index:05d}.json"
    path.parent.mkdir(exist_ok=True)
    write_text(path, facts.model_dump_json(indent=1) + "\n")


def bring_up_to_date(folder: Path, change: Callable[[Manifest], None] = lambda manifest: None) -> Manifest:
    """Take what stands beside the manifest into it, and change it.

    Returns:
        The manifest, as it is written now.
    """
    with writing_manifest(folder):
        beside = list((folder / BESIDE).glob("train-*.json"))
        manifest = Manifest.load(folder)
        change(manifest)
        manifest.save(folder)
        for path in (*beside, *filter(is_temporary, folder.glob(f".{MANIFEST}.*"))):
            path.unlink(missing_ok=True)
        if manifest.finished:
            with suppress(OSError):  # not there, or somebody else's file in it
                (folder / BESIDE).rmdir()
    return manifest


def _beside(path: Path) -> ShardFacts | None:
    try:
        return ShardFacts.model_validate_json(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        what = _first(error) if isinstance(error, ValidationError) else type(error).__name__
        raise RunError(
            f"{path} is damaged: {what}.", advice="Remove it and run the same again: its shard is made anew."
        ) from None


def _first(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc'])) or 'the file'}: {first['msg']}"


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
