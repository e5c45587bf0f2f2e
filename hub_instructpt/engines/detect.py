"""A server of a kind that is not known beforehand: found out by asking it.

TGI is asked for first, by its own /info, even where the address ends in /v1: its /generate keeps the prefix cache,
which its /v1/completions bypasses. `openai+http://` insists on the latter.

Keeps true: a stranger is only asked, by GET; nothing is posted to what is no text-generation server.
"""

from __future__ import annotations

from hub_instructpt.engines import openai_connect, tgi
from hub_instructpt.engines.dialect import Dialect
from hub_instructpt.engines.http_engine import HTTPEngine
from hub_instructpt.engines.introduction import Given, Introduction
from hub_instructpt.engines.openai_kinds import UNKNOWN_ROUTE
from hub_instructpt.engines.tgi_connect import told_by


class ServerEngine(HTTPEngine):
    """Client of one server of any kind; its arguments are those of every server's client."""

    kind = "server"

    async def _recognise(self, first: Introduction, given: Given) -> Dialect:
        # Gateways answer 403 on routes that they do not know. A key that is refused is so on /v1/models as well.
        told = await told_by(first, settled=UNKNOWN_ROUTE)
        if told is not None:
            return await tgi.introduced(first, given, told)
        return await openai_connect.recognise(first, given, sure=False)
