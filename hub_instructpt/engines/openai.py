"""OpenAI-compatible servers, spoken over HTTP: POST /v1/completions, one prompt a request.

vLLM, SGLang, llama.cpp's server, `transformers serve` and TGI's own /v1 all have this route, and differ in what a batch
client must know (facts on servers):

- all of them add a BOS to a text, and say nothing of it. vLLM leaves it off when asked (`add_special_tokens`),
  `transformers serve` refuses that field, others ignore it. So the server is asked to count at the start, and our
  literal BOS is sent or left off such that the model sees exactly one (openai_connect.py);
- without a temperature they sample: it is always sent, and 0 is greedy everywhere. `transformers serve` draws no
  sample whatever the temperature: refused here, rather than greedy text taken for samples;
- /v1/models may list several models, one, or fail: `model` is sent only where the server wants to hear it. To TGI it
  would name an adapter;
- prompts that do not fit are a 400: counted as `prompt_too_long`;
- they queue instead of refusing, so how many requests are in flight is our business (knee.py).

Lists of prompts are not used. They save nothing but a part of the HTTP, which is small, and cost much: an answer comes
when the slowest of the list is done, one bad prompt fails them all, and half of these servers take no lists.
No `stop` is sent: the synthesizer ends by itself, and each server cuts in another way. No `seed` is sent: where
samples are drawn at all, equal prompts are to give different ones.

Does not know connections, retries or limits, which are those of every server (http_engine.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hub_instructpt.engines import openai_protocol as protocol
from hub_instructpt.engines.http_engine import HTTPEngine
from hub_instructpt.engines.http_protocol import Question, most_tokens
from hub_instructpt.engines.introduction import Given, Introduction
from hub_instructpt.errors import SettingsError
from hub_instructpt.records import Completion, EngineInfo, SamplingParams

Counter = Literal["tokenize", "content", "usage", "bytes"]
"""How tokens are counted: by /tokenize as vLLM has it, by /tokenize as llama.cpp has it, by completing one token, or
not at all: a token stands for a byte at least."""


@dataclass(frozen=True, slots=True)
class OpenAI:
    """How an OpenAI-compatible server is spoken to.

    Attributes:
        model: the `model` of each request, or None where it is not sent.
        adds_bos: the server puts a BOS before each text.
        plain: it leaves that off when it is told to, and is told so.
    """

    info: EngineInfo
    model: str | None
    adds_bos: bool
    plain: bool
    counter: Counter
    queues: bool = True

    def completing(self, prompt: str, sampling: SamplingParams) -> Question[Completion]:
        if self.info.kind == "transformers serve" and not sampling.greedy:
            raise SettingsError(
                f"temperature={sampling.temperature}: `transformers serve` draws no samples, whatever the temperature.",
                advice="Use temperature 0, or another server.",
            )
        return protocol.completing(self._as_sent(prompt), sampling, self.model, plain=self.plain)

    def counting(self, text: str) -> Question[int] | int:
        sent = self._as_sent(text)
        match self.counter:
            case "tokenize":
                return protocol.counting_by_tokenize(sent, self.model, plain=self.plain)
            case "content":
                return protocol.counting_by_content(sent)
            case "usage":
                return protocol.counting_by_usage(sent, self.model, plain=self.plain)
            case "bytes":
                return most_tokens(text)

    def _as_sent(self, prompt: str) -> str:
        # Only the token goes; the space that follows it is part of the format.
        return prompt.removeprefix(self.info.bos) if self.adds_bos and not self.plain else prompt


class OpenAIEngine(HTTPEngine):
    """Client of one OpenAI-compatible server; its arguments are those of every server's client."""

    kind = "openai"

    async def _recognise(self, first: Introduction, given: Given) -> OpenAI:
        from hub_instructpt.engines.openai_connect import recognise

        return await recognise(first, given, sure=True)
