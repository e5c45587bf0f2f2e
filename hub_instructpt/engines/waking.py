"""Servers that fall asleep: how one knows that they did, and how long one waits until they are up again.

An endpoint that scales to zero is there and is not: its proxy answers 503 (or 502, 504) for the minutes in which a
machine is found and the model is loaded. On a host that is known to do that, or where `wake_seconds` says so, such an
answer starts a wait that has a bound of its own. Elsewhere it is an error like others.

Keeps true: one message per sleep, whoever waits. A prompt for which the status comes while others are answered is not
waiting for anything: the server is awake, and the trouble is the prompt's.
Does not know requests or retries.
"""

from __future__ import annotations

import logging
import time

from hub_instructpt.errors import EngineUnavailable

WAKE_SECONDS = 600.0
"""How long an Inference Endpoint may take: large models were seen to need several minutes."""

_STATUSES = frozenset({502, 503, 504})
_log = logging.getLogger("hub_instructpt")


class Waking:
    """The sleeps of one server.

    Args:
        address: as shown to the user.
        seconds: bound on one sleep; 0 for a server that is not known to sleep.
    """

    def __init__(self, address: str, seconds: float) -> None:
        self.address, self.seconds = address, seconds
        self.answers = 0
        """Counts everything that was no sleep. Whoever gets an answer adds one."""
        self._since = 0.0
        self._asleep_at = -1  # the number of answers at which this sleep began

    def is_sleep(self, status: int) -> bool:
        """Whether a status may mean that this server sleeps."""
        return self.seconds > 0 and status in _STATUSES

    def wait(self, sign: str) -> float:
        """Note a sign of sleep: a status, or what became of a request.

        Returns:
            Seconds for which this sleep has lasted.

        Raises:
            EngineUnavailable: it has lasted too long.
        """
        now = time.monotonic()
        if self._asleep_at != self.answers:
            self._asleep_at, self._since = self.answers, now
            _log.warning(
                "%s is asleep or starting (%s). Waiting for it to wake, for up to %s.",
                self.address,
                sign,
                _duration(self.seconds),
            )
        lasted = now - self._since
        if lasted >= self.seconds:
            raise EngineUnavailable(
                f"{self.address} did not wake within {_duration(self.seconds)} ({sign}).",
                advice="Look at its page: is it paused, or failing to start? Then run the same command again; "
                "what is done is safe.",
            )
        return lasted


def _duration(seconds: float) -> str:
    return f"{seconds / 60:g} minutes" if seconds >= 120 else f"{seconds:g} s"
