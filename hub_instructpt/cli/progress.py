"""What a run shows while it works: a progress bar on a terminal, a line now and then in a log.

Does not know how any of it is done.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

import typer
from tqdm import tqdm

from hub_instructpt import cards
from hub_instructpt.engines.load import Load
from hub_instructpt.runs.manifest import Manifest
from hub_instructpt.runs.runner import Progress

SECONDS_IN_A_LOG = 30.0


class _Lines:
    """A stream for a bar where no terminal is: a line for each state, instead of one that is drawn over."""

    def write(self, text: str) -> None:
        if state := text.strip("\r\n"):
            sys.stderr.write(f"{state}\n")

    def flush(self) -> None:
        sys.stderr.flush()


class Bar(Progress):
    """A progress bar of rows, with pairs and failures beside it. In a log it says a line now and then."""

    def __init__(self) -> None:
        self.bar: tqdm[Any] | None = None
        self.pairs = self.failed = 0
        self.next_words = 0.0
        self.in_flight = ""

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self._words(self.bar)
            self.bar.close()

    def begin(self, done: int, total: int | None, manifest: Manifest) -> None:
        if done:
            say(f"{done:,} rows are done already; going on from there.")
        say(f"Synthesizer: {manifest.engine.model_id} ({cards.engine_name(manifest.engine.kind)}).")
        drawn = sys.stderr.isatty()
        self.bar = tqdm(
            initial=done, total=total, desc="Augmenting", unit=" rows", smoothing=0.1,
            mininterval=0.5 if drawn else SECONDS_IN_A_LOG, file=None if drawn else _Lines(),
        )  # fmt: skip

    def add(self, rows: int, pairs: int, failed: int) -> None:
        if self.bar is None:
            return
        self.pairs += pairs
        self.failed += failed
        if (now := time.monotonic()) >= self.next_words:  # not for every row: it would show in the time of a run
            self.next_words = now + self.bar.mininterval / 2
            self._words(self.bar)
        self.bar.update(rows)

    def _words(self, bar: tqdm[Any]) -> None:
        failed = {"failed": self.failed} if self.failed else {}
        in_flight = {"in flight": self.in_flight} if self.in_flight else {}
        bar.set_postfix({"pairs": self.pairs, **failed, **in_flight}, refresh=False)

    def loaded(self, loads: Sequence[Load]) -> None:
        if loads:
            there = [load for load in loads if load.state != "aside"]
            servers = f" on {len(there)} of {len(loads)} servers" if len(loads) > 1 else ""
            in_flight, limit = sum(load.in_flight for load in there), sum(load.limit for load in there)
            self.in_flight = f"{in_flight} of {limit}{servers}"


def say(message: str) -> None:
    """Tell the person, beside what the command gives."""
    typer.echo(message, err=True)
