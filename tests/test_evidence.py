"""Evidence: it adds up the same in every order, says what it was given, and its file is read back or refused.

What is held: bins are exact where they say so, and never further off than they say; sums over shards are those of the
whole, however it was cut and in whatever order it was added; the samples are the same for one worker and for many, for
a run that was killed and for one that was not; a text of ten megabytes costs no more room than a short one.
"""

from __future__ import annotations

import json
import random
from dataclasses import replace
from functools import reduce
from operator import add
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub_instructpt.errors import RunError
from hub_instructpt.evidence import COARSE, FINE, NUM_SAMPLES, Evidence, Histogram, Place, Text, chosen
from hub_instructpt.runs.manifest import Manifest, ShardFacts
from tests.conftest import run_cli, topics, write_jsonl

pairs = st.lists(
    st.fixed_dictionaries({"instruction": st.text(max_size=40), "response": st.text(max_size=300)}), max_size=6
)
texts = st.lists(st.tuples(st.text(max_size=50), pairs), max_size=30)


def rows(corpus: list[tuple[str, list[dict[str, str]]]], shots: int = 1) -> list[list[Text]]:
    """Rows of so many texts each, as shards hold them; the text keeps the number of its source row."""
    numbered: list[Text] = [(at, text, made) for at, (text, made) in enumerate(corpus)]  # type: ignore[misc]
    return [numbered[at : at + shots] for at in range(0, len(numbered), shots)]


@given(values=st.lists(st.integers(0, 10**9)), bits=st.sampled_from([COARSE, FINE]))
def test_a_histogram_knows_what_it_was_given_as_exactly_as_it_says(values: list[int], bits: int) -> None:
    histogram = Histogram(bits)
    for value in values:
        histogram.add(value)
    assert (histogram.count, histogram.total, histogram.most) == (len(values), sum(values), max(values, default=0))
    for lower, number in histogram.bins.items():
        assert number == sum(lower <= value < histogram.upper(lower) for value in values)
        assert histogram.upper(lower) - lower <= max(1, lower / 2 ** (bits - 1))
    assert Histogram.parse(bits, str(histogram)) == histogram
    for share in (0.0, 0.1, 0.5, 0.9, 1.0):
        true = sorted(values)[min(len(values) - 1, max(0, -int(-share * len(values) // 1) - 1))] if values else 0
        found = histogram.quantile(share)
        assert abs(found - true) <= true / 2 ** (bits - 1)
        if true < 2**bits:
            assert found == true


@given(corpus=texts, cuts=st.lists(st.integers(1, 9), min_size=1, max_size=9), seed=st.randoms())
def test_shards_add_up_to_the_whole_in_any_order(
    corpus: list[tuple[str, list[dict[str, str]]]], cuts: list[int], seed: random.Random
) -> None:
    whole = Evidence.of(rows(corpus))
    cut, shards = list(rows(corpus)), []
    while cut:
        size = cuts[len(shards) % len(cuts)]
        shards.append(cut[:size])
        cut = cut[size:]
    made = [Evidence.of(shard) for shard in shards]
    positions = list(range(len(shards)))
    seed.shuffle(positions)
    total = reduce(add, (made[at] for at in positions), Evidence())
    assert total == replace(whole, samples=[])
    assert total.kinds.total() == sum(len(given) for _, given in corpus) == total.pairs_per_text.total
    # The same texts are sampled, wherever they lie.
    found = {shards[at][place.row][place.shot][0] for at, place in chosen(one.samples for one in made)}
    assert found == {place.row for place in whole.samples}
    assert len(found) == min(NUM_SAMPLES, sum(bool(given) for _, given in corpus))


@given(corpus=texts, shots=st.integers(1, 4))
def test_what_is_written_is_read_again(corpus: list[tuple[str, list[dict[str, str]]]], shots: int) -> None:
    evidence = Evidence.of(rows(corpus, shots))
    assert Evidence.from_dict(json.loads(json.dumps(evidence.as_dict()))) == evidence
    for place in evidence.samples:
        assert rows(corpus, shots)[place.row][place.shot][2]


@given(st.text(max_size=30) | st.text("0123456789 |:@.f", max_size=30))
def test_nonsense_is_refused(text: str) -> None:
    for parse in (lambda told: Histogram.parse(FINE, told), Place.parse):
        try:
            assert str(parse(text)) == text or parse(str(parse(text))) == parse(text)
        except ValueError:
            pass


@pytest.mark.parametrize(
    ("name", "told"),
    [("kinds", "x"), ("kinds", "free_form:"), ("kinds", "more:1"), ("samples", "x"), ("text_lengths", "1 1|1"),
     ("text_lengths", ""), ("pairs_per_text", "1 1|-1:1")],
)  # fmt: skip
def test_a_manifest_that_holds_something_else_is_refused(name: str, told: str) -> None:
    facts = Evidence().as_dict() | {name: told}
    with pytest.raises(ValueError, match="not "):
        Evidence.from_dict(facts)
    shard = ShardFacts(
        path="data/train-00000.parquet", num_rows=1, num_bytes=1, arrow_bytes=1, sha256="", source_rows=(0, 1),
        counts={}, evidence=facts,
    )  # fmt: skip
    with pytest.raises(RunError, match="the evidence of data/train-00000"):
        (shard.samples(), shard.add_evidence_to(Evidence()))


def test_long_texts_take_no_more_room() -> None:
    long = [{"instruction": "i" * 10**6, "response": "r" * 10**7}] * 3
    assert len(json.dumps(Evidence.of(rows([("t" * 10**7, long)])).as_dict())) < 500


def test_kinds_are_told_apart() -> None:
    given = [
        {"instruction": "Who?", "response": "Ada"},
        {"instruction": "Who?\nOptions:\n- Ada\n- Bob", "response": "Ada"},
        {"instruction": "How many?\nLet's think step by step.", "response": "Two.\nTherefore, the answer is 2"},
    ]
    assert Evidence.of(rows([("t", given)])).kind_counts() == [
        ("free_form", 1), ("options", 1), ("chain_of_thought", 1)
    ]  # fmt: skip


def test_a_run_gathers_it_and_so_does_one_of_other_shards(tgi: str, tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "topics.jsonl", topics(12))
    found = {}
    for size in (12, 5):
        out = tmp_path / f"out{size}"
        done = run_cli("augment", source, "--engine", tgi, "--out", out, "--rows-per-shard", size)
        assert done.returncode == 0, done.stderr
        manifest = Manifest.load(out)
        evidence = manifest.evidence
        assert evidence is not None
        assert evidence.pairs_per_text.total == evidence.kinds.total() == manifest.counts["pairs/kept"]
        assert evidence.pairs_per_text.count == manifest.counts["texts/all"] == 12
        rows = [pq.read_table(out / shard.path).to_pylist() for shard in manifest.shards]
        places = chosen(shard.samples() for shard in manifest.shards)
        found[size] = evidence, [rows[at][place.row]["source_rows"][place.shot] for at, place in places]
        assert all(rows[at][place.row]["examples"][place.shot]["pairs"] for at, place in places)
    assert found[12] == found[5]
    # A shard of an earlier version knows nothing; there is a card all the same.
    told = json.loads((out / "manifest.json").read_bytes())
    assert told["shards"][1].pop("evidence")
    (out / "manifest.json").write_text(json.dumps(told))
    assert Manifest.load(out).evidence is None
    assert run_cli("card", out).returncode == 0
