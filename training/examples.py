"""Draws training examples for each stage and packs them into batches of token ids.

Keeps true: within a set every passage is drawn once before any comes again; a batch holds examples of like length.
Does not know: models, the clock (it is told which stage it is).
"""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer

from training import corpus
from training.asking import rough
from training.cloze import cloze, scrambled
from training.passages import Example, Passage, example, passages, plain_passages, window

# How often an example comes from each set: the square root of its size, times how well it suits (short factual
# questions first; ROPES compares two made-up cases, and QED's questions are lower-case search queries).
SUITS = {"squad": 1.5, "FairyTaleQA": 1.0, "ROPES": 0.35, "QED": 0.5, "COVID_QA": 0.5, "NarrativeQA": 0.5}

Row = tuple[list[int], list[float], list[tuple[int, int]]]  # ids, weights, (from, to) for each answer


@dataclass(frozen=True)
class Stage:
    """What is drawn until `until`, a share of the time, is over."""

    until: float
    lengths: tuple[int, int]  # tokens of a context
    cloze: float  # the share of cloze examples
    context_weight: float  # of a context's tokens in the loss
    scrambled: float = 0.0  # the share of scrambled texts among the cloze examples
    long: float = 0.0  # the share of contexts of twice the length
    rough: float = 0.0  # the share of raw texts with rough questions, of which only the answers are learned
    answers: float = 0.0  # the share of real examples of which only the answers are learned, in no order
    answer_weight: float = 1.0  # of an answer's first token, against 1 for the others


STAGES = (
    Stage(0.03, (24, 80), 1.0, 0.2, scrambled=0.5),
    Stage(0.20, (48, 200), 1.0, 0.5, scrambled=0.1),
    Stage(0.45, (64, 160), 0.15, 0.2),
    Stage(0.85, (96, 300), 0.0, 0.1, long=0.05),
    Stage(1.01, (128, 480), 0.0, 0.1, long=0.05),
)
# For a run that goes on from a trained model: no cloze, but rough questions, of which only the answers are learned.
FURTHER = (
    Stage(0.30, (64, 220), 0.0, 0.03, rough=0.75, answers=0.4, answer_weight=3.0),
    Stage(0.70, (64, 300), 0.0, 0.05, rough=0.5, answers=0.4, answer_weight=3.0),
    Stage(1.01, (96, 420), 0.0, 0.05, long=0.03, rough=0.3, answers=0.4, answer_weight=3.0),
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

    def frequencies(self) -> torch.Tensor:
        """The share of each token in the raw texts, none of them zero."""
        count = torch.ones(self.tokenizer.get_vocab_size())
        for code in self.tokenizer.encode_batch([passage.text for passage in self.raw], add_special_tokens=False):
            count += torch.bincount(torch.tensor(code.ids), minlength=len(count))
        return count / count.sum()

    def _deal(self, name: str, cards: list[Passage]) -> Passage:
        deck = self.decks.setdefault(name, [])
        if not deck:
            deck.extend(cards)
            self.rng.shuffle(deck)
        return deck.pop()

    def draw(self, stage: Stage) -> tuple[Example, bool]:
        """An example, and whether only its answers are learned."""
        budget = self.rng.randint(*stage.lengths) * (2 if self.rng.random() < stage.long else 1)
        chance = self.rng.random()
        if chance < stage.cloze + stage.rough:
            text = window(self._deal("raw", self.raw), budget, self.rng).context
            if chance < stage.rough:
                return rough(text, self.rng), True
            return (scrambled if self.rng.random() < stage.scrambled else cloze)(text, self.rng), False
        name = self.rng.choices(list(self.weights), list(self.weights.values()))[0]
        only = self.rng.random() < stage.answers
        item = example(self.sets[name], self._deal(name, self.sets[name]), budget, self.rng, 12 if only else 6)
        if only:
            self.rng.shuffle(item.pairs)
        return item, only

    def encode(self, item: Example, only_answers: bool, stage: Stage) -> Row:
        """Token ids, the weight of each as a target, and for each answer its first place and where it looks from."""
        asked = 0.0 if only_answers else 1.0
        texts, weights = [f"<s> <CON> {item.context} </CON>\n\n"], [(stage.context_weight, stage.context_weight)]
        for i, pair in enumerate(item.pairs):
            texts += [("\n\n" if i else "") + f"<QUE> {pair.question} <ANS>", f" {pair.answer} </END>"]
            weights += [(asked, asked), (stage.answer_weight, 1.0)]
        texts.append("</s>")
        weights.append((asked, asked))
        encoded = self.tokenizer.encode_batch(texts, add_special_tokens=False)
        codes = [code.ids for code in encoded]
        begins = [begin for begin, _ in encoded[0].offsets]
        points, at = [], len(codes[0])
        for pair, asking, answer in zip(item.pairs, codes[1::2], codes[2::2], strict=False):
            at += len(asking)
            points.append((at - 1, bisect_right(begins, pair.start + len("<s> <CON> ")) - 1))
            at += len(answer)
        spread = [[first, *[others] * (len(ids) - 1)] for ids, (first, others) in zip(codes, weights, strict=True)]
        return [i for ids in codes for i in ids], [w for part in spread for w in part], points

    def batches(self, stage: Stage, tokens: int, longest: int) -> Iterator[tuple[torch.Tensor, ...]]:
        """Batches of `tokens` tokens with the padding: ids, weights as targets, where to look (row, from, to)."""
        pool: list[Row] = []
        while sum(len(row[0]) for row in pool) < 48 * tokens:
            item, only_answers = self.draw(stage)
            row = self.encode(item, only_answers, stage) if item.pairs else None
            if row and len(row[0]) <= longest:
                pool.append(row)
        pool.sort(key=lambda row: len(row[0]))
        groups: list[list[Row]] = [[]]
        for row in pool:
            if groups[-1] and len(row[0]) * (len(groups[-1]) + 1) > tokens:
                groups.append([])
            groups[-1].append(row)
        self.rng.shuffle(groups)
        for group in groups:
            width = max(len(row[0]) for row in group)
            ids = torch.zeros((len(group), width), dtype=torch.long)
            weights = torch.zeros((len(group), width))
            for i, (row_ids, row_weights, _) in enumerate(group):
                ids[i, : len(row_ids)] = torch.tensor(row_ids)
                weights[i, : len(row_ids)] = torch.tensor(row_weights)
            points = [(i, begin, end) for i, row in enumerate(group) for begin, end in row[2]]
            yield ids, weights, torch.tensor(points).reshape(-1, 3)
