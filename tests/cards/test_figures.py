"""Figures: what they show follows from the numbers, at every size of a corpus, and without a style too.

The whole of them is held by golden files (tests/golden/figures), written again with UPDATE_GOLDEN=1.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub_instructpt import cards
from hub_instructpt.cards.figures import Stage, _at, _bounds, counted, funnel, lengths
from hub_instructpt.cards.svg import COLOURS, Drawing
from hub_instructpt.evidence import COARSE, FINE, Histogram
from tests.cards.pages import bare, in_folder, rich

NUMBERS = re.compile(r'(?:x|y|width|height)="([^"]+)"')


def histogram(values: list[int], bits: int = COARSE) -> Histogram:
    made = Histogram(bits)
    for value in values:
        made.add(value)
    return made


def inside(svg: str) -> ElementTree.Element:
    """The picture, whose parts lie all within it."""
    root = ElementTree.fromstring(svg)
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for part in root:
        if "x" in part.attrib:
            x, y = float(part.attrib["x"]), float(part.attrib["y"])
            assert 0 <= x <= width
            assert 0 <= y <= height
            assert x + float(part.attrib.get("width", 0)) <= width + 0.5
            assert y + float(part.attrib.get("height", 0)) <= height + 0.5
    return root


@given(st.lists(st.integers(0, 10**12), max_size=30), st.lists(st.integers(0, 60), max_size=30))
def test_figures_of_any_numbers_stay_within_their_panel(values: list[int], counts: list[int]) -> None:
    inside(lengths("Lengths", [("text", histogram(values)), ("response", histogram(counts))], "characters"))
    if counts:
        inside(counted("Pairs per text", histogram(counts, FINE), "pairs"))


@given(st.lists(st.integers(0, 10**15), min_size=2, max_size=5), st.lists(st.text(max_size=400), max_size=9))
def test_a_funnel_of_any_numbers_stays_within_its_panel(numbers: list[int], reasons: list[str]) -> None:
    most = max(numbers)
    lost = [(reason, 10**at) for at, reason in enumerate(reasons)]
    root = inside(funnel("From texts to pairs", [Stage(f"stage {n}", n, most, lost) for n in numbers]))
    for text in root.iter("{http://www.w3.org/2000/svg}text"):
        assert len(text.text or "") < 100


@given(st.integers(0, 10**15), st.sampled_from([COARSE, FINE]))
def test_the_place_of_a_bin_leads_back_to_it(value: int, bits: int) -> None:
    empty = Histogram(bits)
    at = _at(empty, value)
    (lower,) = _bounds(empty, range(at, at + 1))
    assert lower <= value < empty.upper(lower)
    assert _at(empty, empty.upper(lower)) == at + 1


def test_nothing_read_has_no_figure_and_no_evidence_has_only_the_funnel(tmp_path: Path) -> None:
    manifest = bare()
    assert list(cards.draw_figures(manifest)) == ["funnel"]
    manifest.shards = []
    assert cards.draw_figures(manifest) == {}
    drawn = cards.draw_figures(in_folder(rich(), tmp_path))
    assert list(drawn) == ["funnel", "pairs", "lengths"]
    assert drawn == cards.draw_figures(in_folder(rich(), tmp_path))
    cards.write_figures(tmp_path, drawn)
    cards.write_figures(tmp_path, {"funnel": drawn["funnel"]})  # what is no longer drawn is gone
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["funnel.svg"]


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("mode", [0, 1])
@pytest.mark.parametrize("name", ["text", "faint", "mark"])
def test_words_can_be_read_on_a_light_and_on_a_dark_panel(name: str, mode: int) -> None:
    one, two = sorted(luminance(COLOURS[each][mode]) for each in (name, "panel"))
    assert (two + 0.05) / (one + 0.05) >= 4.5  # as WCAG asks


def test_without_styles_it_is_a_light_picture_on_its_own_ground() -> None:
    drawing = Drawing(100, 50, 'A "title" & <more>', "told")
    root = ElementTree.fromstring(re.sub("<style>.*?</style>", "", drawing.svg()))
    panel, text = root[1], root[2]
    assert panel.attrib["fill"] == COLOURS["panel"][0]
    assert text.attrib["fill"] == COLOURS["text"][0]
    assert root.attrib["aria-label"] == text.text == 'A "title" & <more>'
