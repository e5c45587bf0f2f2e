"""A double of text-generation-inference: its HTTP surface, in front of a real model or an instant stand-in.

    python -m tests.doubles.tgi --port 0 [--model FOLDER | --instant] [--max-concurrent-requests N] [--api-key KEY] …

Prints one line, ``http://127.0.0.1:PORT``, when it is ready; like the original, it opens the port only after its model
is loaded. Routes: POST /, /generate, /generate_stream, /v1/completions, /tokenize; GET /, /health, /ping, /info,
/metrics, /v1/models. No chat routes (404). For tests: POST, GET and DELETE /_double/faults, GET /_double/state,
GET /_double/log, POST /_double/reset.

Keeps true, after version 3.3.6 of the original: a permit is taken before validation, or 429 is given at once; a closed
connection frees its permit; errors before validation are plain text, later ones JSON; a BOS is always added.
Does not know: queues of shards, KV blocks, prefix caching, chunks re-tokenised at their seams, grammars, chat.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.doubles.generation import Engine, ModelEngine
from tests.doubles.instant import InstantEngine
from tests.doubles.tgi_answers import Identity
from tests.doubles.tgi_requests import Limits
from tests.doubles.tgi_routes import Server


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.doubles.tgi", description="A double of TGI.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0, help="draws the seeds of requests that bring none")
    parser.add_argument("--instant", action="store_true", help="no model: made-up answers, to count and time")
    model = parser.add_argument_group("the model")
    model.add_argument("--model", help="a folder; default: the synthesizer of the package")
    model.add_argument("--batch-size", type=int, default=32)
    model.add_argument("--threads", type=int, default=1)
    model.add_argument("--cache", help="a folder that remembers greedy outputs; default: $TGI_DOUBLE_CACHE")
    model.add_argument("--no-bos", action="store_true", help="add no BOS, as for a model whose tokenizer adds none")
    limits = parser.add_argument_group("limits")
    for name, default in asdict(Limits()).items():
        limits.add_argument(f"--{name.replace('_', '-')}", type=int, default=default)
    identity = parser.add_argument_group("identity")
    for name, default in asdict(Identity()).items():
        switch: dict[str, Any] = {"default": default, "type": str if default is None else type(default)}
        flag = {"action": "store_true"} if default is False else switch
        identity.add_argument(f"--{name.replace('_', '-')}", **flag)
    return parser.parse_args()


def bundled_model() -> str:
    """The folder of the synthesizer that the package brings along, found without importing the package."""
    package = find_spec("hub_instructpt")
    if package is None or not package.submodule_search_locations:
        raise SystemExit("no --model given, and the package hub_instructpt is not to be found")
    return str(Path(package.submodule_search_locations[0]) / "tiny_synthesizer")


def engine_of(options: argparse.Namespace) -> Engine:
    if options.instant:
        return InstantEngine(add_bos=not options.no_bos)
    return ModelEngine(
        options.model or bundled_model(),
        batch_size=options.batch_size,
        threads=options.threads,
        cache=options.cache or os.environ.get("TGI_DOUBLE_CACHE"),
        add_bos=not options.no_bos,
    )


async def serve(options: argparse.Namespace) -> None:
    limits = Limits(**{name: getattr(options, name) for name in asdict(Limits())})
    identity = Identity(**{name: getattr(options, name) for name in asdict(Identity())})
    identity = replace(identity, pipeline_tag=identity.pipeline_tag or None)
    server = Server(engine_of(options), limits, identity, options.seed)
    # Without handler_cancellation a request goes on after its client has left, and so would its permit.
    runner = web.AppRunner(server.app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, options.host, options.port, backlog=4096).start()
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    print(f"http://{options.host}:{runner.addresses[0][1]}", flush=True)
    await stopped.wait()
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(serve(arguments()))
