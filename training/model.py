"""The tiny synthesizer's network, its loss and its learning rate, fitted to a machine with a few slow cores.

Keeps true: the model is a plain `LlamaForCausalLM` with tied embeddings; nothing here changes what it computes.
Does not know: data, the clock.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

POSITIONS = 2048
FIRST_PLAIN = 9  # the ids below are special tokens and markers


def build_model(vocab_size: int, hidden: int, layers: int, heads: int, inner: int) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=POSITIONS,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=3,
        attn_implementation="sdpa",
    )
    return LlamaForCausalLM(config)


def build_optimizer(model: LlamaForCausalLM, rate: float) -> torch.optim.Optimizer:
    named = list(model.named_parameters())
    decayed = [value for name, value in named if value.ndim == 2 and "embed" not in name]
    others = [value for name, value in named if value.ndim != 2 or "embed" in name]
    groups = [{"params": decayed, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.99), fused=True)


class HeadLoss(torch.autograd.Function):
    """Cross-entropy of the output head with its gradients made at once, in the memory of the logits.

    The logits are by far the largest tensor of so small a model; autograd would keep and copy them several times.
    """

    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, head: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, ...]:
        logits = hidden @ head.t()
        top = logits.logsumexp(1, keepdim=True)
        losses = (top - logits.gather(1, targets[:, None])).squeeze(1)
        gradient = logits.sub_(top).exp_()
        gradient.scatter_add_(1, targets[:, None], gradient.new_full((len(targets), 1), -1.0))
        gradient.div_(len(targets))
        ctx.save_for_backward(gradient @ head, gradient.t() @ hidden)
        ctx.mark_non_differentiable(losses)
        return losses.mean(), losses

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        to_hidden, to_head = ctx.saved_tensors
        return to_hidden * grads[0], to_head * grads[0], None


def stutter(ids: torch.Tensor, weights: torch.Tensor, rate: float) -> torch.Tensor:
    """The ids with some tokens of the pairs replaced by one of the three tokens before them; targets stay as they were.

    A model that copies well falls into loops of its own words when decoding is greedy. This shows it such beginnings,
    and that the way on is out of them.
    """
    lag = torch.randint(1, 4, ids.shape)
    earlier = ids.gather(1, (torch.arange(ids.shape[1])[None] - lag).clamp(min=0))
    plain = (ids >= FIRST_PLAIN) & (earlier >= FIRST_PLAIN)
    return torch.where(plain & (weights == 1.0) & (torch.rand(ids.shape) < rate), earlier, ids)


def loss_of(
    model: LlamaForCausalLM, ids: torch.Tensor, weights: torch.Tensor, stuttering: float = 0.0
) -> tuple[torch.Tensor, float]:
    """The loss to minimise, and the mean loss on the pairs. Padding is on the right: causal attention needs no mask.

    Targets of a weight below one are sampled with it as their chance, so the head is computed for few of them.
    """
    seen = stutter(ids, weights, stuttering) if stuttering else ids
    hidden = model.model(input_ids=seen, use_cache=False).last_hidden_state[:, :-1]
    targets, weights = ids[:, 1:].reshape(-1), weights[:, 1:].reshape(-1)
    chosen = ((weights == 1.0) | (torch.rand_like(weights) < weights)).nonzero().squeeze(1)
    picked = hidden.reshape(-1, hidden.shape[-1]).index_select(0, chosen)
    loss, losses = HeadLoss.apply(picked, model.lm_head.weight, targets[chosen])
    return loss, losses[weights[chosen] == 1.0].mean().item()


def rate_at(share: float, peak: float, warm: float = 0.02) -> float:
    """Linear warm-up, then down to zero at the end of the time."""
    if share < warm:
        return peak * share / warm
    return peak * max(0.0, (1.0 - share) / (1.0 - warm)) ** 0.8
