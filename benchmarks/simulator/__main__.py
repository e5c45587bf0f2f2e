"""Start simulated servers in one process; print the address of each on a line, and go on until ended.

    python -m benchmarks.simulator --servers 16 --slow 4 --die-after 10000 --away 10

`--slow F`: the last server is F times slower. `--die-after N`: the first one dies when all together have answered N
requests; `--away S`: it is back S seconds later. A line `ready` follows the addresses.
"""

from __future__ import annotations

import argparse
import asyncio
import signal

import uvloop

from benchmarks.simulator.model import Lengths, Speed
from benchmarks.simulator.served import Books, Server


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.simulator", description="Simulated servers.")
    add_options(parser)
    return parser.parse_args()


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that say which servers there are; others take them too."""
    parser.add_argument("--servers", type=int, default=1)
    parser.add_argument("--kind", choices=("tgi", "openai"), default="tgi")
    parser.add_argument("--batch", type=int, default=Speed.max_batch, help="requests in a running batch")
    parser.add_argument("--permits", type=int, default=128, help="requests that a tgi takes; one more gets 429")
    parser.add_argument("--faster", type=float, default=1.0, help="all servers so many times faster")
    parser.add_argument("--slow", type=float, default=1.0, help="the last server so many times slower")
    parser.add_argument("--mean-tokens", type=float, default=Lengths.mean)
    parser.add_argument("--sigma", type=float, default=Lengths.sigma, help="spread of the output lengths")
    parser.add_argument("--longest", type=int, default=Lengths.longest)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--die-after", type=int, help="the first server dies at so many answers of all")
    parser.add_argument("--away", type=float, help="seconds until it is back; for ever without")


def speeds_of(options: argparse.Namespace) -> list[Speed]:
    base = Speed(max_batch=options.batch).slower(1 / options.faster)
    return [base] * (options.servers - 1) + [base.slower(options.slow)]


def lengths_of(options: argparse.Namespace) -> Lengths:
    return Lengths(options.mean_tokens, options.sigma, options.longest, options.seed)


async def serve(options: argparse.Namespace) -> None:
    books, lengths = Books(mark=options.die_after), lengths_of(options)
    servers = [Server(speed, lengths, options.kind, options.permits, books) for speed in speeds_of(options)]
    for server in servers:
        await server.start()
        print(f"http://127.0.0.1:{server.port}", flush=True)
    print("ready", flush=True)
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    if options.die_after is not None:
        dying = asyncio.create_task(_die(servers[0], books, options.away))
        stopping = asyncio.create_task(stopped.wait())
        await asyncio.wait((dying, stopping), return_when=asyncio.FIRST_COMPLETED)
    await stopped.wait()


async def _die(server: Server, books: Books, away: float | None) -> None:
    await books.marked.wait()
    server.die()
    if away is not None:
        await asyncio.sleep(away)
        await server.start()


if __name__ == "__main__":
    uvloop.run(serve(arguments()))
