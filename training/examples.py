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
from difflib import SequenceMatcher
from functools import partial

import torch
from tokenizers import Tokenizer

from hub_instructpt.collection import Record
from training.asking import rough
from training.cloze import cloze, scrambled
from training.model import FIRST_WEIGHT
from training.passages import Example, Passage, example, passages, plain_passages, sentence_spans, window
from training.plain import Asker, people
from training.strange import strange

# How often an example comes from each set: the square root of its size, times how well it suits (short factual
# questions first; QED's questions are lower-case search queries, those of QuAC and CoQA parts of a talk).
SUITS = {"squad": 2.0, "QED": 0.5, "COVID_QA": 0.5, "NarrativeQA": 0.7, "Quac": 0.5, "CoQA": 0.7, "HotpotQA": 0.7}
ENOUGH = 2  # pairs on a text, from which on it is learned where to end

Point = tuple[int, int, int]  # a place, where it ought to look for the next token, and whether that is COPIED or FOUND
Row = tuple[list[int], list[float], list[Point]]  # ids, weights, points
FOUND, COPIED = 0, 1
PADDED_TO = 16  # tokens; each new shape costs a compilation where matrices are multiplied


@dataclass(frozen=True)
class Stage:
    """What is drawn until `until`, a share of the time, is over."""

    until: float
    lengths: tuple[int, int]  # tokens of a context
    context_weight: float  # of a context's tokens in the loss
    scrambled: float = 0.0  # the share of scrambled texts
    cloze: float = 0.0  # the share of raw texts with cloze pairs
    rough: float = 0.0  # the share of raw texts with rough questions, of which only the answers are learned
    plain: float = 0.0  # the share of raw texts with plain questions
    answers: float = 0.0  # of real examples, the share of which only the answers are learned, in no order
    in_a_row: float = 0.0  # of the others, the share that come as two examples of one set, or several plain ones
    strange: float = 0.0  # of plain and of real examples, the share with some words that nobody has seen
    dropout: float = 0.0


STAGES = (
    Stage(0.02, (32, 140), 0.4, scrambled=0.25, cloze=0.35, rough=0.4),
    Stage(0.20, (48, 200), 0.15, plain=0.2, rough=0.35, answers=0.5),
    Stage(0.55, (48, 320), 0.05, plain=0.4, rough=0.15, answers=1.0, strange=0.2, in_a_row=0.1, dropout=0.05),
    Stage(0.80, (48, 640), 0.05, plain=0.45, rough=0.05, answers=1.0, strange=0.2, in_a_row=0.25, dropout=0.1),
    Stage(1.01, (48, 640), 0.05, plain=0.25, rough=0.05, answers=1.0, strange=0.1, in_a_row=0.25, dropout=0.1),
)
MADE_WEIGHT = 4.0  # of the tokens of a plain question that are not copied, but for the first; few, yet they make it one


class Source:
    def __init__(self, tokenizer: Tokenizer, records: Mapping[str, list[Record]], texts: list[str]) -> None:
        self.tokenizer, self.rng = tokenizer, random.Random(0)

        def measure(parts: list[str]) -> list[int]:
            return [len(code.ids) for code in tokenizer.encode_batch(parts, add_special_tokens=False)]

        self.raw = plain_passages(texts, measure)
        self.asker = Asker(people(records))
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
            items, only_answers = self.draw(replace(stage, scrambled=0.0, cloze=0.0, rough=0.0, plain=0.0, answers=1.0))
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
        if chance < stage.plain:
            count = self.rng.choice((2, 3)) if self.rng.random() < stage.in_a_row else 1
            return [self._maybe_strange(self._plainly(budget // count), stage) for _ in range(count)], False
        name = self.rng.choices(list(self.weights), list(self.weights.values()))[0]
        group = self.sets[name]
        if self.rng.random() < stage.answers:
            item = example(group, self._deal(name, group), budget, self.rng, 12)
            self.rng.shuffle(item.pairs)
            return [self._maybe_strange(item, stage)], True
        count = 2 if self.rng.random() < stage.in_a_row else 1
        return [window(self._deal(name, group), budget, self.rng) for _ in range(count)], False

    def _plainly(self, budget: int) -> Example:
        """A part of a raw text with plain questions; with none where luck is bad."""
        for _ in range(20):
            text = window(self._deal("raw", self.raw), budget, self.rng).context
            item = self.asker.ask(text, self.rng)
            if len(item.pairs) >= ENOUGH:
                return item
        return Example(text, [])

    def _maybe_strange(self, item: Example, stage: Stage) -> Example:
        return strange(item, self.rng) if self.rng.random() < stage.strange else item

    def encode(self, items: list[Example], only_answers: bool, stage: Stage) -> Row:
        """Token ids, the weight of each as a target, and where the heads that find and copy ought to look."""
        asked, around = 0.0 if only_answers else 1.0, stage.context_weight
        ids: list[int] = []
        weights: list[float] = []
        points: list[Point] = []

        def add(text: str, first: float, others: float) -> list[int]:
            code = self.tokenizer.encode(text, add_special_tokens=False)
            ids.extend(code.ids)
            weights.extend([first, *[others] * (len(code.ids) - 1)])
            return [begin for begin, _ in code.offsets]

        for item in items:
            at = len(ids)
            begins = add(f"<s> <CON> {item.context} </CON>\n\n", around, around)
            place = partial(_place, at, begins)
            spans = sentence_spans(item.context) if asked else []
            for i, pair in enumerate(item.pairs):
                question = len(ids) + (2 if i else 0)
                add(("\n\n" if i else "") + f"<QUE> {pair.question} <ANS>", asked, asked)
                for begin, end in spans:
                    if begin <= pair.start < end:
                        copied = list(_copied(ids, range(place(begin), place(end - 1) + 1), question))
                        points += copied
                        for k in {*range(question + 2, len(ids) - 2)} - {point[0] + 1 for point in copied}:
                            weights[k] = MADE_WEIGHT
                answer, there = len(ids), place(pair.start)
                add(f" {pair.answer} </END>", FIRST_WEIGHT, 1.0)
                points.append((answer - 1, there, FOUND))
                points += _continued(ids, answer, there)
            ending = asked if len(item.pairs) >= ENOUGH else 0.0
            add("</s>", ending, ending)
        return ids, weights, points

    def batches(self, stage: Stage, tokens: int, longest: int) -> Iterator[tuple[torch.Tensor, ...]]:
        """Batches of `tokens` tokens with the padding: ids, weights as targets, where to look (row, from, to, kind)."""
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
            if groups[-1] and _padded(row) * (len(groups[-1]) + 1) > tokens:
                groups.append([])
            groups[-1].append(row)
        self.rng.shuffle(groups)
        for group in groups:
            width = _padded(group[-1])
            ids = torch.zeros((len(group), width), dtype=torch.long)
            weights = torch.zeros((len(group), width))
            for i, (row_ids, row_weights, _) in enumerate(group):
                ids[i, : len(row_ids)] = torch.tensor(row_ids)
                weights[i, : len(row_ids)] = torch.tensor(row_weights)
            points = [(i, *point) for i, row in enumerate(group) for point in row[2]]
            yield ids, weights, torch.tensor(points).reshape(-1, 4)


def _padded(row: Row) -> int:
    return -(-len(row[0]) // PADDED_TO) * PADDED_TO


def _place(at: int, begins: list[int], start: int) -> int:
    """The token at a character of the context; `begins` holds the first characters of the tokens from `at` on."""
    return at + bisect_right(begins, start + len("<s> <CON> ")) - 1


def _copied(ids: list[int], sentence: range, question: int) -> Iterator[Point]:
    """Where in the sentence the tokens of the question at the end of ids come from."""
    matcher = SequenceMatcher(None, ids[sentence.start : sentence.stop], ids[question:], autojunk=False)
    for block in matcher.get_matching_blocks():
        if block.size > 1:
            for k in range(block.size):
                yield question + block.b + k - 1, sentence.start + block.a + k, COPIED


def _continued(ids: list[int], answer: int, there: int) -> Iterator[Point]:
    """Where the tokens of the answer at the end of ids come from, but for the first."""
    for k in range(len(ids) - answer):
        if ids[answer + k] != ids[there + k]:
            return
        if k:
            yield answer + k - 1, there + k, COPIED
