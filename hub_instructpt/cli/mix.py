"""`hub-instructpt mix`: runs, corpora, instruction sets and collections into one pre-training corpus.

Does not know how any of it is done.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import pyarrow.parquet as pq
import typer
from tqdm import tqdm

from hub_instructpt import hub
from hub_instructpt.cli.places import folder_for
from hub_instructpt.mixing import card
from hub_instructpt.mixing.checks import check_settings
from hub_instructpt.mixing.forms import default_name, open_part
from hub_instructpt.mixing.manifest import By, MixSettings, Mixture
from hub_instructpt.mixing.mixer import Progress, mix_parts
from hub_instructpt.mixing.parts import KEYS, PartSpec, parse_part
from hub_instructpt.mixing.tokens import Tokenizer

PART_HELP = (
    "SOURCE[,key=value]…: a run directory, a local file, folder or glob, or a Hub dataset id. "
    f"Keys: {'; '.join(f'{key}= {what}' for key, what in KEYS.items())}."
)


def mix(
    parts: Annotated[list[str], typer.Argument(metavar="PART…", help=PART_HELP)],
    out: Annotated[
        Path,
        typer.Option(
            parser=folder_for("mix"), metavar="DIR", help="Where the mixture goes: shards, manifest and card."
        ),
    ],
    by: Annotated[
        By | None,
        typer.Option(help="What weight= shares: texts or tokens; or repeats, each part whole. By default texts."),
    ] = None,
    stop: Annotated[
        str,
        typer.Option(
            help="End when the first part is exhausted, when all are, or when that of a name is; others begin again.",
            metavar="first|all|NAME",
        ),
    ] = "first",
    limit: Annotated[int | None, typer.Option(help="End at N texts.", min=1, metavar="N")] = None,
    tokens: Annotated[int | None, typer.Option(help="End with the text that reaches N tokens.", min=1)] = None,
    tokenizer: Annotated[
        str | None, typer.Option(help="Folder, model id on the Hub, or local: counts tokens, and packs.")
    ] = None,
    pack: Annotated[
        int | None, typer.Option(help="Also sequences of exactly N token ids, for a trainer.", min=2, metavar="N")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the order, and of the styles of a collection.")] = 0,
    shuffle: Annotated[int, typer.Option(help="Texts of each part that the shuffle holds; 1: no shuffle.", min=1)] = (
        10_000
    ),
    rows_per_shard: Annotated[int, typer.Option(help="Texts per shard, the unit of resumption.", min=1)] = 10_000,
) -> None:
    """Mix runs, raw corpora, instruction sets and collections into one corpus for pre-training.

    The same command again goes on where a mix was stopped.
    """
    specs = [parse_part(part) for part in parts]
    names = _names(specs)
    if by is None:
        by = "repeats" if any(s.repeats for s in specs) and not any(s.weight for s in specs) else "texts"
    settings = MixSettings(
        by=by, stop=stop, limit=limit, tokens=tokens, seed=seed, shuffle=shuffle, rows_per_shard=rows_per_shard,
        pack=pack,
    )  # fmt: skip
    check_settings(settings, names, counted=tokenizer is not None)
    counting = Tokenizer(tokenizer) if tokenizer else None
    with tqdm(desc="Checking the parts", unit=" rows", leave=False, mininterval=0.5) as checking:
        opened = [
            open_part(spec, name, hub.source_facts, lambda rows: _tick(checking, rows))
            for spec, name in zip(specs, names, strict=True)
        ]
    command = _command(specs, settings, counting)
    with closing(_Bar(settings)) as bar:
        mixture = mix_parts(opened, settings, out, tokenizer=counting, progress=bar, command=command)
    written = card.write_card(out)
    _show(mixture, out, written)


def _names(specs: Sequence[PartSpec]) -> list[str]:
    """What parts are called; the second one of a name gets a number, unless somebody chose it."""
    names: list[str] = []
    for spec in specs:
        name = wanted = spec.name or default_name(spec)
        number = 1
        while name in names and spec.name is None:
            number += 1
            name = f"{wanted}-{number}"
        names.append(name)
    return names


def _command(specs: Sequence[PartSpec], settings: MixSettings, tokenizer: Tokenizer | None) -> str:
    """The command as it can be published: a local path becomes its name, and --out is left out."""
    words = ["hub-instructpt", "mix"]
    for spec in specs:
        path = Path(spec.source).expanduser()
        source = path.name if path.exists() or path.is_absolute() or spec.source.startswith(("~", ".")) else spec.source
        given = [
            f"{field.name}={getattr(spec, field.name)}"
            for field in fields(spec)
            if field.name != "source" and getattr(spec, field.name) not in (None, field.default)
        ]
        words.append(",".join([source, *given]))
    default = MixSettings().model_dump()
    for name, value in settings.model_dump().items():
        if value != default[name]:
            words += [f"--{name.replace('_', '-')}", str(value)]
    if tokenizer is not None:
        words += ["--tokenizer", tokenizer.facts.name]
    return shlex.join([*words, "--out", "DIR"])


def _tick(bar: tqdm[Any], rows: int) -> None:
    bar.update(rows)


class _Bar(Progress):
    """A progress bar of texts, or of tokens where their number is what ends the mix."""

    def __init__(self, settings: MixSettings) -> None:
        self.settings = settings
        self.bar: tqdm[Any] | None = None

    def begin(self, texts: int, tokens: int, mixture: Mixture) -> None:
        if texts:
            typer.echo(f"{texts:,} texts are mixed already; going on from there.", err=True)
        by_tokens = self.settings.tokens is not None
        self.bar = tqdm(
            initial=tokens if by_tokens else texts,
            total=self.settings.tokens or self.settings.limit,
            desc="Mixing",
            unit=" tokens" if by_tokens else " texts",
            unit_scale=by_tokens,
            mininterval=0.5,
        )

    def advance(self, texts: int, tokens: int) -> None:
        if self.bar is not None:
            self.bar.update(tokens if self.settings.tokens is not None else texts)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()


def _show(mixture: Mixture, out: Path, written: Path, longest: int = 160) -> None:
    """The beginning of a text of each part, what came of it all, and what to type next."""
    for name, text in _sample(out, mixture):
        start = " ".join(text[: longest + 1].split())
        typer.echo(f"{name}:  {start[:longest]}{'…' if len(text) > longest else ''}")
    width = max(len(part.name) for part in mixture.parts)
    typer.echo("")
    for name, reached in mixture.reached.items():
        asked = (
            "" if reached.asked is None else f"   asked for {100 * reached.asked:.1f} % of the {mixture.settings.by}"
        )
        counted = (
            ""
            if reached.tokens is None
            else f"   {reached.tokens:>12,} tokens {100 * (reached.tokens_share or 0):5.1f} %"
        )
        typer.echo(f"{name:<{width}}   {reached.texts:>9,} texts {100 * reached.texts_share:5.1f} %{counted}{asked}")
    typer.echo(f"\n{mixture.num_texts:,} texts, {len(mixture.shards):,} shards in {out}, card in {written}.")
    if mixture.packed:
        sequences = sum(shard.num_rows for shard in mixture.packed)
        typer.echo(
            f"{sequences:,} packed sequences of {mixture.settings.pack:,} tokens; "
            f"{mixture.tokens_left_over:,} tokens left over at the end."
        )
    typer.echo(f"Publish it:  hub-instructpt push {shlex.quote(str(out))} NAMESPACE/NAME")


def _sample(folder: Path, mixture: Mixture) -> list[tuple[str, str]]:
    """The first text of each part in the first rows: (part, text)."""
    found: dict[str, str] = {}
    for shard in mixture.shards[:1]:
        with pq.ParquetFile(folder / shard.path) as file:
            for batch in file.iter_batches(1000, row_groups=[0], columns=["source", "text"]):
                for row in batch.to_pylist():
                    found.setdefault(row["source"], row["text"])
    return sorted(found.items())
