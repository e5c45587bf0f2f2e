"""Where a server is, and what is sent to it as a credential: the address, the key, and whose host it is.

A key comes from the `api_key` option, else from the environment variable HUB_INSTRUCTPT_API_KEY, else from what stands
before the @ of the address. One more source exists for one kind of host: Hugging Face Inference Endpoints take tokens
of the Hub and nothing else, so HF_TOKEN is sent there, over https, where no key was set. An endpoint runs whatever its
owner put into it: for one of somebody else's, set HUB_INSTRUCTPT_API_KEY to a token made for it, or to nothing.

Keeps true: a token of the Hub goes to no other host; what is shown of an address holds no credential; neither ~/.netrc
nor the token that `hf auth login` saved is ever read. Does not know protocols or connections.
"""

from __future__ import annotations

import os
from base64 import b64encode
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit

from hub_instructpt.errors import EngineUnavailable, SettingsError

API_KEY_VARIABLE = "HUB_INSTRUCTPT_API_KEY"
HUB_TOKEN_VARIABLE = "HF_TOKEN"
ENDPOINTS_DOMAIN = ".endpoints.huggingface.cloud"

# Paths that users copy from examples; what stands before them is the server.
_ROUTES = ("/generate", "/v1/completions", "/v1")


@dataclass(frozen=True, slots=True)
class Address:
    """A server: `shown` is its URL without credentials, `headers` what a request carries, `secret` what none may show.

    `sleeps`: the host is one of those that scale to zero and answer 503 until they are up again.
    """

    shown: str
    headers: dict[str, str]
    secret: str
    sleeps: bool


def address_of(url: str, api_key: str | None) -> Address:
    """Read a URL, and find the key for it.

    Raises:
        SettingsError: for what is no URL of a server, or a key that no header can hold.
    """
    parts = _split(url)
    host = (parts.hostname or "").lower()
    is_endpoint = host.endswith(ENDPOINTS_DOMAIN)
    if api_key is None:
        api_key = os.environ.get(API_KEY_VARIABLE)
    if api_key is None and is_endpoint and parts.scheme == "https":
        api_key = os.environ.get(HUB_TOKEN_VARIABLE)
    headers, secret = _authorization(api_key, parts)
    path = parts.path.rstrip("/")
    for route in _ROUTES:
        path = path.removesuffix(route)
    # What stands before an @ is a password: it is sent, and never shown.
    shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{path}"
    return Address(shown, headers, secret, sleeps=is_endpoint)


def refuses_key(address: str, status: str) -> EngineUnavailable:
    """The error for a server that wants another key, or one at all."""
    advice = f"Put the server's key into the environment variable {API_KEY_VARIABLE}."
    if (urlsplit(address).hostname or "").endswith(ENDPOINTS_DOMAIN):
        advice = f"Put a Hub token that may use this endpoint into {HUB_TOKEN_VARIABLE} or {API_KEY_VARIABLE}."
    return EngineUnavailable(f"{address} refuses our key ({status}).", advice=advice)


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  it raises where there is none that is one
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.query and not parts.fragment
    except ValueError:
        fine = False
    if not fine or not url.isprintable() or " " in url:
        raise SettingsError("An engine's address looks like http://host:port.", advice="Check --engine.")
    return parts


def _authorization(api_key: str | None, parts: SplitResult) -> tuple[dict[str, str], str]:
    """The header with our key or password, where there is one, and the secret in it."""
    if api_key and api_key.strip():
        key = api_key.strip()
        if not (key.isascii() and key.isprintable()):
            raise SettingsError("The API key holds characters that no HTTP header can.", advice="Check the key.")
        return {"authorization": f"Bearer {key}"}, key
    if parts.username is None and parts.password is None:
        return {}, ""
    secret = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    return {"authorization": f"Basic {b64encode(secret.encode()).decode()}"}, secret
