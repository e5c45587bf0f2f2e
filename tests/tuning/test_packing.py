"""Sequences of several examples, and how datasets are mixed: properties, and cases worked out by hand."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub_instructpt.tuning.packing import pack, passes, plan, quotas

LENGTHS = st.lists(st.integers(1, 100), max_size=80)


@given(LENGTHS, st.integers(100, 400), st.randoms(use_true_random=False))
def test_every_example_stands_in_one_sequence_and_none_is_too_long(
    lengths: list[int], max_length: int, rng: st.DataObject
) -> None:
    order = list(range(len(lengths)))
    rng.shuffle(order)  # type: ignore[attr-defined]
    packed = pack(lengths, order, max_length)
    assert sorted(number for members in packed for number in members) == sorted(order)
    sums = [sum(lengths[number] for number in members) for members in packed]
    assert all(0 < used <= max_length for used in sums)
    # First fit: an example opens a sequence only where no open one has room, so no two open ones could be joined.
    assert sum(used * 2 <= max_length for used in sums[-16:]) <= 1
    assert pack(lengths, order, max_length) == packed


def test_examples_go_into_the_first_sequence_with_room() -> None:
    assert pack([60, 50, 30, 20, 40], [0, 1, 2, 3, 4], 100) == [(0, 2), (1, 3), (4,)]
    assert pack([60, 50, 30, 20, 40], [4, 3, 2, 1, 0], 100) == [(4, 3, 2), (1,), (0,)]
    assert pack([], [], 100) == []
    with pytest.raises(ValueError, match="101 tokens does not go into 100"):
        pack([101], [0], 100)


@given(LENGTHS.filter(bool), st.integers(0, 3))
def test_a_pass_takes_every_example_once_and_the_next_in_another_order(lengths: list[int], seed: int) -> None:
    stream = passes(lengths, 100, str(seed))
    seen: Counter[int] = Counter()
    while len(seen) < len(lengths) or len({*seen.values()}) > 1:
        seen.update(next(stream))
        assert max(seen.values()) - min(seen.values() if len(seen) == len(lengths) else [0]) <= 1
    assert list(islice(passes(lengths, 100, str(seed)), 9)) == list(islice(passes(lengths, 100, str(seed)), 9))


def test_no_examples_are_no_pass() -> None:
    assert list(passes([], 100, "0")) == []


@given(
    st.dictionaries(st.text("abcd", min_size=1, max_size=3), st.integers(1, 3000), min_size=1, max_size=8),
    st.floats(0, 1),
    st.floats(1, 5),
)
def test_no_dataset_is_left_out_repeated_too_often_or_dominates(
    sizes: dict[str, int], alpha: float, max_repeats: float
) -> None:
    found = quotas(sizes, alpha, max_repeats)
    total = sum(sizes.values())
    assert found.keys() == sizes.keys()
    assert abs(sum(found.values()) - total) <= len(sizes)  # each is rounded
    for name, size in sizes.items():
        assert 1 <= found[name] <= max(1, round(size * max_repeats))
    assert found[max(sizes, key=lambda name: sizes[name])] <= max(sizes.values()) + 1  # it never grows
    largest = sorted(sizes, key=lambda name: sizes[name])
    assert [found[name] for name in largest] == sorted(found.values())


def test_shares_are_in_proportion_to_a_power_of_the_size() -> None:
    sizes = {"large": 9000, "small": 1000}
    assert quotas(sizes, 1.0, 2) == sizes
    assert quotas(sizes, 0.5, 3) == {"large": 7500, "small": 2500}  # 3 to 1
    assert quotas(sizes, 0.0, 9) == {"large": 5000, "small": 5000}
    assert quotas(sizes, 0.0, 2) == {"large": 8000, "small": 2000}  # no more than twice
    assert quotas({**sizes, "none": 0}, 1.0, 2) == {**sizes, "none": 0}


def test_a_plan_has_whole_steps_of_sequences_each_of_one_dataset() -> None:
    lengths = {"large": [90] * 40, "small": [30] * 12, "none": []}
    made = plan(
        lengths, max_length=100, per_step=4, epochs=1.0, max_steps=None, alpha=1.0, max_repeats=2.0, seed=3
    )  # fmt: skip
    assert made.sizes == {"large": 40, "small": 4, "none": 0}
    assert made.quotas == {"large": 40, "small": 4, "none": 0}
    assert len(made.sequences) == made.per_epoch == 44
    seen = Counter((name, number) for name, members in made.sequences for number in members)
    assert set(seen.values()) == {1}
    assert len(seen) == 52
    assert [name for name, _ in made.sequences] != sorted(name for name, _ in made.sequences)


def test_steps_go_on_after_an_epoch_and_end_before_it() -> None:
    lengths = {"large": [90] * 40, "small": [30] * 12}
    options = {"max_length": 100, "per_step": 4, "epochs": 1.0, "alpha": 0.5, "max_repeats": 2.0, "seed": 0}
    short = plan(lengths, max_steps=2, **options)  # type: ignore[arg-type]
    long = plan(lengths, max_steps=33, **options)  # type: ignore[arg-type]
    assert len(short.sequences) == 8
    assert len(long.sequences) == 132
    assert long.sequences[:8] == short.sequences
    # Of a large dataset an epoch takes a part, and the next one goes on with the rest.
    large = [members for name, members in long.sequences if name == "large"]
    assert len(set(large[:36])) == 36
    assert len(set(large[:72])) == 40
    assert plan(lengths, max_steps=33, **options) == long  # type: ignore[arg-type]
    assert plan(lengths, max_steps=33, **{**options, "seed": 1}) != long  # type: ignore[arg-type]
