"""The shapes that travel between the rooms: pairs, completions, sampling parameters, and the columns of a shard.

Keeps true: the shapes of the contract (design.md). Pairs are plain dicts, because `datasets` takes and gives dicts.
Does not know how any of them is made, sent or stored.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypedDict

import pyarrow as pa

from hub_instructpt.errors import SettingsError

PROMPT_FORMAT = "instruction-pretrain-1"
"""Names the wire format together with the parsing and neutralising rules. Changed whenever outputs could change."""


class Pair(TypedDict):
    """One instruction-response pair, grounded in a context."""

    instruction: str
    response: str


class Example(TypedDict):
    """A context with its pairs: one shot of an M-shot example."""

    context: str
    pairs: list[Pair]


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How a completion is drawn. Greedy unless a temperature is given.

    Args:
        max_new_tokens: token limit of a completion; the published setting is 400.
        temperature: 0 means greedy.
        top_p: nucleus sampling, used only with a temperature.
    """

    max_new_tokens: int = 400
    temperature: float = 0.0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise SettingsError(f"max_new_tokens must be at least 1, not {self.max_new_tokens}.")
        if not 0.0 <= self.temperature <= 5.0:
            raise SettingsError(f"temperature must lie between 0 (greedy) and 5, not {self.temperature}.")
        if not 0.0 < self.top_p <= 1.0:
            raise SettingsError(f"top_p must lie in (0, 1], not {self.top_p}.")

    @property
    def greedy(self) -> bool:
        return self.temperature == 0.0

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


FinishReason = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class Completion:
    """What an engine answers to one prompt.

    Token counts are the server's own (generated tokens include the end-of-sequence token); None where it tells none.
    """

    text: str
    finish_reason: FinishReason | None = None
    prompt_tokens: int | None = None
    generated_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What is known of an engine once it is connected.

    `bos` and `eos` are the strings to write into a prompt; `bos` is empty for a model that has none.
    Limits are tokens of the model's own tokenizer; `max_concurrent_requests` counts prompts.
    """

    kind: str
    model_id: str
    model_sha: str | None
    max_input_tokens: int
    max_total_tokens: int
    max_concurrent_requests: int
    bos: str = "<s>"
    eos: str = "</s>"
    version: str | None = None
    dtype: str | None = None
    special_tokens: tuple[str, ...] = field(default=())

    def input_budget(self, sampling: SamplingParams) -> int:
        """Tokens that a prompt may have.

        Raises:
            SettingsError: when max_new_tokens leaves no room for a prompt.
        """
        budget = min(self.max_input_tokens, self.max_total_tokens - sampling.max_new_tokens)
        if budget < 32:
            raise SettingsError(
                f"max_new_tokens={sampling.max_new_tokens} leaves {max(budget, 0)} tokens for the prompt: "
                f"{self.model_id} takes {self.max_total_tokens} in all ({self.max_input_tokens} of them input).",
                advice="Ask for fewer new tokens, or start the server with a larger limit.",
            )
        return budget


@dataclass(frozen=True, slots=True)
class Loss:
    """Something of a text that did not make it into the corpus.

    Attributes:
        what: `row` had no usable text, `text` got no pairs, `pair` was dropped.
        reason: a short word, as in the counts.
        number: of pairs.
        attempts: requests made for it, where none was answered.
        status: of HTTP, where that was the reason.
        finish_reason, completion: what the engine answered, where it did.
        passing: asking again later may well work.
    """

    what: Literal["row", "text", "pair"]
    reason: str
    number: int = 1
    attempts: int | None = None
    status: int | None = None
    finish_reason: FinishReason | None = None
    completion: str | None = None
    passing: bool = False


PAIR_TYPE = pa.struct([("instruction", pa.string()), ("response", pa.string())])
PAIRS_TYPE = pa.list_(PAIR_TYPE)


def example_type(kept_columns: dict[str, pa.DataType] | None = None) -> pa.DataType:
    """Arrow type of one example; columns kept from the source travel inside it."""
    kept = list((kept_columns or {}).items())
    return pa.struct([("context", pa.string()), ("pairs", PAIRS_TYPE), *kept])


def shard_schema(kept_columns: dict[str, pa.DataType] | None = None) -> pa.Schema:
    """Columns of a sealed shard: one row per instruction-augmented text."""
    return pa.schema(
        [
            ("text", pa.string()),
            ("examples", pa.list_(example_type(kept_columns))),
            ("source_rows", pa.list_(pa.int64())),
            ("num_pairs", pa.int32()),
        ]
    )


def whole_text(text: str) -> tuple[str, bool]:
    """`text` as valid Unicode: lone surrogates, which no encoding can hold, become U+FFFD.

    Returns:
        The text, and whether anything was replaced.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        # UTF-16 joins surrogates that do belong together, and tells the lone ones apart.
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"), True
    return text, False
