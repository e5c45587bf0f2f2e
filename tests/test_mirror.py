"""A mirror between a run and a store: in this process, with a store in memory that fails wherever it is told to.

Held here: wherever the process is cut off or the store fails, what counts in the store is whole, the next try ends with
the same bytes and asks nothing twice; what others have sealed and answered is known; who ends at the same moment as
others leaves a finished manifest; names and URLs that can not work. tests/object_store holds the rest, over HTTP.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hub_instructpt.cli.places import Place, fetch, folder_for
from hub_instructpt.engines.base import Engine
from hub_instructpt.errors import HubInstructPTError, RunDirectoryError, SettingsError
from hub_instructpt.records import Completion, EngineInfo, SamplingParams
from hub_instructpt.runs import sending
from hub_instructpt.runs.manifest import Manifest, Settings
from hub_instructpt.runs.mirror import Mirror
from hub_instructpt.runs.remote import RemoteFiles, look, read_manifest
from hub_instructpt.runs.runner import augment_source
from hub_instructpt.runs.share import ALONE, Worker
from hub_instructpt.runs.sources import Source, open_files
from hub_instructpt.runs.stopping import Stop
from hub_instructpt.runs.store import Store, StoreFailed, open_store
from hub_instructpt.runs.verify import verify
from tests.conftest import topics, write_jsonl

ASKED = Settings(
    text_column="text", keep_columns=[], num_shots=1, max_new_tokens=40, temperature=0.0, top_p=1.0, rows_per_shard=3,
    limit=None, seed=0,
)  # fmt: skip
SHARDS = 5


class Cut(BaseException):
    """The process is gone."""


class Flaky(MemoryFileSystem):
    """A store in memory. Calls that change it are counted; those of some numbers fail, before or after they work."""

    protocol = "flaky"
    cachable = False
    store: dict[str, Any] = {}  # noqa: RUF012
    pseudo_dirs: list[str] = [""]  # noqa: RUF012

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.store, self.pseudo_dirs = {}, [""]
        self.calls: list[str] = []
        self.fail: dict[int, BaseException] = {}
        self.after = False

    def _call(self, what: str, path: str, do: Any) -> Any:
        number = len(self.calls)
        self.calls.append(f"{what} {path.rpartition('/run/')[2]}")
        if self.after:
            do()
        if number in self.fail:
            raise self.fail[number]
        return None if self.after else do()

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **options: Any) -> None:
        self._call("write", path, lambda: super(Flaky, self).pipe_file(path, value))

    def put_file(self, lpath: str, rpath: str, **options: Any) -> None:
        content = Path(lpath).read_bytes()
        self._call("write", rpath, lambda: super(Flaky, self).pipe_file(rpath, content))

    def rm_file(self, path: str) -> None:
        self._call("remove", path, lambda: super(Flaky, self).rm_file(path))


class Echo(Engine):
    """Answers at once, and counts; a prompt that it has answered is never to come again."""

    def __init__(self) -> None:
        self.prompts: list[str] = []

    async def connect(self) -> EngineInfo:
        return EngineInfo("local", "lab/echo", "1", 9000, 9999, 8)

    async def complete(self, prompt: str, sampling: SamplingParams) -> Completion:
        self.prompts.append(prompt)
        return Completion(f"<QUE> What? <ANS> {len(prompt)} </END>", "eos_token", 1, 1)

    async def count_tokens(self, text: str) -> int:
        return len(text)

    async def aclose(self) -> None:
        pass


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    path = write_jsonl(tmp_path_factory.mktemp("corpus") / "corpus.jsonl", topics(3 * SHARDS - 1, 80))
    return open_files([path], "text", [])


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub_instructpt.runs.store.FIRST_WAIT_SECONDS", 0.001)


def attempt(
    source: Source, fs: Flaky, spool: Path, engine: Echo, worker: Worker = ALONE, patience: float = 0.0, **changes: Any
) -> Manifest:
    stop = Stop()
    mirror = Mirror(Store("flaky://run", fs, "/run", patience), worker, spool, stop)
    mirror.begin()
    try:
        augment_source(
            source, engine, ASKED.model_copy(update=changes), mirror.folder, worker=worker, stop=stop, shelf=mirror
        )
        return mirror.finish()
    except BaseException:
        mirror.stop()
        if mirror.failure is not None:
            raise mirror.failure from None
        raise


def data(fs: Flaky) -> dict[str, bytes]:
    files = {name: fs.cat_file(name) for name in fs.find("/run")} if fs.exists("/run") else {}
    return {name.removeprefix("/run/"): content for name, content in files.items() if "/data/" in name}


def check_counted(fs: Flaky) -> None:
    """Whatever counts in the store is there, and whole."""
    store = Store("flaky://run", fs, "/run")
    manifest = read_manifest(store)
    if manifest is None:
        assert not data(fs)
        return
    with look(store) as (folder, _):
        assert not verify(folder, files=RemoteFiles(store, folder)).findings


@pytest.fixture(scope="module")
def whole(source: Source, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], list[str]]:
    fs = Flaky()
    manifest = attempt(source, fs, tmp_path_factory.mktemp("spool"), Echo())
    assert manifest.finished
    return data(fs), fs.calls


def test_files_go_in_the_order_that_makes_them_count(whole: tuple[dict[str, bytes], list[str]]) -> None:
    expected = ["write manifest.json"]
    for index in range(SHARDS):
        expected += [f"write data/train-{index:05d}.parquet", f"write shards/train-{index:05d}.json"]
    assert whole[1] == [*expected, "write manifest.json"]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cuts=st.lists(st.tuples(st.integers(0, 14), st.booleans(), st.booleans()), max_size=4),
    workers=st.sampled_from([[(0, 1)], [(0, 2), (1, 2)], [(2, 3), (0, 3), (1, 3)], [(0, 2), (0, 1)]]),
)
def test_wherever_it_is_cut_off_the_next_try_ends_it(
    source: Source,
    whole: tuple[dict[str, bytes], list[str]],
    tmp_path_factory: pytest.TempPathFactory,
    cuts: list[tuple[int, bool, bool]],
    workers: list[tuple[int, int]],
) -> None:
    spool, fs, engine = tmp_path_factory.mktemp("spool"), Flaky(), Echo()
    try:
        for number, after, process in cuts:
            fs.fail = {len(fs.calls) + number: Cut() if process else OSError("the store is away")}
            fs.after = after
            try:
                for index, of in workers:
                    attempt(source, fs, spool, engine, Worker(index, of))
            except (HubInstructPTError, Cut):
                pass
            fs.fail, fs.after = {}, False
            check_counted(fs)
        for index, of in workers:
            manifest = attempt(source, fs, spool, engine, Worker(index, of))
        assert manifest.finished
        assert Manifest.parse(fs.cat_file("/run/manifest.json"), "there").finished
        assert data(fs) == whole[0]
        check_counted(fs)
        assert not list(spool.rglob("train-*"))
        assert not [name for name in fs.find("/run") if "/journal/" in name]
        assert len(engine.prompts) == len(set(engine.prompts)) == 3 * SHARDS - 1
    finally:
        shutil.rmtree(spool)


def test_another_machine_goes_on_from_what_was_answered(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: tuple[dict[str, bytes], list[str]]
) -> None:
    class Stopping(Echo):
        async def complete(self, prompt: str, sampling: SamplingParams) -> Completion:
            if len(self.prompts) == 7:
                raise Cut
            return await super().complete(prompt, sampling)

    fs, first, second = Flaky(), Stopping(), Echo()
    with pytest.raises(BaseException):  # noqa: B017
        attempt(source, fs, tmp_path / "one", first)
    assert [name for name in fs.find("/run") if "/journal/" in name]
    assert attempt(source, fs, tmp_path / "two", second, Worker(1, 2)).finished is False
    assert attempt(source, fs, tmp_path / "two", second, Worker(0, 2)).finished
    assert data(fs) == whole[0]
    assert not [name for name in fs.find("/run") if "/journal/" in name]
    both = first.prompts + second.prompts
    assert len(set(both)) == 3 * SHARDS - 1
    assert len(both) == len(set(both))


def test_journals_are_copied_while_the_run_goes_on(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "JOURNAL_SECONDS", 0.05)

    class Slow(Echo):
        begun = 0

        async def complete(self, prompt: str, sampling: SamplingParams) -> Completion:
            self.begun += 1
            await asyncio.sleep(0.08 * self.begun)  # the last one takes a second longer than the first
            return await super().complete(prompt, sampling)

    fs = Flaky()
    attempt(source, fs, tmp_path / "one", Slow(), rows_per_shard=100)
    copied = [call for call in fs.calls if call.startswith("write journal/")]
    assert copied
    assert [f"remove {call.removeprefix('write ')}" for call in copied] == [
        call for call in fs.calls if call.startswith("remove")
    ]


def test_who_ends_at_the_same_moment_leaves_a_finished_manifest(source: Source, tmp_path: Path) -> None:
    fs, engine = Flaky(), Echo()
    ours = [Mirror(Store("flaky://run", fs, "/run", 0.0), Worker(i, 2), tmp_path / str(i)) for i in range(2)]
    for worker, mirror in enumerate(ours):
        mirror.begin()
        augment_source(source, engine, ASKED, mirror.folder, worker=Worker(worker, 2), shelf=mirror)
    # The first one has read all that there was, and writes only when the second has ended.
    stale = fs.cat_file("/run/manifest.json")
    while ours[0].waiting:
        time.sleep(0.01)
    assert ours[1].finish().finished
    fs.pipe_file("/run/manifest.json", stale)
    assert ours[0].finish().finished
    assert Manifest.parse(fs.cat_file("/run/manifest.json"), "there").finished


def test_a_store_that_stays_away_ends_the_run_with_its_error(source: Source, tmp_path: Path) -> None:
    fs, engine = Flaky(), Echo()
    fs.fail = dict.fromkeys(range(4, 400), OSError("the store is away"))
    stop = Stop()
    mirror = Mirror(Store("flaky://run", fs, "/run", 0.05), ALONE, tmp_path / "spool", stop)
    mirror.begin()
    with pytest.raises(BaseException):  # noqa: B017, PT012
        augment_source(source, engine, ASKED, mirror.folder, stop=stop, shelf=mirror)
        mirror.finish()
    mirror.stop()
    assert isinstance(mirror.failure, StoreFailed)
    assert "the store is away" in str(mirror.failure)
    assert "run the same again" in str(mirror.failure)
    fs.fail = {}
    assert attempt(source, fs, tmp_path / "spool", engine).finished
    assert len(engine.prompts) == len(set(engine.prompts))


def test_a_store_emptied_or_taken_by_another_run(source: Source, tmp_path: Path) -> None:
    fs, engine = Flaky(), Echo()
    attempt(source, fs, tmp_path / "spool", engine)
    first = data(fs)
    fs.rm("/run", recursive=True)
    assert attempt(source, fs, tmp_path / "spool", engine).finished
    assert data(fs) == first
    with pytest.raises(RunDirectoryError, match="flaky://run holds another run: --seed was 0, now it is 5"):
        attempt(source, fs, tmp_path / "other", engine, seed=5)
    fs.rm("/run", recursive=True)
    attempt(source, fs, tmp_path / "other", engine, seed=5)
    with pytest.raises(RunDirectoryError, match="--seed was 5, now it is 0"):
        attempt(source, fs, tmp_path / "spool", engine)
    fs.rm("/run/manifest.json")
    with pytest.raises(RunDirectoryError, match="holds data, but no run"):
        attempt(source, fs, tmp_path / "third", engine)


def test_places_as_they_are_typed(tmp_path: Path) -> None:
    assert Place.parse("runs/web").folder == Path("runs/web")
    assert Place.parse("C:\\runs").folder == Path("C:\\runs")
    assert Place.parse("file:///data/my%20run").folder == Path("/data/my run")
    assert Place.parse("file://localhost/data").folder == Path("/data")
    assert Place.parse("s3://bucket/run/").url == "s3://bucket/run"
    place = Place.parse("sftp://someone:secret@host/run")
    assert str(place) == "sftp://host/run"
    with pytest.raises(SettingsError, match="`push` needs a folder") as raised:
        folder_for("push")("s3://bucket/run")
    assert fetch(Place.parse("s3://bucket/run")) in raised.value.advice
    assert folder_for("push")(f"file://{tmp_path}") == tmp_path


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("hf://datasets/lab/corpus/run", "--push-to NAMESPACE/NAME"),
        ("hf://lab/corpus", "Use a bucket, hf://buckets/"),
        ("nonesuch://run", "nonesuch://run can not be opened"),
        ("oss://bucket/run", "pip install ossfs"),
    ],
)
def test_stores_that_can_not_be_opened(url: str, said: str) -> None:
    with pytest.raises(SettingsError) as raised:
        open_store(url)
    assert said in str(raised.value)


@pytest.fixture
def memory() -> Iterator[Any]:
    fs = fsspec.filesystem("memory")
    yield fs
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]


def test_a_store_by_its_url(memory: Any, tmp_path: Path) -> None:
    store = open_store("memory://corpora/run")
    assert store.read("manifest.json") is None
    assert store.sizes("data") == {}
    (tmp_path / "file").write_bytes(b"content")
    store.upload(tmp_path / "file", "data/one")
    store.write("data/two", b"more")
    assert store.sizes("data") == {"one": 7, "two": 4}
    assert store.read_all(["data/two", "data/three"]) == [b"more", None]
    assert store.download("data/one", tmp_path / "copy")
    assert not store.download("data/none", tmp_path / "none")
    store.remove("data/one")
    store.remove("data/one")
    assert store.sizes("data") == {"two": 4}
