"""The members of a fleet: one connection to one server each, how it is doing, and what all of them have in common.

Keeps true: all members that are asked serve the same model with the same BOS and EOS, so a text does not depend on
who wrote its pairs; and none allows fewer tokens than the fleet does.
Does not know queues, chains or retries.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Literal

from hub_instructpt.engines.base import Engine, capacity_of
from hub_instructpt.engines.load import Load, loads_of
from hub_instructpt.errors import SettingsError
from hub_instructpt.records import EngineInfo

FAILURES_IN_A_ROW = 5

State = Literal["up", "aside", "draining", "replaced"]


@dataclass(eq=False, frozen=True, slots=True)
class Given:
    """A server that was given as an engine, not by its name."""

    engine: Engine


Spec = str | Given

_log = logging.getLogger("hub_instructpt")


@dataclass(eq=False)
class Member:
    """One connection of a fleet to one of its servers. A server that was away comes back as another member.

    Attributes:
        spec: the server as the user named it.
        engine: connected.
        outstanding: prompts that it has.
        on_trial: it was away and has not answered since: it gets one prompt at a time.
        wait_seconds: how long it was left alone the last time.
        trouble: why it was set aside.
        past: its load in earlier connections.
        last_answer: when it answered last, by the monotonic clock.
        backups: prompts that it was given while another member had them.
    """

    spec: Spec
    engine: Engine
    info: EngineInfo
    on_trial: bool = False
    wait_seconds: float = 0.0
    past: Load = field(default_factory=Load)
    state: State = "up"
    outstanding: int = 0
    failures: int = 0
    trouble: str = ""
    last_answer: float = 0.0
    backups: int = 0

    @property
    def address(self) -> str:
        return shown(self.engine)

    @property
    def usable(self) -> bool:
        return self.state == "up"

    @property
    def capacity(self) -> int:
        return 1 if self.on_trial else max(1, capacity_of(self.engine, self.info))

    def answered(self) -> None:
        """It has answered a prompt."""
        self.last_answer = time.monotonic()
        self.failures, self.on_trial = 0, False
        self.wait_seconds = 0.0

    def failed(self) -> bool:
        """A prompt failed here, and it may be the server's fault.

        Returns:
            Whether the server is better left alone for a while.
        """
        self.failures += 1
        return self.on_trial or self.failures >= FAILURES_IN_A_ROW

    def pace(self) -> float | None:
        """Seconds that it takes for a token, in the mean; None as long as nobody knows."""
        loads = loads_of(self.engine)
        return loads[0].answer_seconds / loads[0].tokens if loads and loads[0].tokens else None

    def latency(self) -> float:
        """Seconds that it takes for an answer, in the mean."""
        loads = loads_of(self.engine)
        return loads[0].latency if loads else 0.0

    def load(self) -> Load:
        """Its load, all its connections taken together."""
        loads = loads_of(self.engine)
        load = _added(self.past, loads[0]) if loads else self.past
        state = "on trial" if self.on_trial and self.usable else self.state
        limit = self.capacity if self.usable else 0
        return replace(
            load, address=self.address, state=state, limit=limit, in_flight=self.outstanding,
            backups=load.backups + self.backups,
        )  # fmt: skip


def shown(engine: Spec | Engine) -> str:
    """An engine's address without passwords."""
    engine = engine.engine if isinstance(engine, Given) else engine
    if isinstance(engine, str):
        scheme, colon, rest = engine.partition("://")
        return f"{scheme}{colon}{rest.rpartition('@')[2]}" if colon else engine
    return str(getattr(engine, "address", type(engine).__name__))


def _added(one: Load, other: Load) -> Load:
    numbers = [name.name for name in fields(Load) if name.name not in ("address", "state", "limit", "in_flight")]
    return replace(other, **{name: getattr(one, name) + getattr(other, name) for name in numbers})


def check_same(first: Member, other: Member) -> None:
    """Compare what two servers say that they serve.

    Raises:
        SettingsError: they serve different models, or read prompts differently.
    """
    for name, what in (("model_id", "serves"), ("model_sha", "serves revision"), ("bos", "has the BOS"),
                       ("eos", "has the EOS")):  # fmt: skip
        mine, theirs = getattr(first.info, name), getattr(other.info, name)
        if mine != theirs and (name != "model_sha" or (mine and theirs)):
            raise SettingsError(
                f"{first.address} {what} {mine!r}, and {other.address} {theirs!r}: a fleet has one model.",
                advice="Start all servers with the same model and revision, or leave one out.",
            )
    for name in ("dtype", "kind"):
        mine, theirs = getattr(first.info, name), getattr(other.info, name)
        if mine and theirs and mine != theirs:
            _log.warning(
                "%s has %s %s, and %s has %s: the same prompt may not get the same words from both.",
                first.address, name, mine, other.address, theirs,
            )  # fmt: skip


def info_of(members: Sequence[Member]) -> EngineInfo:
    """What holds for all members: the smallest token limits, and room for what they take together."""
    infos = [member.info for member in members]
    kinds = sorted({info.kind for info in infos})
    return replace(
        infos[0],
        kind="+".join(kinds),
        model_sha=next((info.model_sha for info in infos if info.model_sha), None),
        max_input_tokens=min(info.max_input_tokens for info in infos),
        max_total_tokens=min(info.max_total_tokens for info in infos),
        max_concurrent_requests=sum(info.max_concurrent_requests for info in infos),
        version=infos[0].version if len({info.version for info in infos}) == 1 else None,
        dtype=infos[0].dtype if len({info.dtype for info in infos}) == 1 else None,
        special_tokens=tuple(dict.fromkeys(token for info in infos for token in info.special_tokens)),
    )


def check_fits(member: Member, info: EngineInfo) -> None:
    """See whether a server that comes later takes what the fleet may send.

    Raises:
        SettingsError: it takes fewer tokens, or cares for special tokens that prompts are not kept free of.
    """
    if member.info.max_total_tokens < info.max_total_tokens or member.info.max_input_tokens < info.max_input_tokens:
        raise SettingsError(
            f"{member.address} takes {member.info.max_total_tokens} tokens, {member.info.max_input_tokens} of them "
            f"input; the run began with {info.max_total_tokens} and {info.max_input_tokens}.",
            advice="Start it with the limits of the others.",
        )
    if not set(member.info.special_tokens) <= set(info.special_tokens):
        raise SettingsError(f"{member.address} has special tokens that the run does not know of.")
