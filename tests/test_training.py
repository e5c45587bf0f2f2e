"""The rooms of training/ that can be held to something without training: what they draw, weigh and start from."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import AutoModelForCausalLM, BertConfig, BertModel, OPTConfig, OPTForCausalLM

from hub_instructpt.engines.local import TINY_SYNTHESIZER
from training.asking import rough
from training.encoder import from_encoder
from training.evaluate_tiny import figures
from training.examples import COPIED, FIRST_WEIGHT, FOUND, MADE_WEIGHT, STAGES, Source, Stage
from training.export import install
from training.model import GUIDED, build_optimizer, loss_of
from training.passages import Example, Pair
from training.run import Run
from training.speed import Dropout, use_whole_rows
from training.start import FIND, head_start
from training.strange import MOST, strange
from training.tokenizer import train_tokenizer

TEXT = (
    "The Marble Creek Library opened in 1907 and holds 42,000 books. Mary Ellis, the first librarian, worked there for"
    " thirty years. In winter the reading room was heated by two iron stoves from Sheffield."
)
ASKED = (("When did it open?", "1907"), ("Who worked?", "Mary Ellis"))
ITEM = Example(TEXT, [Pair(question, answer, TEXT.find(answer)) for question, answer in ASKED])


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(TINY_SYNTHESIZER / "tokenizer.json"))


@pytest.fixture(scope="module")
def source(tokenizer: Tokenizer) -> Source:
    record = {"context": TEXT, "QA_list": [{"Q": pair.question, "A": pair.answer} for pair in ITEM.pairs]}
    return Source(tokenizer, {"squad": [record]}, [TEXT, TEXT[:63]])


@pytest.fixture
def small(tokenizer: Tokenizer) -> Iterator[OPTForCausalLM]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = OPTConfig(
            vocab_size=tokenizer.get_vocab_size(),
            hidden_size=48,
            word_embed_proj_dim=24,
            ffn_dim=64,
            num_hidden_layers=5,
            num_attention_heads=12,
            max_position_embeddings=512,
            do_layer_norm_before=False,
            dropout=0.0,
            pad_token_id=3,
        )
        yield OPTForCausalLM(config).eval()


@given(st.integers(0, 10_000))
def test_a_rough_question_has_its_answer_in_the_text_and_not_in_itself(seed: int) -> None:
    for pair in rough(TEXT, random.Random(seed)).pairs:
        assert TEXT[pair.start : pair.start + len(pair.answer)] == pair.answer
        assert pair.question.endswith("?")
        assert len(pair.question.split()) > 2
        before, after = TEXT[: pair.start], TEXT[pair.start + len(pair.answer) :]
        neighbours = before[-1:] + after[:1]
        assert not any(map(str.isalnum, neighbours)), f"{pair.answer!r} is cut out of a word"


@given(st.integers(0, 10_000))
def test_a_strange_word_stands_wherever_the_word_stood_and_answers_stay_literal(seed: int) -> None:
    stoves = "two iron stoves from Sheffield"
    pairs = [*ITEM.pairs, Pair("What was the reading room heated by?", stoves, TEXT.find(stoves))]
    made = strange(Example(TEXT, pairs), random.Random(seed))
    assert made == strange(Example(TEXT, pairs), random.Random(seed))
    for pair, before in zip(made.pairs, pairs, strict=True):
        assert made.context[pair.start : pair.start + len(pair.answer)] == pair.answer
        assert len(pair.answer.split()) == len(before.answer.split())
    gone = set(re.findall(r"\w+", TEXT)) - set(re.findall(r"\w+", made.context))
    assert 0 < len(gone) <= MOST
    assert not any(word in f"{pair.question} {pair.answer}" for word in gone for pair in made.pairs)
    assert len(made.context.split()) == len(TEXT.split())


def test_where_no_word_can_be_strange_an_example_stays_as_it_is() -> None:
    for item in (Example(TEXT, []), Example("Mary's is the old Mary.", [Pair("Who is old?", "Mary", 0)])):
        assert strange(item, random.Random(1)) == item


def test_a_row_is_the_wire_format_and_its_places_are_those_of_the_answers(source: Source, tokenizer: Tokenizer) -> None:
    ids, weights, points = source.encode([ITEM], False, STAGES[-1])
    whole = (
        f"<s> <CON> {TEXT} </CON>\n\n<QUE> When did it open? <ANS> 1907 </END>\n\n"
        "<QUE> Who worked? <ANS> Mary Ellis </END></s>"
    )
    assert ids == tokenizer.encode(whole, add_special_tokens=False).ids
    assert len(weights) == len(ids)
    assert {weight for weight in weights if weight < 1} == {STAGES[-1].context_weight}
    assert weights[-1] == 1.0, "here it is learned where to end"
    assert source.encode([replace(ITEM, pairs=ITEM.pairs[:1])], False, STAGES[-1])[1][-1] == 0.0, "here it is not"
    found = [point for point in points if point[2] == FOUND]
    for (asking, answer, _), pair in zip(found, ITEM.pairs, strict=True):
        assert tokenizer.decode([ids[asking]]) == "<ANS>"
        assert pair.answer.startswith(tokenizer.decode([ids[answer]]).strip())


def test_where_only_answers_are_learned_no_question_has_weight(source: Source, tokenizer: Tokenizer) -> None:
    ids, weights, _ = source.encode([ITEM], True, STAGES[1])
    learned = tokenizer.decode([i for i, weight in zip(ids, weights, strict=True) if weight >= 1])
    assert learned.replace(" ", "") == "1907</END>MaryEllis</END>"
    assert max(weights) == FIRST_WEIGHT


def test_examples_in_a_row_are_what_is_asked_in_a_chain(source: Source, tokenizer: Tokenizer) -> None:
    ids, weights, points = source.encode([ITEM, ITEM], False, STAGES[-1])
    one = source.encode([ITEM], False, STAGES[-1])
    assert ids == one[0] * 2
    assert weights == one[1] * 2
    assert points == one[2] + [(a + len(one[0]), b + len(one[0]), kind) for a, b, kind in one[2]]


def test_what_a_plain_question_copies_is_pointed_at_where_it_stands(source: Source, tokenizer: Tokenizer) -> None:
    pair = Pair("The Marble Creek Library opened in what year and holds 42,000 books?", "1907", TEXT.find("1907"))
    ids, weights, points = source.encode([Example(TEXT, [pair])], False, STAGES[-1])
    copied = [(asking, place) for asking, place, kind in points if kind == COPIED]
    assert all(ids[asking + 1] == ids[place] for asking, place in copied)
    said = tokenizer.decode([ids[asking + 1] for asking, _ in copied])
    assert said.split()[:6] == ["The", "Marble", "Creek", "Library", "opened", "in"]
    assert "and holds 42,000 books" in said
    assert "what" not in said
    made = tokenizer.decode([i for i, weight in zip(ids, weights, strict=True) if weight == MADE_WEIGHT])
    assert made.split() == ["what", "year?"]


@pytest.mark.parametrize("stage", STAGES)
def test_a_batch_keeps_to_its_size_and_points_at_answers(source: Source, tokenizer: Tokenizer, stage: Stage) -> None:
    for ids, weights, points in islice(source.batches(stage, 256, 512), 6):
        assert ids.shape == weights.shape
        assert ids.numel() <= 256 or len(ids) == 1
        assert len(points) >= len(ids)
        for row, asking, place, kind in points.tolist():
            assert (tokenizer.decode([int(ids[row, asking])]) == "<ANS>") == (kind == FOUND)
            said, there = (tokenizer.decode([int(ids[row, at])]).strip() for at in (asking + 1, place))
            assert said == there if kind == COPIED else said.startswith(there) or there.startswith(said)


def test_pointing_is_the_attention_of_the_heads_that_are_guided(small: OPTForCausalLM) -> None:
    ids, weights = torch.randint(9, 4096, (2, 40)), torch.ones((2, 40))
    points = torch.tensor([(0, 30, 4, FOUND), (1, 39, 17, FOUND), (1, 12, 2, COPIED)])
    loss, losses = loss_of(small, ids, weights, points, guidance=1.0)
    small.set_attn_implementation("eager")
    attentions = small(ids, output_attentions=True).attentions
    for name, kind in (("finding", FOUND), ("copying", COPIED)):
        places = [point for point in points.tolist() if point[3] == kind]
        wanted = [
            -torch.stack([attentions[layer][row, heads, at, to].log().mean() for row, at, to, _ in places])
            .mean()
            .item()
            for layer, heads in GUIDED[kind].items()
        ]
        assert losses[name] == pytest.approx(sum(wanted) / len(wanted), rel=1e-4)
    loss.backward()
    assert small.model.decoder.layers[3].self_attn.k_proj.weight.grad[-16:].abs().sum() > 0


def test_attention_of_whole_rows_is_the_models_own(small: OPTForCausalLM) -> None:
    other = OPTForCausalLM(small.config).eval()
    other.load_state_dict(small.state_dict())
    use_whole_rows(other)
    ids = torch.randint(9, 4096, (3, 48))
    outputs = [model(ids).logits for model in (small, other)]
    torch.testing.assert_close(*outputs)
    for logits in outputs:
        logits.square().mean().backward()
    for mine, theirs in zip(small.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad)


def test_dropout_drops_its_share_in_training_only(small: OPTForCausalLM) -> None:
    dropout, layer = Dropout(small), small.model.decoder.layers[2].fc2
    ones = torch.ones(1000, 64)
    with torch.no_grad():
        whole = layer(ones)
        dropout.rate = 0.25
        assert layer(ones).equal(whole)
        small.train()
        dropped = layer(ones)
    gone = dropped == 0
    assert gone.float().mean().item() == pytest.approx(0.25, abs=0.01)
    assert gone.float().mean(0).std().item() < 0.05, "everywhere alike"
    torch.testing.assert_close(dropped[~gone], (whole / 0.75)[~gone])


def test_a_run_that_was_stopped_goes_on_where_it_was_saved(
    source: Source, small: OPTForCausalLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved_as = tmp_path / "runs" / "model.run"
    last: dict[str, torch.Tensor] = {}
    save = Run.save

    def stopped_at_the_third(run: Run, path: Path) -> None:
        save(run, path)
        if run.steps == 3:
            last.update({name: value.clone() for name, value in run.model.state_dict().items()})
            raise KeyboardInterrupt

    monkeypatch.setattr("training.run.SAVED_EVERY", -1.0)
    monkeypatch.setattr(Run, "save", stopped_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        Run(small, build_optimizer(small, 1e-3), {"--seed": "0"}).train(source, 600.0, saved_as, 256, 512, 0.0, 1.0)
    assert last

    other = OPTForCausalLM(small.config)
    again = Run(other, build_optimizer(other, 1e-3), {"--seed": "0"})
    again.go_on_from(saved_as)
    assert all(value.equal(last[name]) for name, value in other.state_dict().items())
    assert again.optimizer.state_dict()["state"][0]["step"] == again.steps == 3
    before, tokens = again.seconds, again.tokens
    again.train(source, before + 0.01, saved_as, 256, 512, 0.0, 1.0)
    assert again.seconds >= before + 0.01
    assert again.tokens > tokens

    third = Run(small, build_optimizer(small, 1e-3), {"--seed": "0"})
    third.go_on_from(saved_as)
    assert (third.steps, third.seconds) == (again.steps, again.seconds), "the end is saved"
    third.train(source, before + 0.01, saved_as, 256, 512, 0.0, 1.0)
    assert third.steps == again.steps, "what is over is not begun again"
    assert [path.name for path in saved_as.parent.iterdir()] == ["model.run"]
    with pytest.raises(ValueError, match="another --seed: delete it"):
        Run(other, build_optimizer(other, 1e-3), {"--seed": "1"}).go_on_from(saved_as)


SYLLABLES = [consonant + vowel for consonant in "bdfglmnprstvzk" for vowel in "aeiou"]
WORDS = [first + second for first in SYLLABLES[:32] for second in SYLLABLES[:32] if first != second]


@pytest.fixture(scope="module")
def vocabulary() -> Tokenizer:
    """Each word of `WORDS` is a token, with a space before it or without."""
    text = " ".join(WORDS)
    return train_tokenizer([text] * 9, 4000)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT with weights by chance, but for a head of its first layer that looks one place back."""
    folder = tmp_path_factory.mktemp("encoder")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "passage", "question", "answer", ".", *WORDS]
    theirs = Tokenizer(models.WordPiece({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    theirs.normalizer = normalizers.BertNormalizer()
    theirs.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    theirs.save(str(folder / "tokenizer.json"))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=len(words),
            hidden_size=384,
            num_hidden_layers=4,
            intermediate_size=64,
            max_position_embeddings=256,
        )
        model = BertModel(config)
        first = model.encoder.layer[0].attention.self
        places, _ = torch.linalg.qr(torch.randn(384, 256))
        mixing = torch.randn(384, first.attention_head_size)
    with torch.no_grad():
        model.embeddings.word_embeddings.weight.normal_(0, 0.05)
        model.embeddings.position_embeddings.weight.copy_(places.t())
        first.query.weight[: mixing.shape[1]] = mixing.t()
        first.key.weight[: mixing.shape[1]] = mixing.t() @ places.roll(-1, 1) @ places.t()
    model.save_pretrained(folder)
    return folder


def test_a_decoder_computes_the_layers_of_the_encoder_it_is_made_of(encoder: Path, vocabulary: Tokenizer) -> None:
    """A single token sees only itself in both: there the causal mask changes nothing."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = from_encoder(encoder, vocabulary, torch.ones(vocabulary.get_vocab_size()), 2, 320, 600).eval()
    theirs = BertModel.from_pretrained(encoder).eval()
    ids = vocabulary.encode(f" {WORDS[7]}", add_special_tokens=False).ids
    assert len(ids) == 1
    number = Tokenizer.from_file(str(encoder / "tokenizer.json")).token_to_id(WORDS[7])
    seen: list[torch.Tensor] = []
    made.model.decoder.project_out.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    with torch.inference_mode():
        wanted = theirs(torch.tensor([[number]]), output_hidden_states=True).hidden_states[2]
        made(torch.tensor([ids]))
    assert torch.cosine_similarity(seen[0][0, 0], wanted[0, 0], dim=0) > 0.9
    table = made.model.decoder.embed_positions
    assert table.weight[table.offset + 256 + 5].equal(table.weight[table.offset + 5]), "positions come again"


def test_from_the_start_heads_copy_and_look_near_the_words_of_a_question(encoder: Path, vocabulary: Tokenizer) -> None:
    rng = random.Random(0)

    def row() -> tuple[list[int], int, int]:
        words = rng.sample(WORDS, 100)
        at = rng.randrange(5, 90)
        asked = rng.sample(words[at - 5 : at + 5], 5)
        text = f"<s> <CON> {' '.join(words)} </CON>\n\n<QUE> {' '.join(asked)} <ANS>"
        ids = vocabulary.encode(text, add_special_tokens=False).ids
        return ids, ids.index(vocabulary.encode(f" {words[at]}", add_special_tokens=False).ids[0]), len(ids) - 1

    with torch.random.fork_rng():
        torch.manual_seed(0)
        shares = torch.linspace(1e-3, 1e-5, vocabulary.get_vocab_size())
        model = from_encoder(encoder, vocabulary, shares, 4, 192, 256)
        head_start(model, [row()[0] for _ in range(24)], shares, vocabulary.token_to_id("<ANS>"))
    model.set_attn_implementation("eager")
    model.eval()
    near = chance = copied = 0.0
    for ids, place, last in (row() for _ in range(12)):
        with torch.inference_mode():
            attentions = model(torch.tensor([ids]), output_attentions=True).attentions
        near += attentions[3][0, -1, last, place - 10 : place + 11].sum().item() / 12
        chance += 21 / len(ids) / 12
        word = last - 3  # one of the question, whose place in the text is known
        copied += attentions[1][0][:, word, ids.index(ids[word]) + 1].sort().values[-FIND:].mean().item() / 12
    assert copied > 0.3
    assert near > 1.2 * chance


def test_what_is_written_is_loaded_by_transformers_as_it_is(
    small: OPTForCausalLM, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    install(small, tokenizer, folder)
    (folder / "README.md").write_text("by hand", encoding="utf-8")
    install(small, tokenizer, folder)
    assert (folder / "README.md").read_text(encoding="utf-8") == "by hand"
    assert {path.name for path in tmp_path.iterdir()} == {"model"}
    stored = load_file(folder / "model.safetensors")
    assert {str(value.dtype) for value in stored.values()} == {"torch.float8_e4m3fn"}
    for asked in ({}, {"dtype": torch.float32}):
        loaded = AutoModelForCausalLM.from_pretrained(folder, **asked)
        assert {value.dtype for value in loaded.parameters()} == {torch.float32}
        for name, value in loaded.state_dict().items():
            wanted = stored["model.decoder.embed_tokens.weight" if name == "lm_head.weight" else name]
            assert value.equal(wanted.float()), name


def test_what_is_measured_counts_what_a_reader_would() -> None:
    completions = [
        "<QUE> It opened when? <ANS> 1907 </END>\n\n<QUE> It was opened? <ANS> Elm Street </END>"
        "\n\n<QUE> It was opened? <ANS> 1907 </END>",
        "<QUE> Who worked? <ANS> Mary </END>\n\n<QUE> cut",
        "nothing",
        "<QUE> Somewhat late? <ANS> 1907 </END>",
    ]
    assert figures([TEXT] * 4, completions) == {
        "contexts": 4, "with a pair": 0.75, "with two pairs": 0.25, "pairs a context": 1.0, "literal answers": 0.75,
        "repeated questions": 0.2, "questions that do not ask": 0.5,
    }  # fmt: skip
