"""The routes of the double that generate, and those that tell about it.

Keeps true: a permit is taken before validation and given back whatever happens; POST / gives the prompt back unless
told not to, /generate does only if told to; a list of prompts is answered whole or not at all.
Does not know: keys, the body's encoding, or how a model generates. A stream is sent once its text is complete, so
unlike the original's it holds no permit while it is sent.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import orjson
from aiohttp import web

from tests.doubles import tgi_answers as shapes
from tests.doubles.faults import Cut, Faults, Struck
from tests.doubles.generation import Engine
from tests.doubles.ledger import Ledger, Permits
from tests.doubles.tgi_answers import Answer, Identity, json_reply
from tests.doubles.tgi_gate import Gate, struck_of, well_formed
from tests.doubles.tgi_requests import CompletionRequest, GenerateRequest, Limits, Malformed, Parameters, Refusal
from tests.doubles.tgi_rules import check_best_of, check_stream, validate


class Server:
    """The routes, behind the gate that guards, reads and counts."""

    def __init__(self, engine: Engine, limits: Limits, identity: Identity, seed: int = 0) -> None:
        self.engine, self.limits, self.identity = engine, limits, identity
        self.ledger, self.faults = Ledger(), Faults()
        self.permits = Permits(limits.max_concurrent_requests, self.ledger)
        self.draws = random.Random(seed)
        self.seconds = 0.0  # spent on answered requests, for /metrics
        gate = Gate(identity, self.ledger, self.faults)
        self.app = web.Application(middlewares=[gate.around], client_max_size=identity.payload_limit)
        self.app.add_routes(
            [
                web.post("/", self.compat_generate),
                web.post("/generate", self.generate),
                web.post("/generate_stream", self.generate_stream),
                web.post("/v1/completions", self.completions),
                web.post("/tokenize", self.tokenize),
                *(web.get(path, self.health) for path in ("/", "/health", "/ping")),
                web.get("/info", self.info),
                web.get("/metrics", self.metrics),
                web.get("/v1/models", self.models),
                web.post("/_double/faults", self.switch_fault),
                web.get("/_double/faults", self.show_faults),
                web.delete("/_double/faults", self.clear_faults),
                web.get("/_double/state", self.state),
                web.get("/_double/log", self.log),
                web.post("/_double/reset", self.reset),
            ]
        )

    # Generation -------------------------------------------------------------------------------------------------------

    async def _complete(self, inputs: str, parameters: Parameters, struck: Struck) -> Answer:
        """Generate one sequence under one permit."""
        started = time.perf_counter()
        with self.permits.one():
            if struck.seconds:
                await asyncio.sleep(struck.seconds)
            if struck.has("stall"):
                raise Cut
            ask = validate(inputs, parameters, self.limits, self.engine.encode, self.draws)
            validated = time.perf_counter()
            self.ledger.saw_prompt(ask.ids, self.engine.bos_id)
            if self.identity.fixed_delay:
                await asyncio.sleep(self.identity.fixed_delay)
            struck.after_work()
            try:
                completion = await self.engine.complete(ask)
            except Exception as error:
                raise Refusal(424, f"Request failed during generation: Server error: {error}", "generation") from error
        if struck.has("empty_text"):
            completion = replace(completion, text="")
        total = time.perf_counter() - started
        self.seconds += total
        return Answer(completion, len(ask.ids), len(inputs), validated - started, total)

    async def _best(self, inputs: str, parameters: Parameters, struck: Struck) -> Answer:
        """Generate `best_of` sequences, a permit each, and put the likeliest first."""
        best_of = check_best_of(parameters, self.limits)
        if best_of == 1:
            return await self._complete(inputs, parameters, struck)
        answers = await all_or_nothing([self._complete(inputs, parameters, struck) for _ in range(best_of)])
        best = max(answers, key=lambda answer: answer.completion.mean_logprob)
        return replace(best, others=tuple(a.completion for a in answers if a is not best))

    async def _generated(self, request: web.Request, body: GenerateRequest, echo: bool) -> tuple[Any, dict[str, str]]:
        """The JSON of one generation and its headers."""
        answer = await self._best(body.inputs, body.parameters, struck_of(request))
        before = self._before(body, echo)
        told: dict[str, Any] = {"generated_text": before + answer.completion.text}
        if body.parameters.details or body.parameters.decoder_input_details:
            told["details"] = shapes.details(answer.completion)
            if answer.others:
                told["details"]["best_of_sequences"] = [
                    {"generated_text": before + other.text, **shapes.details(other)} for other in answer.others
                ]
        request["answered"] = True
        return told, {} if struck_of(request).has("no_headers") else answer.headers(self.identity.compute_type)

    @staticmethod
    def _before(body: GenerateRequest, echo: bool) -> str:
        """What stands before the answer: the prompt, if asked for or if that is the route's habit."""
        full_text = body.parameters.return_full_text
        return body.inputs if (echo if full_text is None else full_text) else ""

    async def generate(self, request: web.Request) -> web.StreamResponse:
        body = GenerateRequest.read(well_formed(request))
        if (instead := struck_of(request).instead()) is not None:
            return instead
        told, headers = await self._generated(request, body, echo=False)
        return json_reply(told, headers=headers)

    async def compat_generate(self, request: web.Request) -> web.StreamResponse:
        """POST /, which answers in a list and, unlike /generate, gives the prompt back unless told not to."""
        body = GenerateRequest.read(well_formed(request))
        echo = self.identity.pipeline_tag in (None, "text-generation")
        if body.stream:
            return await self._stream(request, self._token_events(request, body, echo), [body.inputs])
        if (instead := struck_of(request).instead()) is not None:
            return instead
        told, headers = await self._generated(request, body, echo)
        return json_reply([told], headers=headers)

    async def generate_stream(self, request: web.Request) -> web.StreamResponse:
        body = GenerateRequest.read(well_formed(request))
        return await self._stream(request, self._token_events(request, body, echo=False), [body.inputs])

    async def _stream(
        self, request: web.Request, events: AsyncIterator[dict[str, Any]], prompts: list[str], end: bytes = b""
    ) -> web.StreamResponse:
        """Send events as they come. The status is 200 by now, so that a refusal is an event too."""
        headers = {
            "x-compute-type": self.identity.compute_type,
            "x-compute-characters": str(sum(map(len, prompts))),
            "x-accel-buffering": "no",
            "cache-control": "no-cache",
            "content-type": "text/event-stream",
        }
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        try:
            async for event in events:
                await response.write(b"data:" + orjson.dumps(event) + b"\n\n")
            request["answered"] = True
        except Refusal as refusal:
            await response.write(b"data:" + orjson.dumps(refusal.body) + b"\n\n")
        await response.write(end)
        return response

    async def _token_events(
        self, request: web.Request, body: GenerateRequest, echo: bool
    ) -> AsyncIterator[dict[str, Any]]:
        check_stream(body.parameters)
        struck_of(request).instead()  # a refusal can be said in a stream, another answer cannot
        answer = await self._complete(body.inputs, replace(body.parameters, details=True), struck_of(request))
        for event in shapes.token_events(answer, self._before(body, echo), body.parameters.details):
            yield event

    # OpenAI's way -----------------------------------------------------------------------------------------------------

    async def completions(self, request: web.Request) -> web.StreamResponse:
        body = CompletionRequest.read(well_formed(request))
        body.check(self.limits)
        struck = struck_of(request)
        if body.stream:
            events = self._completion_events(body, struck)
            return await self._stream(request, events, body.prompts, end=b"data: [DONE]\n\n")
        if (instead := struck.instead()) is not None:
            return instead
        answers = await all_or_nothing([self._complete(p, body.parameters, struck) for p in body.prompts])
        done = [a.completion for a in answers]
        choices = [shapes.choice(i, one.text, shapes.openai_reason(one)) for i, one in enumerate(done)]
        # Choices come in the order in which they were done, which is any order: here the one that hurts most.
        choices.reverse()
        headers = {} if struck.has("no_headers") else shapes.openai_headers(answers, self.identity.compute_type)
        request["answered"] = True
        told = shapes.openai_body(self.identity, choices) | {"usage": shapes.usage(answers)}
        return json_reply(told, headers=headers)

    async def _completion_events(self, body: CompletionRequest, struck: Struck) -> AsyncIterator[dict[str, Any]]:
        struck.instead()
        for index, prompt in enumerate(body.prompts):
            answer = await self._complete(prompt, body.parameters, struck)
            for event in shapes.completion_events(self.identity, index, answer):
                yield event

    # Everything else --------------------------------------------------------------------------------------------------

    async def tokenize(self, request: web.Request) -> web.StreamResponse:
        """The ids of a text, specials added; takes no permit and knows no length limit."""
        body = GenerateRequest.read(well_formed(request))
        return json_reply(self.engine.simple_tokens(body.inputs))

    async def health(self, _: web.Request) -> web.StreamResponse:
        return web.Response()

    async def info(self, _: web.Request) -> web.StreamResponse:
        return json_reply(shapes.info(self.identity, self.limits))

    async def models(self, _: web.Request) -> web.StreamResponse:
        model = {"id": self.identity.model_id, "object": "model", "created": 0, "owned_by": self.identity.model_id}
        return json_reply({"object": "list", "data": [model]})

    async def metrics(self, _: web.Request) -> web.StreamResponse:
        ledger = self.ledger
        lines = [
            "# TYPE tgi_request_count counter", f"tgi_request_count {ledger.generate}",
            "# TYPE tgi_request_success counter", f"tgi_request_success {ledger.answered}",
            "# TYPE tgi_request_failure counter",
            *(f'tgi_request_failure{{err="{name}"}} {ledger.statuses[status]}' for name, status in
              {"overloaded": "429", "validation": "422", "generation": "424", "incomplete": "500"}.items()),
            "# TYPE tgi_queue_size gauge", f"tgi_queue_size {self.engine.waiting}",
            "# TYPE tgi_batch_current_size gauge",
            f"tgi_batch_current_size {max(self.permits.held - self.engine.waiting, 0)}",
            "# TYPE tgi_request_duration summary", f"tgi_request_duration_sum {self.seconds}",
            f"tgi_request_duration_count {ledger.answered}",
        ]  # fmt: skip
        return web.Response(text="\n".join(lines) + "\n")

    # For tests --------------------------------------------------------------------------------------------------------

    async def switch_fault(self, request: web.Request) -> web.StreamResponse:
        try:
            self.faults.add(await request.json())
        except (ValueError, TypeError) as error:
            return web.Response(status=400, text=str(error))
        return await self.show_faults(request)

    async def show_faults(self, _: web.Request) -> web.StreamResponse:
        return json_reply(self.faults.described())

    async def clear_faults(self, request: web.Request) -> web.StreamResponse:
        self.faults.clear()
        return await self.show_faults(request)

    async def state(self, _: web.Request) -> web.StreamResponse:
        return json_reply({**self.ledger.state(), "in_flight": self.permits.held})

    async def log(self, _: web.Request) -> web.StreamResponse:
        shown = [
            {**entry, "body": entry["body"].text if isinstance(entry["body"], Malformed) else entry["body"]}
            for entry in self.ledger.log
        ]
        return json_reply(shown)

    async def reset(self, request: web.Request) -> web.StreamResponse:
        """Forget counts, log and faults; the memory of greedy outputs stays, since it changes no answer."""
        self.ledger.reset()
        self.faults.clear()
        return await self.state(request)


async def all_or_nothing(work: list[Any]) -> list[Answer]:
    """Run together; the first failure ends the others, whose permits are then free."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
