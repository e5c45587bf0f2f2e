"""Mixing: what goes into a corpus for pre-training, in which order, and in which proportions.

Held here, mostly for arbitrary parts: shares by texts and by tokens at every prefix; parts that are exhausted, begun
again or repeated in fractions; the same bytes by seed, and after being stopped anywhere; packed sequences that read
back as the texts with one BOS and one EOS each, whatever the tokenizer adds by itself; flat memory.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import tracemalloc
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub_instructpt.errors import InputError, SettingsError
from hub_instructpt.mixing.forms import Part
from hub_instructpt.mixing.manifest import MixSettings, Mixture, PartFacts
from hub_instructpt.mixing.mixer import Progress, mix_parts
from hub_instructpt.mixing.parts import parse_part
from hub_instructpt.mixing.rows import READ
from hub_instructpt.mixing.schedule import Schedule
from hub_instructpt.mixing.streams import Stream
from hub_instructpt.mixing.tokens import Tokenizer
from hub_instructpt.runs.manifest import SourceFacts
from tests.conftest import ROOT, topics

TINY = ROOT / "hub_instructpt" / "tiny_synthesizer"
WEIGHTS = st.fractions(min_value=Fraction(1, 40), max_value=50, max_denominator=40)


def part_of(name: str, texts: Sequence[Any], **asked: Any) -> Part:
    """A part whose rows are in memory."""
    facts = PartFacts(
        name=name, form="raw", columns={"text": "text"}, num_rows=len(texts),
        source=SourceFacts(kind="files", name=name), **asked,
    )  # fmt: skip
    return Part(facts, lambda seed: ({"text": text} for text in texts), *READ["raw"]({"text": "text"}))


def part_rows(folder: Path, kind: str = "data") -> list[dict[str, Any]]:
    """Rows of all shards, in order."""
    return [row for path in sorted((folder / kind).glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def content(folder: Path) -> dict[str, bytes]:
    """Every sealed file."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.parquet"))}


def told(mixture: Mixture) -> dict[str, Any]:
    """A manifest without the times in it."""
    return mixture.model_dump(exclude={"created_at", "updated_at", "seconds"})


@pytest.fixture(scope="module")
def tiny() -> Tokenizer:
    return Tokenizer("local")


# -- proportions ---------------------------------------------------------------------------------------------------


@settings(max_examples=80, deadline=None)
@given(st.data(), st.lists(WEIGHTS, min_size=1, max_size=6))
def test_shares_hold_at_every_prefix_to_within_one_text(data: st.DataObject, weights: list[Fraction]) -> None:
    schedule = Schedule(weights)
    largest = [data.draw(st.sampled_from([1, 1, 7, 300])) for _ in weights]
    rng = data.draw(st.randoms(use_true_random=False))
    following = [rng.randint(1, size) for size in largest]
    for _ in range(100):
        due = schedule.due()
        assert due
        part = schedule.first({index: following[index] for index in due})
        schedule.take(part, following[part])
        following[part] = rng.randint(1, largest[part])
        total = sum(schedule.taken)
        for index, weight in enumerate(weights):
            share = total * weight / sum(weights)
            assert schedule.taken[index] - share < largest[index]
            assert share - schedule.taken[index] <= max(largest)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=2, max_size=5))
def test_whole_shares_are_met_exactly_at_every_full_turn(weights: list[int]) -> None:
    schedule = Schedule([Fraction(weight) for weight in weights])
    for turn in range(1, 4):
        for _ in range(sum(weights)):
            schedule.take(schedule.first(dict.fromkeys(schedule.due(), 1)), 1)
        assert schedule.taken == [turn * weight for weight in weights]


@settings(max_examples=60, deadline=None)
@given(st.lists(WEIGHTS, min_size=1, max_size=4), st.integers(0, 120), st.data())
def test_a_schedule_that_goes_on_takes_the_turns_it_would_have_taken(
    weights: list[Fraction], pause: int, data: st.DataObject
) -> None:
    sizes = data.draw(st.lists(st.integers(1, 40), min_size=200, max_size=200))
    whole, halves = Schedule(weights), Schedule(weights)
    for number, size in enumerate(sizes):
        if number == pause:
            halves = Schedule(weights, halves.taken)
        for schedule in (whole, halves):
            schedule.take(schedule.first(dict.fromkeys(schedule.due(), size)), size)
        assert whole.taken == halves.taken


def test_tokens_are_shared_at_every_prefix_of_what_is_written(tmp_path: Path, tiny: Tokenizer) -> None:
    long = [row["text"] for row in topics(60, 900)]
    parts = [part_of("long", long), part_of("short", [t[:60] for t in long] * 20, weight="2")]
    mix_parts(parts, MixSettings(by="tokens", rows_per_shard=70), tmp_path / "out", tokenizer=tiny)
    taken: Counter[str] = Counter()
    largest: Counter[str] = Counter()
    rows = part_rows(tmp_path / "out")
    for row in rows:
        taken[row["source"]] += row["num_tokens"]
        largest[row["source"]] = max(largest[row["source"]], row["num_tokens"])
        for name, share in (("long", 1 / 3), ("short", 2 / 3)):
            assert abs(taken[name] - share * taken.total()) <= max(largest.values())
    assert Counter(row["source"] for row in rows)["long"] == 60
    for row in rows[:50]:
        assert row["num_tokens"] == len(tiny.encode([row["text"]])[0])


def test_a_mix_by_texts_ends_with_the_first_part_that_is_exhausted(tmp_path: Path) -> None:
    parts = [part_of("a", list("abc")), part_of("b", [f"b{n}" for n in range(100)], weight="3")]
    mixture = mix_parts(parts, MixSettings(rows_per_shard=4), tmp_path / "out")
    sources = [row["source"] for row in part_rows(tmp_path / "out")]
    assert Counter(sources) == {"a": 3, "b": 9}
    assert mixture.counts == {"texts/a": 3, "texts/b": 9}
    assert [shard.num_rows for shard in mixture.shards] == [4, 4, 4]
    assert (mixture.reached["b"].asked, mixture.reached["b"].texts_share) == (0.75, 0.75)


def test_with_stop_all_exhausted_parts_begin_again_in_another_order(tmp_path: Path) -> None:
    few = [f"few {n}" for n in range(10)]
    parts = [part_of("few", few), part_of("many", [f"many {n}" for n in range(40)])]
    mix_parts(parts, MixSettings(stop="all"), tmp_path / "out")
    rows = part_rows(tmp_path / "out")
    again = [row["text"] for row in rows if row["source"] == "few"]
    epochs = [again[start : start + 10] for start in range(0, 40, 10)]
    assert all(sorted(epoch) == few for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert len(rows) == 80


def test_a_mix_can_end_with_a_part_of_ones_choice(tmp_path: Path) -> None:
    def mixed(stop: str) -> Counter[str]:
        parts = [part_of("few", list("xy")), part_of("corpus", list("abcdefgh")), part_of("many", list("mn" * 50))]
        folder = tmp_path / stop
        mix_parts(parts, MixSettings(stop=stop), folder)
        return Counter(row["source"] for row in part_rows(folder))

    assert mixed("corpus") == {"few": 8, "corpus": 8, "many": 8}
    assert mixed("few") == mixed("first") == {"few": 2, "corpus": 2, "many": 2}


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 40), st.sampled_from(["1", "4", "1/2", "5/2", "1/100"])), min_size=1, max_size=4)
)
def test_by_repeats_every_part_is_whole_as_often_as_it_asks_and_evenly_spread(asked: list[tuple[int, str]]) -> None:
    parts = [
        part_of(f"p{index}", [f"{index}-{n}" for n in range(rows)], repeats=repeats)
        for index, (rows, repeats) in enumerate(asked)
    ]
    with tempfile.TemporaryDirectory() as folder:
        mix_parts(parts, MixSettings(by="repeats"), Path(folder))
        rows = part_rows(Path(folder))
    for index, (number, repeats) in enumerate(asked):
        whole, rest = divmod(Fraction(repeats), 1)
        counts = Counter(Counter(r["text"] for r in rows if r["source"] == f"p{index}").values())
        more = -(-rest * number // 1)
        assert counts[whole + 1] == more
        assert counts[whole] == (number - more if whole else 0)
    first_half = Counter(row["source"] for row in rows[: len(rows) // 2])
    for name, number in Counter(row["source"] for row in rows).items():
        if all(repeats != "1/100" for _, repeats in asked):
            assert abs(first_half[name] - number / 2) <= 2


def test_a_mix_ends_at_its_limit_of_texts_or_with_the_text_that_reaches_its_tokens(
    tmp_path: Path, tiny: Tokenizer
) -> None:
    texts = [row["text"] for row in topics(40, 300)]
    assert mix_parts([part_of("a", texts)], MixSettings(limit=7), tmp_path / "texts").num_texts == 7
    mix_parts([part_of("a", texts)], MixSettings(tokens=500), tmp_path / "tokens", tokenizer=tiny)
    counts = [row["num_tokens"] for row in part_rows(tmp_path / "tokens")]
    assert sum(counts[:-1]) < 500 <= sum(counts)


# -- order -----------------------------------------------------------------------------------------------------------


def test_the_seed_decides_the_order_and_nothing_else_does(tmp_path: Path) -> None:
    texts = [f"text {n}" for n in range(300)]

    def mixed(folder: str, **asked: Any) -> list[str]:
        mix_parts([part_of("a", texts)], MixSettings(**asked), tmp_path / folder)
        return [row["text"] for row in part_rows(tmp_path / folder)]

    first = mixed("first", seed=1)
    assert mixed("other shards", seed=1, rows_per_shard=7) == first != texts
    assert mixed("other seed", seed=2) != first
    assert sorted(first) == sorted(mixed("small buffer", seed=1, shuffle=20)) == sorted(texts)
    assert mixed("no shuffle", seed=1, shuffle=1) == texts


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 60), st.integers(1, 80), st.integers(0, 9))
def test_a_shuffle_loses_nothing_and_moves_no_text_further_forward_than_its_buffer(
    number: int, buffer: int, seed: int
) -> None:
    stream = Stream(part_of("a", [str(n) for n in range(number)]), seed, buffer)
    found = []
    while (item := stream.peek()) is not None:
        found.append(int(stream.pop().text))
        assert item.num_tokens == 0
    assert sorted(found) == list(range(number))
    assert all(value - place < buffer for place, value in enumerate(found))


def test_rows_without_a_text_are_counted_by_reason_and_part_even_when_they_come_last(tmp_path: Path) -> None:
    odd: list[Any] = [None, "one", "", 3, "two", "\ud800 three", "  ", None]
    mixture = mix_parts([part_of("odd", odd), part_of("even", list("abcdef"))], MixSettings(), tmp_path / "out")
    assert mixture.counts == {
        "texts/odd": 3, "texts/even": 3, "rows_rejected/null/odd": 2, "rows_rejected/empty/odd": 2,
        "rows_rejected/not_a_string/odd": 1,
    }  # fmt: skip
    assert "\ufffd three" in {row["text"] for row in part_rows(tmp_path / "out")}


# -- being stopped ---------------------------------------------------------------------------------------------------


class _Stop(Exception):
    pass


class _Stopper(Progress):
    def __init__(self, after: int) -> None:
        self.left = after

    def advance(self, texts: int, tokens: int) -> None:
        self.left -= texts
        if self.left < 0:
            raise _Stop


ASKED = [
    {"by": "texts"},
    {"by": "texts", "stop": "all", "shuffle": 5},
    {"by": "tokens", "stop": "all", "pack": 64},
    {"by": "tokens", "stop": "b", "pack": 500, "rows_per_shard": 3},
    {"by": "repeats", "pack": 7},
    {"by": "repeats", "limit": 60, "shuffle": 3},
]


def stoppable(by: str) -> list[Part]:
    """Parts of very different lengths, with rows that are left out at either end."""
    texts = [row["text"][: 20 + 37 * n % 300] for n, row in enumerate(topics(40, 400))]
    asked = ["repeats", "1/2", "4", "1"] if by == "repeats" else ["weight", "1/3", "2", "1"]
    sources: list[list[Any]] = [[None, *texts[:23]], [*texts[23:30], "", None], texts[30:]]
    return [
        part_of(name, rows, **{asked[0]: asked[n + 1]})
        for n, (name, rows) in enumerate(zip("abc", sources, strict=True))
    ]


@settings(max_examples=18, deadline=None)
@given(st.sampled_from(ASKED), st.lists(st.integers(0, 40), min_size=1, max_size=3))
def test_a_mix_stopped_anywhere_and_run_again_is_the_same_to_the_byte(
    tiny: Tokenizer, asked: dict[str, Any], stops: list[int]
) -> None:
    wanted = MixSettings(**{"rows_per_shard": 11, **asked})
    with tempfile.TemporaryDirectory() as folder:
        whole, stopped = Path(folder) / "whole", Path(folder) / "stopped"
        expected = mix_parts(stoppable(wanted.by), wanted, whole, tokenizer=tiny)
        for after in stops:
            try:
                mix_parts(stoppable(wanted.by), wanted, stopped, tokenizer=tiny, progress=_Stopper(after))
            except _Stop:
                assert not list(stopped.rglob(".*.tmp"))
        found = mix_parts(stoppable(wanted.by), wanted, stopped, tokenizer=tiny)
        assert content(stopped) == content(whole)
        assert told(found) == told(expected) == told(Mixture.load(whole))
        assert found.finished


# -- tokens and packing --------------------------------------------------------------------------------------------


def tokenizer_folder(folder: Path, kind: str) -> Path:
    """A copy of the tiny synthesizer's tokenizer that adds other special tokens by itself, or has others."""
    folder.mkdir(exist_ok=True)
    loaded = json.loads((TINY / "tokenizer.json").read_text())
    config = json.loads((TINY / "tokenizer_config.json").read_text())
    before, after = {"id": "<s>", "type_id": 0}, {"id": "</s>", "type_id": 0}
    text = {"Sequence": {"id": "A", "type_id": 0}}
    single: list[Any] = {
        "bos": [{"SpecialToken": before}, text],
        "both": [{"SpecialToken": before}, text, {"SpecialToken": after}],
        "twice": [{"SpecialToken": before}, {"SpecialToken": before}, text, {"SpecialToken": after}],
    }.get(kind, [text])
    special = {t: {"id": t, "ids": [n], "tokens": [t]} for t, n in (("<s>", 1), ("</s>", 2))}
    loaded["post_processor"] = {
        "type": "TemplateProcessing", "single": single, "pair": [*single, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": special,
    }  # fmt: skip
    if kind == "truncating":
        loaded["truncation"] = {"direction": "Right", "max_length": 5, "strategy": "LongestFirst", "stride": 0}
        loaded["padding"] = {
            "strategy": {"Fixed": 64}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 3, "pad_type_id": 0,
            "pad_token": "<pad>",
        }  # fmt: skip
    if kind == "no bos":
        config.pop("bos_token")
    if kind == "same":
        config["bos_token"] = "</s>"
    if kind == "no eos":
        config.pop("eos_token")
    (folder / "tokenizer.json").write_text(json.dumps(loaded))
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tokenizer]:
    folder = tmp_path_factory.mktemp("tokenizers")
    kinds = ("bos", "both", "twice", "none", "truncating", "no bos", "same")
    return {kind: Tokenizer(str(tokenizer_folder(folder / kind, kind))) for kind in kinds}


NASTY = st.lists(
    st.one_of(
        st.text(max_size=30).filter(str.strip),
        st.sampled_from(["</s>", "<s></s> a", "a<s>", "<pad>", "<CON> q </CON>", "é" * 40, "\x00", "a\n\n\nb  "]),
    ),
    min_size=1, max_size=25,
)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(NASTY, st.sampled_from(["bos", "both", "twice", "none", "truncating", "no bos", "same"]), st.integers(2, 40))
def test_packed_sequences_read_back_as_the_texts_with_one_bos_and_one_eos_each(
    tokenizers: dict[str, Tokenizer], texts: list[str], kind: str, length: int
) -> None:
    texts = [text for text in texts if text.strip()]
    tokenizer = tokenizers[kind]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        wanted = MixSettings(pack=length, shuffle=1, rows_per_shard=4)
        mixture = mix_parts([part_of("a", texts)], wanted, out, tokenizer=tokenizer)
        rows, sequences = part_rows(out), [row["input_ids"] for row in part_rows(out, "packed")]
    assert all(len(ids) == length for ids in sequences)
    assert [row["text"] for row in rows] == texts
    flat = [i for ids in sequences for i in ids]
    left_over = sum(row["num_tokens"] for row in rows) - len(flat)
    assert 0 <= left_over < length
    assert mixture.tokens_left_over == left_over
    # What the sequences hold is the beginning of all texts in their BOS and EOS; the rest is what was left over.
    whole = [int(i) for ids in tokenizer.encode(texts) for i in ids]
    assert flat == whole[: len(flat)]
    decode = tokenizer._loaded.backend_tokenizer.decode
    starts = [1] if kind not in ("no bos", "same") else []
    end = 0
    for row in rows:
        ids, end = whole[end : end + row["num_tokens"]], end + row["num_tokens"]
        assert ids[: len(starts)] == starts
        assert ids[-1] == 2
        inner = ids[len(starts) : -1]
        assert not {1, 2} & set(inner)
        assert decode(inner, skip_special_tokens=False) == row["text"]


def test_a_vocabulary_that_holds_the_eos_as_an_ordinary_piece_can_not_end_a_text_early(tmp_path: Path) -> None:
    from tokenizers import Tokenizer as Fast
    from tokenizers import models, pre_tokenizers

    fast = Fast(models.WordLevel({"<unk>": 0, "<s>": 1, "</s>": 2, "a": 3}, unk_token="<unk>"))
    fast.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast.save(str(tmp_path / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
    }
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    tokenizer = Tokenizer(str(tmp_path))
    assert [ids.tolist() for ids in tokenizer.encode(["a </s> a <s>", "a"])] == [[1, 3, 3, 2], [1, 3, 2]]
    assert tokenizer.count(["a </s> a <s>"]) == [4]


def test_texts_can_not_be_packed_without_an_eos_but_can_be_counted(tmp_path: Path) -> None:
    tokenizer = Tokenizer(str(tokenizer_folder(tmp_path / "t", "no eos")))
    with pytest.raises(SettingsError, match="no EOS"):
        mix_parts([part_of("a", ["b"])], MixSettings(pack=8), tmp_path / "out", tokenizer=tokenizer)
    mix_parts([part_of("a", ["b"])], MixSettings(by="tokens"), tmp_path / "out", tokenizer=tokenizer)
    assert part_rows(tmp_path / "out") == [{"text": "b", "source": "a", "num_tokens": 2}]


def test_a_copy_of_a_tokenizer_is_the_same_and_another_is_not(tmp_path: Path, tokenizers: dict[str, Tokenizer]) -> None:
    shutil.copytree(TINY, tmp_path / "copy", ignore=shutil.ignore_patterns("*.safetensors"))
    assert Tokenizer(str(tmp_path / "copy")).facts.sha256 == Tokenizer("local").facts.sha256
    assert len({tokenizer.facts.sha256 for tokenizer in tokenizers.values()} | {Tokenizer("local").facts.sha256}) >= 6


# -- memory --------------------------------------------------------------------------------------------------------


def test_memory_is_flat_however_long_the_parts_are(tmp_path: Path, tiny: Tokenizer) -> None:
    words = topics(1, 400)[0]["text"]

    def peak(number: int) -> int:
        source = part_of("a", [])
        long = Part(
            source.facts, lambda seed: ({"text": f"{n} {words}"} for n in range(number)), source.content, source.write
        )
        wanted = MixSettings(shuffle=200, rows_per_shard=700, pack=128)
        tracemalloc.start()
        mix_parts([long, part_of("b", [words] * 100)], wanted.model_copy(update={"stop": "a"}), tmp_path / str(number),
                  tokenizer=tiny)  # fmt: skip
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(100)  # what is loaded once
    assert peak(4000) < 1.3 * peak(1000)


# -- what can not be ---------------------------------------------------------------------------------------------------


def test_a_part_without_one_text_is_an_error_that_says_why(tmp_path: Path) -> None:
    for by in ("texts", "repeats"):
        with pytest.raises(InputError, match=r"part none gives no text \(2 empty, 1 null\)"):
            mix_parts([part_of("a", ["b"]), part_of("none", ["", " ", None])], MixSettings(by=by), tmp_path / by)


@given(st.text(max_size=40))
def test_any_string_is_a_part_or_a_clear_error(text: str) -> None:
    try:
        spec = parse_part(text)
    except SettingsError:
        return
    assert spec.source.strip() == spec.source != ""


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ("a.jsonl,wieght=2", "Did you mean 'weight'"),
        ("a.jsonl,form=instruction", "Did you mean 'instructions'"),
        ("a.jsonl,weight=0", "greater than 0"),
        ("a.jsonl,weight=-1", "greater than 0"),
        ("a.jsonl,repeats=0", "greater than 0"),
        ("a.jsonl,weight=nan", "no number"),
        ("a.jsonl,weight=1e999", "no number"),
        ("a.jsonl,weight=1/0", "divides by zero"),
        ("a.jsonl,weight=", "is empty"),
        ("a.jsonl,weight=1,weight=2", "twice"),
        ("a.jsonl,limit=0", "at least 1"),
        ("a.jsonl,limit=x", "no number of rows"),
        ("a.jsonl,text=a,question=b", "contradict"),
        ("a.jsonl,form=raw,question=b", "is for form=instructions"),
        ("a.jsonl,name=a b", "can not be a name"),
        (",weight=1", "names no source"),
    ],
)
def test_a_part_that_can_not_be_says_what_is_wrong_with_it(part: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        parse_part(part)


def test_commas_and_equals_signs_may_stand_in_a_path() -> None:
    spec = parse_part("dir=1/x, y.jsonl,weight=1/3,name=z")
    assert (spec.source, spec.weight, spec.name) == ("dir=1/x, y.jsonl", Fraction(1, 3), "z")
