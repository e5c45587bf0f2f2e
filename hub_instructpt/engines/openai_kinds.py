"""Which OpenAI-compatible server it is, and what it tells of itself, each in its own way.

    vLLM                 /v1/models says `vllm` and max_model_len; /version
    SGLang               /v1/models says `sglang` and max_model_len; /model_info, /server_info
    llama.cpp            /v1/models says `llamacpp`; /props has the context of a slot and the number of slots
    transformers serve   /openapi.json has /load_model; /v1/models lists the Hub cache, or fails where there is none
    TGI                  /info

Keeps true: only GET is used, and a server that tells nothing is one of kind `openai`, with nothing but its address.
Does not know prompts or tokens.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from hub_instructpt.engines.http_protocol import positive, string
from hub_instructpt.engines.introduction import Introduction
from hub_instructpt.engines.tgi_connect import told_by

# Requests in flight, where a server does not tell how many it works on at a time. More only wait in its queue.
IN_FLIGHT = {"vllm": 256, "sglang": 256, "transformers serve": 32}
IN_FLIGHT_ELSEWHERE = 64

# What servers and gateways may answer, for good, on a route that is not for us.
UNKNOWN_ROUTE = frozenset({401, 403})

_OWNERS = {"vllm": "vllm", "sglang": "sglang", "llamacpp": "llama.cpp"}
_SNAPSHOT = re.compile(r"models--([^/]+?)--([^/]+)/snapshots/([0-9a-f]{40})/?$")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class Told:
    """What a server tells of itself by GET.

    Attributes:
        is_openai: it was seen to have /v1/completions.
        cards: the models of /v1/models, by id.
        path: where the one model lies or what it is called, if the server tells.
        in_flight: requests that it works on at a time.
    """

    kind: str = "openai"
    is_openai: bool = False
    cards: dict[str, dict[str, Any]] = field(default_factory=dict)
    version: str | None = None
    path: str | None = None
    sha: str | None = None
    max_input_tokens: int | None = None
    max_total_tokens: int | None = None
    in_flight: int | None = None


async def told_of(first: Introduction) -> Told:
    """Ask a server what it is."""
    # `transformers serve` fails here, for good, on a machine without a Hub cache.
    listed = await first.get_json("/v1/models", settled={500})
    data = listed.get("data") if isinstance(listed, dict) else None
    found = data if isinstance(data, list) else []
    cards = {card["id"]: card for card in found if isinstance(card, dict) and isinstance(card.get("id"), str)}
    owners = {_OWNERS.get(str(card.get("owned_by"))) for card in cards.values()}
    kind = owners.pop() if len(owners) == 1 else None
    if kind == "vllm":
        about = await _dict_at(first, "/version")
        return Told(kind, True, cards, string(about.get("version")))
    if kind == "sglang":
        model = await _dict_at(first, "/model_info", "/get_model_info")
        server = await _dict_at(first, "/server_info", "/get_server_info")
        running = _kept_full(positive(server.get("max_running_requests")))
        return Told(
            kind, True, cards, string(server.get("version")), string(model.get("model_path")), in_flight=running
        )
    if kind == "llama.cpp":
        return _llama_cpp(cards, await _dict_at(first, "/props"))
    info = await told_by(first, settled=UNKNOWN_ROUTE)
    if info is not None:
        return Told(
            "tgi", True, cards, string(info.get("version")), string(info.get("model_id")),
            string(info.get("model_sha")), positive(info.get("max_input_tokens")),
            positive(info.get("max_total_tokens")), positive(info.get("max_concurrent_requests")),
        )  # fmt: skip
    routes = (await _dict_at(first, "/openapi.json")).get("paths")
    routes = routes if isinstance(routes, dict) else {}
    if "/v1/completions" in routes and "/load_model" in routes:
        return Told("transformers serve", True, cards)
    return Told(is_openai=isinstance(data, list) or "/v1/completions" in routes, cards=cards)


def name_of(path: str) -> tuple[str, str | None]:
    """The public name of a model and its commit, from whatever a server calls it.

    Where a folder lies on a server is nobody's business: manifests and cards are published.
    """
    if snapshot := _SNAPSHOT.search(path):
        return f"{snapshot[1]}/{snapshot[2]}", snapshot[3]
    name, _, revision = path.partition("@")  # as `transformers serve` writes it
    if name.startswith(("/", "./", "../", "~")) or name.count("/") > 1 or "\\" in name:
        name = re.split(r"[/\\]", name.rstrip("/\\"))[-1]
    return name, revision if _COMMIT.fullmatch(revision) else None


def _llama_cpp(cards: dict[str, dict[str, Any]], props: dict[str, Any]) -> Told:
    settings = props.get("default_generation_settings")
    context = positive(settings.get("n_ctx")) if isinstance(settings, dict) else None
    return Told(
        "llama.cpp", True, cards, string(props.get("build_info")), max_total_tokens=context,
        in_flight=_kept_full(positive(props.get("total_slots"))),
    )  # fmt: skip


def _kept_full(running: int | None) -> int | None:
    """Requests in flight for a server that works on so many: a few wait there while answers travel."""
    return running and running + max(4, running // 8)


async def _dict_at(first: Introduction, *paths: str) -> dict[str, Any]:
    """The JSON object at the first of some paths that has one; an empty one where none has."""
    for path in paths:
        told = await first.get_json(path, settled=UNKNOWN_ROUTE | {500, 501})
        if isinstance(told, dict):
            return told
    return {}
