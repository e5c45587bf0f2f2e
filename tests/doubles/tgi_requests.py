"""What a request to the double of text-generation-inference is made of, and how it is read from JSON.

The router refuses in two ways. A body whose JSON is broken or whose types are wrong is refused in plain text
(`Malformed`), while unknown fields pass unseen. A well-typed request that breaks a rule (see `tgi_rules`) is refused in
JSON with an `error_type` (`Refusal`).

Keeps true: `parameters` absent means sampling, `parameters: {}` means greedy; null is a value only where the original
has an optional field.
Does not know: HTTP, permits, or how a completion comes about.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

CHUNK_TOKENS = 1024
"""The most tokens that one pass of the server generates; a longer request is run in passes of this size."""


class Malformed(Exception):
    """A body that never became a request; answered in plain text."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status, self.text = status, text

    @classmethod
    def mistyped(cls, reason: str) -> Malformed:
        return cls(422, f"Failed to deserialize the JSON body into the target type: {reason}")


class Refusal(Exception):
    """A request that the server understood and refuses; answered as ``{"error", "error_type"}``."""

    def __init__(self, status: int, error: str, error_type: str) -> None:
        super().__init__(error)
        self.status, self.error, self.error_type = status, error, error_type

    @classmethod
    def invalid(cls, message: str) -> Refusal:
        return cls(422, f"Input validation error: {message}", "validation")

    @property
    def body(self) -> dict[str, str]:
        return {"error": self.error, "error_type": self.error_type}


@dataclass(frozen=True)
class Limits:
    """The limits of one server, as its command line sets them."""

    max_concurrent_requests: int = 128
    max_best_of: int = 2
    max_stop_sequences: int = 4
    max_top_n_tokens: int = 5
    max_input_tokens: int = 1024
    max_total_tokens: int = 2048
    max_client_batch_size: int = 4


@dataclass(frozen=True)
class Parameters:
    """The `parameters` object of a request; the annotation of a field is its JSON type, checked when it is read."""

    best_of: int | None = None
    temperature: float | None = None
    repetition_penalty: float | None = None
    frequency_penalty: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    typical_p: float | None = None
    do_sample: bool = False
    max_new_tokens: int | None = None
    return_full_text: bool | None = None
    stop: list[str] = field(default_factory=list)
    truncate: int | None = None
    watermark: bool = False
    details: bool = False
    decoder_input_details: bool = False
    seed: int | None = None
    top_n_tokens: int | None = None
    grammar: dict[str, Any] | None = None
    adapter_id: str | None = None

    @property
    def sampled(self) -> bool:
        """Whether the shard draws tokens. Note that `temperature: 1.0` alone does not ask for that."""
        warped = (self.temperature or 1.0) != 1.0 or bool(self.top_k) or (self.top_p or 1.0) < 1.0
        return self.do_sample or warped or (self.typical_p or 1.0) < 1.0


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen where that is not plain greedy decoding."""

    do_sample: bool
    temperature: float
    top_k: int
    top_p: float
    typical_p: float
    repetition_penalty: float
    seed: int


@dataclass(frozen=True)
class Ask:
    """A valid request, as the engine sees it: token ids in, at most `limit` tokens out."""

    inputs: str
    ids: tuple[int, ...]
    limit: int
    stop: tuple[str, ...]
    sampling: Sampling | None
    details: bool


# JSON types -----------------------------------------------------------------------------------------------------------

_RANGES = {"u32": (0, 2**32 - 1), "i32": (-(2**31), 2**31 - 1), "u64": (0, 2**64 - 1), "usize": (0, 2**64 - 1)}
_PARAMETER_KINDS = {
    "best_of": "usize?", "temperature": "f32?", "repetition_penalty": "f32?", "frequency_penalty": "f32?",
    "top_k": "i32?", "top_p": "f32?", "typical_p": "f32?", "do_sample": "bool", "max_new_tokens": "u32?",
    "return_full_text": "bool?", "stop": "[str]", "truncate": "usize?", "watermark": "bool", "details": "bool",
    "decoder_input_details": "bool", "seed": "u64?", "top_n_tokens": "u32?", "grammar": "grammar?",
    "adapter_id": "str?",
}  # fmt: skip
_COMPLETION_KINDS = {
    "model": "str?", "max_tokens": "u32?", "temperature": "f32?", "top_p": "f32?", "stream": "bool", "seed": "u64?",
    "suffix": "str?", "repetition_penalty": "f32?", "frequency_penalty": "f32?", "stop": "[str]?",
}  # fmt: skip


def _seen(value: Any) -> str:
    """Name a JSON value as serde does."""
    match value:
        case None:
            return "null"
        case bool():
            return f"boolean `{str(value).lower()}`"
        case int():
            return f"integer `{value}`"
        case float():
            return f"floating point `{value}`"
        case str():
            return f'string "{value}"'
        case list():
            return "sequence"
        case _:
            return "map"


def _fits(value: Any, kind: str) -> bool:
    """Whether a JSON value has a type; the range of integers is a matter of its own."""
    match kind:
        case "bool":
            return isinstance(value, bool)
        case "str":
            return isinstance(value, str)
        case "f32":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "[str]":
            return isinstance(value, list) and all(isinstance(item, str) for item in value)
        case "grammar":
            known = {"json", "json_object", "regex", "json_schema"}
            return isinstance(value, dict) and value.get("type") in known and "value" in value
        case _:
            return isinstance(value, int) and not isinstance(value, bool)


def _read(body: dict[str, Any], kinds: dict[str, str], where: str = "") -> dict[str, Any]:
    """Take the known fields of an object, each with its type checked; ignore the unknown ones, as the server does."""
    taken = {}
    for name, kind in kinds.items():
        if name not in body:
            continue
        value, bare = body[name], kind.rstrip("?")
        if value is None and kind != bare:
            continue
        if not _fits(value, bare):
            raise Malformed.mistyped(f"{where}{name}: invalid type: {_seen(value)}, expected {bare}")
        low, high = _RANGES.get(bare, (value, value))
        if bare in _RANGES and not low <= value <= high:
            raise Malformed.mistyped(f"{where}{name}: invalid value: {_seen(value)}, expected {bare}")
        taken[name] = value
    return taken


def _object(body: Any, where: str = "") -> dict[str, Any]:
    if not isinstance(body, dict):
        raise Malformed.mistyped(f"{where}invalid type: {_seen(body)}, expected struct")
    return body


@dataclass(frozen=True)
class GenerateRequest:
    """The body of /generate, /generate_stream, /tokenize and POST /."""

    inputs: str
    parameters: Parameters
    stream: bool = False

    @classmethod
    def read(cls, body: Any) -> GenerateRequest:
        taken = _read(_object(body), {"inputs": "str", "stream": "bool"})
        if "inputs" not in taken:
            raise Malformed.mistyped("missing field `inputs`")
        if "parameters" not in body:
            return cls(taken["inputs"], Parameters(do_sample=True), taken.get("stream", False))
        parameters = _read(_object(body["parameters"], "parameters: "), _PARAMETER_KINDS, "parameters.")
        return cls(taken["inputs"], Parameters(**parameters), taken.get("stream", False))


@dataclass(frozen=True)
class CompletionRequest:
    """The body of /v1/completions: several prompts that share one set of parameters."""

    prompts: list[str]
    parameters: Parameters
    stream: bool
    suffix: str | None

    @classmethod
    def read(cls, body: Any) -> CompletionRequest:
        taken = _read(_object(body), _COMPLETION_KINDS)
        prompt = body.get("prompt")
        prompts = [prompt] if isinstance(prompt, str) else prompt
        if "prompt" not in body:
            raise Malformed.mistyped("missing field `prompt`")
        if not prompts or not _fits(prompts, "[str]"):
            raise Malformed.mistyped("prompt: expected a string or a non-empty array of strings")
        # Greedy only at exactly zero: without a temperature this route samples, unlike /generate.
        greedy = taken.get("temperature") == 0
        parameters = Parameters(
            temperature=None if greedy else taken.get("temperature"),
            do_sample=not greedy,
            max_new_tokens=taken.get("max_tokens"),
            details=True,
            decoder_input_details=not taken.get("stream", False),
            stop=taken.get("stop", []),
            top_p=taken.get("top_p"),
            seed=taken.get("seed"),
            repetition_penalty=taken.get("repetition_penalty"),
            frequency_penalty=taken.get("frequency_penalty"),
        )
        return cls(prompts, parameters, taken.get("stream", False), taken.get("suffix"))

    def check(self, limits: Limits) -> None:
        if self.suffix is not None:
            message = "Suffix is not supported and can be achieved by preprocessing the prompt."
            raise Refusal(422, message, "suffix not supported")
        if len(self.prompts) > limits.max_client_batch_size:
            message = f"Number of prompts exceeds the maximum allowed batch size of {limits.max_client_batch_size}"
            raise Refusal(422, message, "batch size exceeded")
