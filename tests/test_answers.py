"""Kept answers: a map that dies, however often, asks only for what is missing, and no trouble with the cache is one of
the map's.

Held here with real processes that are killed, on folders that are damaged, full or not to be written to, with many
processes at once and over forks; and that the bound holds, and that nobody deletes what is being written.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import orjson
import pytest
from datasets import Dataset, IterableDataset
from datasets.fingerprint import Hasher
from hypothesis import given, settings
from hypothesis import strategies as st

from hub_instructpt import Augment
from hub_instructpt.answers import CachedEngine, caching, clear, default_folder, segments, survey
from hub_instructpt.answers import index as index_room
from hub_instructpt.answers.index import Index
from hub_instructpt.errors import SettingsError
from hub_instructpt.journal import line_of
from hub_instructpt.records import Completion, EngineInfo, SamplingParams
from tests.cli_cases import cases
from tests.conftest import ROOT, environment, run_cli, topics
from tests.doubles.plain_http import ask
from tests.doubles.process import running

GREEDY = SamplingParams()


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
def _quiet() -> Iterator[None]:
    caching._warned.clear()
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


def asked(url: str) -> int:
    number: int = ask(url, "/_double/state").json["generate"]
    return number


def texts(number: int = 6) -> list[str]:
    return [row["text"][:200] for row in topics(number)]


class Upper:
    """An engine that answers in capitals, and counts what it is asked."""

    def __init__(self, model_id: str = "m", sha: str | None = "1", draws: bool = False) -> None:
        self.info = EngineInfo("test", model_id, sha, 1000, 2000, 4)
        self.asked: list[str] = []
        self.draws = draws

    async def connect(self) -> EngineInfo:
        return self.info

    async def complete(self, prompt: str, sampling: SamplingParams) -> Completion:
        self.asked.append(prompt)
        await asyncio.sleep(0)
        return Completion(prompt.upper() + (f" {random.random()}" if self.draws else ""), "stop", 1, 2)

    async def count_tokens(self, text: str) -> int:
        return len(text)

    async def aclose(self) -> None: ...


def answer(root: Path, prompts: list[str], engine: Upper | None = None, sampling: SamplingParams = GREEDY,
           **options: Any) -> list[Completion]:  # fmt: skip
    """What one process is told; the prompts are asked at a time."""

    async def main() -> list[Completion]:
        cached = CachedEngine(engine or Upper(), root, **options)
        try:
            return await asyncio.gather(*(cached.complete(prompt, sampling) for prompt in prompts))
        finally:
            await cached.aclose()

    return asyncio.run(main())


def files(root: Path) -> list[Path]:
    return sorted(root.rglob("*.jsonl"))


# Where, and whose -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "env",
    [
        {}, {"HF_HOME": "~/hf"}, {"HF_HOME": "$HOME/x"}, {"XDG_CACHE_HOME": "/tmp/xdg"},
        {"HF_ASSETS_CACHE": "/tmp/assets", "HF_HOME": "/tmp/other"}, {"HUGGINGFACE_ASSETS_CACHE": "/tmp/old"},
    ],
)  # fmt: skip
def test_the_folder_is_where_the_hubs_client_keeps_what_libraries_cache(env: dict[str, str], tmp_path: Path) -> None:
    program = """
        from huggingface_hub.constants import HF_ASSETS_CACHE
        from hub_instructpt.answers import default_folder
        print(HF_ASSETS_CACHE, default_folder(), sep="\\n")
    """
    clean = {name: value for name, value in environment(HOME=str(tmp_path)).items() if name not in
             ("HF_HOME", "HF_ASSETS_CACHE", "HUGGINGFACE_ASSETS_CACHE", "XDG_CACHE_HOME")}  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        env={**clean, **env},
        capture_output=True,
        text=True,
        check=True,
    )
    theirs, ours = done.stdout.splitlines()
    assert Path(ours) == Path(theirs) / "hub-instructpt" / "answers"
    assert ours.startswith((str(tmp_path), "/tmp/"))


def test_the_same_call_in_another_process_asks_for_nothing_and_one_with_more_for_the_rest(
    instant: str, kept_answers: Path
) -> None:
    assert default_folder() == kept_answers
    first = Dataset.from_dict({"text": texts(4)}).map(Augment(instant, num_shots=2), batched=True)
    assert asked(instant) == 4
    again = Dataset.from_dict({"text": texts(6)}).map(Augment(instant, num_shots=2), batched=True)
    assert asked(instant) == 6
    assert again["pairs"][:4] == first["pairs"][:]
    streamed = IterableDataset.from_generator(lambda: ({"text": text} for text in texts(6)))
    assert [row["pairs"] for row in streamed.map(Augment(instant, num_shots=2), batched=True)] == again["pairs"][:]
    awaited = asyncio.run(Augment(instant, num_shots=2).acall({"text": texts(6)}))
    assert awaited["pairs"] == again["pairs"][:]
    workers = Dataset.from_dict({"text": texts(6)}).map(Augment(instant, num_shots=2), batched=True, num_proc=3)
    assert workers["pairs"][:] == again["pairs"][:]
    assert asked(instant) == 6


def test_without_a_journal_everything_is_asked_and_nothing_written(instant: str, kept_answers: Path) -> None:
    for _ in range(2):
        Augment(instant, journal=False)({"text": texts(3)})
    assert asked(instant) == 6
    assert not kept_answers.exists()


def test_another_folder_can_be_named(instant: str, kept_answers: Path, tmp_path: Path) -> None:
    for _ in range(2):
        Augment(instant, journal=tmp_path / "here")({"text": texts(3)})
    assert asked(instant) == 3
    assert len(files(tmp_path / "here")) == 1
    assert not kept_answers.exists()


def test_the_journal_is_no_part_of_the_fingerprint(instant: str) -> None:
    variants = [{}, {"journal": False}, {"journal": "/tmp/x"}, {"journal_max_bytes": 2**21}]
    assert len({Hasher.hash(Augment(instant, **options)) for options in variants}) == 1


def test_a_bound_that_holds_next_to_nothing_is_refused() -> None:
    with pytest.raises(SettingsError, match="journal=False"):
        Augment("http://127.0.0.1:9", journal_max_bytes=1000)


def test_another_model_revision_or_sampling_is_asked(tmp_path: Path) -> None:
    owners = [
        (Upper(), GREEDY), (Upper(sha="2"), GREEDY), (Upper("n"), GREEDY), (Upper(sha=None), GREEDY),
        (Upper(), SamplingParams(399)), (Upper(), SamplingParams(temperature=0.5)),
        (Upper(), SamplingParams(temperature=0.5, top_p=0.9)),
    ]  # fmt: skip
    for _ in range(2):
        for engine, sampling in owners:
            answer(tmp_path, ["a", "b"], engine, sampling)
    assert [len(engine.asked) for engine, _ in owners] == [2] * len(owners)


def test_answers_of_a_model_that_nobody_knows_are_not_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    engine = Upper("unknown", None)
    for _ in range(2):
        answer(tmp_path, ["a"], engine)
    assert len(engine.asked) == 2
    assert [record.getMessage() for record in caplog.records if "does not tell its model" in record.getMessage()]


def test_no_prompt_is_written(instant: str, kept_answers: Path) -> None:
    secret = "xylophonecipher"
    Augment(instant)({"text": [f"{'word ' * 60}{secret} {'word ' * 60}"]})
    assert asked(instant) == 1
    held = b"".join(path.read_bytes() for path in kept_answers.rglob("*") if path.is_file())
    assert b"generated_tokens" in held
    assert secret.encode() not in held
    assert b"<CON>" not in held


def test_equal_prompts_are_draws_of_their_own_and_the_same_call_has_the_same(tmp_path: Path) -> None:
    drawn, engine = SamplingParams(temperature=1.0), Upper(draws=True)
    first = answer(tmp_path, ["a", "a", "b", "a"], engine, drawn)
    assert len({completion.text for completion in first}) == 4
    assert answer(tmp_path, ["a", "a", "b", "a", "a"], engine, drawn)[:4] == first
    assert engine.asked == ["a", "a", "b", "a", "a"]


def test_a_map_with_a_temperature_begins_its_draws_anew(instant: str) -> None:
    augment, ds = Augment(instant, temperature=1.0), Dataset.from_dict({"text": ["One text."] * 3})
    for _ in range(2):
        ds.map(augment, batched=True, load_from_cache_file=False)
        assert asked(instant) == 3
    augment({"text": ["One text."]})  # a fourth, and no new call
    assert asked(instant) == 4


# Killed ---------------------------------------------------------------------------------------------------------------

MAP = """
    import datasets, json, sys
    from hub_instructpt import Augment
    datasets.disable_progress_bars()
    url, num_proc, out = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]
    ds = datasets.Dataset.from_dict({"text": [f"Row {i} of the corpus." for i in range(40)]})
    mapped = ds.map(Augment(url), batched=True, batch_size=20, num_proc=num_proc)
    with open(out, "w") as stream:
        json.dump(mapped["pairs"][:], stream)
"""


@pytest.mark.parametrize("num_proc", ["null", "2"])
def test_a_map_killed_over_and_over_asks_again_only_for_what_no_disk_had_seen(num_proc: str, tmp_path: Path) -> None:
    number, in_flight, kills, draw = 40, 4, 0, random.Random(int(num_proc == "2"))
    flags = ("--instant", "--fixed-delay", "0.05", "--max-concurrent-requests", str(in_flight))
    with running("tests.doubles.tgi", *flags) as url:
        while True:
            before = ask(url, "/_double/state").json["answered"]
            process = subprocess.Popen(
                [sys.executable, "-c", textwrap.dedent(MAP), url, num_proc, str(tmp_path / "out.json")],
                cwd=ROOT, env=environment(), start_new_session=True, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            deadline = time.monotonic() + 60
            while process.poll() is None and ask(url, "/_double/state").json["answered"] < before + 7:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            time.sleep(draw.uniform(0, 0.15))
            if process.poll() is not None:
                break
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            kills += 1
        assert process.returncode == 0
        state = ask(url, "/_double/state").json
        requests = state["generate"] - state["statuses"].get("429", 0)  # two processes learn what the server takes
    assert kills >= 3
    # At a kill, what is in flight is unanswered, and as much again may be answered and not yet on disk.
    assert number <= requests <= number + kills * 3 * in_flight
    found = orjson.loads((tmp_path / "out.json").read_bytes())
    assert [pairs[0]["response"] for pairs in found] == [f"Row {i} of the corpus Row" for i in range(number)]


def test_processes_at_a_time_write_files_of_their_own_and_read_what_was_there(instant: str, kept_answers: Path) -> None:
    ds = Dataset.from_dict({"text": [f"Row {i}." for i in range(40)]})
    mine = Augment(instant)
    mine({"text": ds["text"][:10]})  # this process goes on to hold its segment
    ds.map(mine, batched=True, num_proc=4, batch_size=5, load_from_cache_file=False)
    assert asked(instant) == 40
    mine({"text": ds["text"][:10]})
    mine({"text": ["After the fork."]})
    assert asked(instant) == 41
    (held,) = survey(kept_answers)
    assert (held.answers, held.damaged) == (41, 0)
    assert 2 <= held.segments <= 5
    assert held.being_written == 1
    # Those of the workers have no writer any more: who comes next goes on in one of them.
    Augment(instant)({"text": ["Another process, so to say."]})
    assert survey(kept_answers)[0].segments == held.segments


def test_a_spawned_process_finds_what_its_parent_was_told(instant: str) -> None:
    augment = Augment(instant)
    augment({"text": ["one two", "three four"]})
    program = """
        import multiprocessing, pickle, sys
        if __name__ == "__main__":
            augment = pickle.loads(bytes.fromhex(sys.argv[1]))
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                pool.apply(augment, [{"text": ["one two", "three four"]}])
    """
    import pickle

    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), pickle.dumps(augment).hex()],
        cwd=ROOT, env=environment(), check=True,
    )  # fmt: skip
    assert asked(instant) == 2


# Damaged, full, read-only ---------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(data=st.data(), sessions=st.lists(st.sets(st.integers(0, 12), max_size=6), min_size=1, max_size=4))
def test_whatever_is_cut_or_damaged_the_rest_is_found_and_nothing_wrong(
    data: st.DataObject, sessions: list[set[int]]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        told: set[int] = set()
        for numbers in sessions:
            engine = Upper()
            got = answer(root, [f"prompt {i}" for i in sorted(numbers)], engine)
            assert [completion.text for completion in got] == [f"PROMPT {i}" for i in sorted(numbers)]
            assert {int(prompt.split()[1]) for prompt in engine.asked} == numbers - told
            told |= numbers
        for path in files(root):
            whole = path.read_bytes()
            harmed = bytearray(whole[: data.draw(st.integers(0, len(whole)))])
            for at in data.draw(st.lists(st.integers(0, len(whole)), max_size=2)):
                if at < len(harmed):
                    harmed[at] ^= data.draw(st.integers(1, 255))
            path.write_bytes(harmed)
        lost = Upper()
        got = answer(root, [f"prompt {i}" for i in range(14)], lost)
        assert got == [Completion(f"PROMPT {i}", "stop", 1, 2) for i in range(14)]
        assert {int(prompt.split()[1]) for prompt in lost.asked} >= set(range(14)) - told
        # What was asked again after the damage is found ever after.
        after = Upper()
        assert answer(root, [f"prompt {i}" for i in range(14)], after) == got
        assert after.asked == []


def test_torn_lines_are_counted_and_their_prompts_alone_asked_again(tmp_path: Path) -> None:
    answer(tmp_path, ["a", "b", "c"])
    (path,) = files(tmp_path)
    path.write_bytes(path.read_bytes()[:-5])
    assert [(held.answers, held.damaged) for held in survey(tmp_path)] == [(2, 1)]
    engine = Upper()
    answer(tmp_path, ["a", "b", "c"], engine)
    assert engine.asked == ["c"]
    assert files(tmp_path) == [path]
    assert [(held.answers, held.damaged) for held in survey(tmp_path)] == [(3, 1)]


def test_another_format_is_left_alone(tmp_path: Path) -> None:
    answer(tmp_path, ["a"])
    (path,) = files(tmp_path)
    before = path.read_bytes()
    owned = segments.owner(Upper().info, GREEDY)
    other = before.replace(segments.header(owned), segments.header({**owned, "format": 0}))
    path.write_bytes(other)
    engine = Upper()
    answer(tmp_path, ["a"], engine)
    assert engine.asked == ["a"]
    assert path.read_bytes() == other
    assert sorted(held.answers for held in survey(tmp_path)) == [1]


def test_an_answer_that_is_damaged_while_it_is_indexed_is_asked_again(tmp_path: Path) -> None:
    async def main() -> list[str]:
        engine = Upper()
        cached = CachedEngine(engine, tmp_path)
        await cached.complete("a", GREEDY)
        await cached.flush()
        (path,) = files(tmp_path)
        path.write_bytes(path.read_bytes().replace(b'"A"', b'"B"'))
        assert (await cached.complete("a", GREEDY)).text == "A"
        await cached.aclose()
        return engine.asked

    assert asyncio.run(main()) == ["a", "a"]


def test_a_folder_that_can_not_be_is_told_once_and_harms_nothing(
    instant: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no folder")
    with caplog.at_level(logging.WARNING, "hub_instructpt"):
        for _ in range(2):
            out = Augment(instant, journal=tmp_path / "file" / "below")({"text": texts(3)})
            assert [len(pairs) for pairs in out["pairs"]] == [2, 2, 2]
    (warning,) = caplog.records
    assert "Answers are not kept" in warning.getMessage()
    assert "journal=False" in warning.getMessage()


IN_NAMESPACE = ["unshare", "--map-root-user", "--mount", "sh", "-c"]


def can_mount() -> bool:
    try:
        done = subprocess.run([*IN_NAMESPACE, "mount -t tmpfs none /mnt"], capture_output=True, check=False)
    except OSError:
        return False
    return done.returncode == 0


@pytest.mark.parametrize("options", ["size=64k", "ro"])
def test_a_disk_that_is_full_or_read_only_harms_no_map(instant: str, options: str, tmp_path: Path) -> None:
    if not can_mount():
        pytest.skip("this machine lets nobody mount a file system in a namespace of its own")
    program = """
        import datasets, sys
        from hub_instructpt import Augment
        datasets.disable_progress_bars()
        ds = datasets.Dataset.from_dict({"text": [f"Row {i}." for i in range(600)]})
        for num_proc in (None, 2):
            out = ds.map(Augment(sys.argv[1], journal=sys.argv[2]), batched=True, num_proc=num_proc)
            print(sum(len(pairs) == 2 for pairs in out["pairs"]))
    """
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    done = subprocess.run(
        [*IN_NAMESPACE, f'mount -t tmpfs -o {options} none "$0" && exec "$@"', str(mounted),
         sys.executable, "-c", textwrap.dedent(program), instant, str(mounted)],
        cwd=ROOT, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["600", "600"]
    assert 1 <= done.stderr.count("Answers are not kept") <= 3
    assert ("No space left" if options != "ro" else "Read-only") in done.stderr


def test_a_disk_that_takes_half_a_line_harms_no_map(instant: str, kept_answers: Path) -> None:
    program = """
        import datasets, resource, signal, sys
        from hub_instructpt import Augment
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        out = Augment(sys.argv[1])({"text": [f"Row {i}." for i in range(200)]})
        print(sum(len(pairs) == 2 for pairs in out["pairs"]))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), instant],
        cwd=ROOT, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout.strip()) == (0, "200"), done.stderr
    assert done.stderr.count("Answers are not kept") == 1
    (held,) = survey(kept_answers)
    assert 30 < held.answers < 200
    assert held.bytes <= 20_000
    Augment(instant)({"text": [f"Row {i}." for i in range(200)]})
    assert asked(instant) == 400 - held.answers
    assert survey(kept_answers)[0].answers == 200


# The bound ------------------------------------------------------------------------------------------------------------


def test_the_oldest_go_first_and_the_bound_holds(tmp_path: Path) -> None:
    bound, long = 2**20, "x" * 5000
    for session in range(60):
        answer(tmp_path, [f"{session} {i} {long}" for i in range(8)], max_bytes=bound)
        assert sum(path.stat().st_size for path in files(tmp_path)) <= bound
    assert sum(path.stat().st_size for path in files(tmp_path)) > bound * 0.8
    engine = Upper()
    answer(tmp_path, [f"59 {i} {long}" for i in range(8)], engine, max_bytes=bound)
    assert engine.asked == []
    answer(tmp_path, [f"0 {i} {long}" for i in range(8)], engine, max_bytes=bound)
    assert len(engine.asked) == 8


def test_a_long_call_goes_on_in_new_segments_and_finds_what_it_wrote(tmp_path: Path) -> None:
    async def main() -> list[str]:
        engine = Upper()
        cached = CachedEngine(engine, tmp_path, 2**20)
        prompts = [f"{i} {'y' * 3000}" for i in range(150)]
        for start in range(0, 150, 10):
            await asyncio.gather(*(cached.complete(prompt, GREEDY) for prompt in prompts[start : start + 10]))
        await cached.flush()
        assert len(files(tmp_path)) >= 5
        for prompt in prompts:
            assert (await cached.complete(prompt, GREEDY)).text == prompt.upper()
        await cached.aclose()
        return engine.asked

    assert len(asyncio.run(main())) == 150


def test_what_is_being_written_is_never_deleted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        busy = [CachedEngine(Upper(), tmp_path, 2**20) for _ in range(20)]
        for number, cached in enumerate(busy):
            await cached.complete(f"prompt {number}", GREEDY)
            await cached.flush()
        # Sixteen segments have room; the others go on without one.
        assert len(files(tmp_path)) == 16
        assert "as much as journal_max_bytes allows" in caplog.text
        assert clear(tmp_path) == (0, 16)
        assert len(files(tmp_path)) == 16
        for cached in busy:
            await cached.aclose()

    asyncio.run(main())
    freed, stay = clear(tmp_path)
    assert freed > 1000
    assert stay == 0
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == []


def test_what_was_deleted_under_its_reader_is_asked_again(tmp_path: Path) -> None:
    answer(tmp_path, ["a", "b"])

    async def main() -> list[str]:
        engine = Upper()
        cached = CachedEngine(engine, tmp_path)
        await cached.complete("c", GREEDY)
        for path in files(tmp_path):
            path.unlink()
        assert (await cached.complete("a", GREEDY)).text == "A"
        await cached.aclose()
        return engine.asked

    assert asyncio.run(main()) == ["c", "a"]


# The index ------------------------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 40), max_size=120), st.integers(1, 30))
def test_the_index_finds_what_was_added_whenever_it_sorts(numbers: list[int], most: int) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(index_room, "MOST_RECENT", most)
        patch.setattr(index_room, "MOST_OPEN", 1)
        paths = [Path(folder, name) for name in ("a.jsonl", "b.jsonl")]
        index = Index()
        for count, number in enumerate(numbers):
            path = paths[count % 2]
            key = (number % 7 << 64) + number  # many share the first half
            with path.open("ab") as stream:
                at = stream.tell()
                stream.write(line_of(f"{key:032x}", Completion(f"answer {number}")))
            index.add(key, index.number(path), at)
        known = Counter(numbers)
        for number in range(41):
            found = index.find((number % 7 << 64) + number)
            if number not in known:
                assert found is None
            elif sum(other % 7 == number % 7 for other in known) == 1:
                assert found == Completion(f"answer {number}")
        index.close()


# The command ----------------------------------------------------------------------------------------------------------


def test_the_command_shows_and_clears(instant: str, kept_answers: Path) -> None:
    writing = Augment(instant)
    writing({"text": texts(3)})
    Augment(instant, max_new_tokens=100, temperature=0.5)({"text": texts(2)})
    size = sum(path.stat().st_size for path in files(kept_answers))
    done = cases(
        [["cache"], ["cache", "--json"], ["cache", "--clear"], ["cache", kept_answers], ["cache", kept_answers / "no"]]
    )
    shown, as_json, cleared, left, wrong = [out + err for _, out, err in done]
    assert [status for status, _, _ in done] == [0, 0, 0, 0, 2]
    assert f"folder               {kept_answers}" in shown
    assert "in 2 files, 1 of them being written" in shown
    assert "answers              5" in shown
    assert "400 new tokens" in shown
    assert "100 new tokens, temperature 0.5, top-p 1" in shown
    facts = orjson.loads(as_json)
    assert facts["bytes"] == size
    assert sorted(held["answers"] for held in facts["held"]) == [2, 3]
    assert "freed" in cleared
    assert "1 files stay: a process is writing to them" in cleared
    assert len(files(kept_answers)) == 1
    assert "answers              3" in left
    assert "There is no folder" in wrong


def test_the_command_says_of_an_empty_cache_that_it_is_empty(kept_answers: Path) -> None:
    done = run_cli("cache")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"folder               {kept_answers}" in done.stdout
    assert "answers              0" in done.stdout
    assert not kept_answers.exists()
