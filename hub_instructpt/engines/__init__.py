"""Engines: text in, text out. A server behind a URL or a model in this process, all with the same one verb.

    http://host:port            a text-generation server; which kind is found out by asking
    tgi+http://host:port        text-generation-inference, without asking
    local                       the tiny synthesizer that comes with the package
    local:PATH_OR_MODEL_ID      any causal LM, in this process through transformers

Keeps true: naming an engine costs nothing; only connecting it does.
Does not know markup, rows or files.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hub_instructpt.engines.base import Engine
from hub_instructpt.errors import SettingsError

if TYPE_CHECKING:
    from hub_instructpt.engines.local import LocalEngine
    from hub_instructpt.engines.tgi import TGIEngine

__all__ = ["Engine", "LocalEngine", "TGIEngine", "open_engine"]

EngineSpec = str | Sequence[str] | Engine


def open_engine(spec: EngineSpec, **options: Any) -> Engine:
    """The engine that `spec` names, not yet connected.

    Args:
        spec: an engine, its name as written above, or a list with one such name.
        options: keyword arguments of the engine, such as `api_key`, `concurrency` or `timeout_seconds`.

    Raises:
        SettingsError: for a name that no engine has.
    """
    if not isinstance(spec, str | Sequence):
        return spec
    if not isinstance(spec, str):
        if len(spec) != 1:
            raise SettingsError(
                f"{len(spec)} engines were given; one is what works today.",
                advice="Put a load balancer in front of several servers, or run one process per server.",
            )
        return open_engine(spec[0], **options)
    name = spec.strip()
    if name == "local" or name.startswith("local:"):
        from hub_instructpt.engines.local import LocalEngine

        return LocalEngine(name.partition(":")[2] or None, **options)
    url = name.removeprefix("tgi+")
    if url.lower().startswith(("http://", "https://")):
        from hub_instructpt.engines.tgi import TGIEngine

        return TGIEngine(url, **options)
    raise SettingsError(
        f"{name!r} names no engine.",
        advice="Give http://host:port of a text-generation-inference server, `local`, or `local:PATH_OR_MODEL_ID`.",
    )


def __getattr__(name: str) -> Any:
    if name == "TGIEngine":
        from hub_instructpt.engines.tgi import TGIEngine

        return TGIEngine
    if name == "LocalEngine":
        from hub_instructpt.engines.local import LocalEngine

        return LocalEngine
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
