"""What a tuning tells of itself while it goes on. Every method may be left as it is: then nothing is told."""

from __future__ import annotations

from collections.abc import Mapping


class Progress:
    """Told in this order: `reading` and `encoding` again and again, then `begin`, then `step` and `logged`."""

    def reading(self, records: int) -> None:
        """So many more records were read to choose what is held out."""

    def encoding(self, records: int) -> None:
        """So many more records were tokenised."""

    def said(self, words: str) -> None:
        """Something that is worth a line."""

    def begin(self, done: int, steps: int) -> None:
        """Training begins, or goes on after `done` steps."""

    def step(self, done: int) -> None:
        """So many steps are done."""

    def logged(self, entry: Mapping[str, float]) -> None:
        """`step`, and some of `loss`, `learning_rate`, `grad_norm`, `seen_loss` and `unseen_loss`."""
