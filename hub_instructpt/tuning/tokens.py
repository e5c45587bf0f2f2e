"""The tokens of a tuning: a collection, split and encoded, in a store; and what of it the held-out loss is measured on.

    train/NAME    examples of a dataset that are trained on
    seen/NAME     those that are held out of it
    unseen/NAME   those of a dataset that is held out whole

Keeps true: a store is made again when anything changes that its tokens depend on; every example that does not come into
it is counted. Does not know torch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import xxhash

from hub_instructpt.errors import InputError
from hub_instructpt.records import PROMPT_FORMAT, Example
from hub_instructpt.tuning import store as stores
from hub_instructpt.tuning.encoding import Encoded, Encoder
from hub_instructpt.tuning.facts import TuningSettings
from hub_instructpt.tuning.packing import Sequence_, pack
from hub_instructpt.tuning.parts import Part, read
from hub_instructpt.tuning.split import Split
from hub_instructpt.tuning.store import Store

BATCH = 256
MEASURED = 64
"""Sequences, of all datasets together, that the loss on seen datasets is measured on; and as many of unseen ones."""


def digest_of(parts: Sequence[Part]) -> str:
    """A digest of all records, and of the names of their datasets."""
    state = xxhash.xxh3_128()
    for part in parts:
        state.update(f"\0{part.name}\0".encode())
        for shard in part.shards:
            with shard.open("rb") as stream:
                while block := stream.read(1 << 20):
                    state.update(block)
    return f"xxh3_128:{state.hexdigest()}"


def key_of(digest: str, tokenizer: Any, settings: TuningSettings) -> str:
    """What tells a store: the records, the tokenizer, and the settings that its tokens depend on."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    content = backend.to_str() if backend is not None else repr(sorted(tokenizer.get_vocab().items()))
    parts = (
        PROMPT_FORMAT, digest, content, tokenizer.bos_token, tokenizer.eos_token, settings.max_length, settings.seed,
        settings.eval_contexts, sorted(settings.hold_out),
    )  # fmt: skip
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def make(
    folder: Path, key: str, encoder: Encoder, parts: Sequence[Part], chosen: Split, tick: Callable[[int], None]
) -> Store:
    """Encode a collection into a store.

    Args:
        tick: called with the number of records done since the last call.

    Raises:
        RunError: it can not be written.
    """
    return stores.make(folder, key, _examples(encoder, parts, chosen, tick), encoder.counts)


def _examples(
    encoder: Encoder, parts: Sequence[Part], chosen: Split, tick: Callable[[int], None]
) -> Iterator[tuple[str, Encoded]]:
    counts = encoder.counts
    for part in parts:
        examples = read(part, counts)
        kind = "unseen" if part.name in chosen.unseen else "seen"
        while batch := list(islice(examples, BATCH)):
            kept: list[Example] = []
            groups: list[str] = []
            for example in batch:
                use = chosen.use(part.name, example["context"])
                if use == "leave_out":
                    counts["examples_left_out/held_out_elsewhere"] += part.name not in chosen.unseen
                    continue
                kept.append(example)
                groups.append(f"{'train' if use == 'train' else kind}/{part.name}")
            for group, encoded in zip(groups, encoder.encode(kept) if kept else [], strict=True):
                if encoded is not None:
                    yield group, encoded
            tick(len(batch))


def opened(folder: Path) -> Store:
    """The store that was made.

    Raises:
        InputError: there is nothing in it to learn from.
    """
    found = Store(folder)
    if not any(group.startswith("train/") for group in found.groups):
        reasons = ", ".join(
            f"{number:,} {key.replace('_', ' ').replace('/', ': ')}"
            for key, number in found.counts.items()
            if "left_out" in key or "rejected" in key
        )
        raise InputError("The collection holds no example to learn from.", advice=reasons)
    return found


def held_out(store: Store, max_length: int) -> dict[str, list[tuple[str, Sequence_]]]:
    """Sequences of what is held out, with their groups: some of every dataset, taken in turn."""
    found: dict[str, list[tuple[str, Sequence_]]] = {}
    for kind in ("seen", "unseen"):
        packed: list[tuple[int, str, Sequence_]] = []
        for group in store.groups:
            if group.startswith(f"{kind}/"):
                lengths = store.lengths(group)
                sequences = pack(lengths, range(len(lengths)), max_length)
                packed += [(number, group, members) for number, members in enumerate(sequences)]
        if packed:
            found[kind] = [(group, members) for _, group, members in sorted(packed)[:MEASURED]]
    return found
