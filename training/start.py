"""A start for the tiny synthesizer's weights from which copying is learned in minutes instead of hours.

A synthesizer's words come from its context, so the circuit that finds an earlier occurrence of the current token and
repeats what followed it (the induction head) decides what it can do. From random weights that circuit appeared only
after more tokens than an hour on two cores can give. So two heads of the first layer start by looking one token back
and two of the second by matching against what the first wrote; all other weights start random. Every weight is
trained from there on. In the literature such starts go by the name of mimetic initialisation.

Keeps true: only initial values are set; the network stays a plain Llama.
Does not know: data.
"""

from __future__ import annotations

import torch
from transformers import LlamaForCausalLM

EMBEDDING_SCALE = 0.05
CONSTANT = 3.0  # of coordinate 0 of every embedding, in units of the scale: what a head without bias can rely on


@torch.no_grad()
def head_start(model: LlamaForCausalLM) -> None:
    config = model.config
    hidden, heads = config.hidden_size, config.num_attention_heads
    width = hidden // heads
    half = width // 2
    frequencies = 10000.0 ** (-torch.arange(half) / half)
    embedding = model.model.embed_tokens.weight
    embedding.normal_(0.0, EMBEDDING_SCALE)
    embedding[:, 0] = CONSTANT * EMBEDDING_SCALE

    # Two orthogonal maps that leave coordinate 0 alone: one names coordinates, the other is where "the token before"
    # is written, almost at right angles to where "this token" stands.
    def orthogonal() -> torch.Tensor:
        square = torch.zeros(hidden, hidden)
        square[1:, 1:] = torch.linalg.qr(torch.randn(hidden - 1, hidden - 1))[0]
        return square

    axes, turn, kept = orthogonal()[1:], orthogonal(), orthogonal()[1:]

    first = model.model.layers[0].self_attn
    fast = 10  # the frequencies that tell neighbours apart
    query = torch.zeros(width)
    query[:fast] = 1.9
    key = torch.zeros(width)
    key[:fast] = query[:fast] * torch.cos(frequencies[:fast])
    key[half : half + fast] = query[:fast] * torch.sin(frequencies[:fast])
    for head in (0, 1):
        rows = slice(head * width, (head + 1) * width)
        first.q_proj.weight[rows] *= 0.1
        first.k_proj.weight[rows] *= 0.1
        first.q_proj.weight[rows, 0] = query
        first.k_proj.weight[rows, 0] = key
        axis = axes[head * width : (head + 1) * width]
        first.v_proj.weight[rows] = axis
        first.o_proj.weight[:, rows] = 1.5 * EMBEDDING_SCALE * turn @ axis.T

    second = model.model.layers[1].self_attn
    slow = [i for i in range(half) if frequencies[i] < 0.004]  # hardly turned within a context
    places = torch.tensor([*slow, *(i + half for i in slow)])
    for head in (0, 1):
        rows = slice(head * width, (head + 1) * width)
        axis = axes[head * width : head * width + len(places)]
        second.q_proj.weight[rows] *= 0.1
        second.k_proj.weight[rows] *= 0.1
        second.q_proj.weight[head * width + places] = 3.5 * axis
        second.k_proj.weight[head * width + places] = 3.5 * axis @ turn.T
        value = kept[head * width : (head + 1) * width]
        second.v_proj.weight[rows] = value
        second.o_proj.weight[:, rows] = 4.0 * EMBEDDING_SCALE * value.T
