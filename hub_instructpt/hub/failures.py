"""What went wrong on the Hub, as an error of ours that says what to do next.

Keeps true: no token is ever in a message; whether it is worth trying again is decided here and nowhere else.
Does not know what was being done: it is told in words.
"""

from __future__ import annotations

import contextlib
import random
import re
from collections.abc import Iterator
from typing import Any

from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)

from hub_instructpt.errors import HubError, SettingsError
from hub_instructpt.version import __version__

FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 1.0, 20.0
LONGEST_ASKED_FOR_SECONDS = 300.0
"""The Hub counts requests in windows of five minutes."""
LOGIN = "Log in with `hf auth login`, or put a token with write access into HF_TOKEN."
AGAIN = "Run the same command again; what has arrived is not sent twice."
_NO_ANSWER = {"ConnectionError", "TimeoutError", "TransportError", "RequestException", "Timeout", "JSONDecodeError"}

# Answers after which the same commit may well succeed: somebody else's commit, a full or a failing server.
_PASSING = frozenset({408, 409, 412, 429, 500, 502, 503, 504})


def new_api() -> HfApi:
    return HfApi(library_name="hub-instructpt", library_version=__version__)


def check_token(doing: str) -> None:
    try:
        token = get_token()
    except Exception as error:
        raise told(error, doing) from None
    if token is None:
        raise HubError(f"Can not {doing}: there is no token.", advice=LOGIN)
    if not re.fullmatch(r"[!-~]+", token):  # no header can carry it, and the client's error would show it
        raise HubError(f"Can not {doing}: what stands in HF_TOKEN or the login is no token.", advice=LOGIN)


def wait_before_next(error: BaseException, attempt: int) -> float:
    wait: float = random.uniform(0.5, 1.0) * min(FIRST_WAIT_SECONDS * 2 ** (attempt - 1), LONGEST_WAIT_SECONDS)
    with contextlib.suppress(AttributeError, TypeError, ValueError):
        wait = max(wait, min(float(_response(error).headers.get("Retry-After")), LONGEST_ASKED_FOR_SECONDS))
    with contextlib.suppress(AttributeError, TypeError):  # `"api";r=0;t=54`: so long until it counts anew
        asked = re.search(r";\s*t=(\d{1,6})", _response(error).headers.get("RateLimit", ""))
        if asked and status_of(error) == 429:
            wait = max(wait, min(float(asked[1]) + 1.0, LONGEST_ASKED_FOR_SECONDS))
    return wait


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__


def _response(error: BaseException) -> Any:
    """The answer that an error is about. The client wraps errors of uploads, so their causes are asked as well."""
    return next((found for cause in _causes(error) if (found := getattr(cause, "response", None)) is not None), None)


def status_of(error: BaseException) -> int | None:
    return getattr(_response(error), "status_code", None)


def is_passing(error: BaseException) -> bool:
    status = status_of(error)
    if status is not None:
        return status in _PASSING
    if isinstance(error, OfflineModeIsEnabled | LocalTokenNotFoundError):
        return False
    return type(error) is RuntimeError or _is_network(error)  # the former is all that Xet says of whatever went wrong


def _is_network(error: BaseException) -> bool:
    """Whether no answer came, or none that can be read, such as a proxy's page.

    Client libraries differ between releases of huggingface_hub, so their names decide."""
    names = {kind.__name__ for cause in _causes(error) for kind in type(cause).__mro__}
    return bool(names & _NO_ANSWER)


def told(error: Exception, doing: str) -> HubError | SettingsError:
    """An error of the Hub's client as one of ours."""
    status = status_of(error)
    message = _line(next((m for cause in _causes(error) if (m := getattr(cause, "server_message", None))), ""))
    if isinstance(error, OfflineModeIsEnabled):
        return HubError(f"Can not {doing}: HF_HUB_OFFLINE is set.", advice="Unset it and try again.")
    if isinstance(error, ValueError) and str(error).startswith("Invalid metadata"):
        return HubError(
            f"Can not {doing}: the Hub refuses the metadata of the card: {_line(str(error).partition(chr(10))[2])}",
            advice="Correct it in README.md on the Hub or in the run directory, then push again.",
        )
    if isinstance(error, LocalTokenNotFoundError) or status == 401:
        return HubError(f"Can not {doing}: the Hub knows no valid token of yours.", advice=LOGIN)
    if isinstance(error, GatedRepoError):
        return HubError(
            f"Can not {doing}: its files are only for those whom its owner has let in.",
            advice=f"Ask for access on its page, then use a token of the account that has it. {LOGIN}",
        )
    if status == 403:
        return HubError(
            f"Can not {doing}: your token has no right to{f' ({message})' if message else ''}.",
            advice="Use a token with write access to that namespace, or another namespace.",
        )
    if isinstance(error, RepositoryNotFoundError):
        return HubError(f"Can not {doing}: there is no such repo, or no right to see it.", advice=LOGIN)
    if isinstance(error, HFValidationError):
        return SettingsError(f"Can not {doing}: {_line(error)}", advice="Give NAMESPACE/NAME.")
    if status is not None:
        return HubError(
            f"Can not {doing}: the Hub at {new_api().endpoint} answered {status}{f' ({message})' if message else ''}.",
            advice=AGAIN if status in _PASSING else "Check the name, and the address in HF_ENDPOINT.",
        )
    if _is_network(error):
        return HubError(
            f"Can not {doing}: the Hub at {new_api().endpoint} does not answer ({type(error).__name__}).",
            advice="Check the network and HF_ENDPOINT, then run the same command again.",
        )
    return HubError(f"Can not {doing}: {type(error).__name__}: {_line(error)}")


def _line(text: object) -> str:
    """The beginning of a message of somebody else's, on one line and without our token."""
    flat = " ".join(str(text or "").split())
    with contextlib.suppress(Exception):
        flat = flat.replace(get_token() or flat, "…") if flat else flat
    return flat[:200].strip(" .")
