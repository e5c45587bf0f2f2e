"""The progress of `tune`: a bar for reading, one for tokens, one for steps with the losses beside it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import typer
from tqdm import tqdm

from hub_instructpt.tuning.progress import Progress


class TuningBar(Progress):
    """Drawn over on a terminal; in a log, a state every half minute.

    Args:
        told: whether this process tells anything.
    """

    def __init__(self, told: bool) -> None:
        self.told = told
        self.bar: tqdm[Any] | None = None
        self.title = ""
        self.words: dict[str, str] = {}

    def __enter__(self) -> TuningBar:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _close(self) -> None:
        if self.bar is not None:
            self.bar.close()
        self.bar = None

    def _count(self, title: str, number: int) -> None:
        if self.bar is None or self.title != title:
            self._close()
            self.title = title
            self.bar = tqdm(desc=title, unit=" records", leave=False, mininterval=0.5, disable=not self.told)
        self.bar.update(number)

    def reading(self, records: int) -> None:
        self._count("Reading", records)

    def encoding(self, records: int) -> None:
        self._count("Encoding", records)

    def said(self, words: str) -> None:
        typer.echo(words, err=True)

    def begin(self, done: int, steps: int) -> None:
        self._close()
        if done:
            self.said(f"{done:,} steps are done already; going on from there.")
        drawn = sys.stderr.isatty()
        self.bar = tqdm(total=steps, initial=done, desc="Tuning", unit=" steps", mininterval=0.5 if drawn else 30.0)

    def step(self, done: int) -> None:
        if self.bar is not None:
            self.bar.update(done - self.bar.n)

    def logged(self, entry: Mapping[str, float]) -> None:
        names = {"loss": "loss", "seen_loss": "held-out", "unseen_loss": "unseen"}
        self.words |= {name: f"{entry[key]:.3f}" for key, name in names.items() if key in entry}
        if self.bar is not None:
            self.bar.set_postfix(self.words, refresh=False)
