"""`hub-instructpt mix` as users meet it.

Held here: runs, corpora, instruction sets and collections are told apart by looking, and can be said; what is written
is loaded by `datasets`, both configs of it, and agrees with its card and manifest; a mix that was killed outright and
run again has the same bytes; another command on the same folder is refused by the name of what differs; parts on the
Hub are pinned and their licences told; bad input is one line that says what to do; no folder of this machine is
published.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet as pq
import pytest
import yaml

from hub_instructpt.cli import main
from hub_instructpt.mixing.card import render_card
from hub_instructpt.mixing.manifest import Mixture
from hub_instructpt.runs.locks import only_writer
from tests.conftest import ROOT, environment, run_cli, topics, write_jsonl
from tests.doubles.plain_http import ask

GOLDEN = ROOT / "tests" / "golden" / "card-mixture.md"
INSTRUCTIONS = [
    {"id": "1", "system_prompt": "Be brief.", "question": "What is the capital of France?\n", "response": " Paris."},
    {"id": "2", "system_prompt": "", "question": "Name a colour.", "response": "Blue."},
    {"id": "3", "system_prompt": None, "question": "Say nothing.", "response": ""},
]
COLLECTION = [
    {
        "context": "Bees dance to show each other where flowers are.",
        "QA_list": [{"Q": "What do bees do?", "A": "They dance."}, {"Q": "Why?", "A": "To show where flowers are."}],
    },
    {"context": "It rained all night.", "QA_list": [{"Q": "When did it rain?", "A": "all night"}], "QA_type": "span"},
    {"context": "Nobody asks about this one.", "QA_list": []},
    {"context": "This one is broken.", "QA_list": [{"Q": "Why?"}]},
]

Mix = Callable[..., tuple[int, str]]


@pytest.fixture
def mix(capsys: pytest.CaptureFixture[str]) -> Mix:
    """Runs the command in this process: its status, and what it said."""

    def run(*arguments: object) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            main(["mix", *map(str, arguments)])
        said = capsys.readouterr()
        status = ended.value.code or 0
        assert isinstance(status, int)
        return status, (said.err.splitlines() or [""])[-1] if status else said.out

    return run


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A folder with a corpus, an instruction set and a collection of two datasets."""
    folder = tmp_path / "somewhere private"
    folder.mkdir()
    write_jsonl(folder / "web.jsonl", topics(40, 300))
    write_jsonl(folder / "orca.jsonl", INSTRUCTIONS)
    for name, rows in (("bees", COLLECTION[:1]), ("rain", COLLECTION[1:])):
        (folder / "collection" / name / "shard").mkdir(parents=True)
        write_jsonl(folder / "collection" / name / "shard" / "00000.jsonl", rows)
    return folder


def rows_of(folder: Path, kind: str = "data") -> list[dict[str, Any]]:
    return [row for path in sorted((folder / kind).glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def manifest_of(folder: Path) -> Any:
    return json.loads((folder / "manifest.json").read_text())


def sealed(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.parquet"))}


# -- forms -----------------------------------------------------------------------------------------------------------


def test_what_a_part_is_is_found_by_looking(mix: Mix, sources: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    parts = [sources / "web.jsonl", sources / "orca.jsonl", sources / "collection"]
    status, _ = mix(*parts, "--by", "repeats", "--out", out)
    assert status == 0
    manifest = manifest_of(out)
    assert [part["form"] for part in manifest["parts"]] == ["raw", "instructions", "collection"]
    assert [part["name"] for part in manifest["parts"]] == ["web", "orca", "collection"]
    texts: dict[str, set[str]] = {"web": set(), "orca": set(), "collection": set()}
    for row in rows_of(out):
        texts[row["source"]].add(row["text"])
    assert texts["web"] == {row["text"] for row in topics(40, 300)}
    # One blank between question and response, no template, and no system prompt.
    assert texts["orca"] == {"What is the capital of France? Paris.", "Name a colour. Blue."}
    bees, rain = sorted(texts["collection"], key=lambda text: "rained" in text)
    for said in ("Bees dance to show each other where flowers are.", "What do bees do", "They dance.", "Why"):
        assert said in bees
    assert "It rained all night." in rain
    counts = Mixture.load(out).counts
    left_out = {key: number for key, number in counts.items() if key.startswith("rows_rejected")}
    assert left_out == {
        "rows_rejected/empty/orca": 1, "rows_rejected/no_pairs/collection": 1,
        "rows_rejected/malformed_pairs/collection": 1,
    }  # fmt: skip


def test_what_a_part_is_can_be_said_and_its_columns_named(mix: Mix, sources: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    orca = sources / "orca.jsonl"
    asked = [f"{orca},text=question,name=only-questions", f"{orca},system=system_prompt,name=with-system"]
    assert mix(*asked, f"{orca},question=response,response=question,name=turned", "--out", out, "--stop", "all")[0] == 0
    texts = {(row["source"], row["text"]) for row in rows_of(out)}
    assert ("only-questions", "What is the capital of France?\n") in texts
    assert ("with-system", "Be brief. What is the capital of France? Paris.") in texts
    assert ("with-system", "Name a colour. Blue.") in texts
    assert ("turned", " Paris. What is the capital of France?\n") in texts


def test_a_collection_is_written_in_other_words_at_every_repeat(mix: Mix, sources: Path, tmp_path: Path) -> None:
    status, _ = mix(f"{sources / 'collection'},repeats=8", "--out", tmp_path / "out")
    assert status == 0
    texts = Counter(row["text"] for row in rows_of(tmp_path / "out") if "Bees" in row["text"])
    assert texts.total() == 8
    assert len(texts) >= 4


def test_a_run_and_a_mixture_are_parts_too(mix: Mix, sources: Path, tmp_path: Path) -> None:
    run, first, out = tmp_path / "run", tmp_path / "earlier", tmp_path / "out"
    with pytest.raises(SystemExit) as ended:
        main(
            ["augment", str(sources / "web.jsonl"), "--out", str(run), "--engine", "local", "--limit", "6",
             "--max-new-tokens", "16", "--rows-per-shard", "2", "--license", "psf-2.0"]
        )  # fmt: skip
    assert not ended.value.code
    assert mix(f"{sources / 'orca.jsonl'},license=mit", "--out", first)[0] == 0
    assert mix(run, first, "--by", "repeats", "--out", out)[0] == 0
    found = Counter((row["source"], row["text"]) for row in rows_of(out))
    assert found == Counter(
        [("run", row["text"]) for row in rows_of(run)] + [("earlier", r["text"]) for r in rows_of(first)]
    )
    parts = manifest_of(out)["parts"]
    assert [part["license"] for part in parts] == [["psf-2.0"], ["mit"]]
    assert parts[0]["model"] == "hub-instructpt/tiny-synthesizer"
    order = [row["text"] for row in rows_of(out) if row["source"] == "run"]
    assert mix(run, first, "--by", "repeats", "--shuffle", 1, "--seed", 5, "--out", tmp_path / "other")[0] == 0
    other = [row["text"] for row in rows_of(tmp_path / "other") if row["source"] == "run"]
    assert sorted(order) == sorted(other)

    # A run that is not finished, or whose shards were changed, is no part.
    changed = manifest_of(run)
    (run / "manifest.json").write_text(json.dumps({**changed, "finished": False}))
    status, said = mix(run, "--out", tmp_path / "none")
    assert (status, "is not finished" in said) == (2, True)
    (run / "manifest.json").write_text(json.dumps(changed))
    (run / "data" / "train-00001.parquet").write_bytes(b"PAR1")
    status, said = mix(run, "--out", tmp_path / "none")
    assert (status, "not as it was sealed" in said) == (2, True)


# -- what is written -------------------------------------------------------------------------------------------------


def test_datasets_loads_both_configs_and_they_agree_with_the_card(mix: Mix, sources: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    parts = [f"{sources / 'web.jsonl'},license=psf-2.0,weight=3", f"{sources / 'orca.jsonl'},license=mit"]
    arguments = [
        *parts,
        "--by",
        "tokens",
        "--tokenizer",
        "local",
        "--pack",
        64,
        "--rows-per-shard",
        25,
        "--stop",
        "web",
    ]
    status, said = mix(*arguments, "--out", out)
    assert status == 0
    assert "asked for 75.0 % of the tokens" in said
    texts = datasets.load_dataset(str(out), split="train", cache_dir=str(tmp_path / "cache"))
    packed = datasets.load_dataset(str(out), "packed", split="train", cache_dir=str(tmp_path / "cache"))
    assert texts.features == datasets.Features(
        text=datasets.Value("string"), source=datasets.Value("string"), num_tokens=datasets.Value("int32")
    )
    assert packed.features == datasets.Features(input_ids=datasets.List(datasets.Value("int32")))
    assert {len(ids) for ids in packed["input_ids"]} == {64}
    manifest = manifest_of(out)
    assert sum(texts["num_tokens"]) == 64 * len(packed) + manifest["tokens_left_over"]
    assert manifest["reached"]["web"]["tokens_share"] == pytest.approx(0.75, abs=0.03)
    metadata = yaml.safe_load((out / "README.md").read_text().split("---\n")[1])
    assert (metadata["license"], metadata["license_name"]) == ("other", "psf-2.0, mit")
    assert [config["config_name"] for config in metadata["configs"]] == ["default", "packed"]
    sizes = {info["config_name"]: info["splits"][0]["num_examples"] for info in metadata["dataset_info"]}
    assert sizes == {"default": len(texts), "packed": len(packed)}
    assert "n<1K" in metadata["size_categories"] or "1K<n<10K" in metadata["size_categories"]

    # Nothing that is published says where it lay; a person's words in the card survive the same command.
    published = (out / "manifest.json").read_text() + (out / "README.md").read_text()
    assert str(tmp_path) not in published
    assert "somewhere private" not in published
    card = (
        (out / "README.md")
        .read_text()
        .replace("license: other", "license: mit")
        .replace("license_name: psf-2.0, mit\n", "")
    )
    (out / "README.md").write_text(card + "\nMy own words.\n")
    before = sealed(out)
    assert mix(*arguments, "--out", out)[0] == 0
    assert sealed(out) == before
    assert "My own words." in (out / "README.md").read_text()
    assert yaml.safe_load((out / "README.md").read_text().split("---\n")[1])["license"] == "mit"


def test_the_card_looks_as_its_golden_file(mix: Mix, sources: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    parts = [f"{sources / 'web.jsonl'},origin=lab/web_of_*,license=odc-by", f"{sources / 'collection'},repeats=5/2"]
    assert mix(*parts, "--by", "repeats", "--tokenizer", "local", "--pack", 128, "--limit", 30, "--out", out)[0] == 0
    mixture = Mixture.load(out)
    mixture.created_at = mixture.updated_at = "2026-01-02T03:04:05+00:00"
    mixture.version = "1.2.3"
    assert mixture.tokenizer is not None
    mixture.tokenizer.sha256 = "0" * 64
    # Tokens depend on the tokenizer that happens to be bundled, texts on the wording of the templates.
    for number, reached in enumerate(mixture.reached.values()):
        reached.tokens, reached.tokens_share = 1234 * number, 0.5
    mixture.tokens_left_over = 77
    mixture.packed[0].num_rows = 1000
    page = render_card(mixture, out, "lab/mixture").split("---\n", 2)[2]
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(page, "utf-8")
    assert page == GOLDEN.read_text("utf-8")


def test_a_licence_that_holds_for_some_parts_only_is_not_said_to_hold_for_all(
    mix: Mix, sources: Path, tmp_path: Path
) -> None:
    def metadata(name: str, *licences: str) -> Any:
        parts = [f"{sources / 'web.jsonl'},name=p{n}{licence}" for n, licence in enumerate(licences)]
        assert mix(*parts, "--limit", 4, "--out", tmp_path / name)[0] == 0
        return yaml.safe_load((tmp_path / name / "README.md").read_text().split("---\n")[1])

    assert metadata("same", ",license=mit", ",license=mit")["license"] == "mit"
    assert metadata("mixed", ",license=mit", ",license=odc-by")["license"] == "other"
    assert metadata("partly", ",license=mit", "")["license"] == "other"
    assert "license" not in metadata("unknown", "", "")


# -- killed, and run again ---------------------------------------------------------------------------------------------


def test_a_mix_that_was_killed_and_run_again_has_the_same_bytes(mix: Mix, sources: Path, tmp_path: Path) -> None:
    write_jsonl(sources / "long.jsonl", [{"text": f"{n} {row['text']}"} for n in range(15) for row in topics(40, 300)])
    arguments = [
        f"{sources / 'long.jsonl'},weight=2", f"{sources / 'collection'},weight=1/3", f"{sources / 'orca.jsonl'}",
        "--by", "texts", "--tokenizer", "local", "--pack", 96, "--rows-per-shard", 20, "--stop", "long",
        "--shuffle", 100,
    ]  # fmt: skip
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert mix(*arguments, "--out", whole)[0] == 0
    shards = len(list((whole / "data").iterdir()))
    assert shards > 20
    for wait_for in (2, shards // 2):
        process = subprocess.Popen(
            [sys.executable, "-m", "hub_instructpt", "mix", *map(str, arguments), "--out", str(killed)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment(),
        )  # fmt: skip
        try:
            last = killed / "data" / f"train-{wait_for:05d}.parquet"
            deadline = time.monotonic() + 120
            while not last.exists() and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.005)
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
        finally:
            process.kill()
            process.wait()
        assert not manifest_of(killed)["finished"]
        assert wait_for <= len(manifest_of(killed)["shards"]) < shards
    (killed / "data" / ".train-00999.parquet.tmp").write_bytes(b"half")
    assert mix(*arguments, "--out", killed)[0] == 0
    assert sealed(killed) == sealed(whole)
    assert not list((killed / "data").glob(".*"))
    for key in ("shards", "packed", "reached", "tokens_left_over", "parts", "command"):
        assert manifest_of(killed)[key] == manifest_of(whole)[key]


def test_another_mixture_is_refused_by_the_name_of_what_differs(mix: Mix, sources: Path, tmp_path: Path) -> None:
    web, orca, out = sources / "web.jsonl", sources / "orca.jsonl", tmp_path / "out"
    assert mix(web, orca, "--out", out)[0] == 0
    for arguments, words in (
        ([web, orca, "--seed", 7], "--seed was 0, now it is 7"),
        ([web, orca, "--stop", "all"], "--stop was 'first', now it is 'all'"),
        ([web, orca, "--rows-per-shard", 3], "--rows-per-shard was 10000, now it is 3"),
        ([web, orca, "--tokenizer", "local"], "--tokenizer was None, now it is 'local'"),
        ([web], "the number of parts was 2, now it is 1"),
        ([orca, web], "the name of a part was 'web', now it is 'orca'"),
        ([f"{web},weight=2", orca], "weight= of web was None, now it is '2'"),
        ([web, f"{orca},system=system_prompt"], "columns= of orca was"),
    ):
        status, said = mix(*arguments, "--out", out)
        assert (status, words in said) == (2, True), said
    write_jsonl(web, topics(39, 300))
    status, said = mix(web, orca, "--out", out)
    assert (status, "of web was" in said) == (2, True), said


def test_one_process_writes_to_a_folder_at_a_time_and_never_into_a_foreign_one(
    mix: Mix, sources: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with only_writer(out):
        status, said = mix(sources / "web.jsonl", "--out", out)
    assert (status, "Another process is writing" in said) == (2, True)
    status, said = mix(sources / "web.jsonl", "--out", sources)
    assert (status, "is not empty, and what is there is no mixture" in said) == (2, True)
    assert mix(sources / "web.jsonl", "--out", out)[0] == 0
    shard = out / "data" / "train-00000.parquet"
    shard.write_bytes(shard.read_bytes()[:-1])
    status, said = mix(sources / "web.jsonl", "--out", out)
    assert (status, "not as it was sealed" in said) == (2, True)


# -- the Hub ---------------------------------------------------------------------------------------------------------


def test_parts_on_the_hub_are_found_pinned_and_their_licences_told(hub: str, tmp_path: Path) -> None:
    def lines(rows: list[dict[str, Any]]) -> str:
        return "".join(json.dumps(row) + "\n" for row in rows)

    web = [{"content": f"A page about {n}.", "url": f"u{n}"} for n in range(12)]
    ask(hub, "/_double/commit", {"repo": "lab/web", "files": {
        "train.jsonl": lines(web), "README.md": "---\nlicense: odc-by\nlanguage: en\n---\n"}})  # fmt: skip
    ask(hub, "/_double/commit", {"repo": "lab/orca", "files": {
        "train.jsonl": lines(INSTRUCTIONS), "README.md": "---\nlicense: mit\n---\n"}})  # fmt: skip
    configs = [
        {"config_name": name, "data_files": [{"split": "train", "path": f"{name}/shard/*.jsonl"}]} for name in "ab"
    ]
    ask(hub, "/_double/commit", {"repo": "lab/collection", "files": {
        "a/shard/00000.jsonl": lines(COLLECTION[:1]), "b/shard/00000.jsonl": lines(COLLECTION[1:2]),
        "a/json/train.json": "[]", "README.md": f"---\n{yaml.safe_dump({'configs': configs})}---\n"}})  # fmt: skip
    env = {"HF_ENDPOINT": hub, "HF_HOME": str(tmp_path / "hf")}
    out = tmp_path / "out"
    arguments = ["lab/web,text=content,limit=10", "lab/orca,rows=3", "lab/collection,form=collection,repeats=3"]
    done = run_cli("mix", *arguments, "--out", out, **env)
    assert done.returncode == 2
    assert "how many rows lab/collection has" in done.stderr.splitlines()[-1]
    assert "Say about how many: rows=N." in done.stderr
    arguments[-1] += ",rows=2"
    done = run_cli("mix", *arguments, "--out", out, **env)
    assert done.returncode == 0, done.stderr
    assert Counter(row["source"] for row in rows_of(out)) == {"lab/web": 10, "lab/orca": 2, "lab/collection": 6}
    parts = manifest_of(out)["parts"]
    assert [part["form"] for part in parts] == ["raw", "instructions", "collection"]
    assert [part["license"] for part in parts] == [["odc-by"], ["mit"], None]
    assert all(len(part["source"]["revision"]) == 40 for part in parts)
    metadata = yaml.safe_load((out / "README.md").read_text().split("---\n")[1])
    assert metadata["source_datasets"] == ["lab/web", "lab/orca", "lab/collection"]
    assert metadata["language"] == ["en"]

    ask(hub, "/_double/commit", {"repo": "lab/web", "files": {"note.txt": "hello"}})
    done = run_cli("mix", *arguments, "--out", out, **env)
    assert done.returncode == 2
    assert "the source's revision of lab/web was" in done.stderr


# -- what can not be ---------------------------------------------------------------------------------------------------


def test_bad_input_is_one_line_that_says_what_to_do(mix: Mix, sources: Path, tmp_path: Path) -> None:
    web, orca = str(sources / "web.jsonl"), str(sources / "orca.jsonl")
    (sources / "empty.jsonl").write_text("")
    write_jsonl(sources / "blank.jsonl", [{"text": " "}, {"text": None}])
    write_jsonl(sources / "no pairs.jsonl", COLLECTION[2:])
    (sources / "bad.jsonl").write_text('{"text": "a"}\n{"text"\n')
    for arguments, words in (
        ([f"{web},wieght=2"], "Did you mean 'weight'?"),
        ([f"{web},weight=0"], "greater than 0"),
        ([f"{web},weight=-3"], "greater than 0"),
        ([f"{web},text=content"], "has no column 'content'; it has: text, title. Name the right one with text=."),
        ([f"{orca},form=instructions,question=prompt"], "no column 'prompt'"),
        ([f"{orca},response=answer"], "question=, response= or system="),
        ([f"{web},form=collection"], "A record is {context, QA_list: [{Q, A}]}."),
        ([f"{web},form=run"], "is no run directory"),
        ([sources / "empty.jsonl"], "holds no rows"),
        ([sources / "blank.jsonl"], "No row of blank.jsonl has a usable text"),
        ([sources / "no pairs.jsonl"], "gives no text (1 no pairs, 1 malformed pairs)"),
        ([sources / "bad.jsonl"], "bad.jsonl, line 2, is not JSON"),
        ([sources / "not there.jsonl"], "There is no file"),
        ([web, "--by", "tokens"], "--by tokens needs a tokenizer"),
        ([web, "--tokens", "100"], "--tokens needs a tokenizer"),
        ([web, "--pack", "64"], "--pack needs a tokenizer"),
        ([web, "--tokenizer", sources / "nowhere"], "No tokenizer can be loaded from"),
        ([web, "--tokenizer", sources], "No tokenizer can be loaded from"),
        ([web, "--by", "repeats", "--stop", "all"], "says nothing with --by repeats"),
        ([f"{web},weight=2", "--by", "repeats"], "Say repeats="),
        ([f"{web},repeats=2", "--by", "texts"], "Say weight="),
        ([web, "--stop", "wbe"], "Say first, all, or one of: web."),
        ([f"{web},name=x", f"{orca},name=x"], "Two parts are called x"),
    ):
        status, said = mix(*arguments, "--out", tmp_path / "out")
        assert (status, words in said) == (2, True), (arguments, said)
        assert said.startswith("hub-instructpt: ")
    assert not (tmp_path / "out" / "data").exists() or not list((tmp_path / "out" / "data").iterdir())


def test_two_parts_of_the_same_name_are_told_apart_by_number(mix: Mix, sources: Path, tmp_path: Path) -> None:
    web = sources / "web.jsonl"
    assert mix(web, f"{web},limit=2", "--out", tmp_path / "out")[0] == 0
    assert Counter(row["source"] for row in rows_of(tmp_path / "out")) == {"web": 2, "web-2": 2}
