"""What a client finds out about an OpenAI-compatible server before the first prompt: its model, its limits, its BOS.

What the server does about special tokens is not guessed from its name but read off its own counts: completions of one
token for texts made of nothing but BOS. `<s><s>` is one token longer than `<s>` where that is a token at all, and what
`<s>` counts above one was added by the server.

Keeps true: nothing is posted to a server that was not seen to have /v1/completions, unless the user says that it has.
Does not know the runs that follow.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

from hub_instructpt.engines.http_protocol import Question, json_of, positive
from hub_instructpt.engines.introduction import Given, Introduction
from hub_instructpt.engines.openai import Counter, OpenAI
from hub_instructpt.engines.openai_kinds import IN_FLIGHT, IN_FLIGHT_ELSEWHERE, UNKNOWN_ROUTE, Told, name_of, told_of
from hub_instructpt.engines.openai_protocol import (
    COMPLETIONS,
    counting_by_content,
    counting_by_tokenize,
    counting_by_usage,
    prompt_tokens_of,
)
from hub_instructpt.engines.tgi_connect import unknown_bos
from hub_instructpt.engines.transport import Response
from hub_instructpt.errors import NotAnEngine, SettingsError
from hub_instructpt.records import EngineInfo

ASSUMED_TOKENS = 2048
"""The limit where neither the server nor the user tells one. Too small costs text, too large costs answers."""

_log = logging.getLogger("hub_instructpt")


@dataclass(frozen=True, slots=True)
class _Tokens:
    """BOS and EOS to write into prompts, and what the server does: see `OpenAI`."""

    bos: str
    eos: str
    adds_bos: bool
    plain: bool


async def recognise(first: Introduction, given: Given, *, sure: bool) -> OpenAI:
    """Get to know a server.

    Args:
        first: how it is asked.
        given: what the user said of it.
        sure: the user said that it is OpenAI-compatible; otherwise it must show that it is.
    """
    told = await told_of(first)
    if not (told.is_openai or sure):
        raise NotAnEngine(
            f"{first.address} is not a text-generation server: it has neither TGI's /info nor /v1/models.",
            advice="Check the address. If it has /v1/completions all the same, write openai+ before http.",
        )
    model, called = await _model(first, given, told)
    tokens = await _tokens(first, given, model)
    counter = await _counter(first, told.kind, model, tokens)
    queues = told.in_flight is None
    return OpenAI(_info(told, given, called, tokens), model, tokens.adds_bos, tokens.plain, counter, queues)


async def _model(first: Introduction, given: Given, told: Told) -> tuple[str | None, str]:
    """The `model` to send, if any, and what the server calls the model that answers."""
    # Most servers have one model and need not hear its name; a wrong one is an error, or names an adapter.
    names = [given.model] if given.model else [None, *(told.cards if len(told.cards) == 1 else ())]
    for name in names:
        question = counting_by_usage("a", name, plain=False)
        response = await first.generate(question.path, question.body, settled={500})
        if response.status == 200:
            answer = json_of(response.body)
            if not isinstance(answer, dict) or not isinstance(answer.get("choices"), list):
                raise NotAnEngine(
                    f"{first.address} answers {COMPLETIONS}, but not as an OpenAI-compatible server does.",
                    advice="Check the address.",
                )
            return name, str(answer.get("model") or name or "")
    raise _no_model(first.address, given, told, response)


def _no_model(address: str, given: Given, told: Told, response: Response) -> Exception:
    if 300 <= response.status < 400 or response.status in (404, 405, 501):
        known = given.model is not None and given.model not in told.cards and bool(told.cards)
        if not known:
            return NotAnEngine(
                f"{address} has no {COMPLETIONS} ({response.status}).",
                advice="Check the address: a server with text completions is needed, not one with chat alone.",
            )
    listed = f" It lists: {', '.join(sorted(told.cards)[:8])}." if told.cards else ""
    if given.model:
        return SettingsError(
            f"{address} does not complete with the model {given.model!r} ({response.status}).{listed}",
            advice="Give one that it serves.",
        )
    return SettingsError(
        f"{address} does not say which model to use ({response.status}).{listed}",
        advice="Name it: --model, or the option model=….",
    )


async def _tokens(first: Introduction, given: Given, model: str | None) -> _Tokens:
    """Find the BOS that the model knows, whether the server adds it, and whether that can be told it not to."""

    async def count(text: str, *, plain: bool = False) -> int | None:
        question = counting_by_usage(text, model, plain=plain)
        response = await first.generate(question.path, question.body)
        return prompt_tokens_of(response) if response.status == 200 else None

    candidates = given.control_pairs
    for bos, eos in candidates:
        once, twice = (await count(bos), await count(bos * 2)) if bos else (0, 0)
        if once is None or twice is None:  # no counts: all known servers add a BOS
            _log.warning("%s does not count tokens; it is taken to add a BOS to each prompt.", first.address)
            return _Tokens(candidates[0][0], given.eos or candidates[0][1], adds_bos=True, plain=False)
        if twice - once != 1:  # no token of this model
            continue
        added = once - 1
        plain = added > 0 and await count(bos, plain=True) == 1
        if added > 1 and not plain:
            _log.warning("%s puts %d tokens around each prompt, not only a BOS.", first.address, added)
        return _Tokens(bos, given.eos or eos, adds_bos=added > 0, plain=plain)
    if given.bos:
        raise unknown_bos(first.address, given.bos)
    # A model without a BOS, or with one that is not known: write none, rather than its letters.
    return _Tokens("", given.eos or "", adds_bos=False, plain=False)


async def _counter(first: Introduction, kind: str, model: str | None, tokens: _Tokens) -> Counter:
    """The cheapest way of counting tokens that the server has, and that agrees with what its completions say."""
    sent = "a b" if tokens.adds_bos and not tokens.plain else tokens.bos + "a b"
    by_usage = counting_by_usage(sent, model, plain=tokens.plain)
    response = await first.generate(by_usage.path, by_usage.body)
    read = prompt_tokens_of(response) if response.status == 200 else None

    def ways() -> Iterator[tuple[Counter, Question[int]]]:
        if kind == "llama.cpp":
            yield "content", counting_by_content(sent)
        elif kind != "transformers serve":  # which is known to have none
            yield "tokenize", counting_by_tokenize(sent, model, plain=tokens.plain)

    for counter, question in ways():
        response = await first.post(question.path, question.body, settled=UNKNOWN_ROUTE | {500})
        number = question.read(response) if response.status == 200 else None
        if number is not None and read in (number, None):
            return counter
    return "usage" if read is not None else "bytes"


def _info(told: Told, given: Given, called: str, tokens: _Tokens) -> EngineInfo:
    # The card of the model that answers: the one asked for, or the one that the answer names.
    card = told.cards.get(given.model or called) or (next(iter(told.cards.values())) if len(told.cards) == 1 else {})
    if told.kind == "transformers serve":  # its list is of other models
        card = {}
    model_id, sha = name_of(told.path or str(card.get("root") or card.get("id") or given.model or called or "unknown"))
    limits = (
        told.max_total_tokens,
        *(positive(card.get(name)) for name in ("max_model_len", "context_length", "context_window")),
    )
    most = next((limit for limit in limits if limit), None)
    if most is None and given.max_total_tokens is None:
        _log.warning(
            "The server does not tell how many tokens it takes: %d are assumed (--max-total-tokens says otherwise).",
            ASSUMED_TOKENS,
        )
    total = min(limit for limit in (most, given.max_total_tokens or (None if most else ASSUMED_TOKENS)) if limit)
    return EngineInfo(
        kind=told.kind,
        model_id=model_id,
        model_sha=told.sha or sha,
        max_input_tokens=max(1, min(told.max_input_tokens or total, total - 1)),
        max_total_tokens=total,
        max_concurrent_requests=given.concurrency or told.in_flight or IN_FLIGHT.get(told.kind, IN_FLIGHT_ELSEWHERE),
        bos=tokens.bos,
        eos=tokens.eos,
        version=told.version,
    )
