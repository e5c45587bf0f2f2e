"""A card that is there already: a person's prose, keys and judgements are kept, so are the parts of other configs, and
where nobody can tell whose is what, it is refused.
"""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hub_instructpt import cards
from hub_instructpt.cards import card_metadata, merge_metadata, render_card, split_card
from hub_instructpt.errors import CardError, SettingsError
from hub_instructpt.runs.manifest import Manifest, SourceFacts
from tests.cards.pages import BEGIN, END, NASTY, hostile, quick, rich, sealed
from tests.doubles.hub_cards import check_card


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory with one real shard, for its columns."""
    made = tmp_path_factory.mktemp("run")
    sealed(made)
    return made


def pages(folder: Path) -> tuple[Manifest, str]:
    manifest = rich()
    return manifest, render_card(manifest, folder, "lab/x")


def test_prose_and_keys_of_a_person_survive(folder: Path) -> None:
    manifest, card = pages(folder)
    metadata, body = split_card(card)
    metadata |= {"annotations_creators": ["no-annotation"], "extra": {"on": True, "at": "12:30"}, "license": "mit"}
    metadata["language"] = ["no"]
    metadata["configs"] += [{"config_name": "more", "data_files": "more/*.parquet"}]
    metadata["dataset_info"] = [
        {"config_name": "default", **metadata["dataset_info"]}, {"config_name": "more", "dataset_size": 1},
    ]  # fmt: skip
    metadata["tags"] += ["mine"]
    front = yaml.safe_dump(metadata, sort_keys=False).replace("- 'no'\n", "- no\n").replace("'12:30'", "12:30")
    edited = f"---\n{front}---\n\n# Mine\n\nAbove. --- not metadata ---\n\n---\n\n{body.strip()}\n\nBelow.\n"
    manifest.shards[0] = manifest.shards[0].model_copy(update={"num_rows": 4_001})
    again = render_card(manifest, folder, "lab/x", edited)
    kept, page = split_card(again)
    assert page.startswith("\n# Mine\n\nAbove. --- not metadata ---\n\n---\n\n" + BEGIN)
    assert page.endswith(END + "\n\nBelow.\n")
    assert kept["extra"] == {"on": True, "at": "12:30"}
    assert (kept["license"], kept["language"], kept["annotations_creators"]) == ("mit", ["no"], ["no-annotation"])
    assert [config["config_name"] for config in kept["configs"]] == ["default", "more"]
    assert [info["config_name"] for info in kept["dataset_info"]] == ["default", "more"]
    assert kept["dataset_info"][0]["splits"][0]["num_examples"] == 4_001
    assert kept["tags"].count("synthetic") == kept["tags"].count("mine") == 1
    assert "| licence | mit, stated by whoever made the corpus |" in page
    assert render_card(manifest, folder, "lab/x", again) == again


def test_what_we_wrote_and_nobody_changed_follows_the_manifest(folder: Path) -> None:
    manifest, card = pages(folder)
    manifest.license, manifest.source = "odc-by", SourceFacts(kind="files", name="other.jsonl")
    kept, _ = split_card(render_card(manifest, folder, "lab/x", card))
    assert (kept["license"], kept["pretty_name"]) == ("odc-by", "other.jsonl, instruction-augmented")
    assert not {"language", "language_bcp47", "source_datasets"} & kept.keys()
    manifest.license = "my own"
    named = render_card(manifest, folder, "lab/x", card)
    assert split_card(named)[0]["license_name"] == "my own"
    manifest.license = None
    assert not {"license", "license_name"} & split_card(render_card(manifest, folder, "lab/x", named))[0].keys()


@pytest.mark.parametrize("change", ["crlf", "bom", "blank", "no front matter", "empty front matter", "nothing"])
def test_cards_in_other_shapes_are_read(folder: Path, change: str) -> None:
    manifest, card = pages(folder)
    body = split_card(card)[1]
    changed = {
        "crlf": card.replace("\n", "\r\n"), "bom": "\ufeff" + card, "blank": "\n \n" + card, "no front matter": body,
        "empty front matter": "---\n---\n" + body, "nothing": " \n",
    }[change]  # fmt: skip
    again = render_card(manifest, folder, "lab/x", cards.decode_card(changed.encode()))
    assert split_card(again)[0] == split_card(card)[0]
    assert split_card(again)[1].strip() == body.strip()


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("---\nlicense: [mit\n---\n", "not YAML"),
        ("---\na: b\nc: d: e\n---\n", "not YAML (line 3)"),
        ("---\n- a\n- b\n---\n", "no mapping"),
        ("---\nlicense: mit\n\n# Title\n", "never end"),
        ("---\na: !!python/object/apply:os.system [id]\n---\n", "not YAML"),
        ("---\nday: 2026-99-99\n---\n", "not YAML"),
        ("---\na: " + "[" * 600 + "\n---\n", "not YAML"),
        ("---\na: \x00\n---\n", "not YAML"),
        (f"{BEGIN}\nours\n", "lost one of the two"),
        (f"ours {END}\n", "lost one of the two"),
        (f"{END} {BEGIN}\n", "lost one of the two"),
        (f"{BEGIN} {END} {BEGIN} {END}\n", "lost one of the two"),
    ],
)
def test_a_broken_card_is_a_clear_error(folder: Path, broken: str, said: str) -> None:
    with pytest.raises(CardError, match=re.escape(said)) as caught:
        render_card(rich(), folder, "lab/x", broken)
    assert caught.value.advice
    assert "\n" not in str(caught.value)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.sampled_from(NASTY),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(min_size=1), inner, max_size=3),
    max_leaves=8,
)


@quick
@given(extra=st.dictionaries(st.text(min_size=1), values, max_size=4), above=hostile, below=hostile)
def test_any_keys_and_any_prose_survive(folder: Path, extra: dict[str, Any], above: str, below: str) -> None:
    manifest, card = pages(folder)
    ours, body = split_card(card)
    extra = {key: value for key, value in extra.items() if key not in ours and key not in cards.JUDGED}
    above, below = (cards.decode_card(t.replace(BEGIN, "").replace(END, "").encode()) for t in (above, below))
    page = cards.page({**ours, **extra}, f"{above}\n{body.strip()}\n{below}")
    again = render_card(manifest, folder, "lab/x", page)
    kept, prose = split_card(again)
    assert {key: kept[key] for key in extra} == extra
    assert {key: kept[key] for key in ours} == ours
    assert prose.partition(BEGIN)[0].strip() == above.strip()
    assert prose.partition(END)[2].strip() == below.strip()


@quick
@given(theirs=st.dictionaries(st.sampled_from(["tags", "configs", "dataset_info", *cards.JUDGED]), values))
def test_metadata_of_any_type_are_merged(folder: Path, theirs: dict[str, Any]) -> None:
    before = copy.deepcopy(theirs)
    ours = card_metadata(rich(), folder)
    merged = merge_metadata(theirs, ours, {})
    assert theirs == before
    assert merged["configs"][0] == ours["configs"][0]
    assert set(ours["tags"]) <= set(merged["tags"])
    assert all(merged[key] == theirs[key] for key in cards.JUDGED if theirs.get(key))
    assert render_card(rich(), folder, None, cards.page(theirs, "x"))


def test_marks_of_earlier_versions_are_known(folder: Path) -> None:
    manifest, card = pages(folder)
    old = card.replace(BEGIN, "<!-- hub-instructpt: begin of the generated part; what stands outside of it is kept -->")
    old = old.replace(END, "<!-- hub-instructpt: end of the generated part -->")
    assert render_card(manifest, folder, "lab/x", old + "\nMine.\n") == card + "\nMine.\n"


# -- several configs in one repo


def test_a_second_config_joins_the_first_and_neither_touches_the_other(folder: Path) -> None:
    general, medicine = rich(), rich()
    medicine.source.license, medicine.source.language, medicine.source.name = ["cc-by-sa-4.0"], ["en", "de"], "lab/med"
    medicine.shards[0] = medicine.shards[0].model_copy(update={"num_rows": 6_500})
    one = render_card(general, folder, "lab/x", None, "general")
    assert split_card(one)[0]["configs"][0] == {
        "config_name": "general", "data_files": [{"split": "train", "path": "general/train-*.parquet"}]
    }  # fmt: skip
    both = render_card(medicine, folder, "lab/x", one + "\nMine.\n", "medicine")
    metadata, body = split_card(both)
    assert cards.parts_of(body) == ["general", "medicine"]
    assert [config["config_name"] for config in metadata["configs"]] == ["general", "medicine"]
    assert [info["config_name"] for info in metadata["dataset_info"]] == ["general", "medicine"]
    assert metadata["license"] == ["cc-by-4.0", "cc-by-sa-4.0"]
    assert metadata["language"] == ["en", "zh", "de"]
    assert metadata["source_datasets"] == ["lab/raw_texts", "lab/med"]
    assert metadata["size_categories"] == ["10K<n<100K"]  # of both
    assert metadata["pretty_name"] == "lab/raw_texts, instruction-augmented"
    assert check_card(both) == ([], [])
    first, second = body.split(cards.end("general"))
    assert first.strip() == split_card(one)[1].partition(cards.end("general"))[0].strip()
    assert second.rstrip().endswith(cards.end("medicine") + "\n\nMine.")
    assert "| licence | cc-by-sa-4.0, as its source states |" in second
    assert 'load_dataset("lab/x", "medicine", split="train")' in second
    assert render_card(medicine, folder, "lab/x", both, "medicine") == both
    assert render_card(general, folder, "lab/x", both, "general").count("Mine.") == 1
    # What a person changes stays, also where several write.
    mine = render_card(
        general, folder, "lab/x", both.replace("pretty_name: lab/raw_texts", "pretty_name: My"), "general"
    )
    assert split_card(mine)[0]["pretty_name"] == "My, instruction-augmented"


@pytest.mark.parametrize("name", ["", "a b", "a--b", "--> <b>", "../x", "a\n", "x" * 101, "-a"])
def test_a_name_that_can_not_be_in_a_mark_is_refused(folder: Path, name: str) -> None:
    with pytest.raises(SettingsError, match="is no name for a config"):
        render_card(rich(), folder, "lab/x", None, name)
