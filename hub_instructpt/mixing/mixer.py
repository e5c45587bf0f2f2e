"""The mixer: one pass over all parts into sealed shards, and on from where a killed mix was.

Keeps true: one writer a folder; shards are sealed in order, packed ones with the texts that complete them, and only
then named in the manifest; the same command again passes over what is sealed, without counting its tokens once more,
and gives the same bytes as one that was never stopped; other settings are refused by name.
Does not know what a part is, cards, or the Hub.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path

import numpy as np

from hub_instructpt.errors import InputError, RunDirectoryError, SettingsError
from hub_instructpt.mixing.checks import check_parts, check_settings, prepare
from hub_instructpt.mixing.forms import Part
from hub_instructpt.mixing.manifest import MixSettings, Mixture, PackedShard, refuse_other_mixture
from hub_instructpt.mixing.schedule import Schedule
from hub_instructpt.mixing.shards import (
    PackedWriter,
    Packer,
    TextWriter,
    last_texts,
    packed_path,
    sealed,
    text_path,
)
from hub_instructpt.mixing.streams import Item, Stream
from hub_instructpt.mixing.tokens import Ids, Tokenizer
from hub_instructpt.runs.files import sha256
from hub_instructpt.runs.locks import only_writer
from hub_instructpt.runs.manifest import MANIFEST, ShardFacts


class Progress:
    """What a mix tells while it works. This one keeps silent; the command line has one that draws."""

    def begin(self, texts: int, tokens: int, mixture: Mixture) -> None:
        """Texts and tokens done by earlier runs of the same."""

    def advance(self, texts: int, tokens: int) -> None:
        """So many more are done."""


def mix_parts(
    parts: Sequence[Part],
    settings: MixSettings,
    folder: Path,
    *,
    tokenizer: Tokenizer | None = None,
    progress: Progress | None = None,
    command: str | None = None,
) -> Mixture:
    """Mix parts into a folder, or go on with the mixture that is there.

    Args:
        parts: with different names.
        settings: what the content depends on.
        folder: where it goes; made when it is not there.
        tokenizer: counts tokens, and packs.
        command: how to make the mixture again; for the card.

    Returns:
        The manifest of the finished mixture.

    Raises:
        SettingsError: settings that contradict each other or the parts.
        InputError: a part without a single text.
        RunDirectoryError: the folder holds something else, or another process writes to it.
    """
    check_settings(settings, [part.facts.name for part in parts], counted=tokenizer is not None)
    check_parts(parts, settings)
    if settings.pack and tokenizer is not None and not tokenizer.ends_texts:
        raise SettingsError(
            f"The tokenizer {tokenizer.facts.name} has no EOS, so packed texts could not be told apart.",
            advice="Name the tokenizer of a base model.",
        )
    prepare(folder)
    with only_writer(folder):
        return _Mix(parts, settings, folder, tokenizer, progress or Progress()).run(command)


class _Mix:
    def __init__(
        self,
        parts: Sequence[Part],
        settings: MixSettings,
        folder: Path,
        tokenizer: Tokenizer | None,
        progress: Progress,
    ) -> None:
        self.parts, self.settings, self.folder = parts, settings, folder
        self.tokenizer, self.progress = tokenizer, progress
        self.names = [part.facts.name for part in parts]
        self.ended: set[int] = set()
        self.counts: Counter[str] = Counter()

    def run(self, command: str | None) -> Mixture:
        self.mixture = self._manifest(command)
        _drop_unnamed(self.folder, self.mixture)
        if self.mixture.finished:
            return self.mixture
        began, earlier = time.monotonic(), self.mixture.seconds
        self.streams = [
            Stream(
                part,
                self.settings.seed,
                self.settings.shuffle,
                self.tokenizer,
                pack=self.settings.pack is not None,
                repeats=Fraction(part.facts.repeats or 1) if self.settings.by == "repeats" else None,
            )
            for part in self.parts
        ]
        self._go_on()
        self.progress.begin(self.num_texts, self.num_tokens, self.mixture)
        texts = self._mixed()
        while (first := next(texts, None)) is not None:
            self._seal(chain([first], texts))
            self.mixture.seconds = round(earlier + time.monotonic() - began, 1)
            self.mixture.save(self.folder)
        if self.packer is not None:
            self.mixture.tokens_left_over = self.packer.waiting
        self.mixture.finished = True
        self.mixture.seconds = round(earlier + time.monotonic() - began, 1)
        self.mixture.save(self.folder)
        return self.mixture

    # -- where a mixture goes on -------------------------------------------------------------------------------------

    def _manifest(self, command: str | None) -> Mixture:
        here = Mixture(
            parts=[part.facts for part in self.parts],
            settings=self.settings,
            tokenizer=self.tokenizer.facts if self.tokenizer else None,
            command=command,
        )
        if not (self.folder / MANIFEST).exists():
            here.save(self.folder)
            return here
        there = Mixture.load(self.folder)
        refuse_other_mixture(there, here, self.folder)
        for shard in there.files:
            path = self.folder / shard.path
            if not path.is_file() or path.stat().st_size != shard.num_bytes or sha256(path) != shard.sha256:
                raise RunDirectoryError(
                    f"{path} is missing or not as it was sealed.",
                    advice="Restore it from a copy, or start again with another --out.",
                )
        if there.parts != here.parts:  # licences, and what else changes no text
            there.parts = here.parts
            there.save(self.folder)
        return there

    def _go_on(self) -> None:
        """Take every part to where the sealed shards end."""
        counts = self.mixture.counts
        texts = [counts[f"texts/{name}"] for name in self.names]
        tokens = [counts[f"tokens/{name}"] for name in self.names]
        self.num_texts, self.num_tokens = sum(texts), sum(tokens)
        for index, (stream, number) in enumerate(zip(self.streams, texts, strict=True)):
            stream.skip(number)
            if stream.epoch and self.settings.by != "repeats":
                self.ended.add(index)
        self.schedule = Schedule(self._weights(), tokens if self.settings.by == "tokens" else texts)
        self.packer: Packer | None = None
        if self.settings.pack is not None:
            self.packer = Packer(self.settings.pack, self._carry(self.settings.pack))

    def _weights(self) -> list[Fraction]:
        if self.settings.by != "repeats":
            return [Fraction(part.facts.weight or 1) for part in self.parts]
        return [Fraction(part.facts.repeats or 1) * max(part.facts.num_rows or 1, 1) for part in self.parts]

    def _carry(self, length: int) -> Ids:
        """The tokens of sealed texts that no sealed sequence holds yet."""
        assert self.tokenizer is not None
        wanted = self.num_tokens % length
        pieces: list[Ids] = []
        found = 0
        for text, num_tokens in last_texts(self.folder, [shard.path for shard in self.mixture.shards]):
            if found >= wanted:
                break
            pieces.append(self.tokenizer.encode([text])[0])
            found += num_tokens
        ids = np.concatenate([np.zeros(0, dtype=np.int32), *reversed(pieces)])
        return ids[len(ids) - wanted :]

    # -- which text comes next ---------------------------------------------------------------------------------------

    def _mixed(self) -> Iterator[tuple[int, Item]]:
        """Parts and their texts, in the order of the mixture."""
        by_tokens = self.settings.by == "tokens"
        limit, tokens = self.settings.limit, self.settings.tokens
        while (limit is None or self.num_texts < limit) and (tokens is None or self.num_tokens < tokens):
            sizes: dict[int, int] = {}
            due = self.schedule.due()
            for index in due:
                item = self._peek(index)
                if item is not None:
                    sizes[index] = item.num_tokens if by_tokens else 1
                elif self.settings.by != "repeats":
                    return
            if not due:
                return
            if len(sizes) < len(due):
                continue  # a part has left, and without it others may be due
            index = self.schedule.first(sizes)
            item = self.streams[index].pop()
            self.schedule.take(index, sizes[index])
            self.num_texts += 1
            self.num_tokens += item.num_tokens
            yield index, item

    def _peek(self, index: int) -> Item | None:
        """The next text of a part whose turn may be; None when the part, or with it the mixture, is at its end."""
        stream = self.streams[index]
        while (item := stream.peek()) is None:
            if not stream.given:
                raise stream.empty()
            if self.settings.by == "tokens" and not self.schedule.taken[index]:
                raise InputError(f"The part {self.names[index]} gives texts, but not one token.")
            if self.settings.by == "repeats":
                if not stream.more_epochs:
                    self.schedule.drop(index)
                    return None
            else:
                self.ended.add(index)
                if self._over():
                    return None
            stream.again()
        return item

    def _over(self) -> bool:
        """Whether the parts that have ended end the mixture."""
        if self.settings.stop in self.names:
            return self.names.index(self.settings.stop) in self.ended
        return bool(self.ended) if self.settings.stop == "first" else len(self.ended) == len(self.streams)

    # -- sealing -----------------------------------------------------------------------------------------------------

    def _seal(self, texts: Iterator[tuple[int, Item]]) -> None:
        """Take the texts of one shard and seal it, and with it the sequences that they complete."""
        index, start = len(self.mixture.shards), self.mixture.num_texts
        path, packed = text_path(index), packed_path(index)
        with ExitStack() as stack:
            # Left in this order: the packed shard is sealed first. Neither counts before the manifest names it.
            writer = TextWriter(stack.enter_context(sealed(self.folder / path)), counted=self.tokenizer is not None)
            sequences = PackedWriter(stack.enter_context(sealed(self.folder / packed))) if self.packer else None
            for part, item in islice(texts, self.settings.rows_per_shard):
                writer.add(item.text, self.names[part], item.num_tokens)
                self.counts[f"texts/{self.names[part]}"] += 1
                self.counts[f"tokens/{self.names[part]}"] += item.num_tokens
                self._count_left_out(part, item.left_out)
                if self.packer is not None and sequences is not None and item.ids is not None:
                    self.packer.add(item.ids)
                    if self.packer.full:
                        sequences.add(self.packer.take(everything=False))
                self.progress.advance(1, item.num_tokens)
            writer.close()
            if self.packer is not None and sequences is not None:
                sequences.add(self.packer.take(everything=True))
                sequences.close()
        self.mixture.shards.append(
            ShardFacts(
                path=path,
                num_rows=writer.num_rows,
                num_bytes=(self.folder / path).stat().st_size,
                arrow_bytes=writer.arrow_bytes,
                sha256=sha256(self.folder / path),
                source_rows=(start, start + writer.num_rows),
                counts={name: number for name, number in sorted(self.counts.items()) if number},
            )
        )
        self.counts = Counter()
        if sequences is not None:
            self.mixture.packed.append(
                PackedShard(
                    path=packed,
                    num_rows=sequences.num_rows,
                    num_bytes=(self.folder / packed).stat().st_size,
                    arrow_bytes=sequences.arrow_bytes,
                    sha256=sha256(self.folder / packed),
                )
            )

    def _count_left_out(self, part: int, left_out: Counter[str] | None) -> None:
        for reason, number in (left_out or Counter()).items():
            self.counts[f"rows_rejected/{reason}/{self.names[part]}"] += number


def _drop_unnamed(folder: Path, mixture: Mixture) -> None:
    """Remove what a killed mix left between writing a shard and naming it in the manifest."""
    known = {shard.path for shard in mixture.files}
    for name in ("data", "packed"):
        for path in (folder / name).glob("*"):
            if f"{name}/{path.name}" not in known:
                path.unlink()
