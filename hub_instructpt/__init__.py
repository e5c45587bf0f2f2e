"""hub-instructpt: raw text in, instruction-augmented training data out.

    from hub_instructpt import Augment, Render
    ds = ds.map(Augment("http://127.0.0.1:8080"), batched=True)
    ds = ds.map(Render(seed=0), batched=True, remove_columns=ds.column_names)

Names are loaded when they are first used, so that importing the package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from hub_instructpt.version import __version__

if TYPE_CHECKING:
    from hub_instructpt.augment import Augment
    from hub_instructpt.errors import HubInstructPTError
    from hub_instructpt.markup import format_prompt, parse_pairs
    from hub_instructpt.records import SamplingParams
    from hub_instructpt.rendering import Render


_HOME = {
    "Augment": "augment",
    "HubInstructPTError": "errors",
    "Render": "rendering",
    "SamplingParams": "records",
    "format_prompt": "markup",
    "parse_pairs": "markup",
}

__all__ = ["Augment", "HubInstructPTError", "Render", "SamplingParams", "__version__", "format_prompt", "parse_pairs"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
