"""Engines: text in, text out. A server behind a URL or a model in this process, all with the same one verb.

    http(s)://host:port         a text-generation server; which kind is found out by asking
    tgi+http(s)://host:port     text-generation-inference, without asking
    text-generation+http(s)://… text-generation-inference through its own Python client, an extra
    openai+http(s)://host:port  /v1/completions, without asking: vLLM, SGLang, llama.cpp, `transformers serve`, …
    local                       the tiny synthesizer that comes with the package
    local:PATH_OR_MODEL_ID      any causal LM, in this process through transformers
    @FILE                       those that a file names, one a line; it is read again when it changes

Several of them are one engine as well, a fleet.

Keeps true: naming an engine costs nothing; only connecting it does.
Does not know markup, rows or files.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from hub_instructpt.engines.base import Engine
from hub_instructpt.errors import SettingsError

if TYPE_CHECKING:
    from hub_instructpt.engines.detect import ServerEngine
    from hub_instructpt.engines.fleet import Fleet
    from hub_instructpt.engines.local import LocalEngine
    from hub_instructpt.engines.openai import OpenAIEngine
    from hub_instructpt.engines.text_generation import TextGenerationEngine
    from hub_instructpt.engines.tgi import TGIEngine

__all__ = [
    "Engine",
    "Fleet",
    "LocalEngine",
    "OpenAIEngine",
    "ServerEngine",
    "TGIEngine",
    "TextGenerationEngine",
    "open_engine",
]

EngineSpec = str | Sequence[str | Engine] | Engine

# Loaded when they are first used: one needs an HTTP client, another torch.
_ROOMS = {
    "Fleet": "hub_instructpt.engines.fleet",
    "LocalEngine": "hub_instructpt.engines.local",
    "OpenAIEngine": "hub_instructpt.engines.openai",
    "ServerEngine": "hub_instructpt.engines.detect",
    "TGIEngine": "hub_instructpt.engines.tgi",
    "TextGenerationEngine": "hub_instructpt.engines.text_generation",
}
_PREFIXES = {
    "text-generation+": "TextGenerationEngine",
    "tgi+": "TGIEngine",
    "openai+": "OpenAIEngine",
    "": "ServerEngine",
}


def open_engine(spec: EngineSpec, **options: Any) -> Engine:
    """The engine that `spec` names, not yet connected.

    Args:
        spec: an engine, its name as written above, or a list of them, which is a fleet.
        options: keyword arguments of the engine, such as `api_key`, `concurrency` or `timeout_seconds`.

    Raises:
        SettingsError: for a name that no engine has, or an option that this one does not have.
    """
    if not isinstance(spec, str | Sequence):
        return spec
    if not isinstance(spec, str):
        files = [one[1:] for one in spec if isinstance(one, str) and one.startswith("@")]
        engines = [one for one in spec if not (isinstance(one, str) and one.startswith("@"))]
        if len(engines) == 1 and not files:
            return open_engine(engines[0], **options)
        if len(files) > 1:
            raise SettingsError("There can be one file of engines only.", advice="Write all engines into one.")
        from hub_instructpt.engines.fleet import Fleet

        return Fleet(engines, file=files[0] if files else None, **options)
    name = spec.strip()
    if name.startswith("@"):
        return open_engine([name], **options)
    if name == "local" or name.startswith("local:"):
        if options.pop("model", None) is not None:
            raise SettingsError("The local engine has its model in its name.", advice="Write local:PATH_OR_MODEL_ID.")
        return _opened("LocalEngine", name.partition(":")[2] or None, options)
    for prefix, kind in _PREFIXES.items():
        url = name.removeprefix(prefix)
        if name.startswith(prefix) and url.lower().startswith(("http://", "https://")):
            return _opened(kind, url, options)
    raise SettingsError(
        f"{name!r} names no engine.",
        advice="Give http://host:port of a text-generation server (TGI, vLLM, SGLang, llama.cpp, transformers serve), "
        "`local`, or `local:PATH_OR_MODEL_ID`.",
    )


def _opened(kind: str, where: str | None, options: dict[str, Any]) -> Engine:
    engine: Engine = getattr(import_module(_ROOMS[kind]), kind)(where, **options)
    return engine


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return getattr(import_module(_ROOMS[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
