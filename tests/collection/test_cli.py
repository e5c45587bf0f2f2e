"""`hub-instructpt collect` as people use it: from releases and exports, in several calls, killed, and fed with rubbish.

Held here: the layout that code for the published collection reads; a dataset is there whole or not at all; a finished
one is not made again; every refusal is one line that says what to do.
"""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hub_instructpt.collection import collect
from hub_instructpt.collection.manifest import Collection
from hub_instructpt.collection.reading import open_files
from hub_instructpt.collection.registry import get_source
from tests.cli_cases import cases
from tests.collection.plugins import dataset, installed
from tests.conftest import DATA, environment, needs_data, run_cli, write_jsonl

DEV = DATA / "squad" / "dev-v1.1.rebuilt.json"


def squad_rows(number: int, word: str = "mill") -> list[dict[str, Any]]:
    return [
        {
            "id": f"{word}-{at}",
            "title": word,
            "context": f"The {word} number {at // 3} stands by the river.",
            "question": f"Where does {at} stand?",
            "answers": {"text": ["by the river"], "answer_start": [20]},
        }
        for at in range(number)
    ]


def files_of(folder: Path) -> dict[str, bytes]:
    """The files of a collection, but for what tells the time."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in ("manifest.json", "README.md", ".lock")
    }


@needs_data
def test_the_dev_part_of_squad_is_collected_whole(tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run_cli("collect", "SQuAD", "--from", DEV, "--out", out)
    assert done.returncode == 0, done.stderr
    assert "squad: 48 rows of dev-v1.1.rebuilt.json gave 2,067 records, 10,532 pairs." in done.stdout
    facts = Collection.load(out).datasets[0]
    assert facts.counts["questions/read"] == 10_570
    assert facts.counts["questions_rejected/repeated_on_context"] == 38
    assert facts.counts["answers/in_context"] == facts.counts["answers/all"] == 10_532
    assert json.loads((out / "squad/json/valid.json").read_bytes()) == [
        {"source": "shard/00000.jsonl", "source_lang": "en", "weight": 1.0}
    ]
    told = run_cli("collect", "--verify", out)
    assert told.returncode == 0
    assert "100.0 % of the answers are spans" in told.stdout
    assert str(tmp_path) not in (out / "manifest.json").read_text() + (out / "README.md").read_text()


def test_rows_as_on_the_hub_are_read_from_files_of_every_kind(tmp_path: Path) -> None:
    rows = squad_rows(9)
    write_jsonl(tmp_path / "rows.jsonl", rows)
    (tmp_path / "rows.json").write_text(json.dumps(rows, indent=1))
    (tmp_path / "rows.jsonl.gz").write_bytes(gzip.compress((tmp_path / "rows.jsonl").read_bytes()))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    folder = tmp_path / "export" / "data"
    folder.mkdir(parents=True)
    for split, part in (("train-00000-of-00002", rows[:6]), ("train-00001-of-00002", rows[6:]), ("validation", rows)):
        pq.write_table(pa.Table.from_pylist(part), folder / f"{split}.parquet")
    (folder.parent / "dataset_infos.json").write_text("{}")
    kinds = ["rows.jsonl", "rows.json", "rows.jsonl.gz", "rows.parquet", "rows.js*l", "export"]
    commands = [["collect", "squad", "--from", tmp_path / kind, "--out", tmp_path / f"out-{kind}"] for kind in kinds]
    for kind, (status, out, err) in zip(kinds, cases(commands), strict=True):
        assert status == 0, (kind, err)
        assert "9 rows of" in out, kind
        records = (tmp_path / f"out-{kind}" / "squad/shard/00000.jsonl").read_text()
        assert [json.loads(line)["context"] for line in records.splitlines()] == [
            f"The mill number {at} stands by the river." for at in range(3)
        ]


def test_several_calls_add_to_one_collection_and_finished_datasets_are_not_made_again(tmp_path: Path) -> None:
    path = installed(tmp_path, barn=dataset("barn"), inn=dataset("inn"))
    row = {"passage": "The barn is old.", "question": "Is it?", "options": ["yes", "no"], "label": 0}
    for name in ("barn", "inn", "squad"):
        (tmp_path / name).mkdir()
        write_jsonl(tmp_path / name / "rows.jsonl", squad_rows(12) if name == "squad" else [row])
    out = tmp_path / "out"
    common = ["--data", tmp_path, "--out", out]
    results = cases(
        [
            ["collect", "barn", *common],
            ["collect", "squad", "barn", *common],
            ["collect", "squad", "barn", *common, "--cap", "2"],
            ["collect", "squad", *common, "--cap", "2", "--seed", "4", "--parquet"],
            ["collect", "squad", *common, "--cap", "2", "--seed", "4", "--parquet", "--force"],
            ["collect", "--verify", out],
            ["collect", "--list", "--out", out],
            ["status", out],
        ],
        PYTHONPATH=path,
    )
    assert [status for status, _, _ in results] == [0] * len(results), results
    said = [err.count("is there already") for _, _, err in results]
    assert said == [0, 1, 0, 0, 0, 0, 0, 0]
    assert "over the cap of 2: 2 records" in results[2][1]
    assert "2 datasets, 3 records, 7 pairs: nothing is wrong." in results[5][1]
    assert "2 records" in next(line for line in results[6][1].splitlines() if line.startswith("squad"))
    assert [line.split()[0] for line in results[7][1].splitlines()] == ["datasets", "records", "barn", "squad"]
    assert pq.read_table(out / "squad/parquet/00000.parquet").num_rows == 2
    write_jsonl(tmp_path / "barn" / "rows.jsonl", [row, {**row, "question": "Was it?"}])
    [(_, changed, _)] = cases([["collect", "barn", *common, "--cap", "2"]], PYTHONPATH=path)
    assert "barn: 2 rows of rows.jsonl gave 1 records, 2 pairs." in changed


def test_with_all_a_licence_is_accepted_by_name_and_what_is_left_out_is_told(tmp_path: Path) -> None:
    licence = 'Licence("CC BY 4.0", "cc-by-4.0", share_alike=False, non_commercial=False)'
    path = installed(
        tmp_path,
        barn=dataset("barn", {licence: 'Licence("CC BY-NC 4.0", "cc-by-nc-4.0", non_commercial=True)'}),
        inn=dataset("inn", {licence: 'Licence("none stated", "unknown", note="Ask its makers.")'}),
        kiln=dataset("kiln"),
    )
    row = {"passage": "The barn is old.", "question": "Is it?", "options": ["yes", "no"], "label": 0}
    for name in ("barn", "inn", "kiln"):
        (tmp_path / name).mkdir()
        write_jsonl(tmp_path / name / "rows.jsonl", [row])
    base = ["collect", "--all", "--data", tmp_path, "--out"]
    plain, _, both, unknown, named = cases(
        [
            [*base, tmp_path / "plain"],
            [*base, tmp_path / "one", "--accept-licence", "Inn"],
            [*base, tmp_path / "both", "--accept-licence", "inn", "--accept-licence", "CC-BY-NC-4.0"],
            [*base, tmp_path / "unknown", "--accept-licence", "bran"],
            ["collect", "barn", "--data", tmp_path, "--out", tmp_path / "named"],
        ],
        PYTHONPATH=path,
    )
    assert plain[0] == 0, plain[2]
    assert "barn is left out: CC BY-NC 4.0 (non-commercial). --accept-licence barn takes it." in plain[2]
    assert "inn is left out: none stated (unclear). Ask its makers. --accept-licence inn takes it." in plain[2]
    assert "squad is left out: " in plain[2]
    assert [each.name for each in Collection.load(tmp_path / "plain").datasets] == ["kiln"]
    assert [each.name for each in Collection.load(tmp_path / "one").datasets] == ["inn", "kiln"]
    assert [each.name for each in Collection.load(tmp_path / "both").datasets] == ["barn", "inn", "kiln"]
    assert (both[0], unknown[0]) == (0, 2)
    assert "Did you mean barn" in unknown[2]
    assert named[0] == 0
    assert "barn: CC BY-NC 4.0 (non-commercial)." in named[2]
    card_text = (tmp_path / "both" / "README.md").read_text()
    assert "**Not for commercial use:** barn." in card_text
    assert "**Unclear terms:** inn." in card_text
    assert "license: other" in card_text


SLOW = """
import os, pathlib, time
def questions(row):
    if os.environ.get("HALT") == str(row["label"]):
        pathlib.Path(os.environ["MARK"]).touch()
        time.sleep(60)
    yield Question(row["passage"], row["question"], "old")
"""


def test_a_killed_collection_goes_on_and_ends_with_the_same_bytes(tmp_path: Path) -> None:
    slow = dataset("slow")
    start, end = slow.index("def questions"), slow.index("SOURCE = ")
    slow = slow[:start] + SLOW + slow[end:]
    asked = '"Why did the museum close?'
    slow = slow.replace(asked + '\\nOptions:\\n- a fire\\n- a flood", "A": "a flood"', asked + '", "A": "old"')
    slow = slow.replace('qa_type="multiple-choice"', 'qa_type="extractive"').replace(
        '"QA_type": "multiple-choice"', '"QA_type": "extractive"'
    )
    path = installed(tmp_path, slow=slow)
    rows = [{"passage": f"Room {at // 2} is old.", "question": f"{at}?", "label": at} for at in range(400)]
    for name, given in (("slow", rows), ("squad", squad_rows(30))):
        (tmp_path / name).mkdir()
        write_jsonl(tmp_path / name / "rows.jsonl", given)
    out, mark = tmp_path / "out", tmp_path / "mark"
    command = ["collect", "squad", "slow", "--data", str(tmp_path)]
    process = subprocess.Popen(
        [sys.executable, "-m", "hub_instructpt", *command, "--out", out],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env=environment(PYTHONPATH=path, HALT="300", MARK=str(mark)),
    )  # fmt: skip
    for _ in range(600):
        if mark.exists() or process.poll() is not None:
            break
        time.sleep(0.05)
    busy = run_cli(*command, "--out", out, PYTHONPATH=path)
    assert busy.returncode == 2
    assert "Another process is writing to" in busy.stderr
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert [each.name for each in Collection.load(out).datasets] == ["squad"]
    assert run_cli("collect", "--verify", out).returncode == 0
    again = run_cli(*command, "--out", out, PYTHONPATH=path)
    assert again.returncode == 0, again.stderr
    assert "squad is there already" in again.stderr
    whole = run_cli(*command, "--out", tmp_path / "whole", PYTHONPATH=path)
    assert whole.returncode == 0, whole.stderr
    assert files_of(out) == files_of(tmp_path / "whole")
    assert [entry.name for entry in out.iterdir() if entry.name.startswith(".")] in ([], [".lock"])


@pytest.mark.parametrize("point", ["save", "rename", "sync_folder"])
def test_a_crash_while_a_dataset_takes_its_place_costs_nothing_but_that_dataset(
    point: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = get_source("squad"), tmp_path / "out"
    for name, number in (("old", 6), ("new", 9)):
        write_jsonl(tmp_path / f"{name}.jsonl", squad_rows(number))

    def make(name: str) -> None:
        with collect.open_collection(out) as collection:
            settings = collect.settings_for(source, cap=None, seed=0)
            collect.collect(source, open_files(source, str(tmp_path / f"{name}.jsonl")), out, collection, settings)

    make("old")
    with monkeypatch.context() as patch:

        def crash(*_: object) -> None:
            raise KeyboardInterrupt

        where: Any = {"save": Collection, "rename": Path, "sync_folder": collect}[point]
        patch.setattr(where, point, crash)
        with pytest.raises(KeyboardInterrupt):
            make("new")
    before = Collection.load(out)
    assert all((out / file.path).is_file() for file in before.files)
    make("new")
    assert Collection.load(out).num_pairs == 9
    assert run_cli("collect", "--verify", out).returncode == 0


RUBBISH: dict[str, tuple[bytes, str]] = {
    "empty.json": (b"", "holds no rows"),
    "blank.jsonl": (b"\n\n", "holds no rows"),
    "words.jsonl": (b"these are\nno rows\n", "None of 2 rows of words.jsonl gives a record of squad: 2 not json"),
    "numbers.json": (b"[1, 2, 3]", "3 not an object"),
    "columns.jsonl": (b'{"text": "a"}\n', "1 malformed KeyError"),
    "cut.json": (b'[{"context": "a", "question": "b", "ans', "cut.json can not be read on after row 0: it is not JSON"),
    "dev-v1.1.json": (b'{"version": "1.1"}', "dev-v1.1.json can not be read on after row 0: it has no 'data'"),
    "latin.jsonl": ('{"context": "caf\xe9"}'.encode("latin-1"), "can not be read on after row 0: it is not UTF-8"),
    "rows.parquet": (b"PAR1 and no more", "rows.parquet is not a readable Parquet file"),
    "rows.jsonl.gz": (gzip.compress(b'{"a": 1}\n' * 9999)[:40], "rows.jsonl.gz can not be read on after row"),
    "plain.gz": (b"not packed", "plain.gz is no file of squad that can be read"),
    "notes.txt": (b"notes", "notes.txt is no file of squad that can be read"),
    "deep.json": (b"[" * 100_000, "deep.json can not be read on after row 0: it is not JSON"),
}  # fmt: skip


def test_rubbish_is_refused_in_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    for name, (content, _) in RUBBISH.items():
        (tmp_path / name).write_bytes(content)
    commands = [["collect", "squad", "--from", tmp_path / name, "--out", tmp_path / "out"] for name in RUBBISH]
    for (name, (_, words)), (status, out, err) in zip(RUBBISH.items(), cases(commands), strict=True):
        last = err.strip().splitlines()[-1]
        assert (status, out) == (2, ""), (name, err)
        assert words in last, (name, last)
        assert "hub-instructpt: " in last
        assert [path.name for path in (tmp_path / "out").iterdir()] in ([], [".lock"]), name


def test_wrong_use_is_answered_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    write_jsonl(tmp_path / "rows.jsonl", squad_rows(3))
    out = tmp_path / "out"
    wrong: list[tuple[list[object], str]] = [
        (["--out", out], "Which datasets?"),
        (["--all", "squad", "--out", out], "--all takes every dataset"),
        (["squad"], "Where does it go? Give --out DIR."),
        (["squad", "--accept-licence", "squad", "--out", out], "--accept-licence goes with --all"),
        (["squad", "--from", "a", "--data", "b", "--out", out], "exclude each other"),
        (["squad", "--from", "a", "--revision", "b", "--out", out], "--revision is one on the Hub"),
        (["squad", "--from", tmp_path / "none", "--out", out], "none is not there, so nothing is read for squad. Its"),
        (["squad", "--from", tmp_path / "other", "--out", out], "holds nothing of squad. Its release (*dev-v1.*.json"),
        (["squad", "--data", tmp_path, "--out", out], f"{tmp_path} has no folder squad. Its release"),
        (["squad", "--from", "a", "--out", tmp_path / "other"], "holds notes.txt and no collection"),
        (["squad", "--from", tmp_path / "rows.jsonl", "--out", tmp_path / "rows.jsonl"], "can not be made"),
        (["--verify", tmp_path / "other"], "holds no collection"),
    ]  # fmt: skip
    for (arguments, words), (status, _, err) in zip(
        wrong, cases([["collect", *arguments] for arguments, _ in wrong]), strict=True
    ):
        assert status == 2, (arguments, err)
        assert words in err, (arguments, err)
    assert (tmp_path / "other" / "notes.txt").read_text() == "mine"


def test_the_list_fits_into_the_terminal() -> None:
    for columns in ("60", "90", "200"):
        done = run_cli("collect", "--list", COLUMNS=columns)
        assert done.returncode == 0
        table = done.stdout.partition("\n\n")[0].splitlines()
        assert max(map(len, table)) <= int(columns)
        assert any(line.startswith("squad ") for line in table)


def test_the_card_is_written_again_on_request_and_keeps_what_a_person_wrote(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "rows.jsonl", squad_rows(3))
    out = tmp_path / "out"
    run_cli("collect", "squad", "--from", tmp_path / "rows.jsonl", "--out", out)
    written = (out / "README.md").read_text()
    (out / "README.md").write_text(written + "\nMy own words.\n")
    assert run_cli("card", out).stdout.strip() == str(out / "README.md")
    assert (out / "README.md").read_text() == written + "\nMy own words.\n"
