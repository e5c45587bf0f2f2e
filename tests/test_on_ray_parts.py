"""What runs on Ray are made of, without Ray: portions of shards, parts of a run, what tasks tell, and the option.

The runs on a real cluster are in test_on_ray.py.
"""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub_instructpt.cli.ray_address import with_address
from hub_instructpt.engines.load import Load
from hub_instructpt.engines.tgi import TGIEngine
from hub_instructpt.errors import EngineError, RunDirectoryError, RunError, SettingsError
from hub_instructpt.on_ray.board import Board, Report, merged
from hub_instructpt.on_ray.cluster import connected
from hub_instructpt.on_ray.portions import Portions
from hub_instructpt.runs.hub_dataset import HubRows
from hub_instructpt.runs.locks import only_writer, owner_of
from hub_instructpt.runs.manifest import EngineFacts, Manifest, Settings, SourceFacts, bring_up_to_date
from hub_instructpt.runs.part import Part, make_part
from hub_instructpt.runs.registration import prepare, register
from hub_instructpt.runs.runner import augment_source
from hub_instructpt.runs.sources import Source, open_files
from tests.conftest import topics, write_jsonl
from tests.doubles.plain_http import ask
from tests.doubles.process import running

ASKED = Settings(
    text_column="text", keep_columns=["title"], num_shots=2, max_new_tokens=40, temperature=0.0, top_p=1.0,
    rows_per_shard=4, limit=None, seed=0,
)  # fmt: skip


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with running("tests.doubles.tgi", "--instant") as url:
        yield url


@pytest.fixture
def fast(server: str) -> Iterator[str]:
    ask(server, "/_double/reset", {})
    yield server
    ask(server, "/_double/reset", {})


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """A corpus of 22 rows, as it arrives on another machine."""
    path = write_jsonl(tmp_path_factory.mktemp("corpus") / "corpus.jsonl", topics(22, 200))
    travelled: Source = pickle.loads(pickle.dumps(open_files([path], "text", ["title"])))
    return travelled


def manifest_of(source: Source, url: str, **changes: Any) -> Manifest:
    engine = EngineFacts(
        kind="tgi", model_id="hub-instructpt/tiny-synthesizer", model_sha=None, version=None, dtype=None, bos="<s>",
        eos="</s>",
    )  # fmt: skip
    told = ask(url, "/info").json
    engine = engine.model_copy(update={"model_id": told["model_id"], "model_sha": told.get("model_sha")})
    facts = source.facts.model_copy(update=changes)
    return Manifest(source=facts, settings=ASKED, engine=engine)


def shard_bytes(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((out / "data").glob("*"))}


# -- the option ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_", "meant"),
    [
        ("augment c.jsonl --ray", "augment c.jsonl --ray=auto"),
        ("augment c.jsonl --ray --out o", "augment c.jsonl --ray=auto --out o"),
        ("augment --ray c.jsonl --out o", "augment --ray=auto c.jsonl --out o"),
        ("augment c.jsonl --ray auto --out o", "augment c.jsonl --ray=auto --out o"),
        ("augment --ray head:6379 c.jsonl", "augment --ray=head:6379 c.jsonl"),
        ("augment --ray ray://10.0.0.1:10001 c.jsonl", "augment --ray=ray://10.0.0.1:10001 c.jsonl"),
        ("augment --ray=head:6379 c.jsonl", "augment --ray=head:6379 c.jsonl"),
        ("augment c.jsonl --out o", "augment c.jsonl --out o"),
        ("", ""),
    ],
)
def test_ray_may_stand_without_an_address(given_: str, meant: str) -> None:
    assert with_address(given_.split()) == meant.split()


def test_without_ray_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(SettingsError, match=r"pip install 'hub-instructpt\[ray\]'"), connected("auto"):
        pass


def test_nobody_at_an_address_is_said_at_once() -> None:
    pytest.importorskip("ray", reason="Ray, an extra, is not installed")
    with pytest.raises(RunError, match=r"no Ray cluster at 127\.0\.0\.1:9 "), connected("127.0.0.1:9"):
        pass


# -- portions ------------------------------------------------------------------------


@given(
    rows=st.integers(1, 400), told=st.none() | st.integers(1, 400), limit=st.none() | st.integers(1, 400),
    kind=st.sampled_from(["files", "hub"]), at_once=st.integers(1, 9), mask=st.integers(0, 2**100),
    last_first=st.booleans(),
)  # fmt: skip
@settings(deadline=None)
def test_every_shard_is_in_one_portion_whatever_the_source_tells(
    rows: int, told: int | None, limit: int | None, kind: Any, at_once: int, mask: int, last_first: bool
) -> None:
    """A source tells how many rows it has (files, rightly), too few, too many, or nothing."""
    there = min(rows, limit or rows)
    shards = range(-(-there // 4))
    sealed = {index for index in shards if mask >> index & 1}
    facts = SourceFacts(kind=kind, name="s", num_rows=rows if kind == "files" else told)
    engine = EngineFacts(kind="", model_id="", model_sha=None, version=None, dtype=None, bos="", eos="")
    manifest = Manifest(source=facts, settings=ASKED.model_copy(update={"limit": limit}), engine=engine)
    for index in sorted(sealed):
        manifest.shards.append(_facts(index, there))
    portions, working, made = Portions.of(manifest), [], list[int]()
    while True:
        while len(working) < at_once and (shards_of_it := portions.next(at_once, len(working))):
            working.append(shards_of_it)
        if not working:
            break
        done = working.pop(-1 if last_first else 0)
        made += [index for index in done if index in shards]
        if done[-1] >= len(shards) or ((done[-1] + 1) * 4 > there and there < (limit or rows + 1)):
            portions.ended()
    assert sorted(made) == sorted(set(shards) - sealed)


def _facts(index: int, rows: int) -> Any:
    from hub_instructpt.runs.manifest import ShardFacts

    return ShardFacts(
        path=f"data/train-{index:05d}.parquet", num_rows=1, num_bytes=1, arrow_bytes=1, sha256="",
        source_rows=(index * 4, min(rows, index * 4 + 4)), counts={},
    )  # fmt: skip


def test_portions_begin_large_and_end_small() -> None:
    engine = EngineFacts(kind="", model_id="", model_sha=None, version=None, dtype=None, bos="", eos="")
    facts = SourceFacts(kind="files", name="s", num_rows=4 * 300)
    portions = Portions.of(Manifest(source=facts, settings=ASKED, engine=engine))
    sizes = []
    while some := portions.next(4, 3):
        sizes.append(len(some))
    assert sizes[0] == 16
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-4:] == [1, 1, 1, 1]
    assert sum(sizes) == 300


# -- parts ------------------------------------------------------------------------


def test_parts_made_in_any_order_make_the_run_of_one_process(source: Source, fast: str, tmp_path: Path) -> None:
    whole = augment_source(source, TGIEngine(fast), ASKED, tmp_path / "whole")
    asked = ask(fast, "/_double/state").json["generate"]
    out = tmp_path / "out"
    prepare(out)
    with only_writer(out):
        here = register(out, manifest_of(source, fast))
        owner = owner_of(out) or ""
        made = [
            make_part(source, TGIEngine(fast), here, out, Part(place, shards), owner=owner)
            for place, shards in ((1, (4, 5)), (0, (0, 2)), (1, (1, 3)), (0, (0, 1, 5)))
        ]
    assert [[shard.index for shard in one.shards] for one in made] == [[4, 5], [0, 2], [1, 3], [0, 1, 5]]
    assert ask(fast, "/_double/state").json["generate"] == 2 * asked  # the last part was there already
    assert shard_bytes(out) == shard_bytes(tmp_path / "whole")
    assert [one.counts for one in bring_up_to_date(out).shards] == [one.counts for one in whole.shards]


def test_a_part_of_unknown_end_tells_where_the_source_ended(source: Source, fast: str, tmp_path: Path) -> None:
    """As for a dataset on the Hub that does not tell how many rows it has."""
    out = tmp_path / "out"
    prepare(out)
    with only_writer(out):
        here = register(out, manifest_of(source, fast, kind="hub", num_rows=None))
        told = [
            make_part(source, TGIEngine(fast), here, out, Part(0, shards), owner=owner_of(out) or "")
            for shards in ((0, 1), (4,), (5,), (7, 8), (4, 5, 6), (5,))
        ]
    ended = [one.source_ended for one in told]
    assert ended == [False, False, True, True, True, True]
    assert [[shard.source_rows for shard in one.shards] for one in told[2:4]] == [[(20, 22)], []]


def test_a_part_is_refused_where_the_directory_is_not_the_owners(source: Source, fast: str, tmp_path: Path) -> None:
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    prepare(out)
    with only_writer(out):
        here = register(out, manifest_of(source, fast))
        owner = owner_of(out) or ""
        for folder, whose in ((elsewhere, owner), (out, "1 another")):
            with pytest.raises(RunDirectoryError, match="storage that every machine of the run sees"):
                make_part(source, TGIEngine(fast), here, folder, Part(0, (0,)), owner=whose)
        other = here.model_copy(update={"engine": here.engine.model_copy(update={"model_id": "lab/other"})})
        with pytest.raises(RunDirectoryError, match=r"the engine's model id was 'lab/other'"):
            make_part(source, TGIEngine(fast), other, out, Part(0, (0,)), owner=owner)
    assert ask(fast, "/_double/state").json["generate"] == 0


def test_failures_alone_stop_a_part_unless_others_have_answers(source: Source, fast: str, tmp_path: Path) -> None:
    ask(fast, "/_double/faults", {"kind": "status", "status": 422})
    out = tmp_path / "out"
    prepare(out)
    with only_writer(out):
        here, owner = register(out, manifest_of(source, fast)), owner_of(out) or ""
        with pytest.raises(EngineError, match="failed on 4 of 4 texts"):
            make_part(source, TGIEngine(fast), here, out, Part(0, (0,)), owner=owner)
        made = make_part(source, TGIEngine(fast), here, out, Part(0, (0,), texts_before=100), owner=owner)
    assert made.shards[0].counts["texts_without_pairs/failed_status_422"] == 4


def test_the_rows_of_a_hub_dataset_travel_as_its_name() -> None:
    rows = HubRows("lab/papers", None, "train", "0" * 40, object())
    travelled = pickle.loads(pickle.dumps(rows))
    assert travelled.__dict__ == {**rows.__dict__, "_dataset": None}


# -- what tasks tell ------------------------------------------------------------------------


def test_the_board_keeps_the_last_words_of_each_task() -> None:
    board = Board()
    assert board.tell(1, Report(rows=3))
    assert board.tell(2, Report(rows=5))
    assert board.tell(1, Report(rows=1))  # begun anew
    assert {task: report.rows for task, report in board.read([]).items()} == {1: 1, 2: 5}
    assert list(board.read([2])) == [1]
    board.stop()
    assert not board.tell(1, Report())


def test_servers_that_tasks_share_are_told_of_once() -> None:
    one = Load("a", limit=4, in_flight=3, answered=10, seconds=8.0, full_seconds=4.0, slot_seconds=20.0)
    other = Load("a", limit=4, in_flight=4, answered=6, seconds=8.0, full_seconds=8.0, slot_seconds=28.0)
    third = Load("b", limit=2)
    servers = merged([one, third, other], at_once=2)
    assert [(load.address, load.limit, load.in_flight, load.answered) for load in servers] == [
        ("a", 8, 7, 16), ("b", 2, 0, 0),
    ]  # fmt: skip
    assert (servers[0].full_share, servers[0].mean_in_flight) == (0.75, 6.0)
    assert one.answered == 10


def test_a_report_counts_what_an_earlier_try_has_made() -> None:
    report = Report()
    facts = _facts(0, 4)
    facts.counts = {"texts/all": 3, "pairs/kept": 7, "texts_without_pairs/failed_timeout": 2}
    report.take(facts)
    assert (report.rows, report.texts, report.pairs, report.failures) == (4, 3, 7, Counter(timeout=2))
