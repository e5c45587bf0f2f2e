"""text-generation-inference (TGI), spoken over HTTP: POST /generate, one prompt a request.

What a batch client must know of TGI, and what is done about it here (facts: TGI 3.3.6):

- it adds a BOS to every text and does not say so: /tokenize is asked once, and the literal BOS of our prompt is left
  off when the server brings its own, so that the model sees exactly one;
- a request without `parameters` samples: they are always sent, with `do_sample` spelled out;
- one request more than /info allows is refused at once (429): never more are in flight, and a 429 makes it fewer;
- above 1,024 new tokens it answers in chunks, with more or fewer tokens than asked: refused here beforehand;
- `generated_text` is "" when the last token cuts a character in two: asked again with its tokens, which are joined;
- error bodies are JSON, plain text or empty, whatever the status: the status decides.

Does not know connections, retries or limits, which are those of every server (http_engine.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hub_instructpt.engines import tgi_protocol
from hub_instructpt.engines.http_engine import HTTPEngine
from hub_instructpt.engines.http_protocol import Question, most_tokens
from hub_instructpt.engines.introduction import Given, Introduction
from hub_instructpt.engines.tgi_connect import ControlTokens, control_tokens, info_of, not_tgi, told_by
from hub_instructpt.engines.transport import Response
from hub_instructpt.records import Completion, EngineInfo, SamplingParams


@dataclass(frozen=True, slots=True)
class TGI:
    """How a TGI server is spoken to."""

    info: EngineInfo
    tokens: ControlTokens
    queues: bool = False

    def completing(self, prompt: str, sampling: SamplingParams) -> Question[Completion | Question[Completion]]:
        return tgi_protocol.generating(self._as_sent(prompt), sampling)

    def counting(self, text: str) -> Question[int] | int:
        if not self.tokens.tokenizes:
            return most_tokens(text)
        question = tgi_protocol.tokenizing(self._as_sent(text))

        def number(response: Response) -> int | None:
            ids = question.read(response)
            return None if ids is None else len(ids)

        return Question(question.path, question.body, question.sent, number)

    def _as_sent(self, prompt: str) -> str:
        # Only the token goes; the space that follows it is part of the format.
        return prompt.removeprefix(self.tokens.bos) if self.tokens.adds_bos else prompt


async def introduced(first: Introduction, given: Given, told: dict[str, Any]) -> TGI:
    """Get to know a server that told on /info that it is TGI."""
    tokens = await control_tokens(first, given)
    return TGI(info_of(told, tokens, given, first.address), tokens)


class TGIEngine(HTTPEngine):
    """Client of one TGI server; its arguments are those of every server's client."""

    kind = "tgi"

    async def _recognise(self, first: Introduction, given: Given) -> TGI:
        told = await told_by(first)
        if told is None:
            raise not_tgi(first)
        return await introduced(first, given, told)
