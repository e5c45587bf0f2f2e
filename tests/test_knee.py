"""Finding the number of requests for a server that queues them: against simulated servers, by a clock of their own.

The servers are those of benchmarks/simulator, in virtual time: continuous batching, and outputs of which some are ten
to twenty times as long as the mean.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.simulator.model import Batch, Lengths, Speed
from hub_instructpt.engines.knee import Knee

PROMPT = 300


@dataclass(slots=True)
class Request:
    prompt_tokens: int
    output_tokens: int
    slot: int
    began: float


@dataclass(slots=True)
class Outcome:
    """Share of what full batches would have given, the limit in the end, and those that were passed through."""

    share: float
    limit: int
    limits: list[int]


def full_rate(speed: Speed, mean: float) -> float:
    """Tokens a second of full batches."""
    step = speed.step_seconds + speed.max_batch * (
        speed.step_seconds_per_sequence + speed.prefill_seconds_per_token * PROMPT / mean
    )
    return speed.max_batch / step


def drive(
    speed: Speed,
    seconds: float,
    *,
    lengths: Lengths | None = None,
    count: Callable[[int], float] = float,
    later: tuple[float, Speed] | None = None,
    offered: Callable[[float], int] = lambda now: 10**9,
    knee: Knee | None = None,
) -> Outcome:
    """Keep a server as full as the knee says.

    Args:
        count: what is known of the tokens of an output.
        later: a time, and what the server is from then on.
        offered: how many requests there are at a time.
    """
    lengths, knee, batch = lengths or Lengths(), knee or Knee(32, 1024), Batch[Request](speed)
    now = slot_seconds = tokens = 0.0
    taken, limits = 0, [knee.limit]
    while now < seconds:
        if later is not None and now > later[0]:
            batch.speed, later = later[1], None
        while len(batch) < min(knee.limit, offered(now)):
            taken += 1
            batch.add(Request(PROMPT, lengths.of(taken), taken, now))
        in_flight = len(batch)
        passed, done = batch.step()
        now, slot_seconds = now + passed, slot_seconds + passed * in_flight
        for one in done:
            tokens += one.output_tokens
            changed = knee.answered(
                one.slot, taken, now - one.began, count(one.output_tokens), now=now, slot_seconds=slot_seconds
            )
            if changed:
                limits.append(knee.limit)
    return Outcome(tokens / now / full_rate(speed, lengths.mean), knee.limit, limits)


@pytest.mark.parametrize("sigma", [0.0, 1.0, 1.4])
@pytest.mark.parametrize(("places", "least"), [(4, 0.98), (16, 0.98), (64, 0.975), (256, 0.94)])
def test_servers_of_every_size_are_kept_full_though_nobody_tells_their_size(
    places: int, least: float, sigma: float
) -> None:
    outcome = drive(Speed(max_batch=places), 400, lengths=Lengths(sigma=sigma))
    assert outcome.share > least
    assert outcome.limit <= max(8 * places, 128)


def test_what_is_far_too_much_to_begin_with_is_not_made_more() -> None:
    outcome = drive(Speed(max_batch=4), 400)
    assert max(outcome.limits) <= 64
    assert outcome.limit <= 50


@pytest.mark.parametrize("places", [16, 64, 128])
def test_where_more_is_allowed_than_is_worked_on_it_eases_to_that_and_loses_nothing(places: int) -> None:
    """As with TGI: 128 permits, and a batch with room for fewer. What is queued there is waited for in the end."""
    outcome = drive(Speed(max_batch=places), 600, knee=Knee(128, 128))
    assert outcome.share > 0.98
    assert places <= outcome.limit <= min(128, 1.6 * places)


def test_a_server_that_answers_at_one_pace_whatever_it_has_is_not_taken_for_one_that_queues() -> None:
    knee, draw, now, slot_seconds = Knee(128, 128), random.Random(0), 0.0, 0.0
    flying: list[tuple[float, int, float]] = []
    taken, limits = 0, [128]
    for _ in range(20_000):
        while len(flying) < knee.limit:
            taken += 1
            heapq.heappush(flying, (now + draw.uniform(0.95, 1.05), taken, now))
        done, slot, began = heapq.heappop(flying)
        slot_seconds += (done - now) * (len(flying) + 1)
        now = done
        if knee.answered(slot, taken, now - began, draw.randint(10, 100), now=now, slot_seconds=slot_seconds):
            limits.append(knee.limit)
    assert limits == [128, 64, 128]  # tried once


def test_without_token_counts_it_still_finds_it() -> None:
    outcome = drive(Speed(max_batch=64), 600, count=lambda tokens: 1.0)
    assert outcome.share > 0.95
    assert outcome.limit <= 512


def test_a_server_that_becomes_slower_gets_fewer_and_one_that_grows_gets_more() -> None:
    before = drive(Speed(max_batch=64), 600).limit
    shrunk = drive(Speed(max_batch=64), 2400, later=(600.0, Speed(max_batch=16)))
    grown = drive(Speed(max_batch=64), 2400, later=(600.0, Speed(max_batch=256)))
    assert 64 <= before <= 256
    assert min(shrunk.limits[5:]) < 0.8 * before
    assert grown.limit >= 200


def test_answers_that_take_too_long_make_it_fewer_whatever_that_costs() -> None:
    knee = Knee(256, 1024, slowest=10.0)
    drive(Speed(max_batch=16), 600, knee=knee)  # 16 at a time take 1.4 s: 256 take more than 20 s
    assert knee.limit <= 128


def test_where_too_little_work_is_offered_nothing_is_learnt() -> None:
    outcome = drive(Speed(max_batch=64), 120, offered=lambda now: 10)
    assert outcome.limits == [32]


@settings(max_examples=60, deadline=None)
@given(
    start=st.integers(1, 64),
    maximum=st.integers(1, 200),
    seed=st.integers(0, 2**16),
)
def test_whatever_is_measured_the_limit_stays_within_its_bounds(start: int, maximum: int, seed: int) -> None:
    draw, knee = random.Random(seed), Knee(start, maximum)
    now = slot_seconds = 0.0
    for slot in range(3000):
        passed = draw.choice([0.0, 0.01, 1.0])
        now, slot_seconds = now + passed, slot_seconds + passed * draw.choice([0, knee.limit])
        seconds = draw.choice([0.0, 1e-9, 0.5, draw.expovariate(0.1), 1e6])
        knee.answered(slot, slot + 5, seconds, draw.choice([0, 1, 400]), now=now, slot_seconds=slot_seconds)
        assert 1 <= knee.limit <= max(1, maximum)
