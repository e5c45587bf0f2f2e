"""Sequences of a store as a model gets them: joined, padded, as tensors.

Keeps true: the labels of contexts and of padding say that there is no loss. Does not know what the ids mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from hub_instructpt.tuning.packing import Sequence_
from hub_instructpt.tuning.store import NO_LOSS, Store


class Sequences(torch.utils.data.Dataset[dict[str, list[int]]]):  # type: ignore[misc]
    """Sequences of a store, as the Trainer asks for them."""

    def __init__(self, store: Store, sequences: Sequence[tuple[str, Sequence_]]) -> None:
        self.store, self.sequences = store, sequences

    def __len__(self) -> int:
        return len(self.sequences)

    def __getitem__(self, number: int) -> dict[str, list[int]]:
        group, examples = self.sequences[number]
        ids, labels = self.store.sequence(group, examples)
        return {"input_ids": ids, "labels": labels}


class Collator:
    """Sequences of several lengths as one batch, padded on the right to the longest; padding carries no loss."""

    def __init__(self, pad: int) -> None:
        self.pad = pad

    def __call__(self, rows: Sequence[Mapping[str, list[int]]]) -> dict[str, torch.Tensor]:
        longest = max(len(row["input_ids"]) for row in rows)

        def padded(name: str, with_: int) -> torch.Tensor:
            return torch.tensor([row[name] + [with_] * (longest - len(row[name])) for row in rows])

        lengths = torch.tensor([[len(row["input_ids"])] for row in rows])
        return {
            "input_ids": padded("input_ids", self.pad),
            "labels": padded("labels", NO_LOSS),
            "attention_mask": (torch.arange(longest)[None] < lengths).long(),
        }
