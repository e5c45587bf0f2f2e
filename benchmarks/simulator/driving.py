"""Start simulated servers, make the documents that they are asked about, and compute the bound for both.

Keeps true: the servers run in a process of their own and are gone when the block is left. The bound is computed for
the prompts of the wire format; a client with other prompts has the same output lengths and nearly the same bound.
Does not know which client is measured.
"""

from __future__ import annotations

import argparse
import json
import pydoc_data.topics
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.simulator.__main__ import add_options, lengths_of, speeds_of
from benchmarks.simulator.model import CHARACTERS_PER_TOKEN, Death, Text, full_batches_seconds, perfect_seconds
from benchmarks.simulator.served import answer_of
from hub_instructpt.markup import format_prompt, parse_pairs
from hub_instructpt.records import Example

ROOT = Path(__file__).resolve().parents[2]


def options_of(*arguments: str) -> argparse.Namespace:
    """Options of the simulator, as its command line would read them."""
    parser = argparse.ArgumentParser()
    add_options(parser)
    return parser.parse_args(arguments)


def documents(number: int, characters: int = 1200) -> list[str]:
    """Texts of English prose that all differ, each with its number."""
    topics = [" ".join(text.split()) for text in pydoc_data.topics.topics.values() if len(text) > 2 * characters]
    return [
        f"[doc {index:06d}] {topics[index % len(topics)][index % characters :][:characters]}" for index in range(number)
    ]


def chains_of(texts: Sequence[str], options: argparse.Namespace, num_shots: int = 1, limit: int = 1024) -> list[Text]:
    """The work in the texts, as the bound sees it. `limit` is the max_new_tokens of the client."""
    lengths, chains = lengths_of(options), []
    for start in range(0, len(texts), num_shots):
        examples: list[Example] = []
        whole: list[Text] = []
        for index in range(start, min(start + num_shots, len(texts))):
            prompt, length = format_prompt(texts[index], examples), min(lengths.of(index), limit)
            whole.append(Text(len(prompt) // CHARACTERS_PER_TOKEN, length))
            if num_shots > 1:
                pairs = parse_pairs(answer_of(index, length))
                examples = [*examples, {"context": texts[index], "pairs": pairs}]
        for first, second in pairwise(whole):
            first.following = second
        chains.append(whole[0])
    return chains


@dataclass(frozen=True, slots=True)
class Bound:
    """Seconds: of a perfect client, and of full batches with no end that runs dry."""

    perfect: float
    full_batches: float


def bound_of(texts: Sequence[str], options: argparse.Namespace, num_shots: int = 1, limit: int = 1024) -> Bound:
    speeds = speeds_of(options)
    death = None if options.die_after is None else Death(0, options.die_after, options.away)
    return Bound(
        perfect_seconds(speeds, chains_of(texts, options, num_shots, limit), death),
        full_batches_seconds(speeds, chains_of(texts, options, num_shots, limit)),
    )


@contextmanager
def simulating(options: argparse.Namespace) -> Iterator[list[str]]:
    """The addresses of simulated servers that run as long as the block does."""
    arguments: list[str] = []
    for name, value in vars(options).items():
        arguments += [] if value is None else [f"--{name.replace('_', '-')}", str(value)]
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.simulator", *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        urls = []
        for line in process.stdout:
            if line.strip() == "ready":
                break
            urls.append(line.strip())
        if len(urls) != options.servers:
            raise RuntimeError("the simulator did not start")
        yield urls
    finally:
        process.terminate()
        process.communicate()


def stats(url: str) -> dict[str, Any]:
    """What a simulated server counted."""
    with urllib.request.urlopen(f"{url}/_sim/stats") as answer:
        told: dict[str, Any] = json.load(answer)
        return told
