"""The shapes of the double's answers: JSON bodies, headers and events, after text-generation-inference 3.3.6.

Keeps true: every shape validates against the OpenAPI document of the original, and no header has another unit than
there (most are whole milliseconds, `x-compute-time` is seconds).
Does not know: how an answer came about, or who asked.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import orjson
from aiohttp import web

from tests.doubles.decoding import Completion
from tests.doubles.tgi_requests import Limits

VERSION = "3.3.6-dev0"


@dataclass(frozen=True)
class Identity:
    """What the server says of itself, and how it is switched."""

    model_id: str = "hub-instructpt/tiny-synthesizer"
    model_sha: str | None = None
    pipeline_tag: str | None = "text-generation"
    api_key: str | None = None
    compute_type: str = "gpu+optimized"
    payload_limit: int = 2_000_000
    fixed_delay: float = 0.0
    v2_info: bool = False


@dataclass(frozen=True)
class Answer:
    """One completion, with what the headers tell about it. Seconds."""

    completion: Completion
    prompt_tokens: int
    characters: int
    validation: float
    total: float
    others: tuple[Completion, ...] = ()

    def headers(self, compute_type: str) -> dict[str, str]:
        queue = self.completion.queued_seconds
        inference = max(self.total - self.validation - queue, 0.0)
        milliseconds = {
            "x-total-time": self.total,
            "x-validation-time": self.validation,
            "x-queue-time": queue,
            "x-inference-time": inference,
            "x-time-per-token": inference / max(self.completion.generated_tokens, 1),
        }
        return {
            "x-compute-type": compute_type,
            "x-compute-time": str(self.total),
            "x-compute-characters": str(self.characters),
            **{name: str(int(seconds * 1000)) for name, seconds in milliseconds.items()},
            "x-prompt-tokens": str(self.prompt_tokens),
            "x-generated-tokens": str(self.completion.generated_tokens),
        }


def info(identity: Identity, limits: Limits) -> dict[str, Any]:
    """The body of /info; an older server names one field otherwise and has more of them."""
    told: dict[str, Any] = {
        "model_id": identity.model_id, "model_sha": identity.model_sha, "model_pipeline_tag": identity.pipeline_tag,
        **asdict(limits), "validation_workers": 2, "router": "text-generation-router", "version": VERSION, "sha": None,
        "docker_label": None,
    }  # fmt: skip
    del told["max_top_n_tokens"]  # a limit that the server keeps to itself
    if identity.v2_info:
        told |= {
            "max_input_length": told.pop("max_input_tokens"), "version": "2.0.4", "model_dtype": "torch.float16",
            "model_device_type": "cuda", "waiting_served_ratio": 1.2, "max_batch_total_tokens": 32000,
            "max_waiting_tokens": 20, "max_batch_size": None,
        }  # fmt: skip
        del told["router"]
    return told


def json_reply(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """A JSON response whose content type names no charset, as the original's does not."""
    typed = {"content-type": "application/json", **(headers or {})}
    return web.Response(body=orjson.dumps(value), status=status, headers=typed)


def details(completion: Completion) -> dict[str, Any]:
    return {
        "finish_reason": completion.finish_reason,
        "generated_tokens": completion.generated_tokens,
        "seed": completion.seed,
        "prefill": [],
        "tokens": [asdict(token) for token in completion.tokens],
    }


def choice(index: int, text: str, reason: str) -> dict[str, Any]:
    return {"index": index, "text": text, "logprobs": None, "finish_reason": reason}


def openai_reason(completion: Completion) -> str:
    return "stop" if completion.finish_reason == "eos_token" else completion.finish_reason


def usage(answers: list[Answer]) -> dict[str, int]:
    prompt = sum(answer.prompt_tokens for answer in answers)
    generated = sum(answer.completion.generated_tokens for answer in answers)
    return {"prompt_tokens": prompt, "completion_tokens": generated, "total_tokens": prompt + generated}


def openai_body(identity: Identity, choices: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "object": "text_completion", "id": "", "created": int(time.time()), "model": identity.model_id,
        "system_fingerprint": f"{VERSION}-native", "choices": choices,
    }  # fmt: skip


def token_events(answer: Answer, before: str, details: bool) -> Iterator[dict[str, Any]]:
    """The events of a stream; the last one holds the whole text, behind `before`, and the details where asked for."""
    told = answer.completion
    for index, token in enumerate(told.tokens, start=1):
        event: dict[str, Any] = {"index": index, "token": asdict(token), "generated_text": None, "details": None}
        if index == len(told.tokens):
            event["generated_text"] = before + told.text
            if details:
                event["details"] = {
                    "finish_reason": told.finish_reason, "generated_tokens": told.generated_tokens, "seed": told.seed,
                    "input_length": answer.prompt_tokens,
                }  # fmt: skip
        yield event


def completion_events(identity: Identity, index: int, answer: Answer) -> Iterator[dict[str, Any]]:
    """The chunks of one prompt of a streamed /v1/completions."""
    *first, last = answer.completion.tokens
    for token in first:
        yield openai_body(identity, [choice(index, token.text, "")])
    # Here, unlike in a plain answer, the reason keeps the server's own name: "eos_token", not "stop".
    final = openai_body(identity, [choice(index, last.text, answer.completion.finish_reason)])
    yield final | {"usage": usage([answer])}


def openai_headers(answers: list[Answer], compute_type: str) -> dict[str, str]:
    """The headers of /v1/completions: sums over its prompts, and no compute time."""
    each = [answer.headers(compute_type) for answer in answers]
    summed = {name: str(sum(int(one[name]) for one in each)) for name in each[0] if name[2:9] != "compute"}
    characters = str(sum(answer.characters for answer in answers))
    return {"x-compute-type": compute_type, "x-compute-characters": characters, **summed}
