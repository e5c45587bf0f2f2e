"""The manifest of a mixture: what was asked for, what was reached, and every sealed shard.

Keeps true: checked when it is read, written whole, and a shard stands in it only after the shard itself is on disk;
what it holds can be published: no folder of this machine stands in it.
Does not know how a mixture is made.
"""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hub_instructpt.errors import RunDirectoryError, RunError
from hub_instructpt.mixing.parts import Form
from hub_instructpt.runs.files import write_text
from hub_instructpt.runs.manifest import MANIFEST, ShardFacts, SourceFacts, now
from hub_instructpt.version import __version__

By = Literal["texts", "tokens", "repeats"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class PartFacts(_Strict):
    """One part: what was asked of it, and where it comes from.

    `weight` and `repeats` are exact fractions. `content` is a digest over the sealed shards of a run, `model` the
    synthesizer that wrote its pairs, `wording` the version and the templates that render a collection. `num_rows` is
    what it holds at most, None when nobody knows.
    """

    name: str
    form: Form
    weight: str | None = None
    repeats: str | None = None
    limit: int | None = None
    columns: dict[str, str] = Field(default_factory=dict)
    source: SourceFacts
    num_rows: int | None = None
    content: str | None = None
    model: str | None = None
    wording: str | None = None
    license: list[str] | None = None
    origin: str | None = None


class MixSettings(_Strict):
    """Everything that the content of the shards depends on, besides the parts and the tokenizer.

    `stop` is `first`, `all`, or the name of the part that ends the mixture.
    """

    by: By = "texts"
    stop: str = "first"
    limit: int | None = None
    tokens: int | None = None
    seed: int = 0
    shuffle: int = 10_000
    rows_per_shard: int = 10_000
    pack: int | None = None


class TokenizerFacts(_Strict):
    """The tokenizer that counted and packed. `bos` and `eos` are what each text is wrapped in."""

    name: str
    revision: str | None = None
    sha256: str
    bos: str | None
    eos: str | None


class PackedShard(_Strict):
    """One sealed shard of packed sequences."""

    path: str = Field(pattern=r"^packed/train-\d{5,}\.parquet$")
    num_rows: int
    num_bytes: int
    arrow_bytes: int
    sha256: str


class Reached(_Strict):
    """What a part asked for and got. `asked` is its share of what `by` measures; None when taken whole."""

    asked: float | None
    texts: int
    texts_share: float
    tokens: int | None = None
    tokens_share: float | None = None


class Mixture(_Strict):
    """The record of a mixture."""

    kind: Literal["mixture"] = "mixture"
    format: Literal[1] = 1
    version: str = __version__
    created_at: str = Field(default_factory=now)
    updated_at: str = Field(default_factory=now)
    finished: bool = False
    seconds: float = 0.0
    command: str | None = None
    parts: list[PartFacts]
    settings: MixSettings
    tokenizer: TokenizerFacts | None = None
    reached: dict[str, Reached] = Field(default_factory=dict)
    shards: list[ShardFacts] = Field(default_factory=list)
    packed: list[PackedShard] = Field(default_factory=list)
    tokens_left_over: int | None = None

    @property
    def counts(self) -> Counter[str]:
        """Counts over all sealed shards: `texts/PART`, `tokens/PART`, `rows_rejected/REASON/PART`."""
        total: Counter[str] = Counter()
        for shard in self.shards:
            total.update(shard.counts)
        return total

    @property
    def num_texts(self) -> int:
        """Texts in all sealed shards."""
        return self.shards[-1].source_rows[1] if self.shards else 0

    @property
    def files(self) -> list[ShardFacts | PackedShard]:
        """Every sealed file, in the order in which they were sealed."""
        return [*self.shards, *self.packed]

    def save(self, folder: Path) -> None:
        """Write the manifest whole."""
        self.updated_at = now()
        self.reached = self._reached()
        write_text(folder / MANIFEST, self.model_dump_json(indent=1) + "\n")

    def _reached(self) -> dict[str, Reached]:
        counts = self.counts
        texts = {part.name: counts[f"texts/{part.name}"] for part in self.parts}
        tokens = {part.name: counts[f"tokens/{part.name}"] for part in self.parts}
        asked = shares(self.parts) if self.settings.by != "repeats" else {}
        return {
            name: Reached(
                asked=asked.get(name),
                texts=number,
                texts_share=_share(number, texts),
                tokens=tokens[name] if self.tokenizer else None,
                tokens_share=_share(tokens[name], tokens) if self.tokenizer else None,
            )
            for name, number in texts.items()
        }

    @classmethod
    def load(cls, folder: Path) -> Mixture:
        """Read the manifest of a mixture.

        Raises:
            RunDirectoryError: there is none.
            RunError: there is one, but it can not be believed.
        """
        path = folder / MANIFEST
        try:
            return cls.model_validate_json(path.read_text("utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            raise RunDirectoryError(
                f"{folder} holds no mixture: there is no {MANIFEST}.", advice="Make one with `hub-instructpt mix`."
            ) from None
        except (OSError, UnicodeDecodeError) as error:
            raise RunError(f"{path} can not be read: {type(error).__name__}.") from None
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the file"
            raise RunError(
                f"{path} is damaged, or of something else than a mixture: {where}: {first['msg']}.",
                advice="Restore it from a copy, or start again with another --out.",
            ) from None


def shares(parts: list[PartFacts]) -> dict[str, float]:
    """The share that each part asks for."""
    weights = {part.name: Fraction(part.weight or 1) for part in parts}
    total = sum(weights.values())
    return {name: round(float(weight / total), 6) for name, weight in weights.items()}


def refuse_other_mixture(there: Mixture, here: Mixture, folder: Path) -> None:
    """Raise when a folder belongs to another mixture than the one that is about to go on there.

    Raises:
        RunDirectoryError: naming the first thing that differs.
    """
    for what, old, new in _differences(there, here):
        raise RunDirectoryError(
            f"{folder} holds another mixture: {what} was {_short(old)}, now it is {_short(new)}.",
            advice="Give another --out, or the settings of that mixture.",
        )


def _differences(there: Mixture, here: Mixture) -> list[tuple[str, Any, Any]]:
    found: list[tuple[str, Any, Any]] = []

    def compare(words: str, old: dict[str, Any], new: dict[str, Any], passing: set[str]) -> None:
        other = [key for key in old if key not in passing and old[key] != new[key]]
        found.extend((words.format(key.replace("_", "-")), old[key], new[key]) for key in other)

    compare("--{}", there.settings.model_dump(), here.settings.model_dump(), set())
    if len(there.parts) != len(here.parts):
        return [*found, ("the number of parts", len(there.parts), len(here.parts))]
    for old, new in zip(there.parts, here.parts, strict=True):
        # Licences and languages change no text, and where a run was made from stands in its content.
        passing = {"license", "origin", "source", "model"}
        compare("the {} of a part", {"name": old.name}, {"name": new.name}, set())
        compare(f"{{}}= of {old.name}", old.model_dump(exclude={"name"}), new.model_dump(exclude={"name"}), passing)
        passing = {"license", "language", "num_rows"}
        compare(f"the source's {{}} of {old.name}", old.source.model_dump(), new.source.model_dump(), passing)
    was, is_ = (tokenizer.name if tokenizer else None for tokenizer in (there.tokenizer, here.tokenizer))
    if was != is_:
        found.append(("--tokenizer", was, is_))
    elif there.tokenizer and here.tokenizer and there.tokenizer != here.tokenizer:
        found.append(("the content of the tokenizer", there.tokenizer.sha256[:12], here.tokenizer.sha256[:12]))
    return found


def _share(number: int, all_: dict[str, int]) -> float:
    total = sum(all_.values())
    return round(number / total, 6) if total else 0.0


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "…"
