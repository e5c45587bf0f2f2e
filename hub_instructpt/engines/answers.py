"""What an HTTP request ends in: an answer, or a failure of one of three kinds.

Does not know how requests are sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

CONNECT_SECONDS = 10.0

FailureKind = Literal["unreachable", "timeout", "broken"]


class TransportFailure(Exception):
    """No whole answer came back.

    `unreachable`: no connection could be made. `timeout`: the time limit passed. `broken`: the connection was cut,
    or what came over it was not HTTP.
    """

    def __init__(self, kind: FailureKind) -> None:
        super().__init__(kind)
        self.kind: FailureKind = kind


@dataclass(frozen=True, slots=True)
class Response:
    """An HTTP answer: status, headers as they came, and the whole body."""

    status: int
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes

    def header(self, name: str) -> str | None:
        """The first header of a name, which is given in lower case."""
        wanted = name.encode()
        for key, value in self.headers:
            if len(key) == len(wanted) and key.lower() == wanted:
                return value.decode("latin-1")
        return None
