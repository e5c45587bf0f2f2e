"""A run of training: steps until its time is over, saved every few minutes so that one that was stopped can go on.

Keeps true: the schedule follows the seconds trained, over all the times that the run was stopped; the file that it goes
on from is replaced by a rename, so there is always a whole one; a run of other settings is not gone on with.
Does not know: where the model comes from, where it goes; which examples were drawn before the run was stopped.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import OPTForCausalLM

from training.examples import STAGES, Source
from training.model import loss_of, rate_at
from training.speed import BF16, Dropout, use_whole_rows

SAVED_EVERY = 240.0  # seconds
SHOWN_EVERY = 20  # steps


@dataclass
class Run:
    model: OPTForCausalLM
    optimizer: torch.optim.Optimizer
    settings: dict[str, str]  # all that may not change while it is stopped
    seconds: float = 0.0  # trained, without what was lost when it was stopped
    steps: int = 0
    tokens: int = 0
    dropout: Dropout = field(init=False)

    def __post_init__(self) -> None:
        if BF16:  # in float32, torch's own is half as fast again
            use_whole_rows(self.model)
        self.dropout = Dropout(self.model)

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(path.name + ".new")
        state = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(), "settings": self.settings}
        torch.save(state | {"seconds": self.seconds, "steps": self.steps, "tokens": self.tokens}, fresh)
        fresh.replace(path)

    def go_on_from(self, path: Path) -> None:
        """Raises ValueError where the run at `path` had other settings, which it names."""
        state: dict[str, Any] = torch.load(path, weights_only=True)
        others = sorted(name for name, value in self.settings.items() if state["settings"].get(name) != value)
        if others:
            raise ValueError(f"{path} is of a run with another {', '.join(others)}: delete it, or give another --out")
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.seconds, self.steps, self.tokens = state["seconds"], state["steps"], state["tokens"]

    def train(
        self,
        source: Source,
        seconds: float,
        saved_as: Path,
        tokens: int,
        longest: int,
        stuttering: float,
        guidance: float,
    ) -> None:
        """Until `seconds` are over, with batches of `tokens` tokens and rows of at most `longest`; then `saved_as` is
        the end of the run."""
        self.model.train()
        began, saved = time.monotonic() - self.seconds, self.seconds
        means: dict[str, float] = {}
        while self.seconds < seconds:
            stage = next(stage for stage in STAGES if self.seconds / seconds < stage.until)
            self.dropout.rate = stage.dropout
            for batch in source.batches(stage, tokens, longest):
                share = self.seconds / seconds
                losses = self._step(batch, share, stuttering, guidance)
                self.seconds, self.tokens = time.monotonic() - began, self.tokens + batch[0].numel()
                means = {name: 0.97 * means.get(name, value) + 0.03 * value for name, value in losses.items()}
                if self.steps % SHOWN_EVERY == 0:
                    self._show(share, means)
                over = self.seconds >= seconds
                if over or self.seconds - saved > SAVED_EVERY:
                    saved = self.seconds
                    self.save(saved_as)
                if over:
                    break
        print(f"done: {self.steps} steps, {self.tokens} tokens, {self.seconds / 60:.1f} minutes", flush=True)

    def _step(
        self, batch: tuple[torch.Tensor, ...], share: float, stuttering: float, guidance: float
    ) -> dict[str, float]:
        ids, weights, points = batch
        for group in self.optimizer.param_groups:
            group["lr"] = rate_at(share, group["peak"])
        with torch.autocast("cpu", torch.bfloat16, enabled=BF16):
            loss, losses = loss_of(self.model, ids, weights, points, stuttering, guidance)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.steps += 1
        return losses

    def _show(self, share: float, means: dict[str, float]) -> None:
        state = " ".join(f"{name} {value:.3f}" for name, value in means.items())
        speed = self.tokens / self.seconds
        print(f"step {self.steps} share {share:.3f} {state} tokens {self.tokens} tokens/s {speed:.0f}", flush=True)
