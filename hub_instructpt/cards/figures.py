"""Figures on a card: what became of what was read, how many pairs a text has, how long things are.

Keeps true: they show numbers that stand in tables on the card as well, so nobody needs them; their bytes follow from
the numbers.
Does not know where the numbers come from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hub_instructpt.cards.escaping import flat
from hub_instructpt.cards.metadata import CONFIG
from hub_instructpt.cards.svg import Drawing
from hub_instructpt.cards.words import group, words
from hub_instructpt.evidence import Evidence, Histogram
from hub_instructpt.runs.files import write_text

WIDTH = 760
LEFT, RIGHT = 190, 136
LOSSES_ROOM = 85
"""Characters that fit into a line of reasons."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One bar of a funnel: how many came so far, out of how many, and what was lost since the one before."""

    name: str
    number: int
    of: int
    lost: Sequence[tuple[str, int]] = field(default=())


def funnel(title: str, stages: Sequence[Stage]) -> str:
    """Bars that grow shorter, with what was lost in between."""
    # A stage that is counted out of something else begins a new group.
    gaps = [10 * (at > 0 and stage.of != stages[at - 1].of) for at, stage in enumerate(stages)]
    told = "; ".join(f"{stage.name}: {stage.number:,}" for stage in stages)
    drawing = Drawing(WIDTH, 56 + sum(gaps) + sum(34 + 18 * bool(stage.lost) for stage in stages), title, told)
    y, room = 48, WIDTH - LEFT - RIGHT
    for stage, gap in zip(stages, gaps, strict=True):
        y += gap
        share = stage.number / stage.of if stage.of else 0.0
        if stage.lost:
            drawing.text(LEFT, y + 11, _losses(stage.lost), colour="mark", size=12)
            y += 18
        drawing.text(LEFT - 12, y + 16, stage.name, anchor="end")
        drawing.bar(LEFT, y, room, 22, "rail")
        # What there is is seen, however little it is.
        drawing.bar(LEFT, y, max(room * min(share, 1.0), 2.0 * bool(stage.number)), 22, told=f"{stage.number:,}")
        drawing.text(LEFT + room + 10, y + 16, _short(stage.number), bold=True)
        drawing.text(WIDTH - 14, y + 16, _percent(share), colour="faint", anchor="end", size=12)
        y += 34
    return drawing.svg()


def draw_distributions(evidence: Evidence, per: str) -> dict[str, str]:
    """What evidence tells of pairs, by the names of figures; `per` is what the pairs are of."""
    spans = [(per, evidence.text_lengths), ("instruction", evidence.instruction_lengths)]
    return {
        "pairs": counted(f"Pairs per {per}", evidence.pairs_per_text, f"pairs per {per}"),
        "lengths": lengths("Lengths", [*spans, ("response", evidence.response_lengths)], "characters"),
    }


ALT = {
    "funnel": "What became of what was read",
    "pairs": "How many pairs each text has",
    "lengths": "Lengths in characters",
}
SECTIONS = {"funnel": ["funnel"], "distributions": ["pairs", "lengths"]}


def figure_path(name: str, config: str = CONFIG) -> str:
    """Where a figure lies in a repo: each config but the default one has a folder of its own."""
    return f"figures/{name}.svg" if config == CONFIG else f"{config}/figures/{name}.svg"


def figures_in(folder: Path, config: str = CONFIG) -> dict[str, list[tuple[str, str]]]:
    """Paths and descriptions of the figures that a directory holds, for each section of its card."""
    there = [name for name in ALT if (folder / figure_path(name)).is_file()]
    return {
        section: [(figure_path(name, config), ALT[name]) for name in names if name in there]
        for section, names in SECTIONS.items()
    }


def write_figures(folder: Path, drawn: Mapping[str, str]) -> None:
    """Write figures, by name, into a directory, and remove those that are no longer drawn."""
    for name in ALT:
        path = folder / figure_path(name)
        if name in drawn:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, drawn[name])
        else:
            path.unlink(missing_ok=True)


def losses(counts: Mapping[str, int], name: str) -> list[tuple[str, int]]:
    """A group of counts with the words for its reasons, the largest first."""
    return [(words(reason), number) for reason, number in group(counts, name)]


def _losses(lost: Sequence[tuple[str, int]]) -> str:
    """Numbers and reasons, as many as have room."""
    shown = [f"{number:,} {flat(reason, 40)}" for reason, number in lost]
    if len(" · ".join(shown)) <= LOSSES_ROOM:
        return f"− {' · '.join(shown)}"
    while len(shown) > 1 and len(" · ".join(shown)) > LOSSES_ROOM - len(" · 1,000,000 for other reasons"):
        shown.pop()
    rest = sum(number for _, number in lost[len(shown) :])
    return f"− {' · '.join([*shown, f'{rest:,} for other reasons'] if rest else shown)}"


def counted(title: str, histogram: Histogram, axis: str) -> str:
    """A bar for each value, as of pairs per text."""
    drawing = Drawing(WIDTH, 260, title, f"On average {histogram.mean:.2f}, at most {histogram.most:,}.")
    _columns(drawing, histogram, range(_at(histogram, histogram.most) + 1), top=48, height=150, every=True)
    drawing.text(WIDTH / 2, 244, axis, colour="faint", anchor="middle", size=12)
    return drawing.svg()


def lengths(title: str, histograms: Sequence[tuple[str, Histogram]], axis: str) -> str:
    """Histograms below each other, over one logarithmic axis, each with its median."""
    shown = [(name, histogram) for name, histogram in histograms if histogram.count]
    told = "; ".join(f"{name}: median {histogram.quantile(0.5):,}" for name, histogram in shown)
    drawing = Drawing(WIDTH, 80 + 110 * len(shown), title, told)
    bins = [_at(histogram, lower) for _, histogram in shown for lower in histogram.bins]
    span = range(min(bins, default=0), max(bins, default=0) + 1)
    for at, (name, histogram) in enumerate(shown):
        top = 48 + 110 * at
        _columns(drawing, histogram, span, top=top, height=70, every=False)
        drawing.text(20, top + 30, name)
        drawing.text(20, top + 48, f"median {histogram.quantile(0.5):,}", colour="mark", size=12)
    drawing.text(LEFT + (WIDTH - LEFT - 30) / 2, 66 + 110 * len(shown), axis, colour="faint", anchor="middle", size=12)
    return drawing.svg()


def _columns(drawing: Drawing, histogram: Histogram, span: range, *, top: float, height: float, every: bool) -> None:
    left, right = (60 if every else LEFT), 30
    step = (drawing.width - left - right) / max(1, len(span))
    tallest = max(histogram.bins.values(), default=0)
    for lower, number in sorted(histogram.bins.items()):
        tall = height * number / tallest
        x = left + (_at(histogram, lower) - span.start) * step
        told = f"{_range(histogram, lower)}: {number:,} ({100 * number / histogram.count:.1f} %)"
        gap = min(4.0, step / 4)
        drawing.bar(x + gap / 2, top + height - tall, step - gap, tall, told=told)
        if every and len(span) <= 16:
            share = _percent(number / histogram.count)
            drawing.text(x + step / 2, top + height - tall - 5, share, colour="faint", anchor="middle", size=11)
    drawing.line(left, top + height, drawing.width - right, top + height)
    if not every and histogram.count:
        x = left + (_at(histogram, _lower(histogram, histogram.quantile(0.5))) - span.start + 0.5) * step
        drawing.bar(x - 1, top, 2, height, "mark")
    values = {_at(histogram, lower): lower for lower in _bounds(histogram, span)}
    ticks = [at for at in span if every or values[at].bit_count() == 1]
    apart = max(1, -(-len(ticks) * 34 // (drawing.width - left - right)))  # as many as have room
    for at in ticks[::apart]:
        x = left + (at - span.start + (0.5 if every else 0)) * step
        drawing.text(x, top + height + 17, _short(values[at]), colour="faint", anchor="middle", size=11)


def _percent(share: float) -> str:
    """A share, which is nought or whole only where it is."""
    return "<1 %" if 0 < share < 0.005 else ">99 %" if 0.995 <= share < 1 else f"{100 * share:.0f} %"


def _at(histogram: Histogram, value: int) -> int:
    """The place of a value's bin among all bins, from 0."""
    shift = max(0, value.bit_length() - histogram.bits)
    return (shift << (histogram.bits - 1)) + (value >> shift)


def _bounds(histogram: Histogram, span: range) -> list[int]:
    """Lower bounds of the bins at these places."""
    half = 1 << (histogram.bits - 1)
    return [at if at < 2 * half else (at % half + half) << (at // half - 1) for at in span]


def _lower(histogram: Histogram, value: int) -> int:
    shift = max(0, value.bit_length() - histogram.bits)
    return value >> shift << shift


def _range(histogram: Histogram, lower: int) -> str:
    last = histogram.upper(lower) - 1
    return f"{lower:,}" if last == lower else f"{lower:,} to {last:,}"


def _short(number: int) -> str:
    """A number of at most seven signs."""
    for size, unit in ((10**12, "T"), (10**9, "G"), (10**6, "M")):
        if number >= size:
            return f"{number / size:,.0f} {unit}" if number >= 100 * size else f"{number / size:.1f} {unit}"
    return f"{number:,}"
