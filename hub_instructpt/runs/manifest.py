"""The manifest: what a run was asked to do, and what of it is sealed.

Keeps true: checked when it is read; written whole; a shard stands in it only after the shard itself is on disk.
Cards, pushes and resumption believe the manifest and nothing else.
Does not know how shards come to be.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hub_instructpt.errors import RunDirectoryError, RunError
from hub_instructpt.records import PROMPT_FORMAT
from hub_instructpt.runs.files import write_text
from hub_instructpt.version import __version__

MANIFEST = "manifest.json"


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


class ShardFacts(_Strict):
    """One sealed shard. `source_rows` is [first, one past the last] of the rows it covers; `arrow_bytes` their size in
    memory, `counts` what happened to them, by `group/name`."""

    path: str = Field(pattern=r"^data/train-\d{5,}\.parquet$")
    num_rows: int
    num_bytes: int
    arrow_bytes: int
    sha256: str
    source_rows: tuple[int, int]
    counts: dict[str, int]


class Manifest(_Strict):
    """The record of a run."""

    format: Literal[1] = 1
    version: str = __version__
    created_at: str = Field(default_factory=lambda: now())
    updated_at: str = Field(default_factory=lambda: now())
    finished: bool = False
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
    def next_row(self) -> int:
        """The first source row that no sealed shard covers."""
        return self.shards[-1].source_rows[1] if self.shards else 0

    def save(self, folder: Path) -> None:
        """Write the manifest whole."""
        self.updated_at = now()
        write_text(folder / MANIFEST, self.model_dump_json(indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Manifest:
        """Read the manifest of a run directory.

        Raises:
            RunDirectoryError: there is none.
            RunError: there is one, but it can not be believed.
        """
        path = folder / MANIFEST
        try:
            text = path.read_text("utf-8")
        except (FileNotFoundError, NotADirectoryError):
            raise RunDirectoryError(
                f"{folder} holds no run: there is no {MANIFEST}.", advice="Make one with `hub-instructpt augment`."
            ) from None
        except (OSError, UnicodeDecodeError) as error:
            raise RunError(f"{path} can not be read: {type(error).__name__}.") from None
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the file"
            raise RunError(
                f"{path} is damaged or of another version: {where}: {first['msg']}.",
                advice="Restore it from a copy, or start again with another --out.",
            ) from None


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def refuse_other_run(there: Manifest, here: Manifest, folder: Path) -> None:
    """Raise when a run directory belongs to another run than the one that is about to write there.

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
                    f"{folder} holds another run: {_changed(old[name], new[name])} since.",
                    advice="Give another --out, or restore the source.",
                )
            raise RunDirectoryError(
                f"{folder} holds another run: {_spoken(group, name)} was {_short(old[name])}, "
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
