"""A double of OpenAI-compatible servers: /v1/completions as vLLM, SGLang or llama.cpp have it.

    python -m tests.doubles.openai --kind vllm --port 0 [--model FOLDER | --instant] [--slots N] [--context N] …

Prints one line, ``http://127.0.0.1:PORT``, when it is ready. Routes: POST /v1/completions, /tokenize; GET /v1/models,
/health, and what the kind tells of itself (openai_kinds.py). For tests, as in the double of TGI: /_double/faults,
/_double/state, /_double/log, /_double/reset.

Keeps true: requests beyond the slots wait, and none is ever refused for being one too many; a temperature that is not
0 samples, and so does none; max_tokens is 16 where it is not said; a closed connection frees its slot.
Does not know: streams, chat, token ids as prompts, echo, log-probabilities.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import time
from dataclasses import dataclass, replace
from typing import Any

from aiohttp import web

from tests.doubles.decoding import Completion
from tests.doubles.faults import Cut, Faults
from tests.doubles.generation import Engine, ModelEngine
from tests.doubles.instant import InstantEngine
from tests.doubles.ledger import Ledger
from tests.doubles.openai_kinds import KINDS, MODEL, Kind
from tests.doubles.tgi import bundled_model
from tests.doubles.tgi_answers import Identity, json_reply
from tests.doubles.tgi_gate import Gate, struck_of, well_formed
from tests.doubles.tgi_requests import Ask, Malformed, Refusal, Sampling


@dataclass(frozen=True)
class Setup:
    """How the server was started."""

    kind: Kind
    models: tuple[str, ...] = (MODEL,)
    context: int = 2048
    slots: int = 8
    wants_model: bool = False
    api_key: str | None = None
    fixed_delay: float = 0.0
    tokenizes: bool = True


class OpenAIGate(Gate):
    """The gate, with this kind's words."""

    kind: Kind

    def refusal(self, refusal: Refusal) -> web.Response:
        return json_reply(self.kind.error(refusal), status=refusal.status)


class Server:
    """The routes, behind the gate that guards, reads and counts."""

    def __init__(self, engine: Engine, setup: Setup) -> None:
        self.engine, self.setup = engine, setup
        self.ledger, self.faults = Ledger(), Faults()
        self.slots, self.in_flight, self.most_running = asyncio.Semaphore(setup.slots), 0, 0
        self.draws = random.Random(0)
        gate = OpenAIGate(Identity(api_key=setup.api_key), self.ledger, self.faults)
        gate.kind = setup.kind
        self.app = web.Application(middlewares=[gate.around], client_max_size=10_000_000)
        pages = setup.kind.pages(setup.models[0], setup.context, setup.slots)
        self.app.add_routes(
            [
                web.post("/v1/completions", self.completions),
                *([web.post("/tokenize", self.tokenize)] if setup.tokenizes else []),
                web.get("/v1/models", self.models),
                web.get("/health", self.health),
                *(web.get(route, self._page(told)) for route, told in pages.items()),
                web.post("/_double/faults", self.switch_fault),
                web.delete("/_double/faults", self.clear_faults),
                web.get("/_double/state", self.state),
                web.get("/_double/log", self.log),
                web.post("/_double/reset", self.reset),
            ]
        )

    async def completions(self, request: web.Request) -> web.StreamResponse:
        body = well_formed(request)
        struck = struck_of(request)
        if (instead := struck.instead()) is not None:
            return instead
        prompts = self._prompts(body)
        model = self._model(body)
        self.in_flight += 1
        self.ledger.max_in_flight = max(self.ledger.max_in_flight, self.in_flight)
        try:
            if struck.seconds:
                await asyncio.sleep(struck.seconds)
            if struck.has("stall"):
                raise Cut
            asks = [self._ask(prompt, body) for prompt in prompts]
            done = await asyncio.gather(*map(self._generate, asks))
        finally:
            self.in_flight -= 1
        request["answered"] = True
        if struck.has("empty_text"):
            done = [replace(one, text="") for one in done]
        reason = "abort" if struck.has("aborted") else None
        choices = [
            {
                "index": index, "text": one.text, "logprobs": None, "stop_reason": None,
                "finish_reason": reason or ("length" if one.finish_reason == "length" else "stop"),
            }
            for index, one in enumerate(done)
        ]  # fmt: skip
        read, written = sum(len(ask.ids) for ask in asks), sum(one.generated_tokens for one in done)
        told = {
            "id": "cmpl-0", "object": "text_completion", "created": int(time.time()), "model": model,
            "choices": [] if struck.has("no_choices") else choices,
            "usage": {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written},
        }  # fmt: skip
        if struck.has("no_usage"):
            del told["usage"]
        return json_reply(told)

    async def _generate(self, ask: Ask) -> Completion:
        async with self.slots:
            self.most_running = max(self.most_running, self.setup.slots - self.slots._value)
            if self.setup.fixed_delay:
                await asyncio.sleep(self.setup.fixed_delay)
            return await self.engine.complete(ask)

    def _prompts(self, body: Any) -> list[str]:
        prompt = body.get("prompt") if isinstance(body, dict) else None
        prompts = prompt if isinstance(prompt, list) else [prompt]
        if not prompts or not all(isinstance(one, str) and one for one in prompts):
            raise Refusal(400, "prompt: expected a string that is not empty", "invalid_request_error")
        return prompts

    def _model(self, body: dict[str, Any]) -> str:
        """The name that the answer gives to the model."""
        asked = body.get("model")
        if asked is None and self.setup.wants_model:
            raise Refusal(400, "you must provide a model parameter", "invalid_request_error")
        if asked is not None and asked not in self.setup.models and self.setup.kind.refuses_unknown_models:
            raise Refusal(404, f"The model `{asked}` does not exist.", "NotFoundError")
        return str(asked or self.setup.kind.default_model)

    def _ask(self, prompt: str, body: dict[str, Any]) -> Ask:
        kind = self.setup.kind
        plain = kind.honours_add_special_tokens and body.get("add_special_tokens") is False
        ids = self.engine.encode(prompt, None, add_bos=False if plain else None)
        limit = int(body.get("max_tokens") or 16)
        if (refusal := kind.too_long(len(ids), limit, self.setup.context)) is not None:
            raise refusal
        limit = min(limit, self.setup.context - len(ids))
        self.ledger.saw_prompt(ids, self.engine.bos_id)
        temperature = float(body.get("temperature", 1.0))
        sampling = None
        if temperature > 0:
            seed = body.get("seed", self.draws.getrandbits(63))
            sampling = Sampling(True, temperature, 0, float(body.get("top_p", 1.0)), 1.0, 1.0, seed)
        return Ask(prompt, ids, limit, (), sampling, details=False)

    async def tokenize(self, request: web.Request) -> web.StreamResponse:
        body = well_formed(request)
        if self.setup.kind.name == "llama.cpp":
            ids = self.engine.encode(body.get("content", ""), None, add_bos=None if body.get("add_special") else False)
            return json_reply({"tokens": list(ids)})
        ids = self.engine.encode(body["prompt"], None, add_bos=None if body.get("add_special_tokens", True) else False)
        return json_reply({"count": len(ids), "max_model_len": self.setup.context, "tokens": list(ids)})

    async def models(self, _: web.Request) -> web.StreamResponse:
        cards = [self.setup.kind.card(model, self.setup.context) for model in self.setup.models]
        return json_reply({"object": "list", "data": cards})

    async def health(self, _: web.Request) -> web.StreamResponse:
        return web.Response()

    @staticmethod
    def _page(told: dict[str, Any]) -> Any:
        async def page(_: web.Request) -> web.StreamResponse:
            return json_reply(told)

        return page

    # For tests --------------------------------------------------------------------------------------------------------

    async def switch_fault(self, request: web.Request) -> web.StreamResponse:
        self.faults.add(await request.json())
        return json_reply(self.faults.described())

    async def clear_faults(self, _: web.Request) -> web.StreamResponse:
        self.faults.clear()
        return json_reply([])

    async def state(self, _: web.Request) -> web.StreamResponse:
        return json_reply({**self.ledger.state(), "in_flight": self.in_flight, "most_running": self.most_running})

    async def log(self, _: web.Request) -> web.StreamResponse:
        return json_reply([e for e in self.ledger.log if not isinstance(e["body"], Malformed)])

    async def reset(self, request: web.Request) -> web.StreamResponse:
        self.ledger.reset()
        self.faults.clear()
        self.most_running = 0
        return await self.state(request)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.doubles.openai", description="OpenAI-compatible doubles.")
    parser.add_argument("--kind", choices=KINDS, default="vllm")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--instant", action="store_true", help="no model: made-up answers, to count and time")
    parser.add_argument("--model", help="a folder; default: the synthesizer of the package")
    parser.add_argument("--cache", help="a folder that remembers greedy outputs; default: $TGI_DOUBLE_CACHE")
    parser.add_argument("--no-bos", action="store_true", help="add no BOS, as for a model whose tokenizer adds none")
    parser.add_argument("--served", action="append", help="id on /v1/models; repeatable")
    parser.add_argument("--wants-model", action="store_true", help="refuse requests that name no model")
    parser.add_argument("--no-tokenize", action="store_true", help="have no /tokenize")
    parser.add_argument("--slots", type=int, default=8, help="sequences at a time; others wait")
    parser.add_argument("--context", type=int, default=2048)
    parser.add_argument("--fixed-delay", type=float, default=0.0)
    parser.add_argument("--api-key")
    return parser.parse_args()


async def serve(options: argparse.Namespace) -> None:
    engine: Engine
    if options.instant:
        engine = InstantEngine(add_bos=not options.no_bos)
    else:
        cache = options.cache or os.environ.get("TGI_DOUBLE_CACHE")
        engine = ModelEngine(options.model or bundled_model(), cache=cache, add_bos=not options.no_bos)
    setup = Setup(
        KINDS[options.kind], tuple(options.served or (MODEL,)), options.context, options.slots, options.wants_model,
        options.api_key, options.fixed_delay, not options.no_tokenize,
    )  # fmt: skip
    runner = web.AppRunner(Server(engine, setup).app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", options.port, backlog=4096).start()
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await stopped.wait()
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(serve(arguments()))
