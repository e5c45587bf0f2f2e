"""What is written to a TGI server and read from it: parameters, answers, and troubles by their status.

Error bodies are JSON, plain text or empty, whatever the status: the status decides. What the server says of an error is
repeated only where it can not be a piece of what was sent.

Keeps true: nothing that a server answers raises here. Does not know connections, retries or limits.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Literal

import orjson

from hub_instructpt.engines.retries import TroubleKind, is_passing
from hub_instructpt.engines.transport import Response, TransportFailure
from hub_instructpt.errors import RequestFailed, SettingsError
from hub_instructpt.records import SamplingParams

# The words in which TGI itself speaks of errors. They may stand in a prompt too, and give nothing of it away.
_OWN_WORDS = """
all allocate and best_of body bytes cannot could cuda data deserialize details during empty error exceeded
expected failed fewer field for from gave generation given has have incomplete input inputs into invalid json
length less limit map max_new_tokens memory missing model must not null number out overloaded parse payload positive
request requests sequence server set size small stop strictly string target temperature than the this token
tokens top_p total tried truncate type unexpected unhealthy unknown validation value was with
"""
_OWN = frozenset(_OWN_WORDS.split())
_LONGEST_MESSAGE = 300


@dataclass(frozen=True, slots=True)
class Answer:
    """A readable answer: its JSON and the response that it came in."""

    value: Any
    response: Response


@dataclass(frozen=True, slots=True)
class Trouble:
    """A try that ended without an answer.

    Attributes:
        kind: what bounds further tries; `key` and `final` mean that there are none.
        reason: a short word for counting.
        told: goes on from "The server …".
        weight: how many errors it counts for.
        asked_for_seconds: the server's Retry-After.
    """

    kind: TroubleKind | Literal["key", "final"]
    reason: str
    told: str
    weight: int = 1
    asked_for_seconds: float = 0.0


def parameters_of(sampling: SamplingParams) -> dict[str, Any]:
    """The `parameters` of /generate: always sent, and everything spelled out, since absent ones mean something else."""
    if sampling.max_new_tokens > 1024:
        raise SettingsError(
            f"max_new_tokens={sampling.max_new_tokens}: TGI generates in chunks of 1,024 tokens and then returns more "
            "or fewer tokens than asked for.",
            advice="Ask for 1,024 or fewer.",
        )
    parameters: dict[str, Any] = {"max_new_tokens": sampling.max_new_tokens, "return_full_text": False}
    if sampling.greedy:
        return {**parameters, "do_sample": False}
    parameters |= {"do_sample": True, "temperature": sampling.temperature}
    return parameters | ({"top_p": sampling.top_p} if sampling.top_p < 1.0 else {})  # 1.0 is an error there


def body_of(request: dict[str, Any]) -> bytes:
    """A request as JSON.

    Raises:
        RequestFailed: for text that no JSON can hold.
    """
    try:
        return orjson.dumps(request)
    except orjson.JSONEncodeError:
        raise RequestFailed(
            "A prompt is not valid Unicode: it holds lone surrogates.", reason="not_unicode", attempts=0, passing=False
        ) from None


def judge(path: str, response: Response, *sent: str) -> Answer | Trouble:
    """What a response is. `sent` is what must not be repeated: a prompt, a key."""
    status = response.status
    if status == 200:
        value = json_of(response.body)
        if readable(path, value):
            return Answer(value, response)
        return Trouble("error", "unreadable_answer", "sent answers that are not TGI's")
    asked_for = seconds_of(response.header("retry-after"))
    if status == 429:
        return Trouble("busy", "status_429", "was full all the time (429)", asked_for_seconds=asked_for)
    if status in (401, 403):
        return Trouble("key", f"status_{status}", str(status))
    kind: Literal["error", "final"] = "error" if is_passing(status) else "final"
    told = f"answered {status} ({_own_words(response.body, sent)})"
    return Trouble(kind, f"status_{status}", told, asked_for_seconds=asked_for)


def judge_failure(failure: TransportFailure, timeout_seconds: float) -> Trouble:
    """What a request without a whole answer is."""
    match failure.kind:
        case "unreachable":
            return Trouble("unreachable", "unreachable", "was unreachable")
        case "timeout":  # it has cost minutes already
            return Trouble("error", "timeout", f"did not answer within {timeout_seconds:g} s", weight=2)
        case _:
            return Trouble("error", "broken_connection", "cut the connection")


def readable(path: str, value: Any) -> bool:
    """Whether an answer has the shape that TGI gives it on this path."""
    if path == "/tokenize":
        return isinstance(value, list) and all(isinstance(t, dict) and isinstance(t.get("id"), int) for t in value)
    return isinstance(value, dict) and isinstance(value.get("generated_text"), str)


def details_of(value: dict[str, Any]) -> tuple[str, int | None]:
    """The text of an answer's tokens, special ones left out, and their number; as far as `details` tells."""
    details = value.get("details")
    details = details if isinstance(details, dict) else {}
    tokens = details.get("tokens")
    tokens = [t for t in tokens if isinstance(t, dict)] if isinstance(tokens, list) else []
    texts = [t["text"] for t in tokens if isinstance(t.get("text"), str) and not t.get("special")]
    return "".join(texts).rstrip("\ufffd"), positive(details.get("generated_tokens"))


def json_of(body: bytes) -> Any:
    """The JSON of a body, or None."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def positive(value: Any) -> int | None:
    """A whole number above 0, or None."""
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if number > 0 else None


def seconds_of(retry_after: str | None) -> float:
    """The wait that a Retry-After header asks for, in seconds or up to a date; 0 where it can not be read."""
    if not retry_after:
        return 0.0
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except (ValueError, OverflowError):
        return 0.0


def _own_words(body: bytes, sent: tuple[str, ...]) -> str:
    """The server's word for an error, unless a piece of what was sent may stand in it."""
    told = json_of(body)
    told = told if isinstance(told, dict) else {}
    sent = tuple(piece.casefold() for piece in sent if piece)
    for message in (told.get("error"), told.get("error_type")):
        if isinstance(message, str) and 0 < len(message) <= _LONGEST_MESSAGE and _harmless(message, sent):
            return message
    return "no reason given"


def _harmless(message: str, sent: tuple[str, ...]) -> bool:
    # What is escaped could be anything, and control characters would reach a terminal.
    if not message.isascii() or not message.isprintable() or "\\" in message or "%" in message:
        return False
    message = message.casefold()
    words = set(re.findall(r"[a-z0-9_]+", message)) - _OWN
    words = {word for word in words if len(word) > 2 and not (word.isdigit() and len(word) < 7)}
    return not any(piece in message or any(word in piece for word in words) for piece in sent)
