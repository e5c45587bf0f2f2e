"""The card of a collection: the whole page of a rich one (tests/golden/card-collection.md, written again with
UPDATE_GOLDEN=1), every config of it loaded by `datasets`, and text from outside that can not break it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from hub_instructpt import cards
from hub_instructpt.collection import card
from hub_instructpt.collection.collect import pairs_of
from hub_instructpt.collection.manifest import Collection, CollectSettings, DatasetFacts, LicenceFacts
from hub_instructpt.collection.writing import write_records
from hub_instructpt.evidence import Evidence
from hub_instructpt.runs.manifest import SourceFacts
from tests.conftest import ROOT, environment
from tests.doubles.hub_cards import check_card

GOLDEN = ROOT / "tests" / "golden" / "card-collection.md"
LOAD = """
import json, sys
from datasets import get_dataset_config_names, load_dataset
found = {name: load_dataset(sys.argv[1], name, split="train") for name in get_dataset_config_names(sys.argv[1])}
print(json.dumps({name: [str(rows.features), list(rows)] for name, rows in found.items()}))
"""


def facts(folder: Path, name: str, words: str = "", **changes: object) -> DatasetFacts:
    """A dataset of two records, whose files are there; `words` stand wherever text from outside may."""
    records = [
        {
            "context": f"{words}The mill {at}\n| stands | here |",
            "QA_list": [{"Q": f"{words}Where?\nOptions:\n- here\n- there", "A": "here"}, {"Q": "Is it?", "A": "yes"}],
            "QA_type": "multiple-choice",
            "rc_name": name,
        }
        for at in range(2)
    ]
    parquet = bool(changes.pop("parquet", False))
    licence = {"name": f"{words}CC BY 4.0", "hub_id": "cc-by-4.0", "note": words, "restrictions": []}
    licence |= {"share_alike": False, "non_commercial": False, "redistributable": True}
    licence |= changes.pop("licence", {})  # type: ignore[operator]
    files = list(write_records(records, folder / name, name, parquet))  # type: ignore[arg-type]
    given: dict[str, object] = {
        "name": name,
        "title": f"{words}Questions about mills.",
        "homepage": "https://example.org/mills",
        "citation": f"@misc{{mills,\n  title = {{{words}Mills}}\n}}",
        "qa_type": "multiple-choice",
        "extractive": False,
        "licence": LicenceFacts(**licence),  # type: ignore[arg-type]
        "source": SourceFacts(kind="files", name=f"{words}mills.json", num_rows=4),
        "settings": CollectSettings(parquet=parquet),
        "collected_at": "2026-11-20T23:00:00+00:00",
        "counts": {"rows/read": 4, "pairs/kept": 4, "records/kept": 2},
        "files": files,
        "evidence": Evidence.of(
            [(at, record["context"], pairs_of(record))]  # type: ignore[arg-type]
            for at, record in enumerate(records)
        ).as_dict(),
    }
    return DatasetFacts(**(given | changes))  # type: ignore[arg-type]


def rich(folder: Path) -> Collection:
    """Every kind of source, licence and count."""
    on_hub = SourceFacts(
        kind="hub", name="some-one/mills", config_name="raw", split="train", revision="a" * 40, num_rows=5
    )
    counts = {
        "rows/read": 5, "rows_rejected/hidden_test_label": 1, "rows_cut/malformed_KeyError": 1, "pairs/kept": 4,
        "questions_rejected/answer_not_an_option": 7, "questions_rejected/repeated_on_context": 2, "records/kept": 2,
        "records/over_cap": 11, "pairs/over_cap": 12, "answers/all": 4, "answers/in_context": 2,
        "answers/in_folded_context": 1,
    }  # fmt: skip
    nc = {"name": "CC BY-NC-SA 4.0", "hub_id": "cc-by-nc-sa-4.0", "share_alike": True, "non_commercial": True}
    secret = {"name": "Research only", "hub_id": "other", "redistributable": False, "note": "Copies are forbidden."}
    return Collection(
        version="0.1.0", created_at="2026-11-20T23:00:00+00:00", updated_at="2026-11-21T09:00:00+00:00",
        datasets=[
            facts(folder, "AQUA_RAT_yes_opt", also_called=["AQUA_RAT"], source=on_hub, declared_rows=6, counts=counts,
                  parquet=True),
            facts(folder, "diary", licence={**secret, "restrictions": ["must not be passed on"]}),
            facts(folder, "mill", licence={**nc, "restrictions": ["non-commercial"]}),
            facts(folder, "note", licence={"name": "none", "hub_id": "unknown", "restrictions": ["unclear"]}),
        ],
    )  # fmt: skip


def test_the_page_looks_as_its_golden_file(tmp_path: Path) -> None:
    collection = rich(tmp_path)
    figures = card.draw_figures(collection)
    cards.write_figures(tmp_path, figures)
    page = card.render_card(collection, tmp_path, "some-one/collection")
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(page, "utf-8")
    assert page == GOLDEN.read_text("utf-8")
    assert check_card(page) == ([], [])
    assert all(f"](figures/{name}.svg)" in page for name in ("funnel", "pairs", "lengths"))
    assert list(figures) == ["funnel", "pairs", "lengths"]
    collection.datasets[0].evidence = None  # as of an earlier version
    assert card.draw_figures(collection) == {}
    assert "What the pairs are like" not in card.render_card(collection, tmp_path)


@pytest.mark.parametrize("parquet", [False, True])
def test_every_config_is_loaded_by_datasets(parquet: bool, tmp_path: Path) -> None:
    folder = tmp_path / "some_collection"
    collection = rich(folder)
    if parquet:  # read only where all have it
        collection.datasets = [each for each in collection.datasets if each.settings.parquet]
    collection.save(folder)
    assert (".parquet" in card.write_card(folder).read_text()) is parquet
    done = subprocess.run(
        [sys.executable, "-c", LOAD, folder],
        capture_output=True, text=True, env=environment(HF_HOME=str(tmp_path / "home")), check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "malformed" not in done.stderr
    found = json.loads(done.stdout)
    assert set(found) == {"AQUA_RAT_yes_opt", "AQUA_RAT"} | (set() if parquet else {"diary", "mill", "note"})
    for name, (features, rows) in found.items():
        assert "'QA_list': List({'Q': Value('string'), 'A': Value('string')})" in features
        lines = (folder / rows[0]["rc_name"] / "shard/00000.jsonl").read_text().splitlines()
        assert rows == [json.loads(line) for line in lines], name


def test_an_earlier_card_keeps_a_persons_words_and_loses_datasets_that_are_gone(tmp_path: Path) -> None:
    collection = rich(tmp_path)
    page = card.render_card(collection, tmp_path)
    extra = "configs:\n- config_name: extra\n  data_files: extra.jsonl\n"
    mine = page.replace("tags:\n", "tags:\n- mine\n").replace("configs:\n", extra)
    mine = mine.replace("license: other", "license: cc-by-nc-4.0") + "\nMy words.\n"
    collection.without("mill")
    again = card.render_card(collection, tmp_path, earlier=mine)
    metadata, body = cards.split_card(again)
    names = [config["config_name"] for config in metadata["configs"]]
    assert names == ["extra", "AQUA_RAT_yes_opt", "AQUA_RAT", "diary", "note"]
    assert [info["config_name"] for info in metadata["dataset_info"]] == names[1:]
    assert "mine" in metadata["tags"]
    assert metadata["license"] == "cc-by-nc-4.0"
    assert "My words." in body
    assert card.render_card(collection, tmp_path, earlier=again) == again


HOSTILE = [
    "|", "`", "```\n", "\n", "<!--", "-->", "</details>", "<b>", "# ", "[x](y)", "{{ c }}", "---\n", "a", "\u2028",
    cards.end(),
]  # fmt: skip


@given(st.lists(st.sampled_from(HOSTILE), min_size=1, max_size=6).map("".join))
@settings(deadline=None, max_examples=60)
def test_text_from_outside_does_not_break_the_page(tmp_path_factory: pytest.TempPathFactory, words: str) -> None:
    folder = tmp_path_factory.mktemp("card")
    plain, hostile = (
        card.render_card(Collection(created_at="2026", updated_at="2026", datasets=[each]), folder)
        for each in (facts(folder, "mill"), facts(folder / "x", "mill", words))
    )
    shapes = []
    for page in (plain, hostile):
        _, body = cards.split_card(page)
        assert body.count(cards.begin()) == body.count(cards.end()) == 1
        tokens = MarkdownIt().enable("table").parse(body)
        shapes.append([token.type for token in tokens])
        html = [token.content for token in tokens if token.type == "html_block"]
        assert sum("</details>" in block for block in html) == 2
    assert shapes[0] == shapes[1]
