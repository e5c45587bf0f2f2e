"""Every error of the package, in one tree.

    HubInstructPTError            what happened, and what to do about it (`advice`)
    ├── UsageError                wrong use or bad input: the command line ends with 2
    │   ├── SettingsError         a setting that is unknown, out of range, or impossible with this server
    │   ├── InputError            a source that is missing, unreadable or without the column asked for
    │   └── RunDirectoryError     an output directory that belongs to another run, or to a running process
    ├── EngineError               the engine failed: the command line ends with 1, what is done is safe
    │   ├── EngineUnavailable     nothing answers, or it refuses us
    │   ├── NotAnEngine           something answers, but it is no text-generation server
    │   └── RequestFailed         one prompt failed for good; the others are not touched by it
    ├── RunError                  a run that cannot go on: too many failures, or files that were changed
    ├── CardError                 a card that cannot be written from what is known
    └── HubError                  the Hub refused: no token, no right, no such repo, or no answer

Messages never hold a prompt, a completion or a credential. Knows nothing of any other room.
"""

from __future__ import annotations


class HubInstructPTError(Exception):
    """Base of all errors raised on purpose.

    Args:
        message: what happened, in one line.
        advice: what to do next, in one line; shown after the message.
    """

    exit_status = 1

    def __init__(self, message: str, *, advice: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice

    def __str__(self) -> str:
        return f"{self.message} {self.advice}".strip()

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword arguments are lost by Exception's own pickling, and errors travel out of `map` workers.
        return (_rebuild, (type(self), dict(self.__dict__)))


def _rebuild(kind: type[HubInstructPTError], state: dict[str, object]) -> HubInstructPTError:
    error = kind.__new__(kind)
    Exception.__init__(error, state.get("message", ""))
    error.__dict__.update(state)
    return error


class UsageError(HubInstructPTError):
    """Wrong use or bad input: nothing was asked of any engine for it."""

    exit_status = 2


class SettingsError(UsageError):
    """A setting that is unknown, out of range, or impossible with this server."""


class InputError(UsageError):
    """A source that is missing, unreadable, empty, or without the column asked for."""


class RunDirectoryError(UsageError):
    """An output directory that belongs to another run, or to a process that is running now."""


class EngineError(HubInstructPTError):
    """The engine failed."""


class EngineUnavailable(EngineError):
    """Nothing answers at the engine's address, or it refuses to serve us at all."""


class NotAnEngine(EngineError):
    """Something answers, but it does not speak the protocol that was expected."""


class RequestFailed(EngineError):
    """One prompt failed for good.

    Attributes:
        reason: a short word for counting, such as `status_422` or `timeout`.
        attempts: how often it was tried.
        passing: True when asking again later may well work.
    """

    def __init__(self, message: str, *, reason: str, attempts: int, passing: bool, advice: str = "") -> None:
        super().__init__(message, advice=advice)
        self.reason = reason
        self.attempts = attempts
        self.passing = passing


class RunError(HubInstructPTError):
    """A run that cannot go on. What was answered is kept."""


class CardError(HubInstructPTError):
    """A card that cannot be written from what is known."""


class HubError(HubInstructPTError):
    """The Hub refused, or did not answer."""
