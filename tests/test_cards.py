"""Cards: a manifest becomes a page that no text can break, and that keeps what a person wrote on it.

What is held: the whole page of one rich and one bare manifest (tests/golden/card-*.md, written again with
UPDATE_GOLDEN=1); that hostile text in every string of a manifest changes neither the structure of the page nor the
metadata, whose YAML passes the rules that are known of the Hub; that a second card keeps a person's prose, keys and
judgements, and refuses where it can not tell whose is what; that every count of the package has words.
"""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from hub_instructpt import cards
from hub_instructpt.cards import card_metadata, merge_metadata, render_card, split_card
from hub_instructpt.errors import CardError, SettingsError
from hub_instructpt.records import shard_schema
from hub_instructpt.runs.manifest import EngineFacts, Manifest, Settings, ShardFacts, SourceFacts
from tests.conftest import ROOT, run_cli
from tests.doubles.hub_cards import check_card

GOLDEN = ROOT / "tests" / "golden"
BEGIN, END = cards.begin(), cards.end()
COUNTS = {
    "rows/read": 12_000, "rows_rejected/null": 3, "rows_rejected/empty": 1_000, "rows/repaired_lone_surrogates": 2,
    "texts/all": 10_997, "contexts/cut": 17, "contexts/neutralised": 5, "finish_reason/stop": 10_900,
    "finish_reason/length": 95, "tokens/prompt": 4_000_000, "tokens/generated": 2_500_000,
    "texts_without_pairs/no_pair_parsed": 20, "texts_without_pairs/failed_timeout": 2,
    "texts_without_pairs/failed_status_418": 1, "pairs_dropped/unfinished": 95, "pairs_dropped/malformed": 7,
    "pairs/kept": 54_321,
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory with one real shard, for its columns."""
    made = tmp_path_factory.mktemp("run")
    (made / "data").mkdir()
    row = {"text": "t", "examples": [{"context": "t", "pairs": [], "url": "u"}], "source_rows": [0], "num_pairs": 0}
    table = pa.Table.from_pylist([row], schema=shard_schema({"url": pa.string()}))
    pq.write_table(table, made / "data" / "train-00000.parquet")
    return made


def rich() -> Manifest:
    """Everything is known, and every count is there."""
    return Manifest(
        version="0.1.0", created_at="2026-11-20T23:00:00+00:00", updated_at="2026-11-21T09:00:00+00:00", finished=True,
        seconds=36000, command="hub-instructpt augment lab/raw --num-shots 3 --out DIR",
        source=SourceFacts(
            kind="hub", name="lab/raw_texts", config_name="en", split="train", revision="a" * 40, license=["cc-by-4.0"],
            language=["en", "zh-CN"], num_rows=12_000,
        ),
        settings=Settings(
            text_column="text", keep_columns=["url"], num_shots=3, max_new_tokens=400, temperature=0.0, top_p=1.0,
            rows_per_shard=1000, limit=None, seed=0,
        ),
        engine=EngineFacts(
            kind="tgi", model_id="instruction-pretrain/instruction-synthesizer", model_sha="b" * 40, version="3.3.6",
            dtype="float16", bos="<s>", eos="</s>",
        ),
        kept_types={"url": "string"},
        shards=[ShardFacts(
            path="data/train-00000.parquet", num_rows=4_000, num_bytes=123, arrow_bytes=456, sha256="c" * 64,
            source_rows=(0, 12_000), counts=COUNTS,
        )],
    )  # fmt: skip


def bare() -> Manifest:
    """An unfinished run of which nothing is known that need not be; not a single pair."""
    manifest = rich()
    manifest.finished, manifest.command, manifest.kept_types = False, None, {}
    manifest.source = SourceFacts(kind="files", name="corpus.jsonl")
    manifest.settings.num_shots = 1
    manifest.engine = EngineFacts(
        kind="local", model_id=cards.TINY, model_sha=None, version=None, dtype=None, bos="", eos=""
    )
    counts = {"rows/read": 2, "texts/all": 2, "texts_without_pairs/empty_completion": 2, "finish_reason/stop": 2}
    manifest.shards[0] = manifest.shards[0].model_copy(update={"num_rows": 2, "source_rows": (0, 2), "counts": counts})
    return manifest


@pytest.mark.parametrize("name", ["rich", "bare"])
def test_the_whole_page(folder: Path, name: str) -> None:
    card = render_card({"rich": rich, "bare": bare}[name](), folder, "lab/augmented" if name == "rich" else None)
    path = GOLDEN / f"card-{name}.md"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(card, "utf-8")
    assert card == path.read_text("utf-8")
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


# -- hostile text

NASTY = (
    "|", "\n", "\r\n", "```", "````", "`", "\n---\n", "---", "\n\n# H\n\n", "<script>alert(1)</script>", "</td>",
    "<!--", "-->", END, BEGIN, "{{ 1+1 }}", "{% raw %}", "{#", "](http://evil.test)", "[x](y)", "![i](j)",
    "http://evil.test", "\x00", "\x1b[31m", "\x85", "\u2028", "\u202e", "\u200b", "\ufeff", "&amp;", "&#124;",
    "\\", "\\|", "*", "_", "~~", "$x$", "<b>", "'", '"', ": ", "- ", "? ", "!!python/object:os.system", "&a", "*a",
    "%", "@user", "no", "null", "~", "1e3", "\t", " ", "\ud7ff", "\U0001f600", "\U0010ffff", "0o17", "012",
    "12:30",
)  # fmt: skip
# Shrinking a page of thirty hostile names takes minutes and tells nothing more than the first find.
quick = settings(
    max_examples=30,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
hostile = st.lists(st.sampled_from(NASTY) | st.text(max_size=8), min_size=1, max_size=8).map("".join).filter(len)


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


def structure(card: str) -> list[Any]:
    """The page as a Markdown reader sees it, without its words: blocks, and what stands in their lines."""

    def shape(token: Token) -> tuple[Any, ...]:
        inner = [child.type for child in token.children or () if child.type not in ("text", "softbreak")]
        return token.type, token.tag, tuple(inner)

    return [shape(token) for token in markdown(card)]


def markdown(card: str) -> list[Token]:
    return MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(split_card(card)[1])


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
    assert all(character.isprintable() for character in split_card(card)[1].replace("\n", ""))
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


def test_a_name_of_100_kb_does_not_drown_the_page(folder: Path) -> None:
    tame = rich()
    evil = all_hostile(tame, lambda: "x|`<" * 25_000)
    evil.command = "short"
    assert max(map(len, split_card(render_card(evil, folder))[1].splitlines())) < 6_000


def test_a_template_in_a_name_is_not_run(folder: Path) -> None:
    manifest = rich()
    manifest.command = "hub-instructpt augment '{{ 41 + 1 }}' {% raw %}"
    assert "augment '{{ 41 + 1 }}' {% raw %}" in render_card(manifest, folder)


# -- a card that is there already


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


# -- words


def reasons() -> Iterator[str]:
    """Names that the package counts by, as they stand in its source."""
    patterns = (
        r'\bdropped\["(\w+)"\]', r'counts\["(?:pairs_dropped|texts_without_pairs|contexts)/(\w+)"\]',
        r'why = "(\w+)" if', r'else "(no_\w+)"', r'"rows/(repaired\w+)"', r'return "(null|empty|not_a_string)"',
    )  # fmt: skip
    failures = (
        r'\breason=f?"(\w+?)(?:\{|")', r'\breason="\w+" if \w+ else "(\w+)"',
        r'\bTrouble\(\s*"\w+",\s*f?"(\w+?)(?:\{|")',
    )  # fmt: skip
    package = ROOT / "hub_instructpt"
    rooms = [package / "markup.py", package / "synthesis.py"]
    for path in [*rooms, *sorted((package / "runs").glob("*.py")), *sorted((package / "engines").glob("*.py"))]:
        source = path.read_text("utf-8")
        for pattern in patterns:
            yield from re.findall(pattern, source)
        for pattern in failures:
            for found in re.findall(pattern, source):
                yield f"failed_{found}" + ("X" if found.endswith("_") else "")
    yield from ("stop", "length", "unknown")


def test_every_count_has_words() -> None:
    found, known = set(reasons()), cards.knowledge("words.yaml")
    assert {"malformed", "unfinished", "no_pair_parsed", "failed_timeout", "failed_status_X", "null"} <= found
    lacking = sorted(name for name in found if cards.words(name) == name.replace("_", " ") and name not in known)
    assert not lacking


def test_words_with_an_open_end() -> None:
    assert cards.words("failed_status_503") == "the server answered 503"
    assert cards.words("failed_status_429") == "the server was full (429)"
    assert cards.words("failed_local_OutOfMemoryError") == "the model failed (OutOfMemoryError)"
    assert cards.words("never_heard_of") == "never heard of"


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
