"""Trains the bundled tiny synthesizer: a small Llama that turns a context into instruction-response pairs.

    python -m training.tiny_synthesizer --data DATA --out hub_instructpt/tiny_synthesizer --minutes 60 --seed 0

Keeps true: the schedule follows the clock, so a slow machine gives a less trained model, never an unfinished one; the
output folder is replaced whole, by a rename, or not touched.
Does not know: how good the model is (see `training.evaluate_tiny`).
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM

from training import corpus
from training.cloze import cloze
from training.export import install
from training.passages import Example, Passage, example, passages, plain_passages, window
from training.tokenizer import train_tokenizer

POSITIONS = 2048
# How often an example comes from each set: by the square root of its size, times how well it suits (short factual
# questions first; ROPES compares two made-up cases and QED's questions are lower-case search queries).
SUITS = {"squad": 1.5, "FairyTaleQA": 1.0, "ROPES": 0.35, "QED": 0.5, "COVID_QA": 0.5, "NarrativeQA": 0.5}


@dataclass(frozen=True)
class Stage:
    """What is drawn until `until` (a share of the time) is over: context lengths, and how many examples are cloze."""

    until: float
    lengths: tuple[int, int]
    cloze: float
    context_weight: float


STAGES = (
    Stage(0.10, (32, 80), 1.0, 1.0),
    Stage(0.30, (64, 200), 1.0, 1.0),
    Stage(0.55, (64, 160), 0.15, 0.2),
    Stage(0.85, (96, 300), 0.0, 0.1),
    Stage(1.01, (128, 480), 0.0, 0.1),
)


class Source:
    """Draws examples for a stage."""

    def __init__(self, data: Path, tokenizer: Tokenizer, texts: list[str], held_out: set[str], seed: int) -> None:
        self.tokenizer, self.rng = tokenizer, random.Random(seed)

        def measure(parts: list[str]) -> list[int]:
            return [len(code.ids) for code in tokenizer.encode_batch(parts, add_special_tokens=False)]

        self.raw = plain_passages(texts, measure)
        records = corpus.training_records(data, held_out)
        self.sets = {name: passages(rows, measure) for name, rows in records.items()}
        self.decks: dict[str, list[Passage]] = {}
        self.weights = {name: SUITS[name] * math.sqrt(len(rows)) for name, rows in self.sets.items()}

    def _deal(self, name: str, cards: list[Passage]) -> Passage:
        """Each passage once before any comes again."""
        deck = self.decks.setdefault(name, [])
        if not deck:
            deck.extend(cards)
            self.rng.shuffle(deck)
        return deck.pop()

    def draw(self, stage: Stage) -> Example:
        budget = self.rng.randint(*stage.lengths)
        if self.rng.random() < stage.cloze:
            return cloze(window(self._deal("raw", self.raw), budget, self.rng).context, self.rng)
        name = self.rng.choices(list(self.weights), list(self.weights.values()))[0]
        return example(self.sets[name], self._deal(name, self.sets[name]), budget, self.rng)

    def encode(self, item: Example, limit: int = POSITIONS) -> tuple[list[int], int]:
        """Token ids, and how many of them are the prompt."""
        prompt = f"<s> <CON> {item.context} </CON>\n\n"
        written = "\n\n".join(f"<QUE> {pair.question} <ANS> {pair.answer} </END>" for pair in item.pairs) + "</s>"
        ids = [code.ids for code in self.tokenizer.encode_batch([prompt, written], add_special_tokens=False)]
        return (ids[0] + ids[1])[:limit], len(ids[0])

    def batches(self, stage: Stage, tokens: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Batches of examples of like length, `tokens` tokens with the padding; ids and the weight of each target."""
        pool: list[tuple[list[int], int]] = []
        while sum(len(ids) for ids, _ in pool) < 16 * tokens:
            item = self.draw(stage)
            if item.pairs:
                pool.append(self.encode(item))
        pool.sort(key=lambda row: len(row[0]))
        groups: list[list[tuple[list[int], int]]] = [[]]
        for row in pool:
            if groups[-1] and len(row[0]) * (len(groups[-1]) + 1) > tokens:
                groups.append([])
            groups[-1].append(row)
        self.rng.shuffle(groups)
        for group in groups:
            width = max(len(ids) for ids, _ in group)
            ids = torch.zeros((len(group), width), dtype=torch.long)
            weights = torch.zeros((len(group), width))
            for i, (row, prompt) in enumerate(group):
                ids[i, : len(row)] = torch.tensor(row)
                weights[i, :prompt] = stage.context_weight
                weights[i, prompt : len(row)] = 1.0
            yield ids, weights


def build_model(vocab_size: int, hidden: int, layers: int, heads: int, inner: int) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=POSITIONS,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=3,
        attn_implementation="sdpa",
    )
    return LlamaForCausalLM(config)


def optimizers(model: LlamaForCausalLM, name: str, rate: float) -> list[torch.optim.Optimizer]:
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed" in n]
    if name == "muon":
        return [
            torch.optim.Muon(matrices, lr=rate, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(others, lr=rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
        ]
    groups = [{"params": matrices, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}]
    return [torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), fused=True)]


def loss_of(model: LlamaForCausalLM, ids: torch.Tensor, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Weighted loss, and the plain loss on the pairs. Right padding and causal attention: no mask is needed.

    The head is computed only where a target counts: light context targets are sampled rather than weighted down.
    """
    hidden = model.model(input_ids=ids).last_hidden_state[:, :-1]
    targets, weights = ids[:, 1:], weights[:, 1:]
    chosen = (weights == 1.0) | (torch.rand_like(weights) < weights)
    logits = model.lm_head(hidden[chosen])
    losses = functional.cross_entropy(logits, targets[chosen], reduction="none")
    with torch.no_grad():
        written = losses[weights[chosen] == 1.0].mean()
    return losses.mean(), written


def rate_at(share: float, peak: float, warm: float = 0.02) -> float:
    if share < warm:
        return peak * share / warm
    return peak * max(0.0, 1.0 - (share - warm) / (1.0 - warm)) ** 0.8


def train(args: argparse.Namespace) -> None:
    started = time.monotonic()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    held_out = corpus.held_out_keys(args.data)
    texts = corpus.training_texts(args.data, held_out)
    asked = [
        f"{qa['Q']} {qa['A']}"
        for rows in corpus.training_records(args.data, held_out).values()
        for row in rows
        for qa in row["QA_list"]
    ]
    tokenizer = train_tokenizer([*texts, *asked], args.vocab)
    source = Source(args.data, tokenizer, texts, held_out, args.seed)
    model = build_model(tokenizer.get_vocab_size(), args.hidden, args.layers, args.heads, args.inner)
    model.train()
    steppers = optimizers(model, args.optimizer, args.rate)
    sizes = {name: len(rows) for name, rows in source.sets.items()}
    print(json.dumps({"parameters": sum(p.numel() for p in model.parameters()), "raw": len(texts), "sets": sizes}))
    seconds = args.minutes * 60 - (time.monotonic() - started) - 10  # ten to write the files
    began = saved = time.monotonic()
    step = seen = 0
    mean = 0.0
    share = 0.0
    while share < 1.0:
        stage = next(stage for stage in STAGES if share < stage.until)
        for ids, weights in source.batches(stage, args.tokens):
            share = (time.monotonic() - began) / seconds
            if share >= 1.0:
                break
            for stepper in steppers:
                for group in stepper.param_groups:
                    group["lr"] = rate_at(share, args.rate)
            loss, written = loss_of(model, ids, weights)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for stepper in steppers:
                stepper.step()
                stepper.zero_grad(set_to_none=True)
            step, seen = step + 1, seen + ids.numel()
            mean = written.item() if step == 1 else 0.97 * mean + 0.03 * written.item()
            if step % 50 == 0:
                speed = seen / (time.monotonic() - began)
                print(f"step {step} share {share:.3f} pairs-loss {mean:.3f} tokens {seen} tokens/s {speed:.0f}", flush=True)
            if args.checkpoint and time.monotonic() - saved > 240:
                saved = time.monotonic()
                install(model, tokenizer, args.checkpoint)
    install(model, tokenizer, args.out)
    print(f"done: {step} steps, {seen} tokens, {(time.monotonic() - started) / 60:.1f} minutes", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with one folder for each dataset")
    parser.add_argument("--out", type=Path, required=True, help="model folder, replaced at the end")
    parser.add_argument("--checkpoint", type=Path, help="model folder, replaced every four minutes")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--vocab", type=int, default=5120)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--inner", type=int, default=640)
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--tokens", type=int, default=2048, help="tokens in a batch")
    parser.add_argument("--optimizer", choices=("adamw", "muon"), default="adamw")
    train(parser.parse_args())


if __name__ == "__main__":
    main()
