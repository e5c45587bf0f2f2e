"""Evidence: what tells a reader of a card of what kind the pairs of a corpus are, gathered while shards are sealed.

Histograms over fixed bins, pairs counted by their kind, and the places of a few samples. All of it adds up: that of a
corpus is the sum of its shards', whoever made them, in whatever order and in however many tries.

    pairs_per_text          "9 6|0:1 3:2 6:1"     sum and largest value, then each bin's lower bound with its count
    kinds                   "free_form:7 options:2"
    samples                 "00d1f0c4a7b35e92@17.0"        digest, row of the shard, text within that row

A manifest keeps these texts as they are, because it is read far more often than its evidence.

Keeps true: adding is associative and commutative. A sample is chosen by a digest of its text and of the number of its
source row, so by nobody; the smallest ones win. It costs about as much memory as a page, however long the texts are.
Does not know shards, files or cards.
"""

from __future__ import annotations

import re
from bisect import insort
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import nsmallest

import xxhash

from hub_instructpt.records import Pair
from hub_instructpt.rendering.questions import KINDS, read_pair

NUM_SAMPLES = 5
FINE, COARSE = 5, 3
"""Leading bits of a value that its bin knows: counts of pairs are exact below 32, and a length is known to a fifth."""


@dataclass(slots=True)
class Histogram:
    """Whole numbers from 0, counted in bins that grow with the value: four or more to each doubling.

    Attributes:
        bits: leading bits of a value that tell its bin; not kept, so whoever reads one says it.
        bins: counts, by the lower bound of the bin.
        total: sum of the values, exactly; most: the largest of them.
    """

    bits: int
    bins: Counter[int] = field(default_factory=Counter)
    total: int = 0
    most: int = 0

    def add(self, value: int) -> None:
        """Count a value."""
        shift = max(0, value.bit_length() - self.bits)
        self.bins[value >> shift << shift] += 1
        self.total += value
        self.most = max(self.most, value)

    def __add__(self, other: Histogram) -> Histogram:
        return Histogram(self.bits, self.bins + other.bins, self.total + other.total, max(self.most, other.most))

    @property
    def count(self) -> int:
        """How many values there are."""
        return self.bins.total()

    @property
    def mean(self) -> float:
        return self.total / self.count if self.count else 0.0

    def upper(self, lower: int) -> int:
        """One past the last value of the bin that begins at `lower`."""
        return lower + (1 << max(0, lower.bit_length() - self.bits))

    def quantile(self, share: float) -> int:
        """The value below which that share of all lies, as exactly as the bins tell."""
        wanted, below = share * self.count, 0
        for lower, number in sorted(self.bins.items()):
            if below + number >= wanted:
                width = min(self.upper(lower), self.most + 1) - lower
                return lower + min(width - 1, int(width * max(0.0, wanted - below) / number))
            below += number
        return 0

    def __str__(self) -> str:
        bins = (f"{lower}:{number}" for lower, number in sorted(self.bins.items()) if number)
        return f"{self.total} {self.most}|{' '.join(bins)}"

    def take(self, text: str) -> None:
        """Add one that `str` wrote.

        Raises:
            ValueError: it is nothing like that.
        """
        sums, bar, bins = text.partition("|")
        total, most = map(int, sums.split())
        for item in bins.split():
            lower, number = map(int, item.split(":"))
            if lower < 0 or number < 1:
                raise ValueError("negative")
            self.bins[lower] += number
        if total < 0 or most < 0 or not bar:
            raise ValueError("incomplete")
        self.total += total
        self.most = max(self.most, most)

    @classmethod
    def parse(cls, bits: int, text: str) -> Histogram:
        """Read what `str` wrote.

        Raises:
            ValueError: it is nothing like that.
        """
        found = cls(bits)
        found.take(text)
        return found


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where a sample lies: row of its shard, and text within that row. Ordered by its digest."""

    digest: int
    row: int
    shot: int

    def __str__(self) -> str:
        return f"{self.digest:016x}@{self.row}.{self.shot}"

    @classmethod
    def parse(cls, text: str) -> Place:
        """Read what `str` wrote.

        Raises:
            ValueError: it is nothing like that.
        """
        found = re.fullmatch(r"([0-9a-f]{16})@(\d{1,18})\.(\d{1,9})", text, re.ASCII)
        if not found:
            raise ValueError("not the place of a sample")
        return cls(int(found[1], 16), int(found[2]), int(found[3]))


Text = tuple[int, str, Sequence[Pair]]
"""One text of a row: the number of its source row, the text, its pairs."""


@dataclass(slots=True)
class Evidence:
    """What is known of the pairs of a shard, or of many. Lengths are in characters."""

    pairs_per_text: Histogram = field(default_factory=lambda: Histogram(FINE))
    text_lengths: Histogram = field(default_factory=lambda: Histogram(COARSE))
    instruction_lengths: Histogram = field(default_factory=lambda: Histogram(COARSE))
    response_lengths: Histogram = field(default_factory=lambda: Histogram(COARSE))
    kinds: Counter[str] = field(default_factory=Counter)
    samples: list[Place] = field(default_factory=list)

    @classmethod
    def of(cls, rows: Iterable[Iterable[Text]]) -> Evidence:
        """Of the rows of one shard, in their order."""
        found = cls()
        for at, row in enumerate(rows):
            found.take(at, row)
        return found

    def take(self, at: int, row: Iterable[Text]) -> None:
        """Take in a row of a shard, `at` being its place there."""
        for shot, (number, text, pairs) in enumerate(row):
            self.pairs_per_text.add(len(pairs))
            self.text_lengths.add(len(text))
            for pair in pairs:
                self.instruction_lengths.add(len(pair["instruction"]))
                self.response_lengths.add(len(pair["response"]))
                self.kinds[read_pair(pair).kind] += 1
            if pairs:
                digest = xxhash.xxh3_64_intdigest(text.encode(), number)
                if len(self.samples) < NUM_SAMPLES or digest < self.samples[-1].digest:
                    insort(self.samples, Place(digest, at, shot))
                    del self.samples[NUM_SAMPLES:]

    def __add__(self, other: Evidence) -> Evidence:
        """Of both. Samples are left out: their places are those within one shard."""
        return Evidence(
            self.pairs_per_text + other.pairs_per_text,
            self.text_lengths + other.text_lengths,
            self.instruction_lengths + other.instruction_lengths,
            self.response_lengths + other.response_lengths,
            self.kinds + other.kinds,
        )

    def as_dict(self) -> dict[str, str]:
        """For a file: every part as a short text."""
        return {
            **{name: str(getattr(self, name)) for name in _HISTOGRAMS},
            "kinds": " ".join(f"{kind}:{number}" for kind, number in sorted(self.kinds.items())),
            "samples": " ".join(map(str, self.samples)),
        }

    def take_from(self, told: Mapping[str, str]) -> None:
        """Add what `as_dict` gave; samples are left out, as in a sum.

        Raises:
            ValueError: it is nothing like that.
        """
        for name in _HISTOGRAMS:
            try:
                getattr(self, name).take(told.get(name, ""))
            except ValueError:
                raise ValueError(f"not {name}") from None
        for item in told.get("kinds", "").split():
            kind, _, number = item.partition(":")
            if kind not in KINDS or not number.isdecimal():
                raise ValueError("not counts of kinds")
            self.kinds[kind] += int(number)

    @classmethod
    def from_dict(cls, told: Mapping[str, str]) -> Evidence:
        """What `as_dict` gave.

        Raises:
            ValueError: it is nothing like that.
        """
        found = cls()
        found.take_from(told)
        found.samples = places_of(told)
        return found

    def kind_counts(self) -> list[tuple[str, int]]:
        """Pairs of each kind that there is."""
        return [(kind, self.kinds[kind]) for kind in KINDS if self.kinds[kind]]


_HISTOGRAMS = ("pairs_per_text", "text_lengths", "instruction_lengths", "response_lengths")


def places_of(told: Mapping[str, str]) -> list[Place]:
    """The samples of what `as_dict` gave.

    Raises:
        ValueError: it is nothing like that.
    """
    return [Place.parse(item) for item in told.get("samples", "").split()]


def chosen(shards: Iterable[Sequence[Place]], number: int = NUM_SAMPLES) -> list[tuple[int, Place]]:
    """The samples of a corpus, as positions in the list of its shards with places in them."""
    found = ((place, at) for at, places in enumerate(shards) for place in places)
    return [(at, place) for place, at in nsmallest(number, found)]
