"""Draws training examples for each stage and packs them into batches of token ids.

Keeps true: within a set every passage is drawn once before any comes again; a batch holds examples of like length.
Does not know: models, the clock (it is told which stage it is).
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer

from training import corpus
from training.cloze import cloze, scrambled
from training.passages import Example, Passage, example, passages, plain_passages, window

# How often an example comes from each set: the square root of its size, times how well it suits (short factual
# questions first; ROPES compares two made-up cases, and QED's questions are lower-case search queries).
SUITS = {"squad": 1.5, "FairyTaleQA": 1.0, "ROPES": 0.35, "QED": 0.5, "COVID_QA": 0.5, "NarrativeQA": 0.5}


@dataclass(frozen=True)
class Stage:
    """What is drawn until `until`, a share of the time, is over."""

    until: float
    lengths: tuple[int, int]  # tokens of a context
    cloze: float  # the share of cloze examples
    context_weight: float  # of a context's tokens in the loss
    scrambled: float = 0.0  # the share of scrambled texts among the cloze examples
    long: float = 0.0  # the share of contexts of twice the length


STAGES = (
    Stage(0.03, (24, 80), 1.0, 0.2, scrambled=0.5),
    Stage(0.20, (48, 200), 1.0, 0.5, scrambled=0.1),
    Stage(0.45, (64, 160), 0.15, 0.2),
    Stage(0.85, (96, 300), 0.0, 0.1, long=0.05),
    Stage(1.01, (128, 480), 0.0, 0.1, long=0.05),
)
# For a run that goes on from a trained model: question sets only, no cloze.
FURTHER = (
    Stage(0.50, (64, 200), 0.0, 0.1),
    Stage(1.01, (96, 420), 0.0, 0.1, long=0.03),
)


class Source:
    def __init__(self, data: Path, tokenizer: Tokenizer, texts: list[str], held_out: set[str]) -> None:
        self.tokenizer, self.rng = tokenizer, random.Random(0)

        def measure(parts: list[str]) -> list[int]:
            return [len(code.ids) for code in tokenizer.encode_batch(parts, add_special_tokens=False)]

        self.raw = plain_passages(texts, measure)
        records = corpus.training_records(data, held_out)
        self.sets = {name: passages(rows, measure) for name, rows in records.items()}
        self.decks: dict[str, list[Passage]] = {}
        self.weights = {name: SUITS[name] * math.sqrt(len(rows)) for name, rows in self.sets.items()}

    def _deal(self, name: str, cards: list[Passage]) -> Passage:
        deck = self.decks.setdefault(name, [])
        if not deck:
            deck.extend(cards)
            self.rng.shuffle(deck)
        return deck.pop()

    def draw(self, stage: Stage) -> Example:
        budget = self.rng.randint(*stage.lengths) * (2 if self.rng.random() < stage.long else 1)
        if self.rng.random() < stage.cloze:
            text = window(self._deal("raw", self.raw), budget, self.rng).context
            return (scrambled if self.rng.random() < stage.scrambled else cloze)(text, self.rng)
        name = self.rng.choices(list(self.weights), list(self.weights.values()))[0]
        return example(self.sets[name], self._deal(name, self.sets[name]), budget, self.rng)

    def encode(self, item: Example) -> tuple[list[int], int]:
        """Token ids, and how many of them are the prompt."""
        prompt = f"<s> <CON> {item.context} </CON>\n\n"
        written = "\n\n".join(f"<QUE> {pair.question} <ANS> {pair.answer} </END>" for pair in item.pairs) + "</s>"
        codes = self.tokenizer.encode_batch([prompt, written], add_special_tokens=False)
        return codes[0].ids + codes[1].ids, len(codes[0].ids)

    def batches(self, stage: Stage, tokens: int, longest: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Batches of `tokens` tokens with the padding: the ids, and the weight of each as a target."""
        pool: list[tuple[list[int], int]] = []
        while sum(len(ids) for ids, _ in pool) < 48 * tokens:
            item = self.draw(stage)
            row = self.encode(item) if item.pairs else None
            if row and len(row[0]) <= longest:
                pool.append(row)
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
            for i, (row_ids, prompt) in enumerate(group):
                ids[i, : len(row_ids)] = torch.tensor(row_ids)
                weights[i, :prompt] = stage.context_weight
                weights[i, prompt : len(row_ids)] = 1.0
            yield ids, weights
