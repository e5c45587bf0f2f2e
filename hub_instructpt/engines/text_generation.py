"""TGI through its own Python client, `text_generation.AsyncClient`: for those who trust that client with their servers.

    text-generation+http://host:port          pip install 'hub-instructpt[text-generation]'

The client stands where the transport of the TGI engine stands, for prompts only; all that surrounds a prompt (BOS,
limits, retries, what an answer means) is the TGI engine's. What its client does in its own way is undone here: it asks
at the server's root, with a connection a request and ten seconds' time unless told otherwise, and raises errors of its
own that no longer know their status.

Keeps true: as transport.py says. Does not know prompts' format, retries or limits.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import aiohttp
import orjson

from hub_instructpt.engines.answers import Response, TransportFailure
from hub_instructpt.engines.tgi import TGIEngine
from hub_instructpt.engines.transport import Transport
from hub_instructpt.errors import SettingsError

# The client's errors, by the status for which TGI sends them.
STATUSES = {
    "ValidationError": 422,
    "GenerationError": 424,
    "OverloadedError": 429,
    "RateLimitExceededError": 429,
    "IncompleteGenerationError": 500,
    "BadRequestError": 400,
    "NotFoundError": 404,
    "ShardNotReadyError": 424,
    "ShardTimeoutError": 504,
    "UnknownError": 500,
}
_SAMPLING = ("max_new_tokens", "do_sample", "temperature", "top_p")


class TextGenerationEngine(TGIEngine):
    """Client of one TGI server through the `text-generation` package; its arguments are those of `TGIEngine`.

    Raises:
        SettingsError: the package is not installed.
    """

    kind = "tgi"

    def __init__(self, url: str, **options: Any) -> None:
        _client_class()
        super().__init__(url, **options)

    def _open_transport(self) -> Transport:
        return _ClientTransport(self.address, timeout_seconds=self._timeout, headers=self._headers)


def _client_class() -> Any:
    try:
        from text_generation import AsyncClient
    except ImportError:
        raise SettingsError(
            "The text-generation client is not installed.",
            advice="pip install 'hub-instructpt[text-generation]', or leave `text-generation+` off the address.",
        ) from None
    return AsyncClient


class _ClientTransport(Transport):
    """A transport that lets the client ask for completions, and asks everything else itself."""

    def __init__(self, address: str, *, timeout_seconds: float, headers: Mapping[str, str]) -> None:
        super().__init__(timeout_seconds=timeout_seconds, headers=headers)
        self._generates = f"{address}/generate"
        self._client = _client_class()(address, headers=dict(headers), timeout=timeout_seconds)

    async def request(
        self, method: str, url: str, body: bytes | None = None, *, timeout_seconds: float | None = None
    ) -> Response:
        if url != self._generates or body is None:
            return await super().request(method, url, body, timeout_seconds=timeout_seconds)
        asked = orjson.loads(body)
        sampling = {name: value for name, value in asked["parameters"].items() if name in _SAMPLING}
        try:
            answer = await self._client.generate(asked["inputs"], return_full_text=False, **sampling)
        except aiohttp.ContentTypeError as error:  # a body that is no JSON, with a status all the same
            return Response(error.status, [], b"")
        except aiohttp.ClientConnectorError:
            raise TransportFailure("unreachable") from None
        except TimeoutError:
            raise TransportFailure("timeout") from None
        except (aiohttp.ClientError, ConnectionError):
            raise TransportFailure("broken") from None
        except json.JSONDecodeError:
            return Response(200, [], b"")
        except Exception as error:  # the client's own errors, and what pydantic says of an answer that is not TGI's
            return _refusal(error)
        return _as_response(answer)


def _refusal(error: Exception) -> Response:
    ours = type(error).__module__ == "text_generation.errors"
    status = STATUSES.get(type(error).__name__, 500) if ours else 200  # a 200 that can not be read
    told = str(error.args[0]) if ours and error.args else ""
    return Response(status, [], orjson.dumps({"error": told}))


def _as_response(answer: Any) -> Response:
    """The client's answer as TGI itself gives it."""
    details = answer.details
    tokens = [{"text": token.text, "special": token.special} for token in details.tokens]
    body = {
        "generated_text": answer.generated_text,
        "details": {"generated_tokens": details.generated_tokens, "tokens": tokens},
    }
    return Response(200, [(b"x-generated-tokens", b"%d" % details.generated_tokens)], orjson.dumps(body))
