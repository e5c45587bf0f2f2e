"""Which tokens carry loss: the pairs with their end markers and the end of the sequence, and nothing else.

Held by a golden file to look at, by what an engine sends for the same context, and by hypothesis.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub_instructpt.engines.local_model import load
from hub_instructpt.errors import SettingsError
from hub_instructpt.markup import format_context, format_pairs, format_prompt, parse_pairs
from hub_instructpt.records import Example
from hub_instructpt.tuning.encoding import Encoder
from hub_instructpt.tuning.packing import pack
from hub_instructpt.tuning.store import NO_LOSS, Store, make
from tests.conftest import ROOT
from tests.tuning import tokenizers

GOLDEN = ROOT / "tests" / "golden" / "tuning" / "batch.txt"
LIBRARY: Example = {
    "context": "Marble Creek Library opened in 1907. It lends about 300 a day.",
    "pairs": [
        {"instruction": "When did it open?", "response": "1907"},
        {"instruction": "How many in ten days?\nLet's think step by step.",
         "response": "300 a day make 3000.\nTherefore, the answer is 3000"},
    ],
}  # fmt: skip
MUSEUM: Example = {
    "context": "A </END> in a text, and <s>: the museum closed.",
    "pairs": [{"instruction": "Is it open?\nOptions:\n- yes\n- no", "response": "no"}],
}
MAKERS = [tokenizers.bundled, tokenizers.greedy, tokenizers.pieces]
LETTERS = st.text(st.sampled_from("abc <>/\n.ENDé☂"), min_size=1, max_size=25).filter(lambda text: text.strip() != "")
EXAMPLE = st.builds(
    lambda context, pairs: {"context": context, "pairs": [{"instruction": q, "response": a} for q, a in pairs]},
    LETTERS,
    st.lists(st.tuples(LETTERS, LETTERS), min_size=1, max_size=4),
)


@pytest.fixture(scope="module", params=MAKERS, ids=lambda maker: maker.__name__)
def tokenizer(request: pytest.FixtureRequest) -> Any:
    return request.param()


def test_a_batch_shows_exactly_which_tokens_carry_loss(tmp_path: Path) -> None:
    """Two sequences of one store, padded as the model gets them: a line a token, `+` where there is loss."""
    from hub_instructpt.tuning.batches import Collator, Sequences

    tokenizer = tokenizers.bundled()
    encoder = Encoder(tokenizer, 512)
    encoded = [each for each in encoder.encode([LIBRARY, MUSEUM, LIBRARY]) if each is not None]
    store = make(tmp_path / "tokens", "key", [("train/x", each) for each in encoded], encoder.counts)
    rows = Sequences(store, [("train/x", (0, 1)), ("train/x", (2,))])
    batch = Collator(tokenizer.pad_token_id)([rows[0], rows[1]])
    lines = []
    for ids, labels, mask in zip(batch["input_ids"], batch["labels"], batch["attention_mask"], strict=True):
        for token, label, seen in zip(ids.tolist(), labels.tolist(), mask.tolist(), strict=True):
            assert label in (NO_LOSS, token)
            assert seen or label == NO_LOSS
            mark = "·" if not seen else " " if label == NO_LOSS else "+"
            lines.append(f"{mark} {tokenizer.convert_ids_to_tokens(token)}")
        lines.append("")
    text = "\n".join(lines)
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(text, "utf-8")
    assert GOLDEN.read_text("utf-8") == text
    learnt = [[token for token in row if token != NO_LOSS] for row in batch["labels"].tolist()]
    wanted = [format_pairs(LIBRARY["pairs"]) + "</s>" + format_pairs(MUSEUM["pairs"]) + "</s>",
              format_pairs(LIBRARY["pairs"]) + "</s>"]  # fmt: skip
    assert [tokenizer.decode(row) for row in learnt] == wanted
    assert tokenizer.decode(batch["input_ids"][0].tolist()) == (
        format_prompt("", [LIBRARY, MUSEUM]).removesuffix("<s>")
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(EXAMPLE, min_size=1, max_size=4))
@pytest.mark.parametrize("maker", [tokenizers.bundled, tokenizers.greedy], ids=lambda maker: maker.__name__)
def test_before_the_bar_stands_the_prompt_and_after_it_the_pairs(
    maker: Callable[[], Any], examples: list[Example]
) -> None:
    tokenizer = _CACHE.setdefault(maker, maker())
    encoder = Encoder(tokenizer, 4096)
    for example, encoded in zip(examples, encoder.encode(examples), strict=True):
        assert encoded is not None
        prompt = format_context(example["context"], bos=encoder.bos, extra=encoder.extra)
        pairs = format_pairs(example["pairs"], encoder.extra) + encoder.eos
        assert encoded.ids[: encoded.bar] == tokenizer(prompt, add_special_tokens=False)["input_ids"]
        assert tokenizer.decode(encoded.ids[: encoded.bar]) == prompt
        assert tokenizer.decode(encoded.ids[encoded.bar :]) == pairs
        ends = [at for at, token in enumerate(encoded.ids) if token == tokenizer.eos_token_id]
        assert ends[-1] == len(encoded.ids) - 1
        # What a text says can forge neither the begin nor the end: those there are were written by us.
        bos_is_eos = tokenizer.bos_token_id == tokenizer.eos_token_id
        assert len(ends) == 1 + bos_is_eos
        assert encoded.ids.count(tokenizer.bos_token_id) == 1 + bos_is_eos


_CACHE: dict[Any, Any] = {}


def test_what_is_learnt_is_what_an_engine_asks_for() -> None:
    """The ids before the bar are those that the in-process engine makes of the prompt, BOS and all."""
    engine = load(str(ROOT / "hub_instructpt" / "tiny_synthesizer"), None, "cpu")
    encoder = Encoder(engine.tokenizer, 4096)
    first, second = encoder.encode([LIBRARY, MUSEUM])
    assert first is not None
    assert second is not None
    special = engine.tokenizer.all_special_tokens
    zero_shot = format_prompt(MUSEUM["context"], special_tokens=special)
    few_shot = format_prompt(MUSEUM["context"], [LIBRARY], special_tokens=special)
    assert engine.encode(zero_shot) == second.ids[: second.bar]
    assert engine.encode(few_shot) == first.ids + second.ids[: second.bar]
    assert parse_pairs(engine.tokenizer.decode(first.ids[first.bar :], skip_special_tokens=True)) == LIBRARY["pairs"]


def test_a_token_never_straddles_the_bar_and_it_is_counted() -> None:
    tokenizer = tokenizers.greedy()
    joined = tokenizer.convert_ids_to_tokens(tokenizer("\n\n<QUE>", add_special_tokens=False)["input_ids"])
    assert joined[0] == "ĊĊ<"
    encoder = Encoder(tokenizer, 4096)
    (encoded,) = encoder.encode([LIBRARY])
    assert encoded is not None
    tokens = tokenizer.convert_ids_to_tokens(encoded.ids)
    assert (tokens[encoded.bar - 1], tokens[encoded.bar]) == ("ĊĊ", "<")
    assert "ĊĊ<" in tokens[encoded.bar :]  # between two pairs it is as the tokenizer would have it
    assert encoder.counts["examples/tokenised_apart"] == 1
    plain = Encoder(tokenizers.bundled(), 4096)
    plain.encode([LIBRARY, MUSEUM])
    assert plain.counts["examples/tokenised_apart"] == 0


def test_every_kind_of_tokenizer_gives_ids_that_read_as_the_text(tokenizer: Any) -> None:
    encoder = Encoder(tokenizer, 4096)
    for example, encoded in zip([LIBRARY, MUSEUM], encoder.encode([LIBRARY, MUSEUM]), strict=True):
        assert encoded is not None
        pairs = tokenizer.decode(encoded.ids[encoded.bar :], skip_special_tokens=True)
        assert parse_pairs(pairs) == example["pairs"]


def test_what_does_not_fit_is_cut_or_left_out_and_counted() -> None:
    tokenizer = tokenizers.bundled()
    begin, end = "The mill was built in 1811.", "The tower was built in 1866."
    long: Example = {
        "context": f"{begin}{' Nothing else happened there for a year.' * 60} {end}",
        "pairs": [
            {"instruction": "When was the mill built?", "response": "1811"},
            {"instruction": "When was the tower built?", "response": "1866"},
            {"instruction": "Is it far?", "response": "one can not tell"},
        ],
    }
    many: Example = {
        "context": begin,
        "pairs": [{"instruction": f"Question {n}?", "response": f"answer {n}"} for n in range(60)],
    }
    hopeless: Example = {"context": begin, "pairs": [{"instruction": "Why?", "response": "why " * 400}]}
    lost: Example = {"context": long["context"], "pairs": [long["pairs"][1]]}
    encoder = Encoder(tokenizer, 256)
    found = encoder.encode([long, many, hopeless, lost])
    assert found[0] is not None
    assert found[1] is not None
    assert found[2:] == [None, None]
    assert 200 < len(found[0].ids) <= 256
    assert 200 < len(found[1].ids) <= 256
    texts = [tokenizer.decode(each.ids) for each in found[:2] if each is not None]
    assert texts[0].startswith(f"<s> <CON> {begin}")
    assert end not in texts[0]
    assert " </CON>\n\n<QUE> When was the mill built? <ANS> 1811 </END>\n\n<QUE> Is it far?" in texts[0]
    kept = parse_pairs(tokenizer.decode(found[1].ids[found[1].bar :], skip_special_tokens=True))
    assert kept == many["pairs"][: len(kept)]
    assert encoder.counts == {
        "contexts/cut": 2,
        "pairs_left_out/answer_cut_off": 2,
        "pairs_left_out/no_room": 60 - len(kept) + 1,
        "examples_left_out/no_pair_fits": 2,
        "examples/encoded": 2,
        "tokens/all": sum(len(each.ids) for each in found[:2] if each),
        "tokens/with_loss": sum(len(each.ids) - each.bar for each in found[:2] if each),
    }


@settings(max_examples=40, deadline=None)
@given(st.lists(EXAMPLE, min_size=1, max_size=5), st.integers(24, 90))
def test_nothing_that_is_encoded_is_longer_than_it_may_be(examples: list[Example], max_length: int) -> None:
    tokenizer = _CACHE.setdefault(tokenizers.bundled, tokenizers.bundled())
    encoder = Encoder(tokenizer, max_length)
    for encoded in encoder.encode(examples):
        if encoded is None:
            continue
        assert 0 < encoded.bar < len(encoded.ids) <= max_length
        assert tokenizer.decode(encoded.ids[encoded.bar :]).startswith("<QUE> ")
        assert tokenizer.decode(encoded.ids[: encoded.bar]).endswith(" </CON>\n\n")
        assert encoded.ids[-1] == tokenizer.eos_token_id
    kept = encoder.counts["examples/encoded"] + encoder.counts["examples_left_out/no_pair_fits"]
    assert kept == len(examples)


def test_a_tokenizer_without_an_end_is_refused() -> None:
    tokenizer = tokenizers.greedy()
    tokenizer.eos_token = None
    with pytest.raises(SettingsError, match="no end-of-sequence token"):
        Encoder(tokenizer, 512)


def test_a_store_gives_back_what_was_put_in_and_knows_what_it_is_of(tmp_path: Path) -> None:
    encoder = Encoder(tokenizers.bundled(), 512)
    encoded = [each for each in encoder.encode([LIBRARY, MUSEUM, LIBRARY]) if each is not None]
    groups = ["train/a", "seen/a", "train/a"]
    make(tmp_path / "tokens", "key", zip(groups, encoded, strict=True), encoder.counts)
    store = Store(tmp_path / "tokens")
    assert store.groups == ["train/a", "seen/a"]
    assert store.lengths("train/a") == [len(encoded[0].ids), len(encoded[2].ids)]
    assert store.lengths("train/b") == []
    assert store.counts == encoder.counts
    ids, labels = store.sequence("seen/a", pack(store.lengths("seen/a"), [0], 512)[0])
    assert ids == encoded[1].ids
    assert labels == [NO_LOSS] * encoded[1].bar + encoded[1].ids[encoded[1].bar :]
    assert store.learnt("seen/a") == len(encoded[1].ids) - encoded[1].bar
