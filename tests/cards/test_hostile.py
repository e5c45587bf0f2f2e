"""Hostile text in every field of a manifest, and in every text of a sample: it changes neither the structure of the
page nor the metadata, whose YAML passes the rules that are known of the Hub; nothing of it is read as HTML or as a
link, nothing moves the cursor, and ten megabytes of it do not drown the page.
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from hub_instructpt import cards
from hub_instructpt.cards import card_metadata, render_card, split_card
from hub_instructpt.cards.escaping import seen
from hub_instructpt.runs.manifest import Manifest
from tests.cards.pages import BEGIN, END, hostile, in_folder, markdown, quick, rich, sealed, structure
from tests.doubles.hub_cards import check_card


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory with one real shard, for its columns."""
    made = tmp_path_factory.mktemp("run")
    sealed(made)
    return made


def all_hostile(manifest: Manifest, draw: Any) -> Manifest:
    """The manifest with every string of it drawn anew, but for the paths of shards, which its reader checks."""

    def changed(value: Any) -> Any:
        if isinstance(value, str):
            return draw()
        if isinstance(value, dict):
            return {key: changed(item) for key, item in value.items()}
        return [changed(item) for item in value] if isinstance(value, list) else value

    data = changed(manifest.model_dump(exclude={"shards"})) | {"shards": [s.model_dump() for s in manifest.shards]}
    data["source"]["kind"], data["kept_types"] = manifest.source.kind, {draw(): draw()}
    counts = data["shards"][0]["counts"]
    for group in ("rows_rejected", "finish_reason", "texts_without_pairs", "pairs_dropped"):
        for key in [key for key in counts if key.startswith(group)][1:]:
            del counts[key]
        (key,) = (key for key in counts if key.startswith(group))
        counts[f"{group}/{draw()}"] = counts.pop(key)
    return Manifest.model_validate(data)


@quick
@given(data=st.data())
def test_hostile_text_changes_neither_page_nor_metadata(folder: Path, data: st.DataObject) -> None:
    tame = rich()
    tame.license = "of my own"
    tame.engine.model_id = "a model"
    evil = all_hostile(tame, lambda: data.draw(hostile))
    evil.engine.model_id += "|"  # so that it never looks like the name of a repo
    card, plain = render_card(evil, folder), render_card(all_hostile(tame, lambda: "tame"), folder)
    assert structure(card) == structure(plain)
    links = [c.attrs["href"] for t in markdown(card) for c in t.children or () if c.type == "link_open"]
    assert all(str(link).startswith("https://huggingface.co/datasets/") for link in links)
    assert len(links) == 1
    assert all(c.isprintable() or c in "\u200c\u200d" for c in split_card(card)[1].replace("\n", ""))
    expected = card_metadata(evil, folder)
    ((name, info),) = ((info.pop("config_name"), info) for info in expected["dataset_info"])
    expected["dataset_info"] = info  # as `datasets` writes it where there is but the default config
    assert name == "default"
    front = re.match(r"---\n(.*?)^---\n", card, re.DOTALL | re.MULTILINE)
    assert front is not None
    assert yaml.safe_load(front[1]) == expected == split_card(card)[0]
    assert expected["source_datasets"] == [evil.source.name]
    assert check_card(card) == ([], [])
    assert render_card(evil, folder, None, card) == card


def test_ten_megabytes_in_every_field_do_not_drown_the_page(folder: Path) -> None:
    tame = rich()
    tame.license = "of my own"
    word = "x|`<_" * 2_000_000
    evil = all_hostile(tame, lambda: word)
    began = time.process_time()
    card, figures = render_card(evil, folder), cards.draw_figures(evil)
    assert time.process_time() - began < 5
    assert len(card) < 100_000
    assert all(len(svg) < 20_000 for svg in figures.values())


def test_a_template_in_a_name_is_not_run(folder: Path) -> None:
    manifest = rich()
    manifest.command = "hub-instructpt augment '{{ 41 + 1 }}' {% raw %}"
    assert "augment '{{ 41 + 1 }}' {% raw %}" in render_card(manifest, folder)


# -- in samples and figures


def page_of(folder: Path, texts: list[Any]) -> str:
    """The card of a run that has these texts with their pairs."""
    manifest = rich()
    manifest.shards = [sealed(folder, texts)]
    return render_card(manifest, folder)


@quick
@given(data=st.data())
def test_hostile_samples_stay_inside_their_blocks(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    evil, tame = (
        page_of(tmp_path_factory.mktemp("run"), [(draw(), [(draw(), draw()), (draw(), draw())])])
        for draw in (lambda: data.draw(hostile), lambda: "tame")
    )
    assert structure(evil) == structure(tame)
    assert evil.count(BEGIN) == evil.count(END) == 1
    assert all(c.isprintable() or c in "\u200c\u200d" for c in split_card(evil)[1].replace("\n", ""))
    again = split_card(cards.page(*split_card(evil)))
    assert again[1].strip() == split_card(evil)[1].strip()


def test_a_sample_of_ten_megabytes_is_cut(tmp_path: Path) -> None:
    texts = [("```\n" * 2_500_000, [("<b>" * 10**6, "\u202e" * 10**6)] * 9), ("line\n" * 10**6, [("", "")])]
    card = page_of(tmp_path, texts)
    assert len(card) < 30_000
    assert "[… 10,000,000 characters in all]" in card
    assert "[5 more pairs]" in card


def test_a_sample_that_can_not_be_read_is_left_out(tmp_path: Path) -> None:
    manifest = in_folder(rich(), tmp_path)
    assert "## Samples" in render_card(manifest, tmp_path)
    places = manifest.shards[0].evidence
    assert places is not None
    places["samples"] = "0000000000000000@99.0 0000000000000001@0.7 ffffffffffffffff@0.0"
    card = render_card(manifest, tmp_path)
    assert "1 text with its pairs" in card
    assert "Row 0 of the source" in card


@given(st.lists(hostile, min_size=4, max_size=4))
def test_hostile_reasons_do_not_break_a_figure(words: list[str]) -> None:
    manifest = rich()
    for at, group in enumerate(("rows_rejected", "texts_without_pairs", "pairs_dropped", "texts_without_pairs")):
        manifest.shards[0].counts[f"{group}/{words[at]}"] = 10**at
    for svg in cards.draw_figures(manifest).values():
        root = ElementTree.fromstring(svg)
        names = {element.tag.rpartition("}")[2] for element in root.iter()}
        assert names <= {"svg", "desc", "style", "rect", "text", "title"}


# -- the ways to put text on a page


@given(st.text() | hostile)
@example("www.evil.test")
@example("WWW.evil.test")
@example("a@b.test")
def test_text_in_a_cell_is_shown_as_it_is(text: str) -> None:
    page = f"| a | b |\n|---|---|\n| x{cards.markdown(text)}x | `x{cards.code_span(text)}x` |\n"
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(page)
    one, two = [token for token in tokens if token.type == "inline"][2:]
    assert {child.type for child in one.children or ()} <= {"text", "text_special"}
    shown = "".join(child.content for child in one.children or ())
    assert shown.split() == f"x{cards.flat(text)}x".split()
    assert [child.type for child in two.children or ()] == ["code_inline"]
    assert "www." not in cards.markdown(text).lower()


@given(st.lists(st.text() | hostile, max_size=5))
def test_lines_stay_between_their_fences(lines: list[str]) -> None:
    tokens = MarkdownIt("commonmark").parse(f"{cards.block(lines)}\n\nafter\n")
    assert [token.type for token in tokens] == ["fence", "paragraph_open", "inline", "paragraph_close"]
    assert tokens[0].content.count("\n") == len(lines)
    assert "<!--" not in tokens[0].content


def test_what_nobody_sees_becomes_a_space_but_for_joiners() -> None:
    assert seen("a\u202eb\u200bc\x00d\x1b[31m\u2066e\ufefff\te") == "a b c d [31m e f e"
    assert seen("نمی\u200cخواهم 👩\u200d🌾") == "نمی\u200cخواهم 👩\u200d🌾"
