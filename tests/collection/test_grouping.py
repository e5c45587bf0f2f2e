"""Grouping on disk gives what grouping in memory would, whatever the order, and never more than the cap."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub_instructpt.collection import grouping
from hub_instructpt.collection.grouping import Grouping

NAMES = st.text(st.sampled_from("abAB é\n字"), min_size=1, max_size=3)
PAIRS = st.lists(st.tuples(NAMES, NAMES, NAMES), max_size=40)


def in_memory(pairs: list[tuple[str, str, str]]) -> dict[str, dict[str, tuple[str, str]]]:
    groups: dict[str, dict[str, tuple[str, str]]] = {}
    for context, question, answer in pairs:
        groups.setdefault(context, {}).setdefault(question.lower(), (question, answer))
    return groups


def on_disk(
    pairs: list[tuple[str, str, str]], cap: int | None = None, seed: int = 0
) -> list[tuple[str, list[tuple[str, str]]]]:
    with Grouping() as store:
        for pair in pairs:
            store.add(*pair)
        return [(group.context, group.pairs) for group in store.groups(cap, seed)]


@given(PAIRS)
@settings(deadline=None)
def test_groups_are_those_of_memory_in_the_order_of_first_appearance(pairs: list[tuple[str, str, str]]) -> None:
    assert on_disk(pairs) == [(context, list(kept.values())) for context, kept in in_memory(pairs).items()]


@given(PAIRS, st.integers(0, 5), st.integers(0, 3))
@settings(deadline=None)
def test_a_cap_keeps_the_groups_with_the_most_pairs_in_order(
    pairs: list[tuple[str, str, str]], cap: int, seed: int
) -> None:
    groups = {context: list(kept.values()) for context, kept in in_memory(pairs).items()}
    kept = on_disk(pairs, cap, seed)
    assert len(kept) == min(cap, len(groups))
    assert [context for context, _ in kept] == [c for c in groups if c in dict(kept)]
    left = [len(found) for context, found in groups.items() if context not in dict(kept)]
    assert min((len(found) for _, found in kept), default=99) >= max(left, default=0)


@given(st.permutations([(f"context {at}", f"question {n}", "answer") for at in range(8) for n in range(at // 3 + 1)]))
@settings(deadline=None, max_examples=30)
def test_which_groups_stay_depends_on_the_seed_and_not_on_the_order(pairs: list[tuple[str, str, str]]) -> None:
    assert {context for context, _ in on_disk(pairs, 4, 7)} == {context for context, _ in on_disk(sorted(pairs), 4, 7)}


def test_seeds_choose_differently() -> None:
    pairs = [(f"context {at}", "question", "answer") for at in range(20)]
    assert len({tuple(context for context, _ in on_disk(pairs, 5, seed)) for seed in range(8)}) > 4


def test_what_a_cap_leaves_out_is_counted() -> None:
    with Grouping() as store:
        for at in range(6):
            for number in range(at):
                store.add(f"context {at}", f"question {number // 2}", "answer", place=at)
        places: list[int] = []
        assert [group.context for group in store.groups(2, 0, places.append)] == ["context 4", "context 5"]
        assert (store.capped.groups, store.capped.pairs) == (3, 1 + 1 + 2)
        assert places == [2, 3, 4, 4, 5, 5]


def test_memory_stays_flat_and_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grouping, "REMEMBERED", 100)
    monkeypatch.setattr(grouping, "BATCH", 100)

    def peak(number: int) -> int:
        tracemalloc.start()
        with Grouping(tmp_path / "pairs.sqlite") as store:
            for at in range(number):
                store.add(f"{at % (number // 2)} {'context ' * 50}", f"question {at}", "answer")
            assert sum(len(group.pairs) for group in store.groups(10)) == 20
        held = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return held

    assert peak(8_000) < peak(1_000) * 1.5
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_a_killed_process_left_is_thrown_away(tmp_path: Path) -> None:
    (tmp_path / "pairs.sqlite").write_bytes(b"rubbish")
    with Grouping(tmp_path / "pairs.sqlite") as store:
        store.add("context", "question", "answer")
        assert len(list(store.groups())) == 1


def test_a_lone_surrogate_is_refused_and_the_store_goes_on() -> None:
    with Grouping() as store:
        for texts in (("a \ud800", "q", "a"), ("b", "q \ud800", "a"), ("a", "q", "\ud800")):
            with pytest.raises(UnicodeEncodeError):
                store.add(*texts)
        store.add("a", "q", "a")
        assert [(group.context, group.pairs) for group in store.groups()] == [("a", [("q", "a")])]
