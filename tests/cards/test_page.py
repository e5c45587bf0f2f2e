"""The card of a corpus: the whole page of one rich and one bare manifest (tests/golden/card-*.md and figures/, written
again with UPDATE_GOLDEN=1), the facts on it, and the command that writes it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hub_instructpt import cards
from hub_instructpt.cards import render_card, split_card
from tests.cards.pages import END, GOLDEN, TEXTS, bare, in_folder, rich, sealed
from tests.conftest import environment, run_cli
from tests.doubles.hub_cards import check_card


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory with one real shard, for its columns."""
    made = tmp_path_factory.mktemp("run")
    sealed(made)
    return made


@pytest.mark.parametrize("name", ["rich", "bare"])
def test_the_whole_page(folder: Path, name: str) -> None:
    manifest = in_folder(rich(), folder) if name == "rich" else bare()
    cards.write_figures(folder, cards.draw_figures(manifest))
    card = render_card(manifest, folder, "lab/augmented" if name == "rich" else None)
    made = {f"card-{name}.md": card}
    made |= {f"figures/{name}-{figure}.svg": svg for figure, svg in cards.draw_figures(manifest).items()}
    for path, text in made.items():
        if os.environ.get("UPDATE_GOLDEN"):
            (GOLDEN / path).parent.mkdir(exist_ok=True)
            (GOLDEN / path).write_text(text, "utf-8")
        assert text == (GOLDEN / path).read_text("utf-8"), path
    assert len(made) == (4 if name == "rich" else 2)
    assert check_card(card) == ([], [])


# -- facts


def test_unknown_facts_are_left_out(folder: Path) -> None:
    card = render_card(bare(), folder)
    metadata, body = split_card(card)
    assert not {"license", "language", "source_datasets"} & metadata.keys()
    assert not re.search(r"\b(None|null|nan|undefined)\b", card)
    assert "licence of this corpus is not known" in body
    assert "revision" not in body
    assert "per text that has some" not in body


def test_a_card_without_any_shard_declares_no_sizes(tmp_path: Path) -> None:
    manifest = bare()
    manifest.shards = []
    metadata, body = split_card(render_card(manifest, tmp_path))
    assert "dataset_info" not in metadata
    assert metadata["size_categories"] == ["n<1K"]
    assert "So far 0 rows" in body


def test_only_the_tiny_synthesizer_is_called_a_demonstration(folder: Path) -> None:
    tiny, other = render_card(bare(), folder), render_card(rich(), folder)
    assert "do not train on its answers" in tiny
    assert "86 %" not in tiny
    assert "demonstration" not in other.lower()
    assert re.search(r"70 to\s+86 % were reported", other)


@pytest.mark.parametrize(
    ("user", "source", "license_id", "name", "said"),
    [
        (None, None, None, None, "is not known"),
        (None, ["cc-by-4.0"], "cc-by-4.0", None, "cc-by-4.0, as its source states"),
        (None, ["mit", "Apache-2.0"], ["mit", "apache-2.0"], None, "mit, apache-2.0, as its source states"),
        ("MIT", ["cc-by-4.0"], "mit", None, "mit, stated by whoever made the corpus"),
        ("My own: v1", None, "other", "My own: v1", "My own&#58; v1, stated by"),
        (None, ["unknown"], "unknown", None, "is not known"),
    ],
)
def test_the_licence_is_the_users_or_the_sources_or_missing(
    folder: Path, user: str | None, source: list[str] | None, license_id: Any, name: str | None, said: str
) -> None:
    manifest = rich()
    manifest.license, manifest.source.license = user, source
    card = render_card(manifest, folder)
    metadata, body = split_card(card)
    assert (metadata.get("license"), metadata.get("license_name")) == (license_id, name)
    assert said in body
    assert check_card(card) == ([], [])


@pytest.mark.parametrize(
    ("licences", "warned"),
    [
        (["cc-by-4.0"], {}),
        (["mit", "cc-by-nc-sa-4.0"], {"Not for commercial use": "cc-by-nc-sa-4.0", "Share-alike": "cc-by-nc-sa-4.0"}),
        (["CC-BY-ND-4.0"], {"No derivatives": "cc-by-nd-4.0"}),
        (["gpl-3.0"], {"Share-alike": "gpl-3.0"}),
        (["Bespoke"], {"Terms of its own": "Bespoke"}),
        (["unknown"], {"Licence unknown": ""}),
        (None, {"Licence unknown": ""}),
    ],
)
def test_terms_that_reach_the_corpus_are_said_first(
    folder: Path, licences: list[str] | None, warned: dict[str, str]
) -> None:
    manifest = rich()
    manifest.source.license = licences
    above = render_card(manifest, folder).partition("## How to load it")[0]
    assert dict(re.findall(r"> \*\*([A-Z][a-z -]+)\.\*\*(?: (\S+) (?:forbids|asks|allows|is none))?", above)) == warned


@pytest.mark.parametrize(
    ("rows", "size"),
    [
        (0, "n<1K"), (999, "n<1K"), (1_000, "1K<n<10K"), (9_999, "1K<n<10K"), (10_000, "10K<n<100K"),
        (999_999, "100K<n<1M"), (1_000_000, "1M<n<10M"), (10**9, "1B<n<10B"), (10**10, "10B<n<100B"),
        (10**11, "100B<n<1T"), (10**12, "n>1T"),
    ],
)  # fmt: skip
def test_size_categories_at_their_bounds(folder: Path, rows: int, size: str) -> None:
    manifest = rich()
    manifest.shards[0] = manifest.shards[0].model_copy(update={"num_rows": rows})
    card = render_card(manifest, folder)
    assert split_card(card)[0]["size_categories"] == [size]
    assert f"| rows of the corpus | {rows:,} |" in card
    assert check_card(card) == ([], [])


def test_languages_that_the_hub_would_refuse_go_elsewhere(folder: Path) -> None:
    manifest = rich()
    manifest.source.language = ["EN", "zh-CN", "no", "Klingon", "code", "en"]
    metadata, _ = split_card(render_card(manifest, folder))
    assert metadata["language"] == ["en", "no", "code", "zh"]
    assert metadata["language_bcp47"] == ["zh-CN"]


def test_the_total_of_an_unfinished_run_is_the_smaller_of_limit_and_source(folder: Path) -> None:
    manifest = bare()
    manifest.settings.limit, manifest.source.num_rows = 5_000, 1_234
    assert "So far 2 rows of 1,234 of the source" in render_card(manifest, folder)


# -- who reads it

LOAD = """
import json, sys
from datasets import get_dataset_config_names, load_dataset
from huggingface_hub import DatasetCard
card = DatasetCard.load(sys.argv[1] + "/README.md")
found = {name: load_dataset(sys.argv[1], name, split="train") for name in get_dataset_config_names(sys.argv[1])}
read = {name: [rows.column_names, rows["num_pairs"][:]] for name, rows in found.items()}
print(json.dumps([card.data.to_dict(), read]))
"""


@pytest.mark.parametrize("configs", [["default"], ["general", "medicine"]])
def test_datasets_and_the_hub_client_read_every_config(configs: list[str], tmp_path: Path) -> None:
    folder, card, expected = tmp_path / "corpus", None, {}
    folder.mkdir()
    for at, config in enumerate(configs):
        manifest = rich()
        manifest.shards = [sealed(tmp_path / config, TEXTS[at:])]
        cards.write_figures(tmp_path / config, cards.draw_figures(manifest))
        card = render_card(manifest, tmp_path / config, "lab/x", card, config)
        target = folder / cards.data_folder(config)
        (tmp_path / config / "data").rename(target)
        (tmp_path / config / "figures").rename((folder if config == "default" else target) / "figures")
        expected[config] = [len(pairs) for _, pairs in TEXTS[at:]]
    (folder / "README.md").write_text(card or "")
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(folder)],
        capture_output=True, text=True, env=environment(HF_HOME=str(tmp_path / "home")), check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    data, found = json.loads(done.stdout)
    assert data == split_card(card or "")[0]
    shown = re.findall(r"!\[[^]]*\]\(([^)]+)\)", card or "")
    assert len(shown) == 3 * len(configs)
    assert all((folder / path).is_file() for path in shown)
    assert found == {name: [["text", "examples", "source_rows", "num_pairs"], rows] for name, rows in expected.items()}


# -- the command


def test_card_writes_again_and_keeps_prose(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to(folder / "data")
    rich().save(tmp_path)
    card = cards.write_card(tmp_path)
    card.write_bytes((card.read_text("utf-8") + "\nMine.\n").replace("\n", "\r\n").encode("utf-8-sig"))
    done = run_cli("card", tmp_path)
    assert (done.returncode, done.stdout.strip()) == (0, str(card))
    assert card.read_bytes().endswith(END.encode() + b"\n\nMine.\n")
    card.write_bytes(b"---\nlicense: mit\n---\n\xff")
    done = run_cli("card", tmp_path)
    assert done.returncode == 1
    assert done.stderr == "hub-instructpt: The card is not UTF-8 (byte 22). Mend README.md, or move it away.\n"
    assert card.read_bytes().endswith(b"\xff")
