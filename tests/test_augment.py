"""Holds `Augment` as people use it: in `map`, plain and streamed, in workers, threads and notebooks, and from a cache.

Against a double of TGI over real HTTP, whose answers are those of the tiny synthesizer where what they say matters, and
instant ones where only their number does. What is said of other processes is tried in other processes.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import pickle
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import dill
import numpy as np
import pytest
from datasets import Dataset, IterableDataset, List, Value
from datasets.fingerprint import Hasher

from hub_instructpt import Augment, Render, background
from hub_instructpt.errors import EngineError, EngineUnavailable, InputError, SettingsError
from tests.conftest import ROOT, environment, topics
from tests.doubles.plain_http import ask, wait_until_idle
from tests.doubles.process import running

PAIRS = List({"instruction": Value("string"), "response": Value("string")})
ADDED = {"pairs": PAIRS, "example_id": Value("string"), "shot_index": Value("int32")}
NEW_TOKENS = 24


@pytest.fixture(scope="module")
def instant_server() -> Iterator[str]:
    with running("tests.doubles.tgi", "--instant", "--max-concurrent-requests", "6") as url:
        yield url


@pytest.fixture
def instant(instant_server: str) -> str:
    """A server that answers every text at once, with two pairs."""
    ask(instant_server, "/_double/reset", {})
    return instant_server


@pytest.fixture(autouse=True)
def _no_progress_bars() -> Iterator[None]:
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


def texts(number: int = 6) -> list[str]:
    return [row["text"][:200] for row in topics(number)]


def state(url: str) -> Any:
    return ask(url, "/_double/state").json


def in_a_process(program: str, *arguments: str, timeout: float = 90, **env: str) -> str:
    """What a program prints that runs in a fresh process; it must end well."""
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", textwrap.dedent(program), *arguments],
        capture_output=True, text=True, timeout=timeout, cwd=ROOT, env=environment(**env), check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr, done.stderr
    return done.stdout


# In map ---------------------------------------------------------------------------------------------------------------


def test_an_unadorned_map_adds_typed_columns_row_for_row(tgi: str) -> None:
    rows = texts()
    out = Dataset.from_dict({"text": rows}).map(Augment(tgi, max_new_tokens=NEW_TOKENS), batched=True)
    assert out.features == {"text": Value("string"), **ADDED}
    assert out["text"][:] == rows
    assert out["shot_index"][:] == [0] * 6
    assert len(set(out["example_id"])) == 6
    assert state(tgi)["bos"] == {"0": 0, "1": 6, "2": 0}


def test_the_result_becomes_texts_through_render(instant: str) -> None:
    ds = Dataset.from_dict({"text": texts()}).map(Augment(instant, num_shots=2), batched=True)
    out = ds.map(Render(seed=0), batched=True, remove_columns=ds.column_names)
    assert out["num_shots"][:] == [2, 2, 2]
    for text, pairs in zip(ds["text"], ds["pairs"], strict=True):
        whole = " ".join(out["text"])
        assert text in whole
        assert all(pair["response"] in whole for pair in pairs)


@pytest.mark.parametrize("batch_size", [1, 1000])
@pytest.mark.parametrize("form", [None, "numpy", "torch", "arrow", "pandas"])
def test_types_hold_when_the_first_batch_has_no_pairs_at_all(instant: str, form: str | None, batch_size: int) -> None:
    ds = Dataset.from_dict({"text": [None, "", "  ", *texts(2)], "n": list(range(5))}).with_format(form)
    out = ds.map(Augment(instant), batched=True, batch_size=batch_size).with_format(None)
    assert {name: out.features[name] for name in ADDED} == ADDED
    assert out["n"][:] == list(range(5))
    assert [len(pairs) for pairs in out["pairs"]] == [0, 0, 0, 2, 2]


def test_a_map_that_finds_no_pairs_at_all_is_typed_all_the_same(instant: str) -> None:
    out = Dataset.from_dict({"text": [None, ""]}).map(Augment(instant), batched=True)
    assert {name: out.features[name] for name in ADDED} == ADDED
    assert state(instant)["generate"] == 0


def test_columns_of_the_same_names_are_replaced(instant: str) -> None:
    ds = Dataset.from_dict({"text": texts(3), "pairs": [["old"]] * 3, "example_id": [7, 8, 9]})
    out = ds.map(Augment(instant), batched=True, batch_size=2)
    assert out.features["pairs"] == PAIRS
    assert [len(pairs) for pairs in out["pairs"]] == [2, 2, 2]
    assert all(isinstance(name, str) for name in out["example_id"])


def test_columns_can_be_removed_and_another_be_the_text(instant: str) -> None:
    ds = Dataset.from_dict({"body": texts(3), "n": [1, 2, 3]})
    out = ds.map(Augment(instant, text_column="body"), batched=True, remove_columns=["body", "n"])
    assert set(out.column_names) == set(ADDED)
    assert [len(pairs) for pairs in out["pairs"]] == [2, 2, 2]


@pytest.mark.parametrize("batch_size", [1, 4, 1000])
def test_a_stream_comes_in_order_and_is_read_no_further_than_needed(instant: str, batch_size: int) -> None:
    read = 0

    def rows() -> Iterator[dict[str, Any]]:
        nonlocal read
        for read in range(1, 13):
            yield {"text": f"Row {read} of the stream."}

    stream = IterableDataset.from_generator(rows).map(Augment(instant), batched=True, batch_size=batch_size)
    found = []
    for row in stream:
        found.append(row["text"])
        assert row["pairs"][0]["response"].startswith(f"Row {len(found)} ")
        assert read <= min(12, len(found) + batch_size)
    assert found == [f"Row {i} of the stream." for i in range(1, 13)]


@pytest.mark.parametrize("form", ["arrow", "pandas"])
def test_a_stream_of_tables_is_augmented_too(instant: str, form: str) -> None:
    stream = Dataset.from_dict({"text": texts(3)}).to_iterable_dataset().with_format(form)
    tables = list(stream.map(Augment(instant), batched=True, batch_size=2))
    assert [set(table.column_names if form == "arrow" else table.columns) for table in tables] == [{"text", *ADDED}] * 3


def test_rows_that_hold_no_text_cost_nothing_and_lose_nothing(instant: str, caplog: pytest.LogCaptureFixture) -> None:
    batch = {"text": [None, "", " \n", "A short text.", 7, "a\ud800b", "word " * 200_000, b"bytes", np.str_("np text")]}
    with caplog.at_level(logging.WARNING, "hub_instructpt"):
        columns = Augment(instant, max_new_tokens=40)(batch)
    assert [bool(pairs) for pairs in columns["pairs"]] == [False, False, False, True, False, True, True, False, True]
    assert [len(column) for column in columns.values()] == [9, 9, 9]
    assert state(instant)["generate"] == 4
    assert [record.getMessage() for record in caplog.records] == ["2 of 9 rows hold bytes or int, not text."]


def test_chains_lie_within_a_batch_and_share_an_example_id(instant: str) -> None:
    columns = Augment(instant, num_shots=3)({"text": ["a b", None, "c d", "e f", "g h"]})
    assert columns["shot_index"] == [0, 0, 1, 2, 0]
    ids = columns["example_id"]
    assert ids[0] == ids[2] == ids[3]
    assert len(set(ids)) == 3


def test_the_servers_limit_is_kept_even_with_many_batches_at_a_time(instant: str) -> None:
    ds = Dataset.from_dict({"text": [f"Row number {i}." for i in range(60)]})
    with warnings.catch_warnings():  # `map` makes a loop for an asynchronous function, and never closes it
        warnings.simplefilter("ignore", ResourceWarning)
        out = ds.map(Augment(instant).acall, batched=True, batch_size=3)
        gc.collect()
    assert {name: out.features[name] for name in ADDED} == ADDED
    assert [pairs[0]["response"].split()[2] for pairs in out["pairs"]] == [str(i) for i in range(60)]
    seen = state(instant)
    assert seen["max_in_flight"] <= 6
    assert seen["statuses"].get("429", 0) == 0
    assert set(seen["prompts"].values()) == {1}


# Wrong use ------------------------------------------------------------------------------------------------------------


def test_a_wrong_column_is_named_with_those_there_are(instant: str) -> None:
    with pytest.raises(InputError, match=r"no column 'text'; there are: body, title\. .*text_column="):
        Dataset.from_dict({"body": ["a"], "title": ["b"]}).map(Augment(instant), batched=True)


@pytest.mark.parametrize("form", [None, "numpy", "torch", "arrow", "pandas"])
def test_a_column_of_another_type_is_an_error_and_not_an_empty_result(instant: str, form: str | None) -> None:
    with pytest.raises(InputError, match=r"'n' holds .*, not text"):
        Dataset.from_dict({"n": [1, 2]}).with_format(form).map(Augment(instant, text_column="n"), batched=True)


@pytest.mark.parametrize("text", ["a", None])
def test_map_without_batches_is_told_what_to_do(instant: str, text: str | None) -> None:
    with pytest.raises(InputError, match="batched=True"):
        Dataset.from_dict({"text": [text]}).map(Augment(instant))
    with pytest.raises(InputError, match="batched=True"):
        list(IterableDataset.from_generator(lambda: iter([{"text": text}])).map(Augment(instant)))


@pytest.mark.parametrize(
    "wrong",
    [
        {"num_shots": 0}, {"max_new_tokens": 0}, {"temperature": -1}, {"top_p": 0}, {"max_failed_share": 2},
        {"engine": "nonsense"}, {"engine": []}, {"engine": "http://"},
    ],
)  # fmt: skip
def test_wrong_settings_are_an_error_before_any_row(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        Augment(**{"engine": "http://127.0.0.1:9", **wrong})


def test_more_new_tokens_than_the_server_has_are_an_error_before_any_request(instant: str) -> None:
    with pytest.raises(SettingsError, match="max_new_tokens=5000"):
        Dataset.from_dict({"text": ["a"]}).map(Augment(instant, max_new_tokens=5000), batched=True)
    assert state(instant)["generate"] == 0


# Failures -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 1000])
def test_a_row_that_fails_gets_no_pairs_and_a_warning_without_its_text(
    instant: str, batch_size: int, caplog: pytest.LogCaptureFixture
) -> None:
    ask(instant, "/_double/faults", {"kind": "poison", "match": "arsenic", "status": 422})
    ds = Dataset.from_dict({"text": ["arsenic and old lace", *texts(3)]})
    with caplog.at_level(logging.DEBUG, "hub_instructpt"):
        out = ds.map(Augment(instant), batched=True, batch_size=batch_size)
    assert [len(pairs) for pairs in out["pairs"]] == [0, 2, 2, 2]
    (warning,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert warning.startswith("1 of ")
    assert "status_422: 1" in warning
    assert "arsenic" not in caplog.text


def test_a_server_that_fails_on_everything_stops_the_map(instant: str) -> None:
    ask(instant, "/_double/faults", {"kind": "status", "status": 422})
    with pytest.raises(EngineError, match=r"failed on 3 of 3 texts \(status_422: 3\)"):
        Dataset.from_dict({"text": texts(3)}).map(Augment(instant), batched=True)


def test_too_many_failures_stop_the_map_and_what_is_in_flight(instant: str) -> None:
    ask(instant, "/_double/faults", {"kind": "status", "status": 422, "after": 5})
    with pytest.raises(EngineError, match="status_422: 11"):
        Dataset.from_dict({"text": [f"Row {i}." for i in range(300)]}).map(Augment(instant), batched=True)
    time.sleep(0.3)
    assert state(instant)["generate"] < 60


@pytest.mark.parametrize("num_proc", [None, 2])
def test_a_server_that_is_not_there_is_told_quickly(num_proc: int | None) -> None:
    with socket.socket() as reserved:  # bound, and never listening
        reserved.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{reserved.getsockname()[1]}"
        started = time.monotonic()
        with pytest.raises(EngineUnavailable, match="No server answers at") as caught:
            Dataset.from_dict({"text": texts(2)}).map(
                Augment(address, connect_seconds=0.5), batched=True, num_proc=num_proc
            )
    assert time.monotonic() - started < 15
    assert address in str(caught.value)
    assert "curl" in caught.value.advice


# Processes, loops, threads --------------------------------------------------------------------------------------------


def test_workers_give_the_same_as_one_process_before_and_after_the_parents_own_use(tgi: str) -> None:
    ds = Dataset.from_dict({"text": texts(4)})
    fresh = Augment(tgi, max_new_tokens=NEW_TOKENS, journal=False)
    by_two = ds.map(fresh, batched=True, num_proc=2, load_from_cache_file=False)
    used = Augment(tgi, max_new_tokens=NEW_TOKENS, journal=False)
    alone = ds.map(used, batched=True, load_from_cache_file=False)
    by_two_later = ds.map(used, batched=True, num_proc=2, load_from_cache_file=False)
    assert by_two.to_dict() == alone.to_dict() == by_two_later.to_dict()
    assert by_two.features == alone.features
    assert state(tgi)["bos"] == {"0": 0, "1": 12, "2": 0}


def test_it_works_inside_a_running_event_loop(instant: str) -> None:
    async def notebook() -> tuple[Any, Any, Any]:
        augment, ds = Augment(instant), Dataset.from_dict({"text": texts(3)})
        mapped = ds.map(augment, batched=True)
        awaited = await augment.acall({"text": texts(3)})
        workers = ds.map(augment, batched=True, num_proc=2)
        return mapped["pairs"][:], awaited["pairs"], workers["pairs"][:]

    for _ in range(2):  # loops come and go
        mapped, awaited, workers = asyncio.run(notebook())
        assert mapped == awaited == workers
        assert [len(pairs) for pairs in mapped] == [2, 2, 2]


def test_one_augment_serves_several_threads(instant: str) -> None:
    augment, found = Augment(instant), {}

    def work(name: int) -> None:
        found[name] = augment({"text": [f"Text {name} {i}." for i in range(20)]})["pairs"]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name, pairs in found.items():
        assert [one[0]["response"] for one in pairs] == [f"Text {name} {i} Text {name} {i}" for i in range(20)]
    assert state(instant)["max_in_flight"] <= 6


def test_a_forked_child_never_touches_its_parents_loop(instant: str) -> None:
    program = """
        import os, sys
        from hub_instructpt import Augment
        augment = Augment(sys.argv[1])
        before = augment({"text": ["one two three"]})["pairs"]
        reading, writing = os.pipe()
        if os.fork() == 0:
            same = augment({"text": ["one two three"]})["pairs"] == before
            os.write(writing, b"same" if same else b"other")
            os._exit(0)
        print(os.read(reading, 9).decode())
        os.wait()
        assert augment({"text": ["one two three"]})["pairs"] == before
    """
    assert in_a_process(program, instant).strip() == "same"


def test_the_local_engine_survives_workers_after_use_in_the_parent() -> None:
    program = """
        import datasets
        from hub_instructpt import Augment
        datasets.disable_progress_bars()
        augment = Augment(max_new_tokens=16)
        ds = datasets.Dataset.from_dict({"text": ["The sun is a star.", "Water is wet.", "Birds fly."]})
        alone = ds.map(augment, batched=True)
        print(ds.map(augment, batched=True, num_proc=2).to_dict() == alone.to_dict())
    """
    assert in_a_process(program).strip() == "True"


@pytest.mark.parametrize("used", [False, True])
def test_it_pickles_and_works_in_a_spawned_process(instant: str, used: bool) -> None:
    augment = Augment([instant], num_shots=2, max_new_tokens=50, timeout_seconds=20)
    batch = {"text": ["one two", "three four"]}
    here = Augment(instant, num_shots=2, max_new_tokens=50)(batch)
    if used:
        augment(batch)
    for module in (pickle, dill):
        there = module.loads(module.dumps(augment))
        assert there(batch) == here
        assert Hasher.hash(there) == Hasher.hash(augment)
    program = """
        import multiprocessing, pickle, sys
        if __name__ == "__main__":
            augment = pickle.loads(bytes.fromhex(sys.argv[1]))
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                print(repr(pool.apply(augment, [{"text": ["one two", "three four"]}])))
    """
    assert in_a_process(program, pickle.dumps(augment).hex()).strip() == repr(here)


def test_nothing_of_ours_is_left_open_when_a_process_ends(instant: str) -> None:
    program = """
        import asyncio, datasets, sys
        from hub_instructpt import Augment
        datasets.disable_progress_bars()
        ds = datasets.Dataset.from_dict({"text": ["a b c", "d e f"]})
        kept = Augment(sys.argv[1])
        ds.map(kept, batched=True)
        ds.map(Augment(sys.argv[1]), batched=True, num_proc=2)
        list(ds.to_iterable_dataset().map(Augment(sys.argv[1]), batched=True))
        asyncio.run(kept.acall({"text": ["x"]}))
        print("done")
    """
    assert in_a_process(program, instant).strip() == "done"
    wait_until_idle(instant)


def any_process_of(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("num_proc", ["None", "2"])
def test_an_interrupt_ends_a_map_soon_and_leaves_no_process(instant: str, num_proc: str) -> None:
    ask(instant, "/_double/faults", {"kind": "stall"})
    program = f"""
        import datasets, sys
        from hub_instructpt import Augment
        ds = datasets.Dataset.from_dict({{"text": [f"Row {{i}}." for i in range(20)]}})
        ds.map(Augment(sys.argv[1]), batched=True, batch_size=5, num_proc={num_proc})
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), instant], cwd=ROOT, env=environment(), start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 30
        while state(instant)["in_flight"] == 0:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(timeout=15) != 0
        deadline = time.monotonic() + 5
        while any_process_of(process.pid):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    wait_until_idle(instant)


def test_an_interrupt_in_the_waiting_thread_cancels_what_runs_on_the_loop() -> None:
    cancelled = threading.Event()

    async def forever() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    timer = threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        background.run(forever())
    timer.join()
    assert cancelled.wait(5)


# Identity and cache ---------------------------------------------------------------------------------------------------

HASH = """
    import json, sys
    import hub_instructpt.version
    if sys.argv[3]:
        hub_instructpt.version.__version__ = sys.argv[3]
    from datasets.fingerprint import Hasher
    from hub_instructpt import Augment
    augment = Augment(sys.argv[1], **json.loads(sys.argv[2]))
    before = Hasher.hash(augment)
    augment({"text": ["a b"], "body": ["a b"]})
    assert Hasher.hash(augment) == before
    print(before)
"""


def hash_elsewhere(url: str, version: str = "", **settings: Any) -> str:
    return in_a_process(HASH, url, json.dumps(settings), version).strip()


def test_two_fresh_processes_give_one_hash_and_use_does_not_change_it(instant: str) -> None:
    assert hash_elsewhere(instant) == hash_elsewhere(instant)


def test_another_version_of_the_package_gives_another_hash(instant: str) -> None:
    assert hash_elsewhere(instant, "99.0") != Hasher.hash(Augment(instant))


def test_every_setting_that_results_depend_on_gives_another_hash(instant: str) -> None:
    others: list[dict[str, Any]] = [
        {}, {"text_column": "body"}, {"num_shots": 2}, {"max_new_tokens": 399}, {"temperature": 0.5},
        {"temperature": 0.5, "top_p": 0.9}, {"bos": "<s>", "eos": "<end>"},
    ]  # fmt: skip
    assert len({Hasher.hash(Augment(instant, **settings)) for settings in others}) == len(others)


def test_settings_that_results_do_not_depend_on_leave_the_hash_as_it_is(instant: str) -> None:
    same = [{}, {"concurrency": 2}, {"timeout_seconds": 9.0}, {"api_key": "sesame"}, {"max_failed_share": 0.5}]
    assert len({Hasher.hash(Augment(instant, **settings)) for settings in same}) == 1
    assert Hasher.hash(Augment([instant])) == Hasher.hash(Augment(f"tgi+{instant}/")) == Hasher.hash(Augment(instant))


def test_the_address_is_no_part_of_the_hash_and_the_model_behind_it_is(instant: str) -> None:
    here = Hasher.hash(Augment(instant))
    flags = ("tests.doubles.tgi", "--instant")
    with (
        running(*flags) as same,
        running(*flags, "--model-sha", "abc") as other,
        running(*flags, "--model-id", "a/b") as third,
    ):
        assert Hasher.hash(Augment(same)) == here
        assert len({here, Hasher.hash(Augment(other)), Hasher.hash(Augment(third))}) == 3
    with running(*flags, "--max-input-tokens", "512") as narrow:  # more texts are cut there
        assert Hasher.hash(Augment(narrow)) != here


def test_a_model_that_nobody_knows_is_never_taken_for_another() -> None:
    augment = Augment("http://127.0.0.1:9", connect_seconds=0.1)
    assert Hasher.hash(augment) != Hasher.hash(augment)


def test_a_map_in_another_process_finds_the_cache_and_asks_for_nothing(instant: str, tmp_path: Path) -> None:
    Dataset.from_dict({"text": texts(3)}).save_to_disk(str(tmp_path / "ds"))
    program = """
        import datasets, json, sys
        from hub_instructpt import Augment
        datasets.disable_progress_bars()
        out = datasets.load_from_disk(sys.argv[1]).map(Augment(sys.argv[2], num_shots=2), batched=True)
        print(json.dumps(out["pairs"][:]))
    """
    first = in_a_process(program, str(tmp_path / "ds"), instant)
    assert state(instant)["generate"] == 3
    ask(instant, "/_double/reset", {})
    assert in_a_process(program, str(tmp_path / "ds"), instant) == first
    assert state(instant)["generate"] == 0


def test_a_key_is_not_shown(instant: str) -> None:
    augment = Augment(instant, api_key="sesame-open")
    assert "sesame" not in repr(augment)
    assert "sesame" not in json.dumps(augment.identity())
