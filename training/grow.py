"""Makes a wider network of a trained one that computes the same, and gives two of its new heads a way to look up.

A question shares words with the place in the text that answers it. For six questions in ten of SQuAD, the place whose
last twelve tokens have most of the question's, rare ones counting more, lies within a sentence of the answer. Eight
million tokens of training had not found that circuit. So one new head of the first layer starts by writing the mean of
the last tokens into the new coordinates, and one of the second by attending to places with a like mean.

Keeps true: apart from those two heads the grown network gives the same logits as the one it came from; it stays a plain
Llama with heads of one size.
Does not know: data (it is told how frequent each token is).
"""

from __future__ import annotations

import torch
from transformers import LlamaForCausalLM

from training.model import GUIDED, build_model

WINDOW = 14  # tokens that the first new head looks back over
LOOK_UP = 2.0  # how sharply the second one prefers like places
PLAIN = 0.7  # how much of what it finds is written at the start


def _widened(old: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    new = torch.zeros(shape)
    new[tuple(slice(0, size) for size in old.shape)] = old
    return new


@torch.no_grad()
def grow(small: LlamaForCausalLM, frequencies: torch.Tensor) -> LlamaForCausalLM:
    """The small model with one head more, and the coordinates that belong to it; `frequencies` are shares of tokens."""
    old = small.config
    width = old.hidden_size // old.num_attention_heads
    hidden, heads = old.hidden_size + width, old.num_attention_heads + 1
    big = build_model(old.vocab_size, hidden, old.num_hidden_layers, heads, old.intermediate_size)
    known = dict(small.named_parameters())
    shrink = (old.hidden_size / hidden) ** 0.5  # the new coordinates are zero, and the norm's mean counts them
    for name, value in big.named_parameters():
        before = known[name]
        if value.ndim == 1:
            value.fill_(before.mean() * shrink)
            value[: old.hidden_size] = before * shrink
        else:
            fresh = value.clone()
            value.copy_(_widened(before, value.shape))
            if "q_proj" in name or "k_proj" in name or "v_proj" in name:  # the new head, which writes nothing yet
                value[-width:, : old.hidden_size] = fresh[-width:, : old.hidden_size]
    _look_back(big, old.hidden_size, width, frequencies)
    _look_up(big, old.hidden_size, width)
    return big


def _look_back(model: LlamaForCausalLM, inner: int, width: int, frequencies: torch.Tensor) -> None:
    layer, embedding = model.model.layers[0], model.model.embed_tokens.weight
    scale = embedding[:, :inner].pow(2).mean().sqrt()
    constant = inner  # the first new coordinate is the same for every token: a head without bias can rely on it
    embedding[:, constant] = 2.0 * scale
    gains = layer.input_layernorm.weight
    seen = embedding / embedding.pow(2).mean(1, keepdim=True).sqrt() * gains
    height = seen[:, constant].mean()
    half = width // 2
    turns = 10000.0 ** (-torch.arange(half) / half)
    chosen = [i for i in range(half) if 0.02 < turns[i] < 0.3]
    centre = WINDOW / 2
    query, key = torch.zeros(width), torch.zeros(width)
    for i in chosen:
        size = (40.0 / len(chosen)) ** 0.5
        query[i] = size
        key[i], key[i + half] = size * torch.cos(turns[i] * centre), size * torch.sin(turns[i] * centre)
    attention = layer.self_attn
    rows = slice(-width, None)
    attention.q_proj.weight[rows] = 0
    attention.k_proj.weight[rows] = 0
    attention.q_proj.weight[rows, constant] = query / height
    attention.k_proj.weight[rows, constant] = key / height
    # Divided by how much each direction carries in running text: what every text is full of counts little.
    inside = seen[:, :inner]
    carried, axes = torch.linalg.eigh((inside * frequencies[:, None]).T @ inside)
    turned = torch.linalg.qr(torch.randn(inner, width - 1))[0]
    value = (axes / carried.sqrt()) @ turned
    attention.v_proj.weight[rows] = 0
    attention.v_proj.weight[-width + 1 :, :inner] = value.T
    found = (inside @ value * frequencies[:, None].sqrt()).pow(2).sum(0).mean().sqrt()
    attention.o_proj.weight[inner + 1 :, -width + 1 :] = torch.eye(width - 1) * (2.0 * scale * WINDOW**0.5 / found)


def _look_up(model: LlamaForCausalLM, inner: int, width: int) -> None:
    layer = model.model.layers[1].self_attn
    half = width // 2
    turns = 10000.0 ** (-torch.arange(half) / half)
    slow = [i for i in range(half) if turns[i] < 0.0032]
    places = torch.tensor([*slow, *(i + half for i in slow)])
    axes = torch.linalg.qr(torch.randn(width - 1, len(places)))[0].T  # all of them are alike
    rows = torch.arange(inner, inner + width)[places]
    layer.q_proj.weight[inner:] *= 0.1
    layer.k_proj.weight[inner:] *= 0.1
    layer.q_proj.weight[rows, inner + 1 :] = LOOK_UP * axes
    layer.k_proj.weight[rows, inner + 1 :] = LOOK_UP * axes
    for number in GUIDED:
        layer = model.model.layers[number].self_attn
        shown = torch.linalg.qr(torch.randn(inner, width))[0]
        layer.v_proj.weight[inner:, :inner] = shown.T
        layer.o_proj.weight[:inner, inner:] = PLAIN * model.model.embed_tokens.weight[:, :inner].std() * shown
