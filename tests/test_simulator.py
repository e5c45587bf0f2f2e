"""The simulated servers of benchmarks/: their arithmetic, and that what is served over HTTP keeps to it."""

from __future__ import annotations

import time

import pytest

from benchmarks.simulator.driving import bound_of, chains_of, documents, options_of, simulating, stats
from benchmarks.simulator.model import Batch, Death, Lengths, Speed, Text, full_batches_seconds, perfect_seconds
from tests.doubles.plain_http import ask, ask_together

STEADY = Speed(step_seconds=0.01, step_seconds_per_sequence=0.0, prefill_seconds_per_token=0.0, max_batch=4)


def test_a_batch_takes_in_what_fits_and_gives_each_a_token_a_step() -> None:
    batch: Batch[Text] = Batch(STEADY)
    for _ in range(6):
        batch.add(Text(10, 3))
    done = [len(batch.step()[1]) for _ in range(6)]
    assert done == [0, 0, 4, 0, 0, 2]


def test_the_bound_is_what_can_be_reckoned_by_hand() -> None:
    texts = [Text(1, 10) for _ in range(80)]  # 20 full batches of 10 steps, each 10 ms
    assert perfect_seconds([STEADY], texts) == pytest.approx(2.0)
    assert full_batches_seconds([STEADY], texts) == pytest.approx(2.0)
    assert perfect_seconds([STEADY] * 2, texts) == pytest.approx(1.0)
    chained = [Text(1, 10, Text(1, 10)) for _ in range(40)]
    assert perfect_seconds([STEADY], chained) == pytest.approx(2.0)
    # One of two dies when half is answered, and what it had begun is begun again: 40 texts left for one server.
    assert perfect_seconds([STEADY] * 2, texts, Death(0, 40)) == pytest.approx(1.5, abs=0.15)
    assert perfect_seconds([STEADY] * 2, texts, Death(0, 40, 0.1)) == pytest.approx(1.1, abs=0.15)


def test_output_lengths_are_long_tailed_and_the_same_for_everybody() -> None:
    lengths = [Lengths().of(document) for document in range(5000)]
    assert lengths == [Lengths().of(document) for document in range(5000)]
    mean = sum(lengths) / len(lengths)
    assert 54 < mean < 66
    assert 10 * mean < max(lengths) <= 1024


@pytest.mark.parametrize(("kind", "path"), [("tgi", "/generate"), ("openai", "/v1/completions")])
def test_what_is_served_takes_the_time_that_was_reckoned(kind: str, path: str) -> None:
    options = options_of("--kind", kind, "--batch", "4", "--permits", "24", "--faster", "5", "--mean-tokens", "20")
    texts = documents(24)
    with simulating(options) as (url,):
        field = "inputs" if kind == "tgi" else "prompt"
        replies = ask_together(url, path, [{field: f"<CON> {text} </CON>"} for text in texts])
        assert all(reply.status == 200 and "<QUE>" in reply.text for reply in replies)
        told = stats(url)
    bound = bound_of(texts, options).perfect
    assert bound * 0.95 < told["fleet"]["seconds"] < bound * 1.5 + 0.2
    assert sum(text.output_tokens for text in chains_of(texts, options)) > 24 * 4


def test_a_request_without_a_permit_is_refused_and_one_whose_client_left_frees_its_place() -> None:
    with simulating(options_of("--permits", "1", "--faster", "0.2")) as (url,):
        with pytest.raises(TimeoutError):
            ask(url, "/generate", {"inputs": "[doc 1]"}, timeout=0.2)
        deadline = time.monotonic() + 5
        while stats(url)["in_flight"] and time.monotonic() < deadline:
            time.sleep(0.02)
        assert stats(url)["in_flight"] == 0
    with simulating(options_of("--permits", "1", "--faster", "2")) as (url,):
        statuses = [reply.status for reply in ask_together(url, "/generate", [{"inputs": "[doc 1]"}] * 2)]
        assert sorted(statuses) == [200, 429]
