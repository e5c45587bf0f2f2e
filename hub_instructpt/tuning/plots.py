"""Two plots as SVG: the loss of a tuning, and scores by dataset.

Keeps true: text is escaped; colours tell apart with any colour vision, and shapes repeat what they say; the same values
give the same bytes. Does not know files.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape

from hub_instructpt.tuning.scores import Evaluation, Mean, Scores

BLUE, ORANGE, GREEN, GREY, INK = "#0072b2", "#d55e00", "#009e73", "#d0d0d0", "#222222"
COLOURS = (BLUE, ORANGE, GREEN, "#cc79a7", "#56b4e9", "#e69f00")
WIDTH = 760

Points = Sequence[tuple[float, float]]


def scores_plot(evaluation: Evaluation) -> str:
    """Response F1 and pair F1 of every dataset, with their standard errors: a line a dataset, seen ones first."""
    order = {True: 0, None: 1, False: 2}
    datasets = sorted(evaluation.datasets, key=lambda scores: (order[scores.seen], scores.name.casefold()))
    left, top, step = 210, 64, 24
    bottom = top + step * len(datasets)
    right = WIDTH - 40

    def x(value: float) -> float:
        return left + (right - left) * value

    shapes = [_text(20, 26, f"{evaluation.engine.model_id}, {evaluation.settings.num_shots} examples shown", size=15)]
    shapes += [_dot(24, 46, True, BLUE), _text(34, 50, "response F1")]
    shapes += [_dot(134, 46, True, ORANGE), _text(144, 50, "pair F1")]
    shapes += [_text(224, 50, "filled: tuned on other contexts of it; hollow: on none; square: not known")]
    for tenth in range(0, 11, 2):
        shapes.append(_line(x(tenth / 10), top, x(tenth / 10), bottom, GREY))
        shapes.append(_text(x(tenth / 10), bottom + 18, str(10 * tenth), anchor="middle"))
    for number, scores in enumerate(datasets):
        y = top + step * (number + 0.5)
        shapes.append(_text(left - 12, y + 4, scores.name, anchor="end"))
        shapes += _means(scores, y, x)
    return _page(shapes, bottom + 34, "Scores by dataset")


def _means(scores: Scores, y: float, x: Callable[[float], float]) -> list[str]:
    shapes = []
    for off, colour, mean in ((-4, BLUE, scores.response_f1), (4, ORANGE, scores.pair_quality)):
        if isinstance(mean, Mean):
            if mean.error is not None:
                low, high = max(0.0, mean.mean - mean.error), min(1.0, mean.mean + mean.error)
                shapes.append(_line(x(low), y + off, x(high), y + off, colour, 2))
            shapes.append(_dot(x(mean.mean), y + off, scores.seen, colour, f"{scores.name}: {100 * mean.mean:.1f}"))
    return shapes


def loss_plot(curves: Sequence[tuple[str, Points]]) -> str:
    """Losses over training steps, a curve each; the first is drawn thin, as a loss of batches jumps about."""
    curves = [(name, [point for point in points if all(map(math.isfinite, point))]) for name, points in curves]
    values = [point for _, points in curves for point in points]
    if not values:
        return _page([_text(20, 26, "No loss was logged.")], 44, "Loss")
    left, right, top, bottom = 56, WIDTH - 24, 48, 320
    last = max(step for step, _ in values) or 1
    low, high = min(loss for _, loss in values), max(loss for _, loss in values)
    tick = _tick(high - low or 1)
    low, high = tick * math.floor(low / tick), tick * math.ceil(high / tick + (high == low))

    def place(point: tuple[float, float]) -> tuple[float, float]:
        return left + (right - left) * point[0] / last, bottom - (bottom - top) * (point[1] - low) / (high - low)

    shapes, across = [], float(left)
    for number, (name, _) in enumerate(curves):
        shapes += [_line(across, 24, across + 18, 24, COLOURS[number % len(COLOURS)], 3), _text(across + 24, 28, name)]
        across += 40 + 7.2 * len(name)
    for number in range(round((high - low) / tick) + 1):
        _, y = place((0, low + tick * number))
        shapes += [_line(left, y, right, y, GREY), _text(left - 8, y + 4, f"{low + tick * number:g}", anchor="end")]
    for number in range(5):
        across = left + (right - left) * number / 4
        shapes.append(_text(across, bottom + 18, f"{last * number / 4:,.0f}", anchor="middle"))
    shapes.append(_text((left + right) / 2, bottom + 36, "steps", anchor="middle"))
    for number, (_, points) in enumerate(curves):
        colour = COLOURS[number % len(COLOURS)]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in map(place, points))
        width = 1.2 if number == 0 else 2.4
        shapes.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="{width}"/>')
        if len(points) == 1:
            shapes.append(_dot(*place(points[0]), True, colour))
    return _page(shapes, bottom + 48, "Loss")


def _tick(span: float) -> float:
    """A round distance of about five lines over a span."""
    power: float = 10.0 ** math.floor(math.log10(span / 4))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor * 5 >= span)


def _page(shapes: Sequence[str], height: float, title: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" width="{WIDTH}" height="{height:g}" '
        f'font-family="sans-serif" font-size="12" fill="{INK}" role="img">\n<title>{escape(title)}</title>\n'
        f'<rect width="{WIDTH}" height="{height:g}" fill="#ffffff"/>\n' + "\n".join(shapes) + "\n</svg>\n"
    )


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 12) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, width: float = 1) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="{width:g}"/>'


def _dot(x: float, y: float, filled: bool | None, colour: str, title: str = "") -> str:
    name = f"<title>{escape(title)}</title>" if title else ""
    if filled is None:
        return f'<rect x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8" fill="{colour}">{name}</rect>'
    fill = colour if filled else "#ffffff"
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{fill}" stroke="{colour}" stroke-width="2">{name}</circle>'
