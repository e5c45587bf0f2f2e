"""Faults that a test switches on in a running double: the ways in which a server lets a client down.

A fault is JSON::

    {"kind": "status", "status": 429, "times": 3}                     the next three requests
    {"kind": "reset", "share": 0.2, "seed": 7}                        every fifth or so, the same ones each time
    {"kind": "poison", "match": "arsenic", "status": 424}             always, for prompts that hold the word
    {"kind": "slow", "seconds": 0.5, "after": 10, "route": "*"}       from the eleventh request on, on every route
    {"kind": "status", "status": 424, "every": 100, "burst": 20, "late": true}
                                                                      20 in a row of each 100, when the work is done

Keeps true: `after`, `times` and `share` count only requests that the fault is about (its route, its `match`), so two
faults never disturb each other's counting. With `share`, the n-th such request always meets the same fate.
Does not know: what a right answer looks like. It says which faults struck a request; the server acts on that.
"""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from aiohttp import web

from tests.doubles.tgi_requests import Refusal

EARLY = {"status", "poison", "plain_text", "wrong_json", "reset"}
"""Kinds that take the place of an answer, and of the work for it unless they come `late`."""
WAITS = {"stall", "slow"}
"""Kinds that hold a permit for a while; after a stall no answer follows."""
LATE = {"half_body", "reset_in_body", "empty_text", "no_headers", "no_choices", "no_usage", "aborted"}
"""Kinds that spoil an answer which was really generated."""
KINDS = EARLY | WAITS | LATE

ERRORS = {
    422: ("Input validation error: this double was told to refuse it", "validation"),
    424: ("Request failed during generation: Server error: this double was told to fail", "generation"),
    429: ("Model is overloaded", "overloaded"),
    500: ("Incomplete generation", "incomplete_generation"),
    503: ("unhealthy", "healthcheck"),
}
PROXY_PAGE = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>Bad Gateway</body>\r\n</html>\r\n"


class Cut(Exception):
    """Cut the connection; no answer, or no more of it."""


class Instead(Exception):
    """Answer this in place of what was worked out."""

    def __init__(self, response: web.Response) -> None:
        super().__init__()
        self.response = response


@dataclass
class Fault:
    """One fault, with the count of requests that it was about and of those that it struck."""

    kind: str
    share: float = 1.0
    times: int | None = None
    after: int = 0
    match: str = ""
    route: str | None = None
    status: int | None = None
    seconds: float | None = None
    seed: int = 0
    every: int = 1
    burst: int = 1
    late: bool = False
    seen: int = 0
    struck: int = 0
    _draws: random.Random = field(default_factory=random.Random, repr=False)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown kind of fault {self.kind!r}: one of {sorted(KINDS)}")
        if self.kind == "poison" and not self.match:
            raise ValueError("a poison needs `match`: which prompts it is about")
        if self.kind in {"status", "poison"} and self.code not in ERRORS:
            raise ValueError(f"no error body is known for status {self.code}: one of {sorted(ERRORS)}")
        if self.late and self.kind not in EARLY:
            raise ValueError(f"only these can be late: {sorted(EARLY)}")
        if not 1 <= self.burst <= self.every:
            raise ValueError("`burst` lies between 1 and `every`")
        self._draws = random.Random(self.seed)

    @classmethod
    def read(cls, body: Any) -> Fault:
        known = {f.name for f in fields(cls)} - {"seen", "struck", "_draws"}
        if not isinstance(body, dict) or (unknown := body.keys() - known):
            raise ValueError(f"not a fault: {body if not isinstance(body, dict) else sorted(unknown)}")
        return cls(**body)

    @property
    def code(self) -> int:
        return self.status or {"status": 500, "poison": 424, "plain_text": 502}.get(self.kind, 200)

    def strikes(self, route: str, inputs: str, generates: bool) -> bool:
        """Whether this request meets the fault; counts it either way."""
        about_route = generates if self.route is None else self.route in ("*", route)
        if not about_route or self.match not in inputs:
            return False
        self.seen += 1
        chosen = (self.seen - 1) % self.every < self.burst
        chosen &= (
            self._draws.random() < self.share
        )  # drawn for every request, so that its fate hangs on its number only
        if self.seen <= self.after or not chosen or (self.times is not None and self.struck >= self.times):
            return False
        self.struck += 1
        return True

    def instead(self) -> web.Response | None:
        """What the server gives in place of an answer, or None where the fault only spoils or delays one."""
        match self.kind:
            case "status" | "poison":
                raise Refusal(self.code, *ERRORS[self.code])
            case "plain_text":
                return web.Response(status=self.code, text=PROXY_PAGE, content_type="text/html")
            case "wrong_json":
                return web.json_response({"outputs": [{"text": "of another server"}]}, status=self.code)
            case "reset":
                raise Cut
            case _:
                return None


@dataclass
class Struck:
    """The faults that struck one request."""

    faults: list[Fault] = field(default_factory=list)

    def has(self, kind: str) -> bool:
        return any(fault.kind == kind for fault in self.faults)

    @property
    def seconds(self) -> float:
        """How long to wait: an hour stands for never."""
        default = {"stall": 3600.0, "slow": 1.0}
        return sum(f.seconds if f.seconds is not None else default[f.kind] for f in self.faults if f.kind in WAITS)

    def instead(self) -> web.Response | None:
        early = (fault for fault in self.faults if not fault.late)
        return next((answer for fault in early if (answer := fault.instead()) is not None), None)

    def after_work(self) -> None:
        """What is done when the work is done, and its answer is not given."""
        for fault in self.faults:
            if fault.late and (answer := fault.instead()) is not None:
                raise Instead(answer)


class Faults:
    """All faults that are switched on now, in the order in which they were."""

    def __init__(self) -> None:
        self.on: list[Fault] = []

    def add(self, body: Any) -> None:
        self.on += [Fault.read(one) for one in (body if isinstance(body, list) else [body])]

    def clear(self) -> None:
        self.on = []

    def draw(self, route: str, inputs: str, generates: bool) -> Struck:
        return Struck([fault for fault in self.on if fault.strikes(route, inputs, generates)])

    def described(self) -> list[dict[str, Any]]:
        return [{k: v for k, v in asdict(fault).items() if not k.startswith("_")} for fault in self.on]
