"""What a client finds out about a TGI server before the first prompt: that it is one, its limits, and its BOS.

Keeps true: nothing but GET /info and POST /tokenize is asked. Does not know prompts.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from typing import Any

from hub_instructpt.engines.http_protocol import json_bytes, json_of, positive, string
from hub_instructpt.engines.introduction import Given, Introduction
from hub_instructpt.engines.tgi_protocol import ids_of
from hub_instructpt.errors import NotAnEngine, SettingsError
from hub_instructpt.records import EngineInfo


@dataclass(frozen=True, slots=True)
class ControlTokens:
    """The BOS and EOS to write into prompts, and what the server does about them.

    `adds_bos`: the server puts the BOS there by itself. `tokenizes`: it has /tokenize.
    """

    bos: str
    eos: str
    adds_bos: bool
    tokenizes: bool


async def told_by(first: Introduction, *, settled: Container[int] = ()) -> dict[str, Any] | None:
    """What /info tells, or None where there is no TGI; a status in `settled` says that there is none.

    Raises:
        EngineUnavailable, NotAnEngine: as `Engine.connect` says.
    """
    response = await first.get("/info", settled=settled)
    if 300 <= response.status < 400:
        raise first.redirected(response.status)
    told = json_of(response.body) if response.status == 200 else None
    if not isinstance(told, dict) or not isinstance(told.get("model_id"), str):
        return None
    if isinstance(told.get("model_type"), dict):  # text-embeddings-inference, which has an /info too
        raise NotAnEngine(
            f"{first.address} serves {'embeddings' if 'embedding' in told['model_type'] else 'scores'}, not text.",
            advice="Give the address of a text-generation server.",
        )
    return told


def not_tgi(first: Introduction) -> NotAnEngine:
    """The error for a server without TGI's /info, where TGI was asked for."""
    return NotAnEngine(
        f"{first.address} is not a text-generation-inference server: its /info tells no model_id.",
        advice=f"Check the address; `curl {first.address}/info` should show a model_id. For an OpenAI-compatible "
        "server write http:// or openai+http://.",
    )


def info_of(told: dict[str, Any], tokens: ControlTokens, given: Given, address: str) -> EngineInfo:
    """What /info tells, in our words.

    Raises:
        SettingsError: the server has another model than the one asked for.
    """
    model_id = str(told["model_id"])
    if given.model not in (None, model_id):
        raise SettingsError(f"{address} serves {model_id}, not {given.model}.", advice="Leave `model` out.")
    allowed = positive(told.get("max_concurrent_requests")) or 128
    max_total = positive(told.get("max_total_tokens")) or given.max_total_tokens or 2048
    max_total = min(max_total, given.max_total_tokens or max_total)
    # Servers before 3.0 call it max_input_length.
    max_input = positive(told.get("max_input_tokens")) or positive(told.get("max_input_length")) or max_total - 1
    return EngineInfo(
        kind="tgi",
        model_id=model_id,
        model_sha=string(told.get("model_sha")),
        max_input_tokens=min(max_input, max(1, max_total - 1)),
        max_total_tokens=max_total,
        max_concurrent_requests=min(allowed, given.concurrency or allowed),
        bos=tokens.bos,
        eos=tokens.eos,
        version=string(told.get("version")),
        dtype=string(told.get("model_dtype")),
    )


async def control_tokens(first: Introduction, given: Given) -> ControlTokens:
    """Find, by /tokenize, the BOS that the model knows, and whether the server adds it.

    Raises:
        SettingsError: the BOS that was given is no token of the model.
    """
    candidates = given.control_pairs
    for bos, eos in candidates:
        once, thrice = await _tokenize(first, bos + "a"), await _tokenize(first, bos * 3 + "a")
        if once is None or thrice is None:  # every TGI adds a BOS
            return ControlTokens(candidates[0][0], given.eos or candidates[0][1], adds_bos=True, tokenizes=False)
        if bos and len(thrice) - len(once) == 2:  # one token of this model
            # Whatever stands before our literal was put there by the server.
            adds = once[0] != thrice[1] or once[1] == thrice[1]
            return ControlTokens(bos, given.eos or eos, adds, tokenizes=True)
    if given.bos:
        raise unknown_bos(first.address, given.bos)
    # A model without a BOS, or with one that is not known: write none, rather than its letters.
    return ControlTokens("", given.eos or "", adds_bos=False, tokenizes=True)


def unknown_bos(address: str, bos: str) -> SettingsError:
    """The error for a BOS that was given and is no token of the model."""
    return SettingsError(
        f"bos={bos!r} is not a token of the model at {address}.",
        advice="Give the beginning-of-sequence string of its tokenizer, or leave it out.",
    )


async def _tokenize(first: Introduction, text: str) -> list[int] | None:
    """Ids of a text, or None where the server has no /tokenize."""
    response = await first.post("/tokenize", json_bytes({"inputs": text}))
    return (ids_of(response) if response.status == 200 else None) or None
