"""Draws training examples for each stage and packs them into batches of token ids.

Keeps true: within a set every passage is drawn once before any comes again; a batch holds rows of like length.
Does not know: models, the clock (it is told which stage it is).
"""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from tokenizers import Tokenizer

from hub_instructpt.collection import Record
from training.asking import rough
from training.cloze import cloze, scrambled
from training.passages import Example, Passage, example, passages, plain_passages, window
from training.tokenizer import FIRST_PLAIN

# How often an example comes from each set: the square root of its size, times how well it suits (short factual
# questions first; QED's questions are lower-case search queries, those of QuAC and CoQA parts of a talk).
SUITS = {"squad": 2.0, "QED": 0.5, "COVID_QA": 0.5, "NarrativeQA": 0.7, "Quac": 0.5, "CoQA": 0.7, "HotpotQA": 0.7}
ENOUGH = 3  # pairs on a text, from which on it is learned where to end

Row = tuple[list[int], list[float], list[tuple[int, int]]]  # ids, weights, (from, to) for each answer


@dataclass(frozen=True)
class Stage:
    """What is drawn until `until`, a share of the time, is over."""

    until: float
    lengths: tuple[int, int]  # tokens of a context
    context_weight: float  # of a context's tokens in the loss
    scrambled: float = 0.0  # the share of scrambled texts
    cloze: float = 0.0  # the share of raw texts with cloze pairs
    rough: float = 0.0  # the share of raw texts with rough questions, of which only the answers are learned
    answers: float = 0.0  # of real examples, the share of which only the answers are learned, in no order
    in_a_row: float = 0.0  # of the others, the share that come as two examples of one set
    echo: float = 0.0  # the share of questions, answers and pairs after which something said is said again
    dropout: float = 0.0


STAGES = (
    Stage(0.03, (32, 140), 0.4, scrambled=0.25, cloze=0.35, rough=0.4),
    Stage(0.30, (64, 200), 0.15, cloze=0.05, rough=0.35, answers=0.4),
    Stage(0.65, (96, 280), 0.1, rough=0.2, answers=0.4, dropout=0.05),
    Stage(1.01, (96, 400), 0.05, rough=0.08, answers=0.35, in_a_row=0.1, dropout=0.1),
)
# For a run that goes on from a trained model.
FURTHER = (
    Stage(0.50, (96, 280), 0.1, rough=0.05, answers=0.25, echo=0.4, dropout=0.05),
    Stage(1.01, (96, 400), 0.05, rough=0.05, answers=0.25, in_a_row=0.1, echo=0.4, dropout=0.1),
)
FIRST_WEIGHT = 3.0  # of an answer's first token, against 1 for the others


class Source:
    def __init__(self, tokenizer: Tokenizer, records: Mapping[str, list[Record]], texts: list[str]) -> None:
        self.tokenizer, self.rng = tokenizer, random.Random(0)

        def measure(parts: list[str]) -> list[int]:
            return [len(code.ids) for code in tokenizer.encode_batch(parts, add_special_tokens=False)]

        self.raw = plain_passages(texts, measure)
        self.sets = {name: passages(rows, measure) for name, rows in records.items()}
        self.decks: dict[str, list[Passage]] = {}
        self.weights = {name: SUITS.get(name, 1.0) * math.sqrt(len(rows)) for name, rows in self.sets.items()}

    def frequencies(self) -> torch.Tensor:
        """The share of each token in the raw texts, none of them zero; shape (tokens,)."""
        count = torch.ones(self.tokenizer.get_vocab_size())
        for code in self.tokenizer.encode_batch([passage.text for passage in self.raw], add_special_tokens=False):
            count += torch.bincount(torch.tensor(code.ids), minlength=len(count))
        return count / count.sum()

    def answered(self, stage: Stage, count: int) -> list[list[int]]:
        """Token ids of some examples of the real sets whose answers only are learned."""
        rows: list[list[int]] = []
        while len(rows) < count:
            items, only_answers = self.draw(replace(stage, scrambled=0.0, cloze=0.0, rough=0.0, answers=1.0))
            if all(item.pairs for item in items):
                rows.append(self.encode(items, only_answers, stage)[0])
        return rows

    def _deal(self, name: str, cards: list[Passage]) -> Passage:
        deck = self.decks.setdefault(name, [])
        if not deck:
            deck.extend(cards)
            self.rng.shuffle(deck)
        return deck.pop()

    def draw(self, stage: Stage) -> tuple[list[Example], bool]:
        """One example or several in a row, and whether only their answers are learned."""
        budget, chance = self.rng.randint(*stage.lengths), self.rng.random()
        for share, make in ((stage.scrambled, scrambled), (stage.cloze, cloze), (stage.rough, rough)):
            if chance < share:
                text = window(self._deal("raw", self.raw), budget, self.rng).context
                return [make(text, self.rng)], make is rough
            chance -= share
        name = self.rng.choices(list(self.weights), list(self.weights.values()))[0]
        group = self.sets[name]
        if self.rng.random() < stage.answers:
            item = example(group, self._deal(name, group), budget, self.rng, 12)
            self.rng.shuffle(item.pairs)
            return [item], True
        count = 2 if self.rng.random() < stage.in_a_row else 1
        return [window(self._deal(name, group), budget, self.rng) for _ in range(count)], False

    def encode(self, items: list[Example], only_answers: bool, stage: Stage) -> Row:
        """Token ids, the weight of each as a target, and for each answer its first place and where it looks from."""
        asked, around = 0.0 if only_answers else 1.0, stage.context_weight
        echo = stage.echo * asked  # of questions; a question that is not learned teaches nothing by being echoed
        ids: list[int] = []
        weights: list[float] = []
        points: list[tuple[int, int]] = []

        def add(text: str, first: float, others: float, echo: float = 0.0) -> list[tuple[int, int]]:
            code = self.tokenizer.encode(text, add_special_tokens=False)
            cut, again = self._echo(code.ids) if self.rng.random() < echo else (len(code.ids), [])
            ids.extend([*code.ids[:cut], *again, *code.ids[cut:]])
            weights.extend([first, *[others] * (cut - 1), *[0.0] * len(again), *[others] * (len(code.ids) - cut)])
            return list(code.offsets)

        for item in items:
            at = len(ids)
            begins = [begin for begin, _ in add(f"<s> <CON> {item.context} </CON>\n\n", around, around)]
            for i, pair in enumerate(item.pairs):
                if i and self.rng.random() < echo:
                    before = item.pairs[self.rng.randrange(i)]
                    for _ in range(self.rng.choice((1, 1, 2))):
                        add(f"\n\n<QUE> {before.question} <ANS> {before.answer} </END>", 0.0, 0.0)
                add(("\n\n" if i else "") + f"<QUE> {pair.question} <ANS>", asked, asked, echo)
                points.append((len(ids) - 1, at + bisect_right(begins, pair.start + len("<s> <CON> ")) - 1))
                add(f" {pair.answer} </END>", FIRST_WEIGHT, 1.0, stage.echo)
            end = asked if len(item.pairs) >= ENOUGH else 0.0
            add("</s>", end, end)
        return ids, weights, points

    def _echo(self, ids: list[int]) -> tuple[int, list[int]]:
        """Where to stop in ids, and the last of the tokens there, again and again; none where ids are too few.

        A model that copies well copies itself, in loops. So it is shown loops, learns none of them, but how to go on.
        """
        plain = [at for at in range(2, len(ids)) if min(ids[at - 2 : at]) >= FIRST_PLAIN]
        if not plain:
            return len(ids), []
        cut = self.rng.choice(plain)
        said = ids[max(0, cut - self.rng.randint(1, 6)) : cut]
        while said[0] < FIRST_PLAIN:
            said = said[1:]
        return cut, said * self.rng.randint(1, 3)

    def batches(self, stage: Stage, tokens: int, longest: int) -> Iterator[tuple[torch.Tensor, ...]]:
        """Batches of `tokens` tokens with the padding: ids, weights as targets, where to look (row, from, to)."""
        pool: list[Row] = []
        while sum(len(row[0]) for row in pool) < 32 * tokens:
            items, only_answers = self.draw(stage)
            if all(item.pairs for item in items):
                row = self.encode(items, only_answers, stage)
                if len(row[0]) <= longest:
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
