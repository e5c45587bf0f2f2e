"""`hub-instructpt collect`: source datasets become the fine-tuning collection of a synthesizer.

    collect squad ROPES --out DIR         from the Hub
    collect squad --from dev-v1.1.json --out DIR
    collect --all --data DIR --out DIR    from releases, a folder NAME/ for each
    collect --list                        collect --verify DIR

Keeps true: a dataset that fails does not keep the others from being made, and the exit status tells of it.
Does not know how any of it is done.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer
from tqdm import tqdm

from hub_instructpt import hub
from hub_instructpt.cli import collection_tables as tables
from hub_instructpt.cli.places import folder_for
from hub_instructpt.collection import card
from hub_instructpt.collection.collect import collect as collect_one
from hub_instructpt.collection.collect import is_finished, open_collection, settings_for
from hub_instructpt.collection.hub_rows import open_hub
from hub_instructpt.collection.manifest import CAP, Collection, CollectSettings
from hub_instructpt.collection.reading import Reading, has_files, open_files, where_to_get
from hub_instructpt.collection.registry import all_sources, get_source, survey, unknown_source
from hub_instructpt.collection.source import Source
from hub_instructpt.collection.verify import verify as verify_folder
from hub_instructpt.errors import HubInstructPTError, InputError, SettingsError


def collect(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME…", help="Datasets; --list shows them.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(parser=folder_for("collect"), metavar="DIR", help="Where the collection goes, or goes on."),
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Every dataset whose licence asks for nothing special.")] = False,
    accept: Annotated[
        list[str] | None,
        typer.Option(
            "--accept-licence",
            metavar="NAME",
            help="With --all: take a dataset, or all under a licence, also when its terms are non-commercial, forbid "
            "passing it on, or are unclear. A dataset that is named is taken.",
        ),
    ] = None,
    from_: Annotated[
        str | None, typer.Option("--from", metavar="PATH", help="Read the one dataset from a file, folder or glob.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Read each dataset from the folder DIR/NAME.")
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Commit or branch on the Hub, of one dataset.")] = None,
    cap: Annotated[
        int, typer.Option(help="Records of each dataset, those with the most pairs; 0: all of them.", min=0)
    ] = CAP,
    seed: Annotated[int, typer.Option(help="Of the choice between records of as many pairs.")] = 0,
    parquet: Annotated[bool, typer.Option("--parquet", help="Parquet as well.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Make datasets again that are there.")] = False,
    list_: Annotated[
        bool, typer.Option("--list", help="Show every dataset, its licence and where it comes from.")
    ] = False,
    verify: Annotated[Path | None, typer.Option(metavar="DIR", help="Check a collection, file by file.")] = None,
) -> None:
    """Make the fine-tuning collection of an instruction synthesizer from its source datasets."""
    if list_:
        sources, problems = survey()
        tables.show_sources(sources, Collection.load(out) if out and (out / "manifest.json").exists() else None)
        for problem in problems:
            typer.echo(f"Left out: {problem}", err=True)
        return
    if verify is not None:
        _verify(verify)
        return
    sources = _chosen(names or [], all_, accept or [], data)
    _check_use(sources, out, from_, data, revision)
    assert out is not None
    options = _Options(out, from_, data, cap or None, seed, parquet, revision, force)
    failed = options.run(sources)
    if failed:
        raise typer.Exit(1)


def _verify(folder: Path) -> None:
    with tqdm(desc="Checking", unit=" records", leave=False, mininterval=0.5) as bar:
        report = verify_folder(folder, lambda records: _tick(bar, records))
    tables.show_report(report)
    if report.findings:
        raise typer.Exit(1)


def _chosen(names: list[str], all_: bool, accept: list[str], data: Path | None) -> list[Source]:
    """The datasets asked for; with --all, what is left out is told."""
    if all_ == bool(names):
        raise SettingsError(
            "Which datasets?" if not names else "--all takes every dataset; so no name can be given.",
            advice="Give names, or --all; `hub-instructpt collect --list` shows them.",
        )
    if not all_:
        if accept:
            raise SettingsError("--accept-licence goes with --all.", advice="A dataset that is named is taken.")
        chosen = {source.name: source for source in map(get_source, names)}
        for source in chosen.values():
            if source.licence.restrictions:
                typer.echo(f"{source.name}: {tables.terms(source.licence)}", err=True)
        return list(chosen.values())
    sources = all_sources()
    _check_accepted(sources, accept)
    accepted = {name.casefold() for name in accept}
    taken: list[Source] = []
    for source in sources:
        names_of = {source.name.casefold(), source.licence.name.casefold(), source.licence.hub_id}
        if source.licence.restrictions and not accepted & names_of:
            typer.echo(
                f"{source.name} is left out: {tables.terms(source.licence)} --accept-licence {source.name} takes it.",
                err=True,
            )
        elif data is not None and not has_files(source, data / source.name):
            typer.echo(
                f"{source.name} is left out: {data / source.name} holds nothing of it. {where_to_get(source)}", err=True
            )
        else:
            taken.append(source)
    return taken


def _check_accepted(sources: list[Source], accept: list[str]) -> None:
    known = {
        each for source in sources for each in (source.name, source.licence.name, source.licence.hub_id)
        if each not in ("other", "unknown")
    }  # fmt: skip
    folded = {each.casefold() for each in known}
    for name in accept:
        if name.casefold() not in folded:
            raise unknown_source(name, sorted(known))


def _check_use(
    sources: list[Source], out: Path | None, from_: str | None, data: Path | None, revision: str | None
) -> None:
    if out is None:
        raise SettingsError("Where does it go?", advice="Give --out DIR.")
    if from_ is not None and data is not None:
        raise SettingsError("--from and --data exclude each other.", advice="Give one of them.")
    if (from_ is not None or revision is not None) and len(sources) != 1:
        raise SettingsError("--from and --revision are for one dataset.", advice="Name one, or take --data.")
    if revision is not None and (from_ or data):
        raise SettingsError("--revision is one on the Hub.", advice="Leave out --from and --data.")
    if data is not None:
        for source in sources:
            if not (data / source.name).is_dir():
                raise InputError(f"{data} has no folder {source.name}.", advice=where_to_get(source))


def _tick(bar: tqdm[Any], rows: int) -> None:
    bar.update(rows)


class _Options:
    """What was asked for, and the work of one call."""

    def __init__(
        self, out: Path, from_: str | None, data: Path | None, cap: int | None, seed: int, parquet: bool,
        revision: str | None, force: bool,
    ) -> None:  # fmt: skip
        self.out, self.from_, self.data, self.revision, self.force = out, from_, data, revision, force
        self.cap, self.seed, self.parquet = cap, seed, parquet

    def run(self, sources: list[Source]) -> int:
        """Make the datasets; returns how many failed."""
        failed = 0
        with open_collection(self.out) as collection:
            for number, source in enumerate(sources, 1):
                try:
                    self._make(source, collection, f"{source.name} ({number} of {len(sources)})")
                except HubInstructPTError as error:
                    if len(sources) == 1:
                        raise
                    typer.echo(f"{source.name} failed: {error}", err=True)
                    failed += 1
            if collection.datasets:
                written = card.write_card(self.out)
        if collection.datasets:
            tables.show_total(collection, self.out, written)
            typer.echo(f"Publish it:  hub-instructpt push {shlex.quote(str(self.out))} NAMESPACE/NAME")
        return failed

    def _make(self, source: Source, collection: Collection, title: str) -> None:
        settings = settings_for(
            source, cap=self.cap, seed=self.seed, parquet=self.parquet,
            revision=self.revision or (source.hub.revision if source.hub and self._from(source) is None else None),
        )  # fmt: skip
        reading = self._open(source, settings, collection)
        if reading is None:
            there = collection.find(source.name)
            assert there is not None
            typer.echo(f"{source.name} is there already: {tables.counted(there)}. --force makes it again.", err=True)
            return
        total = source.hub.num_rows if source.hub and reading.facts.kind == "hub" else None
        with tqdm(desc=title, total=total, unit=" rows", leave=False, mininterval=0.5) as bar:
            made = collect_one(source, reading, self.out, collection, settings, lambda rows: _tick(bar, rows))
        tables.show_made(made)

    def _from(self, source: Source) -> str | None:
        return str(self.data / source.name) if self.data is not None else self.from_

    def _open(self, source: Source, settings: CollectSettings, collection: Collection) -> Reading | None:
        """The rows to read; None when the dataset is there already."""
        given = self._from(source)
        reading = open_files(source, given) if given is not None else None
        files = reading.facts if reading else None
        if not self.force and is_finished(self.out, collection, source, settings, files):
            return None
        return reading or open_hub(source, hub.source_facts, self.revision)
