"""What is written to an OpenAI-compatible server and read from it: /v1/completions, and the token counts beside it.

Keeps true: nothing that a server answers raises here; an answer without a text is no answer. Only fields that every
such server takes are sent, and `add_special_tokens` where it was seen to be honoured.
Does not know connections, retries, limits, or which server it is.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from hub_instructpt.engines.http_protocol import Question, json_bytes, json_of, positive
from hub_instructpt.engines.transport import Response
from hub_instructpt.records import Completion, FinishReason, SamplingParams

COMPLETIONS = "/v1/completions"

# The words for the end of a completion. A server that gave up half way says `abort` or `error`: that is no answer.
_REASONS: dict[Any, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "eos_token": "stop",
    "stop_sequence": "stop",
}
_GIVEN_UP = frozenset({"abort", "error", "cancelled"})

_ONE_TOKEN = SamplingParams(max_new_tokens=1)


@lru_cache(maxsize=64)
def _tail(model: str | None, plain: bool, sampling: SamplingParams) -> bytes:
    """What follows the prompt in a body. The same for a whole run, so it is encoded once.

    Everything is spelled out, since servers differ in what they do where it is not.
    """
    fields: dict[str, Any] = {"max_tokens": sampling.max_new_tokens, "temperature": sampling.temperature}
    if not sampling.greedy:
        fields["top_p"] = sampling.top_p
    if model is not None:
        fields["model"] = model
    if plain:
        fields["add_special_tokens"] = False
    return b"," + json_bytes(fields)[1:]


def completing(sent: str, sampling: SamplingParams, model: str | None, *, plain: bool) -> Question[Completion]:
    """Asks for the completion of a text. `plain`: no special tokens are to be added to it."""
    body = b'{"prompt":' + json_bytes(sent) + _tail(model, plain, sampling)
    return Question(COMPLETIONS, body, sent, completion_of)


def counting_by_usage(sent: str, model: str | None, *, plain: bool) -> Question[int]:
    """Asks for the number of tokens of a text by completing it with one token: the server counts what it reads."""
    return Question(COMPLETIONS, completing(sent, _ONE_TOKEN, model, plain=plain).body, sent, prompt_tokens_of)


def counting_by_tokenize(sent: str, model: str | None, *, plain: bool) -> Question[int]:
    """Asks for the number of tokens of a text, the way vLLM and SGLang are asked."""
    request = {"prompt": sent, "add_special_tokens": not plain, **({"model": model} if model else {})}
    return Question("/tokenize", json_bytes(request), sent, count_of)


def counting_by_content(sent: str) -> Question[int]:
    """Asks for the number of tokens of a text, the way llama.cpp is asked."""
    return Question("/tokenize", json_bytes({"content": sent, "add_special": True}), sent, count_of)


def completion_of(response: Response) -> Completion | None:
    """The completion in an answer, or None where there is none."""
    answer = json_of(response.body)
    choice = _choice_of(answer)
    text = choice.get("text")
    reason = choice.get("finish_reason")
    reason = reason if isinstance(reason, str) else None
    if not isinstance(text, str) or reason in _GIVEN_UP:
        return None
    usage = answer.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    return Completion(
        text, _REASONS.get(reason), positive(usage.get("prompt_tokens")), positive(usage.get("completion_tokens"))
    )


def prompt_tokens_of(response: Response) -> int | None:
    """How many tokens the server read, or None where it does not say."""
    answer = json_of(response.body)
    usage = answer.get("usage") if isinstance(answer, dict) else None
    return positive(usage.get("prompt_tokens")) if isinstance(usage, dict) else None


def count_of(response: Response) -> int | None:
    """The number that /tokenize tells: vLLM and SGLang count, llama.cpp lists."""
    answer = json_of(response.body)
    if not isinstance(answer, dict):
        return None
    tokens = answer.get("tokens")
    return positive(answer.get("count")) or (len(tokens) if isinstance(tokens, list) else None)


def _choice_of(answer: Any) -> dict[str, Any]:
    """The one choice of an answer; an empty one where there is none."""
    choices = answer.get("choices") if isinstance(answer, dict) else None
    first = choices[0] if isinstance(choices, list) and choices else None
    return first if isinstance(first, dict) else {}
