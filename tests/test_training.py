"""The rooms of training/ that can be held to something without training: what they draw, weigh, point at and grow."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import islice

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM

from hub_instructpt.engines.local import TINY_SYNTHESIZER
from training import grow as growing
from training.asking import rough
from training.examples import FURTHER, STAGES, Source, Stage
from training.grow import grow
from training.model import GUIDED, HeadLoss, build_model, loss_of
from training.passages import Example, Pair, passages, plain_passages

TEXT = (
    "The Marble Creek Library opened in 1907 and holds 42,000 books. Mary Ellis, the first librarian, worked there for"
    " thirty years. In winter the reading room was heated by two iron stoves from Sheffield."
)
ITEM = Example(TEXT, [Pair("When did it open?", "1907", TEXT.find("1907")), Pair("Who worked?", "Mary Ellis", 65)])


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(TINY_SYNTHESIZER / "tokenizer.json"))


@pytest.fixture(scope="module")
def source(tokenizer: Tokenizer) -> Source:
    source = Source.__new__(Source)  # without the data sets
    source.tokenizer, source.rng, source.decks, source.weights = tokenizer, random.Random(0), {}, {"squad": 1.0}
    source.raw = plain_passages([TEXT, TEXT[:63]], lambda parts: [len(part) // 4 for part in parts])
    record = {"context": TEXT, "QA_list": [{"Q": pair.question, "A": pair.answer} for pair in ITEM.pairs]}
    source.sets = {"squad": passages([record], lambda parts: [len(part) // 4 for part in parts])}
    return source


@pytest.fixture
def small() -> Iterator[LlamaForCausalLM]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield build_model(4096, hidden=48, layers=4, heads=3, inner=64).eval()


@given(st.integers(0, 10_000))
def test_a_rough_question_has_its_answer_in_the_text_and_not_in_itself(seed: int) -> None:
    for pair in rough(TEXT, random.Random(seed)).pairs:
        assert TEXT[pair.start : pair.start + len(pair.answer)] == pair.answer
        assert pair.question.endswith("?")
        assert len(pair.question.split()) > 2
        before, after = TEXT[: pair.start], TEXT[pair.start + len(pair.answer) :]
        neighbours = before[-1:] + after[:1]
        assert not any(map(str.isalnum, neighbours)), f"{pair.answer!r} is cut out of a word"


def test_a_row_is_the_wire_format_and_its_places_are_those_of_the_answers(source: Source, tokenizer: Tokenizer) -> None:
    ids, weights, points = source.encode(ITEM, False, STAGES[-1])
    whole = (
        f"<s> <CON> {TEXT} </CON>\n\n<QUE> When did it open? <ANS> 1907 </END>\n\n"
        "<QUE> Who worked? <ANS> Mary Ellis </END></s>"
    )
    assert ids == tokenizer.encode(whole, add_special_tokens=False).ids
    assert len(weights) == len(ids)
    assert {weight for weight in weights if weight < 1} == {STAGES[-1].context_weight}
    for (asking, answer), pair in zip(points, ITEM.pairs, strict=True):
        assert tokenizer.decode([ids[asking]]) == "<ANS>"
        assert pair.answer.startswith(tokenizer.decode([ids[answer]]).strip())


def test_where_only_answers_are_learned_no_question_has_weight(source: Source, tokenizer: Tokenizer) -> None:
    ids, weights, _ = source.encode(ITEM, True, FURTHER[0])
    learned = tokenizer.decode([i for i, weight in zip(ids, weights, strict=True) if weight >= 1])
    assert learned.replace(" ", "") == "1907</END>MaryEllis</END>"
    assert max(weights) == FURTHER[0].answer_weight


@pytest.mark.parametrize("stage", [STAGES[0], STAGES[2], FURTHER[0], FURTHER[-1]])
def test_a_batch_keeps_to_its_size_and_points_at_answers(source: Source, tokenizer: Tokenizer, stage: Stage) -> None:
    for ids, weights, points in islice(source.batches(stage, 256, 512), 6):
        assert ids.shape == weights.shape
        assert ids.numel() <= 256 or len(ids) == 1
        assert len(points) >= len(ids)
        for row, asking, answer in points.tolist():
            assert tokenizer.decode([int(ids[row, asking])]) == "<ANS>"
            said, there = (tokenizer.decode([int(ids[row, at])]).strip() for at in (asking + 1, answer))
            assert said.startswith(there) or there.startswith(said)


def test_the_heads_gradients_are_those_of_a_weighted_cross_entropy() -> None:
    torch.manual_seed(1)
    hidden, head = torch.randn(5, 8, requires_grad=True), torch.randn(11, 8, requires_grad=True)
    targets, weights = torch.tensor([1, 2, 3, 4, 10]), torch.tensor([1.0, 3.0, 1.0, 1.0, 2.0])
    plain = torch.nn.functional.cross_entropy(hidden @ head.t(), targets, reduction="none")
    wanted = torch.autograd.grad((plain * weights).mean(), (hidden, head))
    loss, losses = HeadLoss.apply(hidden, head, targets, weights)
    torch.testing.assert_close(losses, plain)
    for found, expected in zip(torch.autograd.grad(loss, (hidden, head)), wanted, strict=True):
        torch.testing.assert_close(found, expected)


def test_a_grown_network_computes_the_same_until_its_new_heads_are_set(
    small: LlamaForCausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = torch.randint(9, 4096, (1, 60))
    share = torch.full((4096,), 1 / 4096)
    big = grow(small, share).eval()
    with torch.inference_mode():
        assert (big(ids).logits - small(ids).logits).abs().max() > 1e-3
        monkeypatch.setattr(growing, "_look_back", lambda *_: None)
        monkeypatch.setattr(growing, "_look_up", lambda *_: None)
        torch.testing.assert_close(grow(small, share).eval()(ids).logits, small(ids).logits, atol=1e-3, rtol=1e-3)


def test_pointing_is_the_attention_of_the_heads_that_are_guided(small: LlamaForCausalLM) -> None:
    ids, weights = torch.randint(9, 4096, (2, 40)), torch.ones((2, 40))
    points = torch.tensor([(0, 30, 4), (1, 39, 17), (1, 12, 2)])
    loss, _, _, pointed = loss_of(small, ids, weights, points, guidance=1.0)
    small.set_attn_implementation("eager")
    attentions = small(ids, output_attentions=True).attentions
    wanted = [-attentions[n][row, -1, at, to].log().item() for n in GUIDED for row, at, to in points.tolist()]
    assert pointed == pytest.approx(sum(wanted) / len(wanted), rel=1e-4)
    loss.backward()
    assert small.model.layers[GUIDED[-1]].self_attn.k_proj.weight.grad[-16:].abs().sum() > 0
