"""What makes a training step fast on a CPU: bf16 where the processor multiplies in it, attention and dropout to match.

Where there are matrix units for bf16 (AMX), multiplying is no longer what takes the time, and what torch does around it
is: the backward pass of its fused attention, and chances drawn one by one.

Keeps true: weights, their gradients' sums and the optimiser stay in float32; the network is the same one.
Does not know: the loss, the data.
"""

from __future__ import annotations

import os
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface, OPTForCausalLM

BF16 = bool(torch.cpu.get_capabilities().get("amx_bf16"))  # elsewhere it is emulated, and slow
WHOLE = "whole_rows"
# How many multiplications are kept compiled. By itself 1,024, but each shape of a batch brings some twenty.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "8192")


def whole_rows(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float = 1.0,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention of right-padded rows, all scores at once: for lengths at which they fit the memory easily.

    `query`, `key` and `value` have the shape (rows, heads, tokens, size), what is returned (rows, tokens, heads, size).
    """
    rows, heads, length, size = query.shape
    later = torch.full((length, length), float("-inf"), dtype=query.dtype).triu_(1)
    left, right = query.reshape(-1, length, size), key.reshape(-1, length, size).transpose(1, 2)
    scores = torch.baddbmm(later.expand(rows * heads, -1, -1), left, right, alpha=scaling)
    with torch.autocast("cpu", enabled=False):  # it would widen the softmax
        shares = scores.softmax(-1)
    return (shares @ value.reshape(-1, length, size)).view(rows, heads, length, size).transpose(1, 2), None


def use_whole_rows(model: OPTForCausalLM) -> None:
    AttentionInterface.register(WHOLE, whole_rows)
    AttentionMaskInterface.register(WHOLE, lambda *_, **__: None)
    model.set_attn_implementation(WHOLE)


class Dropout:
    """Dropout after the attention and the feed-forward network of each layer, by the byte: `rate` is rounded to 1/256.

    In place of the model's own, which draws each chance as a float, eight times slower.
    """

    def __init__(self, model: OPTForCausalLM) -> None:
        self.rate = 0.0
        for layer in model.model.decoder.layers:
            layer.dropout = 0.0
            layer.self_attn.out_proj.register_forward_hook(self._drop)
            layer.fc2.register_forward_hook(self._drop)

    def _drop(self, module: torch.nn.Module, _: Any, given: torch.Tensor) -> torch.Tensor:
        dropped = round(256 * self.rate)
        if not dropped or not module.training:
            return given
        drawn = torch.randint(-(2**63), 2**63 - 1, (given.numel() // 8 + 1,)).view(torch.uint8)[: given.numel()]
        return given * ((drawn >= dropped).to(given.dtype) * (256 / (256 - dropped))).view(given.shape)
