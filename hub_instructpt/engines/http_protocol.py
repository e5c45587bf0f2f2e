"""What all servers have in common on the wire: questions, JSON, and troubles by their status.

Error bodies are JSON of several shapes, plain text or empty, whatever the status: the status decides. What a server
says of an error is repeated only where it can not be a piece of what was sent.

Keeps true: nothing that a server answers raises here. Does not know connections, retries, limits, or any one server.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Generic, Literal, TypeVar

import orjson

from hub_instructpt.engines.retries import TroubleKind, is_passing
from hub_instructpt.engines.transport import Response, TransportFailure
from hub_instructpt.errors import RequestFailed

T_co = TypeVar("T_co", covariant=True)

# The words in which servers themselves speak of errors. They may stand in a prompt too, and give nothing of it away.
_OWN_WORDS = """
all allocate and available best_of body bytes cannot completion context could cuda data decoder deserialize details
does during empty engine error exceeded exceeds exist expected failed fewer field for from gave generation given
greater has have however increase incomplete input inputs internal into invalid its json least length less limit
longer map max_new_tokens max_tokens maximum memory messages missing model must not null number only out output
overloaded parameter parse payload please positive prompt reduce request requested requests resulted sequence server
set size small stop strictly string target temperature than the their this token tokens top_p total tried truncate try
trying type unexpected unhealthy unknown validation value was which with you your
"""
_OWN = frozenset(_OWN_WORDS.split())
_LONGEST_MESSAGE = 400

# How servers say that prompt and completion do not fit: vLLM, SGLang, llama.cpp, OpenAI itself.
_TOO_LONG = re.compile(
    rb"context[ _](?:length|size|window)|maximum context|max_model_len|longer than the model", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Question(Generic[T_co]):
    """One request and how its answer is read.

    Attributes:
        path: what follows the server's address.
        body: JSON.
        sent: the text in the body, which no message may repeat.
        read: what a 200 answer says, or None where it is not this server's.
    """

    path: str
    body: bytes
    sent: str
    read: Callable[[Response], T_co | None]


@dataclass(frozen=True, slots=True)
class Trouble:
    """A try that ended without an answer.

    Attributes:
        kind: what bounds further tries; `key` and `final` mean that there are none.
        reason: a short word for counting.
        told: goes on from "The server …".
        status: of the answer; 0 where none came.
        weight: how many errors it counts for.
        asked_for_seconds: the server's Retry-After.
    """

    kind: TroubleKind | Literal["key", "final"]
    reason: str
    told: str
    status: int = 0
    weight: int = 1
    asked_for_seconds: float = 0.0


UNREADABLE = Trouble("error", "unreadable_answer", "sent answers that can not be read", 200)


def judge(response: Response, *sent: str) -> Trouble:
    """What an answer with another status than 200 is. `sent` is what must not be repeated: a prompt, a key."""
    status = response.status
    asked_for = seconds_of(response.header("retry-after"))
    if status == 429:
        return Trouble("busy", "status_429", "was full all the time (429)", status, asked_for_seconds=asked_for)
    if status in (401, 403):
        return Trouble("key", f"status_{status}", str(status), status)
    told = f"answered {status} ({_own_words(response.body, sent)})"
    if status in (400, 413, 422) and _TOO_LONG.search(response.body[:4096]):
        return Trouble("final", "prompt_too_long", told, status)
    kind: Literal["error", "final"] = "error" if is_passing(status) else "final"
    return Trouble(kind, f"status_{status}", told, status, asked_for_seconds=asked_for)


def judge_failure(failure: TransportFailure, timeout_seconds: float) -> Trouble:
    """What a request without a whole answer is."""
    match failure.kind:
        case "unreachable":
            return Trouble("unreachable", "unreachable", "was unreachable")
        case "timeout":  # it has cost minutes already
            return Trouble("error", "timeout", f"did not answer within {timeout_seconds:g} s", weight=2)
        case _:
            return Trouble("error", "broken_connection", "cut the connection")


def json_bytes(value: Any) -> bytes:
    """A value as JSON.

    Raises:
        RequestFailed: for text that no JSON can hold.
    """
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        raise RequestFailed(
            "A prompt is not valid Unicode: it holds lone surrogates.", reason="not_unicode", attempts=0, passing=False
        ) from None


def json_of(body: bytes) -> Any:
    """The JSON of a body, or None."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def most_tokens(text: str) -> int:
    """A number of tokens that is surely not too small: one stands for a byte at least, and a few are put in front."""
    return len(text.encode()) + 8


def positive(value: Any) -> int | None:
    """A whole number above 0, or None."""
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if number > 0 else None


def string(value: Any) -> str | None:
    """Text that is not empty, or None."""
    return value if isinstance(value, str) and value else None


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
    sent = tuple(piece.casefold() for piece in sent if piece)
    for message in _messages(json_of(body)):
        if isinstance(message, str) and 0 < len(message) <= _LONGEST_MESSAGE and _harmless(message, sent):
            return message
    return "no reason given"


def _messages(told: Any) -> Iterator[Any]:
    """Where servers put their word: TGI in `error`, OpenAI's followers in `error.message`, FastAPI in `detail`."""
    if isinstance(told, dict):
        error = told.get("error")
        if isinstance(error, dict):
            yield from (error.get("message"), error.get("type"))
        yield from (error, told.get("error_type"), told.get("message"), told.get("detail"))


def _harmless(message: str, sent: tuple[str, ...]) -> bool:
    # What is escaped could be anything, and control characters would reach a terminal.
    if not message.isascii() or not message.isprintable() or "\\" in message or "%" in message:
        return False
    message = message.casefold()
    words = set(re.findall(r"[a-z0-9_]+", message)) - _OWN
    words = {word for word in words if len(word) > 2 and not (word.isdigit() and len(word) < 7)}
    return not any(piece in message or any(word in piece for word in words) for piece in sent)
