"""The tiny synthesizer's loss, optimiser and learning rate, fitted to a machine with a few slow cores.

Keeps true: nothing here changes what the network computes when it is used.
Does not know: data, the clock.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch.nn.functional import cross_entropy, linear
from transformers import OPTForCausalLM

from training.tokenizer import FIRST_PLAIN

# Heads that are shown where to look, by layer: for what answers, and for what is copied.
GUIDED = ({3: slice(8, 12), 4: slice(10, 12)}, {3: slice(6, 8), 4: slice(8, 10)})
FIRST_WEIGHT = 3.0  # of an answer's first token, against 1 for the others
SHOWN = 240  # places of a batch that are shown where what they copy stands
PADDED_TO = 64  # targets; each new shape costs a compilation where matrices are multiplied
FASTER = 2.5  # the rate of words against that of layers
STORED = torch.float8_e4m3fn  # one byte a weight in the file; transformers 5 widens it when it loads it


def build_optimizer(model: OPTForCausalLM, rate: float) -> torch.optim.Optimizer:
    """AdamW; words and what is said of them, which have most to learn, go faster than the encoder's layers."""
    layers = list(model.model.decoder.layers.parameters())
    known = {id(value) for value in layers}
    words = [value for value in model.parameters() if id(value) not in known]
    groups: list[dict[str, Any]] = [
        {"params": [value for value in layers if value.ndim == 2], "peak": rate, "weight_decay": 0.05},
        {"params": [value for value in layers if value.ndim != 2], "peak": rate, "weight_decay": 0.0},
        {"params": words, "peak": FASTER * rate, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, betas=(0.9, 0.98), fused=True)


def stutter(ids: torch.Tensor, weights: torch.Tensor, rate: float) -> torch.Tensor:
    """The ids with some tokens of the pairs replaced by one of the three tokens before them; targets stay as they were.

    A model that copies well falls into loops of its own words when decoding is greedy. This shows it such beginnings,
    and that the way on is out of them.
    """
    lag = torch.randint(1, 4, ids.shape)
    earlier = ids.gather(1, (torch.arange(ids.shape[1])[None] - lag).clamp(min=0))
    plain = (ids >= FIRST_PLAIN) & (earlier >= FIRST_PLAIN)
    return torch.where(plain & (weights >= 1.0) & (torch.rand(ids.shape) < rate), earlier, ids)


def pointing(
    model: OPTForCausalLM, inputs: dict[int, torch.Tensor], points: torch.Tensor, guided: dict[int, slice]
) -> torch.Tensor:
    """How far some heads are from looking where the next token stands.

    `inputs` are what the layers were given, `points` rows of (sequence, place that looks, place to look at). Only a few
    rows of the attention are needed, so they are computed again here instead of being taken from the layer.
    """
    rows, asking, wanted = points.unbind(1)
    batch, length = next(iter(inputs.values())).shape[:2]
    at = torch.arange(batch * length)
    elsewhere = (at // length != rows[:, None]) | (at % length > asking[:, None])
    total = torch.zeros(())
    for number, heads in guided.items():
        attention, given = model.model.decoder.layers[number].self_attn, inputs[number]
        count, size = heads.stop - heads.start, attention.head_dim
        part = slice(heads.start * size, heads.stop * size)
        seen = given.flatten(0, 1)
        looking = seen.index_select(0, rows * length + asking)
        query = linear(looking, attention.q_proj.weight[part], attention.q_proj.bias[part])
        key = linear(seen, attention.k_proj.weight[part], attention.k_proj.bias[part])
        # Against the places of all rows: to multiply a few too many is faster than to gather those of each point.
        query, key = query.unflatten(1, (count, -1)).transpose(0, 1), key.unflatten(1, (count, -1)).permute(1, 2, 0)
        scores = ((query @ key).float() * size**-0.5).masked_fill(elsewhere, float("-inf"))
        total = total + cross_entropy(scores.flatten(0, 1), (rows * length + wanted).repeat(count))
    return total / len(guided)


def _keep(inputs: dict[int, torch.Tensor], number: int, _: Any, given: tuple[Any, ...], named: dict[str, Any]) -> None:
    inputs[number] = given[0] if given else named["hidden_states"]


def loss_of(
    model: OPTForCausalLM,
    ids: torch.Tensor,
    weights: torch.Tensor,
    points: torch.Tensor,
    stuttering: float = 0.0,
    guidance: float = 0.0,
) -> tuple[torch.Tensor, dict[str, float]]:
    """The loss to minimise; then mean losses: on the pairs, on first tokens of answers, of pointing.

    Padding is on the right: causal attention needs no mask. Targets of a weight below one are sampled with it as their
    chance, so the head is computed for few of them.
    """
    seen = stutter(ids, weights, stuttering) if stuttering else ids
    inputs: dict[int, torch.Tensor] = {}
    hooks = [
        model.model.decoder.layers[number].register_forward_pre_hook(partial(_keep, inputs, number), with_kwargs=True)
        for number in (set().union(*GUIDED) if guidance and len(points) else ())
    ]
    hidden = model.model(input_ids=seen, use_cache=False).last_hidden_state[:, :-1]
    for hook in hooks:
        hook.remove()
    targets, weights = ids[:, 1:].reshape(-1), weights[:, 1:].reshape(-1)
    chosen = ((weights >= 1.0) | (torch.rand_like(weights) < weights)).nonzero().squeeze(1)
    targets, weights = targets[chosen], weights[chosen]
    some_more = torch.cat([chosen, chosen.new_zeros(-len(chosen) % PADDED_TO)])  # of a shape that was there before
    logits = model.lm_head(hidden.reshape(-1, hidden.shape[-1]).index_select(0, some_more))[: len(chosen)]
    losses = cross_entropy(logits.float(), targets, reduction="none")
    loss = (losses * weights.clamp(min=1.0)).mean()
    pointed = [torch.zeros(())] * len(GUIDED)
    for kind, guided in enumerate(GUIDED):
        some = points[points[:, 3] == kind, :3]
        if inputs and len(some):
            pointed[kind] = pointing(model, inputs, some[torch.randperm(len(some))[:SHOWN]], guided)
    seen_losses = losses.detach()
    first = weights == FIRST_WEIGHT
    return loss + guidance * sum(pointed), {
        "pairs": seen_losses[weights >= 1.0].mean().item(),
        "first": seen_losses[first].mean().nan_to_num().item(),
        "right": (logits.detach()[first].argmax(1) == targets[first]).float().mean().nan_to_num().item(),
        "finding": pointed[0].item(),
        "copying": pointed[1].item(),
    }


def rate_at(share: float, peak: float, warm: float = 0.02, hold: float = 0.7) -> float:
    """Linear warm-up, the peak until `hold` of the time is over, then linearly down to zero at its end."""
    if share < warm:
        return peak * share / warm
    return peak * min(1.0, max(0.0, (1.0 - share) / (1.0 - hold)))
