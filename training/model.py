"""The tiny synthesizer's network, its loss and its learning rate, fitted to a machine with a few slow cores.

Keeps true: the model is a plain `LlamaForCausalLM` with tied embeddings; nothing here changes what it computes.
Does not know: data, the clock.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

POSITIONS = 2048
GUIDED = (1, 3)  # layers whose last head is shown where answers stand
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
    def forward(
        ctx: Any, hidden: torch.Tensor, head: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        logits = hidden @ head.t()
        top = logits.logsumexp(1, keepdim=True)
        losses = (top - logits.gather(1, targets[:, None])).squeeze(1)
        gradient = logits.sub_(top).exp_()
        gradient.scatter_add_(1, targets[:, None], gradient.new_full((len(targets), 1), -1.0))
        gradient.mul_((weights / len(targets))[:, None])
        ctx.save_for_backward(gradient @ head, gradient.t() @ hidden)
        ctx.mark_non_differentiable(losses)
        return (losses * weights).mean(), losses

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None, None]:
        to_hidden, to_head = ctx.saved_tensors
        return to_hidden * grads[0], to_head * grads[0], None, None


def stutter(ids: torch.Tensor, weights: torch.Tensor, rate: float) -> torch.Tensor:
    """The ids with some tokens of the pairs replaced by one of the three tokens before them; targets stay as they were.

    A model that copies well falls into loops of its own words when decoding is greedy. This shows it such beginnings,
    and that the way on is out of them.
    """
    lag = torch.randint(1, 4, ids.shape)
    earlier = ids.gather(1, (torch.arange(ids.shape[1])[None] - lag).clamp(min=0))
    plain = (ids >= FIRST_PLAIN) & (earlier >= FIRST_PLAIN)
    return torch.where(plain & (weights >= 1.0) & (torch.rand(ids.shape) < rate), earlier, ids)


def pointing(model: LlamaForCausalLM, inputs: dict[int, torch.Tensor], points: torch.Tensor) -> torch.Tensor:
    """How far the last head of each guided layer is from looking at the answer where the answer is to begin.

    `inputs` are what these layers were given, `points` rows of (sequence, place that looks, place to look at). Only a
    few rows of the attention are needed, so they are computed again here instead of being taken from the layer.
    """
    rows, asking, wanted = points.unbind(1)
    length = int(asking.max()) + 1
    width = model.config.hidden_size // model.config.num_attention_heads
    later = torch.arange(length)[None] > asking[:, None]
    total = torch.zeros(())
    for number, given in inputs.items():
        layer = model.model.layers[number]
        seen = layer.input_layernorm(given[:, :length])
        cos, sin = model.model.rotary_emb(seen, torch.arange(length)[None])
        query = seen[rows, asking] @ layer.self_attn.q_proj.weight[-width:].t()
        key = seen @ layer.self_attn.k_proj.weight[-width:].t()
        query = query * cos[0, asking] + _half_turned(query) * sin[0, asking]
        key = key * cos + _half_turned(key) * sin
        scores = (key[rows] @ query[:, :, None]).squeeze(2) / width**0.5
        total = total + torch.nn.functional.cross_entropy(scores.masked_fill(later, float("-inf")), wanted)
    return total


def _keep(inputs: dict[int, torch.Tensor], number: int, _: Any, given: tuple[Any, ...]) -> None:
    inputs[number] = given[0]


def _half_turned(values: torch.Tensor) -> torch.Tensor:
    half = values.shape[-1] // 2
    return torch.cat((-values[..., half:], values[..., :half]), -1)


def loss_of(
    model: LlamaForCausalLM,
    ids: torch.Tensor,
    weights: torch.Tensor,
    points: torch.Tensor,
    stuttering: float = 0.0,
    guidance: float = 0.0,
) -> tuple[torch.Tensor, float, float, float]:
    """The loss to minimise; then mean losses: on the pairs, on first tokens of answers if they weigh more, of pointing.

    Padding is on the right: causal attention needs no mask. Targets of a weight below one are sampled with it as their
    chance, so the head is computed for few of them.
    """
    seen = stutter(ids, weights, stuttering) if stuttering else ids
    guided = GUIDED if guidance and len(points) else ()
    inputs: dict[int, torch.Tensor] = {}
    hooks = [model.model.layers[number].register_forward_pre_hook(partial(_keep, inputs, number)) for number in guided]
    hidden = model.model(input_ids=seen, use_cache=False).last_hidden_state[:, :-1]
    for hook in hooks:
        hook.remove()
    targets, weights = ids[:, 1:].reshape(-1), weights[:, 1:].reshape(-1)
    chosen = ((weights >= 1.0) | (torch.rand_like(weights) < weights)).nonzero().squeeze(1)
    picked = hidden.reshape(-1, hidden.shape[-1]).index_select(0, chosen)
    weights = weights[chosen]
    loss, losses = HeadLoss.apply(picked, model.lm_head.weight, targets[chosen], weights.clamp(min=1.0))
    pointed = pointing(model, inputs, points) / len(guided) if guided else torch.zeros(())
    first = losses[weights > 1.0].mean().nan_to_num().item()
    return loss + guidance * pointed, losses[weights >= 1.0].mean().item(), first, pointed.item()


def rate_at(share: float, peak: float, warm: float = 0.02) -> float:
    """Linear warm-up, then down to zero at the end of the time."""
    if share < warm:
        return peak * share / warm
    return peak * max(0.0, (1.0 - share) / (1.0 - warm)) ** 0.8
