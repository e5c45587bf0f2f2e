"""Small pictures as SVG: a panel with texts, bars and lines on it.

Keeps true: the same drawing gives the same bytes; a text in it is never read as a sign of XML; it is readable on a
light page and on a dark one, also where a page is not as its system is, because it brings its own background. Where a
page refuses styles, it is a light one.
Does not know what is drawn.
"""

from __future__ import annotations

import re
from xml.sax.saxutils import escape, quoteattr

from hub_instructpt.cards.escaping import flat

# What a thing is drawn in, on a light and on a dark panel.
COLOURS = {
    "panel": ("#ffffff", "#0d1117"),
    "edge": ("#d1d9e0", "#3d444d"),
    "text": ("#1f2328", "#f0f6fc"),
    "faint": ("#59636e", "#9198a1"),
    "bar": ("#0969da", "#4493f8"),
    "rail": ("#eff2f5", "#21262d"),
    "mark": ("#bc4c00", "#f0883e"),
}
FONT = "system-ui, -apple-system, 'Segoe UI', 'Liberation Sans', 'DejaVu Sans', sans-serif"


class Drawing:
    """A picture in the making; measures are in pixels, from the upper left.

    Args:
        width, height: of the panel.
        title: what it shows, in a few words.
        told: what it shows, for those who do not see it.
    """

    def __init__(self, width: int, height: int, title: str, told: str) -> None:
        self.width, self.height, self.title, self.told = width, height, title, told
        self._parts: list[str] = []
        self.text(20, 30, title, bold=True, size=15)

    def text(
        self, x: float, y: float, text: object, *, colour: str = "text", anchor: str = "start", size: int = 13,
        bold: bool = False,
    ) -> None:  # fmt: skip
        """A line of text whose foot is at `y`; `anchor` is start, middle or end."""
        weight = ' font-weight="600"' if bold else ""
        self._parts.append(
            f'<text x="{_n(x)}" y="{_n(y)}" font-size="{size}" text-anchor="{anchor}"{weight} {_fill(colour)}>'
            f"{_xml(text)}</text>"
        )

    def bar(self, x: float, y: float, width: float, height: float, colour: str = "bar", told: object = "") -> None:
        """A filled box; `told` is shown where a pointer rests on it."""
        about = f"<title>{_xml(told)}</title>" if told else ""
        self._parts.append(
            f'<rect x="{_n(x)}" y="{_n(y)}" width="{_n(max(0.0, width))}" height="{_n(max(0.0, height))}" '
            f"{_fill(colour)}>{about}</rect>"
        )

    def line(self, x: float, y: float, to_x: float, to_y: float, colour: str = "edge") -> None:
        """A thin line."""
        self.bar(min(x, to_x), min(y, to_y), abs(to_x - x) or 1, abs(to_y - y) or 1, colour)

    def svg(self) -> str:
        """The file."""
        dark = "".join(f".{name}{{fill:{shade}}}" for name, (_, shade) in COLOURS.items())
        light = "".join(f".{name}{{fill:{shade}}}" for name, (shade, _) in COLOURS.items())
        edge = COLOURS["edge"]
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" '
                f'width="{self.width}" height="{self.height}" role="img" aria-label={quoteattr(_flat(self.title))} '
                f'font-family="{FONT}">',
                f"<desc>{_xml(self.told)}</desc>",
                f"<style>{light}.frame{{stroke:{edge[0]}}}@media (prefers-color-scheme: dark)"
                f"{{{dark}.frame{{stroke:{edge[1]}}}}}</style>",
                f'<rect x="0.5" y="0.5" width="{self.width - 1}" height="{self.height - 1}" rx="6" '
                f'class="panel frame" fill="{COLOURS["panel"][0]}" stroke="{edge[0]}"/>',
                *self._parts,
                "</svg>",
                "",
            ]
        )


def _fill(colour: str) -> str:
    return f'class="{colour}" fill="{COLOURS[colour][0]}"'


def _n(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")


def _flat(text: object) -> str:
    # XML has no place for these two at all, whatever they are written as.
    return re.sub("[\ufffe\uffff]", " ", flat(text))


def _xml(text: object) -> str:
    return escape(_flat(text))
