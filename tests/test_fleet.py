"""A fleet in this process: which member is asked, what becomes of a prompt that failed, and who takes part.

The members are small objects, each the client of a host that can be told to fail; time is real, and short.
"""

from __future__ import annotations

import asyncio
import copy
import logging
import pickle
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from hub_instructpt.engines import Engine, Fleet, fleet_backups, fleet_roster, open_engine
from hub_instructpt.engines.base import pinned
from hub_instructpt.engines.limiter import Limiter
from hub_instructpt.engines.load import Load
from hub_instructpt.engines.retries import RetryPolicy
from hub_instructpt.errors import EngineUnavailable, InputError, NotAnEngine, RequestFailed, SettingsError
from hub_instructpt.records import Completion, EngineInfo, SamplingParams

INFO = EngineInfo("tgi", "org/model", "abc", 900, 1000, 4, dtype="float16", version="3")
SHORT = SamplingParams(10)
QUICK = RetryPolicy(max_attempts=5, unreachable_seconds=1.0, first_wait_seconds=0.01, longest_wait_seconds=0.05)


@dataclass(eq=False)
class Host:
    """A server: how fast it answers, and how it fails."""

    name: str
    info: EngineInfo = INFO
    seconds: float = 0.001
    down: bool = False
    fails: Callable[[str], Exception | None] = lambda prompt: None
    extra: Callable[[str], float] = lambda prompt: 0.0
    prompts: list[str] = field(default_factory=list)
    most: int = 0
    connected: int = 0
    closed: int = 0
    in_flight: int = 0


class Client:
    """An engine for a host."""

    def __init__(self, host: Host) -> None:
        self.host, self.address = host, f"http://{host.name}"
        self.is_connected = False

    def __copy__(self) -> Client:
        return Client(self.host)

    async def connect(self) -> EngineInfo:
        if self.host.down:
            raise EngineUnavailable(f"No server answers at {self.address}.")
        self.host.connected += not self.is_connected
        self.is_connected = True
        return self.host.info

    async def complete(self, prompt: str, sampling: SamplingParams) -> Completion:
        host = self.host
        if host.down:
            raise EngineUnavailable(f"No server answers at {self.address}.")
        host.prompts.append(prompt)
        host.in_flight += 1
        host.most = max(host.most, host.in_flight)
        try:
            await asyncio.sleep(host.seconds + host.extra(prompt))
        finally:
            host.in_flight -= 1
        if host.down:
            raise EngineUnavailable(f"{self.address} went away.")
        if failure := host.fails(prompt):
            raise failure
        return Completion(f"{prompt} from {host.name}", "stop", 1, 1)

    async def count_tokens(self, text: str) -> int:
        return len(text)

    async def aclose(self) -> None:
        if self.is_connected:
            self.host.closed += 1


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers that are away are asked again soon."""
    monkeypatch.setattr(fleet_roster, "LONGEST_WAIT_SECONDS", 0.05)
    monkeypatch.setattr(fleet_roster, "FIRST_WAIT_SECONDS", 0.02)
    monkeypatch.setattr(fleet_roster, "GRACE_SECONDS", 0.1)
    monkeypatch.setattr(fleet_roster, "LOOK_SECONDS", 0.03)


def error(reason: str = "status_500", *, passing: bool = True) -> RequestFailed:
    return RequestFailed("It failed.", reason=reason, attempts=1, passing=passing)


def using(hosts: list[Host], work: Callable[[Fleet], Any], **options: Any) -> Any:
    """What `work` gives, with a fleet of these hosts."""

    async def main() -> Any:
        fleet = Fleet([Client(host) for host in hosts], **{"retry": QUICK, **options})
        try:
            return await work(fleet)
        finally:
            await fleet.aclose()
            assert sum(host.connected for host in hosts) == sum(host.closed for host in hosts)
            assert asyncio.all_tasks() == {asyncio.current_task()}

    return asyncio.run(main())


async def ask(fleet: Fleet, number: int, prefix: str = "p") -> list[Any]:
    return await asyncio.gather(
        *(fleet.complete(f"{prefix}{i}", SHORT) for i in range(number)), return_exceptions=True
    )  # fmt: skip


def texts(answers: list[Any]) -> list[str]:
    assert all(isinstance(answer, Completion) for answer in answers), answers
    return [answer.text.partition(" ")[0] for answer in answers]


# Work -----------------------------------------------------------------------------------------------------------------


def test_everything_is_answered_once_and_nobody_is_asked_beyond_its_limit() -> None:
    hosts = [Host("a", replace(INFO, max_concurrent_requests=3)), Host("b", replace(INFO, max_concurrent_requests=9))]
    answers = using(hosts, lambda fleet: ask(fleet, 200))
    assert texts(answers) == [f"p{i}" for i in range(200)]
    assert sum(len(host.prompts) for host in hosts) == 200
    assert [host.most for host in hosts] == [3, 9]


def test_a_slow_member_gets_less_and_holds_up_nobody() -> None:
    hosts = [Host("slow", seconds=0.1), *(Host(name, seconds=0.01) for name in "abc")]
    answers = using(hosts, lambda fleet: ask(fleet, 400))
    assert len(texts(answers)) == 400
    assert 4 <= len(hosts[0].prompts) <= 60
    assert min(len(host.prompts) for host in hosts[1:]) > 90


def test_a_chain_stays_with_its_member() -> None:
    hosts = [Host(name) for name in "abc"]

    async def chain(fleet: Fleet, name: str) -> None:
        engine = pinned(fleet)
        await engine.connect()
        assert await engine.count_tokens("abc") == 3
        for text in range(6):
            await engine.complete(f"{name}:{text}", SHORT)
        await engine.aclose()

    async def work(fleet: Fleet) -> None:
        await asyncio.gather(*(chain(fleet, str(i)) for i in range(40)))

    using(hosts, work)
    seen = Counter((prompt.partition(":")[0], host.name) for host in hosts for prompt in host.prompts)
    assert sum(seen.values()) == 240
    # At the very end, where nothing else waits and a member is half empty, a chain may go on there.
    assert sum(number == 6 for number in seen.values()) >= 36


def test_a_chain_goes_on_elsewhere_when_its_member_is_gone() -> None:
    a, b = Host("a"), Host("b")

    async def work(fleet: Fleet) -> list[str]:
        engine = pinned(fleet)
        answered = [(await engine.complete(str(i), SHORT)).text for i in range(3)]
        (a if answered[0].endswith("a") else b).down = True
        answered += [(await engine.complete(str(i), SHORT)).text for i in range(3, 6)]
        return [text[-1] for text in answered]

    served = using([a, b], work)
    assert served in (["a"] * 3 + ["b"] * 3, ["b"] * 3 + ["a"] * 3)


# The end --------------------------------------------------------------------------------------------------------------


class Measured(Client):
    """A client that knows its load."""

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self.limiter = Limiter(host.info.max_concurrent_requests)

    def __copy__(self) -> Measured:
        return Measured(self.host)

    def loads(self) -> list[Load]:
        return [self.limiter.load(self.address)]

    async def complete(self, prompt: str, sampling: SamplingParams) -> Completion:
        async with self.limiter as slot:
            answer = await super().complete(prompt, sampling)
            self.limiter.answered(slot, 10)
        return answer


def at_the_end(hosts: list[Host], number: int) -> tuple[list[Any], float, list[Load]]:
    """Answers to so many prompts, the seconds that they took, and the loads after."""

    async def main() -> tuple[list[Any], float, list[Load]]:
        fleet = Fleet([Measured(host) for host in hosts], retry=QUICK)
        loop = asyncio.get_running_loop()
        try:
            await fleet.connect()
            began = loop.time()
            answers = await ask(fleet, number)
            took = loop.time() - began
            assert [load.in_flight for load in fleet.loads()] == [0] * len(hosts)
            return answers, took, list(fleet.loads())
        finally:
            await fleet.aclose()
            assert asyncio.all_tasks() == {asyncio.current_task()}
            assert all(host.in_flight == 0 for host in hosts)

    return asyncio.run(main())


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet_backups, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(fleet_backups, "SILENT_SECONDS", 0.1)


@pytest.mark.usefixtures("_impatient")
def test_what_a_slow_member_still_has_is_asked_of_an_idle_fast_one_and_the_first_answer_counts() -> None:
    slow = Host("slow", seconds=0.1, extra=lambda prompt: 9.0 if prompt > "p3" else 0.0)
    answers, took, loads = at_the_end([slow, Host("fast", seconds=0.005)], 60)
    assert texts(answers) == [f"p{i}" for i in range(60)]
    assert took < 3
    assert 1 <= sum(load.backups for load in loads) <= 4


@pytest.mark.usefixtures("_impatient")
def test_members_of_one_speed_are_asked_nothing_twice() -> None:
    hosts = [Host("a", seconds=0.02), Host("b", seconds=0.02, extra=lambda prompt: 0.05 * (prompt == "p59"))]
    answers, _, loads = at_the_end(hosts, 60)
    assert len(texts(answers)) == 60
    assert sum(len(host.prompts) for host in hosts) == 60
    assert [load.backups for load in loads] == [0, 0]


@pytest.mark.usefixtures("_impatient")
def test_what_a_member_has_that_fell_silent_is_asked_of_another_one() -> None:
    silent = Host("silent", seconds=0.01, extra=lambda prompt: 0.0 if prompt < "p3" else 60.0)
    answers, took, loads = at_the_end([silent, Host("other", seconds=0.01)], 60)
    assert len(texts(answers)) == 60
    assert took < 5
    assert {load.address: load.backups for load in loads}["http://other"] >= 1


@pytest.mark.usefixtures("_impatient")
@pytest.mark.parametrize("which", ["first", "second", "both"])
def test_of_two_tries_one_is_enough(which: str) -> None:
    """The slow one fails late, or the second try does, or both."""
    late = {"p8", "p9"}
    slow = Host("slow", seconds=0.1, extra=lambda prompt: 0.4 * (prompt in late))
    fast = Host("fast", seconds=0.005, extra=lambda prompt: 0.3 * (prompt in late))
    slow.fails = lambda prompt: error() if prompt in late and which != "second" else None
    fast.fails = lambda prompt: error() if prompt in late and which != "first" else None
    answers, took, _ = at_the_end([slow, fast], 10)
    assert took < 8
    failed = [answer for answer in answers if not isinstance(answer, Completion)]
    assert len(failed) == (2 if which == "both" else 0)
    assert all(failure.reason == "status_500" for failure in failed)


@pytest.mark.usefixtures("_impatient")
def test_whoever_is_cancelled_during_a_second_try_stays_cancelled() -> None:
    async def main() -> None:
        slow = Host("slow", seconds=0.05, extra=lambda prompt: 9.0 if prompt == "late" else 0.0)
        fast = Host("fast", seconds=0.005, extra=lambda prompt: 9.0 if prompt == "late" else 0.0)
        fleet = Fleet([Measured(slow), Measured(fast)], retry=QUICK)
        await fleet.connect()
        await ask(fleet, 12)
        late = [asyncio.create_task(fleet.complete("late", SHORT)) for _ in range(2)]
        await asyncio.sleep(0.2)
        assert slow.in_flight + fast.in_flight in (3, 4)  # and second tries of what the slow one has
        for task in late:
            task.cancel()
        done = await asyncio.gather(*late, return_exceptions=True)
        assert all(isinstance(one, asyncio.CancelledError) for one in done)
        await asyncio.sleep(0.01)
        assert slow.in_flight + fast.in_flight == 0
        assert [load.in_flight for load in fleet.loads()] == [0, 0]
        await fleet.aclose()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


# Failures -------------------------------------------------------------------------------------------------------------


def test_a_member_that_dies_half_way_loses_nothing_and_takes_part_again_when_it_is_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    a, b = Host("a"), Host("b")

    async def work(fleet: Fleet) -> list[Any]:
        first = asyncio.create_task(ask(fleet, 100))
        await asyncio.sleep(0.005)
        a.down = True
        answers = await first
        before = len(a.prompts)
        assert len(texts(await ask(fleet, 30))) == 30
        assert len(a.prompts) == before
        a.down = False
        await asyncio.sleep(0.15)
        assert [load.state for load in fleet.loads()].count("on trial") == 1
        assert len(texts(await ask(fleet, 60))) == 60
        assert len(a.prompts) > before + 10
        assert all(load.state == "up" for load in fleet.loads())
        return answers

    with caplog.at_level(logging.WARNING):
        answers = using([a, b], work)
    assert texts(answers) == [f"p{i}" for i in range(100)]
    told = [record.getMessage() for record in caplog.records]
    assert len([line for line in told if "set aside" in line]) == 1
    assert told[-1] == "http://a is back."


def test_a_prompt_that_fails_everywhere_fails_alone_and_within_its_bound() -> None:
    def fails(prompt: str) -> Exception | None:
        return error() if prompt == "p7" else None

    hosts = [Host(name, fails=fails) for name in "abc"]
    answers = using(hosts, lambda fleet: ask(fleet, 40))
    bad = answers.pop(7)
    assert len(texts(answers)) == 39
    assert isinstance(bad, RequestFailed)
    assert (bad.reason, bad.attempts, bad.passing) == ("status_500", 5, True)
    assert "5 tries in all" in bad.message
    tried = Counter(host.name for host in hosts for prompt in host.prompts if prompt == "p7")
    assert tried.total() == 5
    assert len(tried) >= 2


def test_a_prompt_that_was_refused_for_good_is_not_asked_elsewhere() -> None:
    def fails(prompt: str) -> Exception | None:
        return error("prompt_too_long", passing=False) if prompt == "p7" else None

    hosts = [Host(name, fails=fails) for name in "abc"]
    answers = using(hosts, lambda fleet: ask(fleet, 40))
    assert answers[7].reason == "prompt_too_long"
    assert sum(host.prompts.count("p7") for host in hosts) == 1


@pytest.mark.parametrize("passing", [True, False])
def test_a_member_that_fails_at_everything_is_set_aside_and_its_prompts_are_answered_elsewhere(passing: bool) -> None:
    bad = Host("bad", fails=lambda prompt: error(passing=passing), seconds=0)
    good = Host("good", seconds=0.002)
    answers = using([bad, good], lambda fleet: ask(fleet, 200))
    failed = [answer for answer in answers if not isinstance(answer, Completion)]
    # What it refuses for good is believed, for as long as nothing speaks against it.
    assert len(failed) <= (0 if passing else 3)
    assert len(bad.prompts) < 40


def test_a_prompt_that_takes_its_server_down_each_time_comes_to_an_end() -> None:
    hosts = [Host(name) for name in "abc"]
    tries = 0

    async def work(fleet: Fleet) -> list[Any]:
        return await ask(fleet, 60)

    def fails(prompt: str) -> Exception | None:
        nonlocal tries
        if prompt != "p7":
            return None
        tries += 1
        return EngineUnavailable("It went away.")

    for host in hosts:
        host.fails = fails
    answers = using(hosts, work, retry=replace(QUICK, unreachable_seconds=5.0))
    bad = answers.pop(7)
    assert isinstance(bad, RequestFailed)
    assert bad.reason == "unreachable"
    assert tries == 5
    assert len(texts(answers)) == 59


def test_a_full_member_passes_work_on() -> None:
    full = Host("full", fails=lambda prompt: error("status_429"))
    answers = using([full, Host("free")], lambda fleet: ask(fleet, 60))
    assert len(texts(answers)) == 60
    assert all(load.state == "up" for load in using([full, Host("free")], lambda fleet: _loads(fleet)))


async def _loads(fleet: Fleet) -> Any:
    await ask(fleet, 20)
    return fleet.loads()


def test_when_all_are_gone_there_is_one_error_that_names_them_after_a_bounded_time() -> None:
    hosts = [Host("a"), Host("b")]

    async def work(fleet: Fleet) -> tuple[list[Any], float]:
        await ask(fleet, 10)
        for host in hosts:
            host.down = True
        began = asyncio.get_running_loop().time()
        failed = await ask(fleet, 40)
        took = asyncio.get_running_loop().time() - began
        with pytest.raises(EngineUnavailable):  # and at once from then on
            await asyncio.wait_for(fleet.complete("x", SHORT), 0.05)
        hosts[0].down = False
        await asyncio.sleep(0.2)
        assert len(texts(await ask(fleet, 5))) == 5  # unless one is back
        return failed, took

    failed, took = using(hosts, work, retry=replace(QUICK, unreachable_seconds=0.3))
    assert all(isinstance(one, EngineUnavailable) for one in failed)
    assert "http://a" in str(failed[0])
    assert "http://b" in str(failed[0])
    assert "the same command" in failed[0].advice
    assert 0.25 < took < 2


def test_when_one_is_back_within_the_bound_nothing_is_lost() -> None:
    hosts = [Host("a"), Host("b")]

    async def work(fleet: Fleet) -> list[Any]:
        await fleet.connect()
        for host in hosts:
            host.down = True
        asking = asyncio.create_task(ask(fleet, 40))
        await asyncio.sleep(0.3)
        hosts[1].down = False
        return await asking

    assert len(texts(using(hosts, work))) == 40


def test_cancelled_prompts_leave_no_place_taken() -> None:
    hosts = [Host("a", seconds=0.2), Host("b", seconds=0.2)]

    async def work(fleet: Fleet) -> None:
        asking = [asyncio.create_task(fleet.complete(f"p{i}", SHORT)) for i in range(30)]
        await asyncio.sleep(0.02)
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        assert [load.in_flight for load in fleet.loads()] == [0, 0]
        for host in hosts:
            host.seconds = 0
        assert len(texts(await ask(fleet, 20))) == 20

    using(hosts, work)


# Who takes part -------------------------------------------------------------------------------------------------------


def test_its_limits_are_the_smallest_and_its_room_is_that_of_all() -> None:
    infos = [
        replace(INFO, max_input_tokens=800, special_tokens=("<a>",), kind="vllm", model_sha=None),
        replace(INFO, max_total_tokens=950, special_tokens=("<b>", "<a>"), max_concurrent_requests=7),
    ]
    info = using([Host("a", infos[0]), Host("b", infos[1])], lambda fleet: fleet.connect())
    assert (info.max_input_tokens, info.max_total_tokens, info.max_concurrent_requests) == (800, 950, 11)
    assert (info.kind, info.model_sha, info.special_tokens) == ("tgi+vllm", "abc", ("<a>", "<b>"))


@pytest.mark.parametrize("other", [{"model_id": "org/other"}, {"model_sha": "def"}, {"bos": "<bos>"}, {"eos": "!"}])
def test_servers_of_different_models_are_no_fleet(other: dict[str, str]) -> None:
    hosts = [Host("a"), Host("b", replace(INFO, **other))]
    with pytest.raises(SettingsError) as raised:
        using(hosts, lambda fleet: fleet.connect())
    assert "http://a" in str(raised.value)
    assert "http://b" in str(raised.value)


def test_another_data_type_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    using([Host("a"), Host("b", replace(INFO, dtype="bfloat16"))], lambda fleet: fleet.connect())
    assert "dtype float16" in caplog.text
    assert "bfloat16" in caplog.text


def test_a_member_that_is_down_at_the_start_joins_later(caplog: pytest.LogCaptureFixture) -> None:
    late = Host("late", down=True)

    async def work(fleet: Fleet) -> None:
        assert (await fleet.connect()).max_concurrent_requests == 4
        assert len(texts(await ask(fleet, 10))) == 10
        late.down = False
        await asyncio.sleep(0.2)
        assert fleet.capacity == 8
        await ask(fleet, 40)
        assert late.prompts

    using([Host("a"), late], work)
    assert "No server answers at http://late." in caplog.text


@pytest.mark.parametrize("other", [{"model_id": "org/other"}, {"max_input_tokens": 100}, {"special_tokens": ("<x>",)}])
def test_one_that_comes_later_and_is_another_is_left_out(
    other: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    late = Host("late", replace(INFO, **other), down=True)

    async def work(fleet: Fleet) -> None:
        await fleet.connect()
        late.down = False
        await asyncio.sleep(0.2)
        assert len(texts(await ask(fleet, 20))) == 20
        assert not late.prompts

    using([Host("a"), late], work)
    assert caplog.text.count("left out") == 1


def test_when_nobody_is_there_at_the_start_the_error_names_all() -> None:
    with pytest.raises(EngineUnavailable, match=r"None of 2 engines answers: .*http://a; .*http://b\."):
        using([Host("a", down=True), Host("b", down=True)], lambda fleet: fleet.connect())


def test_what_is_no_engine_is_an_error_though_others_are_fine() -> None:
    class Wrong(Client):
        def __copy__(self) -> Wrong:
            return Wrong(self.host)

        async def connect(self) -> EngineInfo:
            raise NotAnEngine("It is a wiki.")

    async def main() -> None:
        fleet = Fleet([Client(Host("a")), Wrong(Host("b"))])
        with pytest.raises(NotAnEngine, match="wiki"):
            await fleet.connect()
        await fleet.aclose()

    asyncio.run(main())


def test_a_fleet_is_made_of_names_and_files_and_copies_know_them(tmp_path: Path) -> None:
    file = tmp_path / "engines.txt"
    file.write_text("http://10.0.0.3:80  # the third\n")
    fleet = open_engine(["http://10.0.0.1:80", f"@{file}", "tgi+http://u:secret@10.0.0.2:80"], concurrency=3)
    assert isinstance(fleet, Fleet)
    assert isinstance(fleet, Engine)
    assert "secret" not in fleet.address
    for copied in (copy.copy(fleet), pickle.loads(pickle.dumps(fleet))):
        assert copied.address == fleet.address
    assert not isinstance(open_engine(["http://10.0.0.1:80"]), Fleet)
    assert isinstance(open_engine(f"@{file}"), Fleet)
    with pytest.raises(SettingsError, match="named twice"):
        open_engine(["http://10.0.0.1:80", "http://10.0.0.1:80/"])
    with pytest.raises(SettingsError, match="names no engine"):
        open_engine(["http://10.0.0.1:80", "nonsense"])
    with pytest.raises(SettingsError, match="one file"):
        open_engine([f"@{file}", f"@{file}"])
    with pytest.raises(InputError, match="can not be read"):
        open_engine(f"@{tmp_path / 'none'}")
    with pytest.raises(SettingsError, match="no option"):
        open_engine(["http://10.0.0.1:80", "http://10.0.0.2:80"], nonsense=3)


# The file of engines --------------------------------------------------------------------------------------------------


def test_engines_come_and_go_with_their_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    hosts = {name: Host(name, seconds=0.02) for name in "abc"}
    file = tmp_path / "engines"

    def opened(name: str, **options: Any) -> Client:
        if name not in hosts:
            raise SettingsError(f"{name!r} names no engine.")
        return Client(hosts[name])

    monkeypatch.setattr("hub_instructpt.engines.open_engine", opened)

    def write(text: str) -> None:
        temporary = tmp_path / "new"
        temporary.write_text(text)
        temporary.replace(file)

    async def main() -> None:
        write("a\n# b\n")
        fleet = Fleet(file=file, retry=QUICK)
        await fleet.connect()
        assert fleet.capacity == 4
        asking = asyncio.create_task(ask(fleet, 400))
        write("a\nb  # now\n")
        await asyncio.sleep(0.3)
        assert fleet.capacity == 8
        for broken in ("", "a\nnonsense\n", "a\na\n", "\xff"):
            file.write_bytes(broken.encode("latin-1"))
            await asyncio.sleep(0.15)
            assert fleet.capacity == 8
        write("b\nc\n")
        await asyncio.sleep(0.2)
        asked = len(hosts["a"].prompts)
        assert len(texts(await asking)) == 400
        assert len(hosts["a"].prompts) == asked
        assert [load.address for load in fleet.loads()] == ["http://b", "http://c"]
        assert hosts["a"].closed == 1
        await fleet.aclose()

    asyncio.run(main())
    assert caplog.text.count("stay as they were") == 4
    assert all(host.prompts for host in hosts.values())
