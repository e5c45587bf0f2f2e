"""`tuning.json`: what a synthesizer was made of and how, as it goes into its folder and onto its card.

Keeps true: checked when it is read, written whole; what it holds can be published: no folder of this machine stands in
it, no text of the data, of held-out contexts only digests.
Does not know how a synthesizer is tuned.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hub_instructpt.collection.manifest import LicenceFacts
from hub_instructpt.errors import RunDirectoryError, RunError
from hub_instructpt.records import PROMPT_FORMAT
from hub_instructpt.runs.files import write_text
from hub_instructpt.runs.manifest import now
from hub_instructpt.tuning.scores import Evaluation
from hub_instructpt.version import __version__

FACTS = "tuning.json"
WARMUP = 1000
Dtype = Literal["float32", "bfloat16"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class LoraSettings(_Strict):
    """Low-rank adapters instead of all weights; they are merged into the base in the end."""

    rank: int = 64
    alpha: int = 128
    dropout: float = 0.0


class TuningSettings(_Strict):
    """Everything that the weights depend on, besides the base and the data. Defaults are the published ones for a 7B
    model, where they are known: length, tokens a batch, rate, its schedule and warm-up, Adam's betas.

    Attributes:
        max_length: tokens of a sequence.
        batch_tokens: of a step, on all devices together; rounded to whole sequences.
        warmup_steps: steps until the rate is reached; None: 1,000, and a tenth of all at most.
        epochs: the published number is not known.
        max_steps: steps in all, instead of epochs.
        alpha, max_repeats: how datasets are mixed (packing.py).
        eval_contexts: held out of each dataset; hold_out: datasets held out whole.
        dtype: of the weights while training.
    """

    max_length: int = 4096
    batch_tokens: int = 16_384
    learning_rate: float = 5e-6
    warmup_steps: int | None = None
    epochs: float = 1.0
    max_steps: int | None = None
    alpha: float = 0.5
    max_repeats: float = 2.0
    eval_contexts: int = 64
    hold_out: list[str] = Field(default_factory=list)
    seed: int = 0
    dtype: Dtype = "float32"
    lora: LoraSettings | None = None


class BaseFacts(_Strict):
    """The model that was tuned."""

    name: str
    sha: str | None
    num_parameters: int
    dtype: str


class TunedOn(_Strict):
    """A dataset of the collection.

    Attributes:
        seen: False for one that is held out whole.
        examples, tokens: that are trained on; `tokens_with_loss` are those of pairs.
        sequences: of one pass over it; `per_epoch` those that an epoch draws.
        held_out: digests of the contexts that are not trained on but measured on.
    """

    name: str
    seen: bool
    licence: LicenceFacts | None = None
    source: str | None = None
    homepage: str | None = None
    examples: int = 0
    tokens: int = 0
    tokens_with_loss: int = 0
    sequences: int = 0
    per_epoch: int = 0
    held_out: list[str] = Field(default_factory=list)


class DataFacts(_Strict):
    """The collection. `digest` is one of all its records."""

    name: str
    digest: str
    datasets: list[TunedOn] = Field(default_factory=list)
    counts: dict[str, int] = Field(default_factory=dict)


class Machine(_Strict):
    """Where it was tuned."""

    device: str
    processes: int
    versions: dict[str, str]


class FileFacts(_Strict):
    """A file of the model."""

    path: str = Field(pattern=r"^[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?$")
    num_bytes: int
    sha256: str


class TuningFacts(_Strict):
    """The record of a tuned synthesizer.

    Attributes:
        steps: of the whole training; `steps_done` those that are noted in the log. A step takes `sequences_per_step`.
        log: what was logged: step, and loss, learning_rate, seen_loss, unseen_loss, whichever there was.
        files: of the finished model.
        evaluations: its scores; those with the fewest examples shown first.
    """

    kind: Literal["synthesizer"] = "synthesizer"
    format: Literal[1] = 1
    version: str = __version__
    prompt_format: str = PROMPT_FORMAT
    created_at: str = Field(default_factory=now)
    finished_at: str | None = None
    seconds: float = 0.0
    license: str | None = None
    base: BaseFacts
    settings: TuningSettings
    data: DataFacts
    machine: Machine
    sequences_per_step: int
    steps: int = 0
    steps_done: int = 0
    log: list[dict[str, float]] = Field(default_factory=list)
    files: list[FileFacts] = Field(default_factory=list)
    evaluations: list[Evaluation] = Field(default_factory=list)

    @property
    def warmup(self) -> int:
        """Steps until the rate is reached."""
        return warmup_of(self.settings, self.steps)

    @property
    def trained(self) -> list[TunedOn]:
        """The datasets that it was tuned on."""
        return [dataset for dataset in self.data.datasets if dataset.seen]

    @property
    def left_out(self) -> dict[str, int]:
        """What was cut, left out, or tokenised otherwise than as a whole, by `what/reason`."""
        groups = ("contexts", "examples_left_out", "pairs_left_out", "records_rejected", "pairs_rejected")
        return {
            key: number
            for key, number in self.data.counts.items()
            if key.partition("/")[0] in groups or key == "examples/tokenised_apart"
        }

    def curve(self, name: str) -> list[tuple[float, float]]:
        """The steps at which a value was logged, with it."""
        return [(entry["step"], entry[name]) for entry in self.log if name in entry]

    def save(self, folder: Path) -> None:
        """Write the facts whole."""
        write_text(folder / FACTS, self.model_dump_json(indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path) -> TuningFacts:
        """Read the facts of a synthesizer.

        Raises:
            RunDirectoryError: there are none.
            RunError: there are some, but they can not be believed.
        """
        path = folder / FACTS
        try:
            return cls.model_validate_json(path.read_text("utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            raise RunDirectoryError(
                f"{folder} holds no tuned synthesizer: there is no {FACTS}.",
                advice="Make one with `hub-instructpt tune COLLECTION --base MODEL --out DIR`.",
            ) from None
        except (OSError, UnicodeDecodeError) as error:
            raise RunError(f"{path} can not be read: {type(error).__name__}.") from None
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the file"
            raise RunError(
                f"{path} is damaged or of another version: {where}: {first['msg']}.",
                advice="Restore it from a copy, or tune with another --out.",
            ) from None


def warmup_of(settings: TuningSettings, steps: int) -> int:
    """Steps of warm-up in a training of so many."""
    return min(WARMUP, steps // 10) if settings.warmup_steps is None else settings.warmup_steps


def refuse_other(there: TuningFacts, here: TuningFacts, folder: Path) -> None:
    """Raise when a folder holds another tuning than the one that is about to go on there.

    Raises:
        RunDirectoryError: naming the first thing that differs.
    """
    compared: list[tuple[str, Any, Any]] = [
        *(
            (f"--{name.replace('_', '-')}", getattr(there.settings, name), getattr(here.settings, name))
            for name in TuningSettings.model_fields
        ),
        ("the base", (there.base.name, there.base.sha), (here.base.name, here.base.sha)),
        ("the collection", there.data.digest, here.data.digest),
        ("sequences a step", there.sequences_per_step, here.sequences_per_step),
    ]
    for name, old, new in compared:
        if old != new:
            detail = "" if name == "the collection" else f": {name} was {_short(old)}, now it is {_short(new)}"
            raise RunDirectoryError(
                f"{folder} holds another tuning{detail or ': its collection had other records'}.",
                advice="Give another --out, or the settings of that one.",
            )


def _short(value: Any) -> str:
    if isinstance(value, BaseModel):
        value = value.model_dump()
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "…"
