"""Cards: a manifest becomes a README with the metadata that the Hub and `datasets` read.

    escaping    text from outside, made fit for a place on a card
    front       the YAML at its top
    metadata    values in it that all kinds of cards share
    merging     a card that is there already
    templates   what fills cards/*.jinja
    figures     pictures beside it, drawn with svg
    samples     texts with their pairs, as the manifest has chosen them
    corpus      the card of an instruction-augmented corpus; the other kinds stand beside what they are of

Keeps true: everything comes from the manifest, and what is unknown is left out; text from outside can not break the
page or the YAML; what a person wrote survives.
Does not know the Hub's API.
"""

from __future__ import annotations

from hub_instructpt.cards.corpus import card_metadata, draw_figures, render_card, shards_shown, write_card
from hub_instructpt.cards.escaping import address, block, code_span, fenced, flat, linked, markdown
from hub_instructpt.cards.figures import Stage, draw_distributions, figures_in, funnel, losses, write_figures
from hub_instructpt.cards.front import decode_card, page, read_card, split_card
from hub_instructpt.cards.merging import JUDGED, LINKS, assemble, begin, end, merge_body, merge_metadata, parts_of
from hub_instructpt.cards.metadata import (
    CONFIG,
    DATA_FILES,
    FILES_IN_A_FOLDER,
    config_entry,
    data_folder,
    info_entry,
    language_metadata,
    license_metadata,
    restrictions,
    size_category,
)
from hub_instructpt.cards.samples import shown
from hub_instructpt.cards.templates import render
from hub_instructpt.cards.words import TINY, engine_name, group, knowledge, words

__all__ = [
    "CONFIG",
    "DATA_FILES",
    "FILES_IN_A_FOLDER",
    "JUDGED",
    "LINKS",
    "TINY",
    "Stage",
    "address",
    "assemble",
    "begin",
    "block",
    "card_metadata",
    "code_span",
    "config_entry",
    "data_folder",
    "decode_card",
    "draw_distributions",
    "draw_figures",
    "end",
    "engine_name",
    "fenced",
    "figures_in",
    "flat",
    "funnel",
    "group",
    "info_entry",
    "knowledge",
    "language_metadata",
    "license_metadata",
    "linked",
    "losses",
    "markdown",
    "merge_body",
    "merge_metadata",
    "page",
    "parts_of",
    "read_card",
    "render",
    "render_card",
    "restrictions",
    "shards_shown",
    "shown",
    "size_category",
    "split_card",
    "words",
    "write_card",
    "write_figures",
]
