"""What tells one kind of server from another, once it is known which kind it is.

A dialect is made at connect time from what the server told, and holds for one connection. Everything else (asking
again, limits, keys) is the same for all servers and lives in http_engine.py.
"""

from __future__ import annotations

from typing import Protocol

from hub_instructpt.engines.http_protocol import Question
from hub_instructpt.records import Completion, EngineInfo, SamplingParams


class Dialect(Protocol):
    """How one server is spoken to."""

    @property
    def info(self) -> EngineInfo:
        """What is known of the server."""
        ...

    @property
    def queues(self) -> bool:
        """Whether the server queues whatever comes, and nobody knows how much of it at a time is best."""
        ...

    def completing(self, prompt: str, sampling: SamplingParams) -> Question[Completion | Question[Completion]]:
        """Asks for the completion of a prompt; an answer may be another question that is needed for it.

        Raises:
            SettingsError: for sampling that this server can not do.
            RequestFailed: for a prompt that can not be sent.
        """
        ...

    def counting(self, text: str) -> Question[int] | int:
        """Asks for the number of tokens of a text, BOS included; a number where the server need not be asked."""
        ...
