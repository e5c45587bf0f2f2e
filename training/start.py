"""A head start for copying and for looking things up: what some attention heads do before any training.

Both take several steps of which none helps alone, so a network of this size finds them late or never (LOG.md). The
heads are set by ridge regression, so that each reads off what the one before wrote:

    layer 0   bring     each place gets two codes of the token before it: one of its own, one that like words share
    layer 1   find      a place looks for places that come after its own token, and brings what stands there
              locate    the same, but brings where they are
    layer 2   gather    at `<ANS>`: where the words of the question were located, on average
    layer 3   look up   at `<ANS>`: look near there, and bring what stands there

What they write goes in directions in which the encoder says little. Positions get waves of many lengths in such
directions, since those of the encoder can hardly be told apart when less than thirty tokens apart, and come again after
512.

Keeps true: the network's form is untouched; all heads go on learning like any other weight.
Does not know: which answers are right.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import cross_entropy, normalize
from transformers import OPTForCausalLM

from training.tokenizer import FIRST_PLAIN

FIND = 3  # heads that copy; each brings a third of a token's code
WAVES, SHORTEST, LONGEST = 12, 16.0, 1600.0  # how many, and their lengths in tokens
# How loud, against what the encoder says in an average direction, is written...
WRITTEN = 2.0  # where something is
FOUND = 6.0  # what was found; three layers come after it, in which less than that gets lost
TWICE = 150  # tokens of a row that are said twice, to fit what is said in the end
# How sharply a head attends; in what is multiplied before the softmax.
MATCH = 5.0  # to a token like its own
NO_MATCH = 7.0  # to the first token instead, when there is none
RECENT, RARE = 1.3, 1.6  # at `<ANS>`, to what is near, and to words by how rare they are
LOOK = 20.0  # to where the question's words were located


def head_start(model: OPTForCausalLM, rows: Sequence[list[int]], frequencies: torch.Tensor, answer: int) -> None:
    """Set the heads.

    Args:
        model: as the encoder gives it, of four layers or more.
        rows: token ids of examples, with questions whose words stand in their contexts; 160 are enough.
        frequencies: the share of each token, shape (tokens,).
        answer: the token in front of an answer.
    """
    model.eval()
    with torch.no_grad():
        _HeadStart(model, [torch.tensor(row) for row in rows], frequencies, answer).run()
    model.train()


class _HeadStart:
    def __init__(self, model: OPTForCausalLM, rows: list[torch.Tensor], frequencies: torch.Tensor, answer: int) -> None:
        self.model, self.rows = model, rows
        self.decoder = model.model.decoder
        self.size = size = self.decoder.layers[0].self_attn.head_dim
        self.tokens = torch.cat(rows)
        self.before = torch.cat([row.roll(1) for row in rows])
        self.places = torch.cat([torch.arange(len(row)) for row in rows])
        self.begins, self.answers = self.places == 0, self.tokens == answer
        rarity = -frequencies.log()
        self.rarity = (rarity - rarity.min()) / (rarity.max() - rarity.min())
        self.rarity[:FIRST_PLAIN] = -1
        table = self.decoder.embed_tokens.weight
        centred = table - table.mean(0)
        scale, directions = torch.linalg.eigh(centred.t() @ centred / len(table))
        mixing, _ = torch.linalg.qr(torch.randn(len(scale), len(scale)))
        white = centred @ (directions / (scale + 0.01 * scale.mean()).sqrt()) @ mixing
        # The last coordinate of a head is for those who find nothing.
        self.exact = white[:, : size - 1]
        self.alike = (centred @ (directions / (scale + 0.1 * scale.mean()).sqrt()) @ mixing)[:, size : 2 * size - 1]
        self.words = white[:, -size * FIND :]
        quiet = self._quiet(size * (FIND + 2) + 6 * WAVES)
        widths = (2 * size, size * FIND, 2 * WAVES, 2 * WAVES, 2 * WAVES)
        self.brought, self.found, self.place, self.located, self.asked = quiet.split(widths, dim=1)
        self.found = self.found * FOUND
        self.place, self.located, self.asked = self.place * WRITTEN, self.located * WRITTEN, self.asked * WRITTEN

    def run(self) -> None:
        self._make_waves()
        self._bring()
        self._find()
        self._gather()
        self._look_up()
        self._speak()

    def _speak(self) -> None:
        """What the last layer says becomes the next token's embedding, no louder than it can be trusted."""
        # In texts said twice, what is found is what comes next.
        rows = [torch.cat((row[:TWICE], row[1:TWICE])) for row in self.rows]
        last = torch.cat([part[:-1] for part in self._taken(self.decoder.project_out, rows)])
        following = torch.cat([row[1:] for row in rows])
        table = self.decoder.embed_tokens.weight
        half = len(last) // 2
        weight, _ = _ridge(last[:half], table[following[:half]])
        losses = {
            loud: cross_entropy(last[half:] @ (weight.t() * loud) @ table.t(), following[half:]).item()
            for loud in (0.01, 0.03, 0.1, 0.3, 1.0)
        }
        self.decoder.project_out.weight.copy_(weight * min(losses, key=losses.__getitem__))

    def waves(self, places: torch.Tensor) -> torch.Tensor:
        lengths = SHORTEST * (LONGEST / SHORTEST) ** (torch.arange(WAVES) / (WAVES - 1))
        turns = 2 * math.pi * places[:, None] / lengths
        return torch.cat((turns.sin(), turns.cos()), dim=1)

    def _make_waves(self) -> None:
        table = self.decoder.embed_positions.weight
        offset = self.decoder.embed_positions.offset
        table[offset:] -= (table[offset:] - table[offset:].mean(0)) @ self._projector(self.place)
        table[offset:] += self.waves(torch.arange(len(table) - offset)) @ self.place.t()

    def _bring(self) -> None:
        given, layer = self._inputs(0), self.decoder.layers[0].self_attn
        back = self._looks_back(given)
        source = self._part(back)
        for number, (head, codes) in enumerate(
            zip(self._weakest(0, 2, but=back), (self.exact, self.alike), strict=True)
        ):
            part = self._part(head)
            for projection in (layer.q_proj, layer.k_proj):
                projection.weight[part] = projection.weight[source].clone()
                projection.bias[part] = projection.bias[source].clone()
            self._fit(layer.v_proj, part, given, self._wide(codes[self.tokens]))
            layer.out_proj.weight[:, part] = self.brought[:, number * self.size : (number + 1) * self.size]

    def _find(self) -> None:
        given, layer = self._inputs(1), self.decoder.layers[1].self_attn
        *finders, locator = self._weakest(1, FIND + 1)
        for number, head in enumerate((*finders, locator)):
            part, codes = self._part(head), self.alike if head == locator else self.exact
            ours, theirs = self._wide(codes[self.tokens]) * MATCH, self._wide(codes[self.before])
            ours[:, -1] = NO_MATCH
            theirs[self.begins, -1] = NO_MATCH
            theirs[self.begins, :-1] = 0
            self._fit(layer.q_proj, part, given, ours)
            self._fit(layer.k_proj, part, given, theirs)
            if head == locator:
                waves = self.waves(self.places)
                waves[self.begins] = 0
                self._fit(layer.v_proj, part, given, self._wide(waves))
                layer.out_proj.weight[:, part] = self._wide(self.located)
                self.says = self._said(1, head)
            else:
                third = slice(number * self.size, (number + 1) * self.size)
                self._fit(layer.v_proj, part, given, self.words[self.tokens][:, third])
                layer.out_proj.weight[:, part] = self.found[:, third]

    def _gather(self) -> None:
        given, layer = self._inputs(2), self.decoder.layers[2].self_attn
        head = self._weakest(2, 1)[0]
        part = self._part(head)
        waves = self.waves(self.places)
        ours, theirs = self._wide(waves) * RECENT * self.answers[:, None], self._wide(waves)
        ours[:, -1] = RARE * self.size**0.5 * self.answers
        theirs[:, -1] = 4 * self.rarity[self.tokens]
        self._fit(layer.q_proj, part, given, ours)
        self._fit(layer.k_proj, part, given, theirs)
        self._fit(layer.v_proj, part, given, self.says)
        layer.out_proj.weight[:, part] = self._wide(self.asked)
        self.says = self._said(2, head)

    def _look_up(self) -> None:
        given, layer = self._inputs(3), self.decoder.layers[3].self_attn
        count = layer.num_heads
        for number, head in enumerate(range(count - FIND - 1, count)):
            part, third = self._part(head), slice(number % FIND * self.size, (number % FIND + 1) * self.size)
            self._fit(layer.q_proj, part, given, self.says * self.answers[:, None] * LOOK)
            self._fit(layer.k_proj, part, given, self._wide(self.waves(self.places)))
            self._fit(layer.v_proj, part, given, self.words[self.tokens][:, third])
            layer.out_proj.weight[:, part] = self.found[:, third]

    def _inputs(self, number: int) -> torch.Tensor:
        """What a layer is given for all rows; (tokens, width)."""
        return torch.cat(self._taken(self.decoder.layers[number], self.rows))

    def _taken(self, module: torch.nn.Module, rows: list[torch.Tensor]) -> list[torch.Tensor]:
        given: list[torch.Tensor] = []

        def keep(_: Any, args: tuple[Any, ...], named: dict[str, Any]) -> None:
            states = args[0] if args else named["hidden_states"]
            given.append(states.reshape(-1, states.shape[-1]))

        hook = module.register_forward_pre_hook(keep, with_kwargs=True)
        for row in rows:
            self.model.model(row[None], use_cache=False)
        hook.remove()
        return given

    def _quiet(self, count: int) -> torch.Tensor:
        """Directions in which little is said between the layers, as loud as the average direction; (width, count)."""
        total, loud = torch.zeros(()), []
        for number in range(1, len(self.decoder.layers)):
            states = self._inputs(number)
            spread = torch.cov(states.t())
            loud.append(spread.diagonal().mean().sqrt())
            total = total + spread / spread.trace()
        _, directions = torch.linalg.eigh(total)
        return directions[:, 1 : count + 1] * torch.stack(loud).mean()

    def _said(self, number: int, head: int) -> torch.Tensor:
        """What a head of a layer brings to each place; (tokens, head)."""
        return torch.cat(self._taken(self.decoder.layers[number].self_attn.out_proj, self.rows))[:, self._part(head)]

    @staticmethod
    def _projector(directions: torch.Tensor) -> torch.Tensor:
        basis = normalize(directions, dim=0)
        return basis @ basis.t()

    def _wide(self, values: torch.Tensor) -> torch.Tensor:
        return torch.cat((values, values.new_zeros(len(values), self.size - values.shape[1])), dim=1)

    def _part(self, head: int) -> slice:
        return slice(head * self.size, (head + 1) * self.size)

    def _looks_back(self, given: torch.Tensor) -> int:
        attention = self.decoder.layers[0].self_attn
        total = torch.zeros(attention.num_heads)
        for states in given.split([len(row) for row in self.rows]):
            query = attention.q_proj(states).unflatten(1, (attention.num_heads, -1)) * attention.head_dim**-0.5
            key = attention.k_proj(states).unflatten(1, (attention.num_heads, -1))
            scores = torch.einsum("ihd,jhd->hij", query, key)
            later = torch.ones(scores.shape[1:], dtype=torch.bool).triu(1)
            total += scores.masked_fill(later, float("-inf")).softmax(2).diagonal(-1, 1, 2).mean(1)
        return int(total.argmax())

    def _weakest(self, number: int, count: int, but: int = -1) -> list[int]:
        """The heads of a layer that write least."""
        attention = self.decoder.layers[number].self_attn
        read = attention.v_proj.weight.unflatten(0, (attention.num_heads, -1))
        written = attention.out_proj.weight.unflatten(1, (attention.num_heads, -1))
        sizes = torch.einsum("ohd,hdi->hoi", written, read).flatten(1).norm(dim=1)
        return [head for head in sizes.argsort().tolist() if head != but][:count]

    def _fit(self, projection: torch.nn.Linear, part: slice, given: torch.Tensor, wanted: torch.Tensor) -> None:
        # First tokens and answers are few and must be told for sure.
        counts = 1.0 + 30.0 * (self.begins | self.answers)
        projection.weight[part], projection.bias[part] = _ridge(given, wanted, counts)


def _ridge(
    given: torch.Tensor, wanted: torch.Tensor, counts: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    share = (torch.ones(len(given)) if counts is None else counts)[:, None]
    share = share / share.sum()
    middle, target = (share * given).sum(0), (share * wanted).sum(0)
    centred = given - middle
    matrix = centred.t() @ (share * centred)
    matrix += 0.005 * matrix.diagonal().mean() * torch.eye(len(matrix))
    weight = torch.linalg.solve(matrix, centred.t() @ (share * (wanted - target))).t()
    return weight, target - weight @ middle
