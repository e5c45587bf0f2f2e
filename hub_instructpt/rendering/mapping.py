"""`Render`: the callable for `Dataset.map` and `IterableDataset.map`.

    ds = ds.map(Render(seed=0), batched=True, remove_columns=ds.column_names)

Keeps true: one row a chain, in the order of the chains. The same seed, version and wording give the same fingerprint
in any process, so that `map` finds its cache; any other of them gives another.
Does not know how a text is rendered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from hub_instructpt.errors import InputError
from hub_instructpt.records import Example
from hub_instructpt.rendering.text import render_example
from hub_instructpt.rendering.wording import wording
from hub_instructpt.version import __version__


class Render:
    """Turns augmented rows into pre-training texts, one row a chain.

    Args:
        seed: chooses the styles; the same seed gives the same texts.
        text_column: the column that `Augment` read.

    Takes the columns that `Augment` adds; gives `text`, `num_pairs` and `num_shots`. Rows without any text are left
    out. A chain that the map's batch size cuts in two becomes two texts.
    """

    def __init__(self, seed: int = 0, *, text_column: str = "text") -> None:
        self.seed, self.text_column = seed, text_column

    def __getstate__(self) -> dict[str, Any]:
        # `map` caches by this state. A class of an installed package is hashed by its name alone, so the version and
        # the wording must stand here for a change of them to be noticed.
        return {**self.__dict__, "version": __version__, "wording": wording().digest}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.seed, self.text_column = state["seed"], state["text_column"]

    def __repr__(self) -> str:
        return f"Render(seed={self.seed}, text_column={self.text_column!r})"

    def __call__(self, batch: Any) -> dict[str, Any]:
        """Render one batch of rows, given as a dict of columns."""
        typed = hasattr(batch, "pa_table") or isinstance(batch, pa.Table)
        if isinstance(batch, pa.Table):  # a dataset formatted as Arrow
            batch = batch.to_pydict()
        columns = list(batch.keys()) if hasattr(batch, "keys") else []
        missing = [c for c in (self.text_column, "pairs", "example_id", "shot_index") if c not in columns]
        if missing:
            raise InputError(
                f"Render needs the column {missing[0]!r}; there are: {', '.join(columns) or 'none'}.",
                advice="Map Augment over the dataset first.",
            )
        if isinstance(batch[self.text_column], str):
            raise InputError("Render takes batches of rows.", advice="Call map with batched=True.")
        chains = self._chains(batch)
        counts = {
            "num_pairs": [sum(len(example["pairs"]) for example in chain) for chain in chains],
            "num_shots": [len(chain) for chain in chains],
        }
        texts = [render_example(chain, self.seed) for chain in chains]
        if typed:
            # A batch of Dataset.map, which would make 64 bits of plain integers.
            return {"text": texts, **{k: pa.array(v, pa.int32()).to_numpy() for k, v in counts.items()}}
        return {"text": texts, **counts}

    def _chains(self, batch: Mapping[str, Sequence[Any]]) -> list[list[Example]]:
        chains: list[list[Example]] = []
        previous = None
        rows = zip(batch[self.text_column], batch["pairs"], batch["example_id"], batch["shot_index"], strict=True)
        for text, pairs, example_id, shot_index in rows:
            if not isinstance(text, str) or not text.strip():
                continue
            if shot_index == 0 or example_id != previous or not chains:
                chains.append([])
            previous = example_id
            # A formatted dataset gives arrays, whose truth value is an error.
            chains[-1].append({"context": text, "pairs": [] if pairs is None else list(pairs)})
        return chains
