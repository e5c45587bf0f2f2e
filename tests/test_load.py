"""How busy a server is: measured by a clock that the test turns, and what is said of it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from hub_instructpt.engines.engines_file import EnginesFile
from hub_instructpt.engines.knee import Knee
from hub_instructpt.engines.limiter import Limiter
from hub_instructpt.engines.load import Load, verdict
from hub_instructpt.errors import InputError
from hub_instructpt.runs import load_file


class Clock:
    """Time, as the test says it is."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_load_is_what_happened_second_by_second() -> None:
    async def main() -> Load:
        clock = Clock()
        limiter = Limiter(2, clock=clock)
        assert limiter.load("x") == Load(address="x", limit=2)
        first = await limiter.__aenter__()
        clock.now += 1  # one of two
        second = await limiter.__aenter__()
        clock.now += 2  # full
        limiter.answered(first, 10)
        await limiter.__aexit__()
        clock.now += 4  # one of two
        limiter.refused(second)
        limiter.failed()
        await limiter.__aexit__()
        clock.now += 1  # none
        return limiter.load("x")

    load = asyncio.run(main())
    assert (load.seconds, load.full_seconds, load.slot_seconds, load.answer_seconds) == (8, 2, 1 + 4 + 4, 3)
    assert (load.answered, load.refused, load.failed, load.tokens, load.in_flight) == (1, 1, 1, 10, 0)
    assert (load.full_share, load.mean_in_flight, load.latency) == (0.25, 9 / 8, 3.0)


def test_who_waits_gets_all_the_places_that_a_knee_adds() -> None:
    async def main() -> None:
        clock = Clock()
        limiter = Limiter(64, knee=Knee(16, 64), clock=clock)
        slots = [await limiter.__aenter__() for _ in range(16)]
        waiting = [asyncio.create_task(limiter.__aenter__()) for _ in range(40)]
        await asyncio.sleep(0)
        clock.now += 1
        for slot in slots:
            limiter.answered(slot, 5)
            await limiter.__aexit__()
        await asyncio.sleep(0)
        assert limiter.limit == 32  # a full round: twice as many may prove to be better
        assert sum(task.done() for task in waiting) == 32
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("full", "cpu", "said"),
    [(0.97, 0.2, "the engine"), (0.97, 1.0, "the engine"), (0.5, 0.95, "this process"), (0.5, 0.2, "the client")],
)
def test_what_holds_a_run_up_is_said_in_words(full: float, cpu: float, said: str) -> None:
    loads = [Load(limit=8, seconds=10, full_seconds=10 * full), Load(state="aside")]
    assert verdict(loads, cpu).startswith(said)


def test_what_is_written_is_read_again_and_rubbish_is_nothing(tmp_path: Path) -> None:
    loads = [Load(address="http://a", limit=3, answered=7, seconds=1.25), Load(state="aside")]
    assert load_file.load(tmp_path) == ([], 0.0)
    load_file.save(tmp_path, loads, load_file.Clock())
    assert load_file.load(tmp_path)[0] == loads
    for rubbish in (b"", b"[]", b'{"servers": [3]}', b'{"servers": []}', b"\xff"):
        (tmp_path / ".load.json").write_bytes(rubbish)
        assert load_file.load(tmp_path) == ([], 0.0)
    load_file.save(tmp_path / "gone", loads, load_file.Clock())  # a disk that refuses it is no reason to stop


# The file of engines --------------------------------------------------------------------------------------------------


def test_a_file_of_engines_has_one_a_line_and_comments(tmp_path: Path) -> None:
    path = tmp_path / "engines"
    path.write_bytes(b"\xef\xbb\xbf# ours\r\nhttp://a:80   # first\r\n\r\n  http://b:80/x#y\t\nlocal\n")
    assert EnginesFile(path).read() == ["http://a:80", "http://b:80/x#y", "local"]
    for content in (b"", b"# none\n\n", b"\xff\xfe"):
        path.write_bytes(content)
        with pytest.raises(InputError):
            EnginesFile(path).read()
    with pytest.raises(InputError):
        EnginesFile(tmp_path).read()


def test_a_file_is_read_again_when_it_has_changed_and_stands_still(tmp_path: Path) -> None:
    path = tmp_path / "engines"
    path.write_text("http://a\n")
    file = EnginesFile(path)
    file.read()
    assert not file.changed()
    path.write_text("http://a\nhttp://")
    assert not file.changed()  # somebody is writing, maybe
    path.write_text("http://a\nhttp://bb\n")
    assert not file.changed()
    assert file.changed()
    assert file.read() == ["http://a", "http://bb"]
    assert not file.changed()
    path.unlink()
    assert not file.changed()
    path.write_text("http://c\n")
    assert [file.changed(), file.changed()] == [False, True]
