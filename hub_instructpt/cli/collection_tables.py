"""What `collect` says: the table of sources, what came of a dataset, and the report of a check. Pure words."""

from __future__ import annotations

import shutil
from pathlib import Path

import typer

from hub_instructpt import cards
from hub_instructpt.collection.manifest import Collection, DatasetFacts, LicenceFacts
from hub_instructpt.collection.source import Licence, Source
from hub_instructpt.collection.verify import Report


def terms(licence: Licence | LicenceFacts) -> str:
    """A licence in a sentence, with what it asks for."""
    marks = [*licence.restrictions, *(["share-alike"] if licence.share_alike else [])]
    return f"{licence.name} ({', '.join(marks)})." + (f" {licence.note}" if licence.note else "")


def show_sources(sources: list[Source], collection: Collection | None) -> None:
    """A line a source; what does not fit into the terminal is shortened from the right-hand columns."""
    header = ("name", "licence", "marks", "hub", "rows", "kind", *(("here",) if collection else ()))
    rows = [header]
    for source in sources:
        licence = source.licence
        marks = [*licence.restrictions, *(["share-alike"] if licence.share_alike else [])]
        there = collection.find(source.name) if collection else None
        rows.append(
            (
                source.name,
                licence.name,
                ", ".join(marks) or "–",
                " ".join(filter(None, (source.hub.repo_id, *source.hub.configs))) if source.hub else "–",
                f"{source.hub.num_rows:,}" if source.hub and source.hub.num_rows else "?",
                source.qa_type,
                *((f"{there.num_records:,} records" if there else "–",) if collection else ()),
            )
        )
    widths = _fitted([max(map(len, column)) for column in zip(*rows, strict=True)])
    for row in rows:
        cells = (_cell(text, width, right=at == 4) for at, (text, width) in enumerate(zip(row, widths, strict=True)))
        typer.echo("  ".join(cells).rstrip())
    restricted = sum(bool(source.licence.restrictions) for source in sources)
    typer.echo(
        f"\n{len(sources)} datasets. `collect --all` leaves out the {restricted} that are non-commercial, must not be "
        "passed on, or whose terms are unclear; --accept-licence NAME takes them."
    )


def _fitted(widths: list[int], gap: int = 2, least: int = 6) -> list[int]:
    """Column widths that fit into the terminal: the widest is narrowed first, but for the name's."""
    room = shutil.get_terminal_size((120, 24)).columns - gap * (len(widths) - 1)
    while sum(widths) > room:
        at = max(range(1, len(widths)), key=lambda each: widths[each])
        if widths[at] <= least:
            break
        widths[at] -= 1
    return widths


def _cell(text: str, width: int, *, right: bool) -> str:
    shown = text if len(text) <= width else text[: width - 1] + "…"
    return shown.rjust(width) if right else shown.ljust(width)


def counted(dataset: DatasetFacts) -> str:
    """How much a dataset holds."""
    return f"{dataset.num_records:,} records, {dataset.num_pairs:,} pairs"


def show_made(dataset: DatasetFacts) -> None:
    """What came of a dataset, and of every row and question that did not come into it."""
    rows = dataset.source.num_rows or 0
    typer.echo(f"{dataset.name}: {rows:,} rows of {dataset.source.name} gave {counted(dataset)}.")
    for what, words in (
        ("rows_rejected", "rows left out"),
        ("rows_cut", "rows left out in part"),
        ("questions_rejected", "questions left out"),
    ):
        for reason, number in dataset.rejected(what):
            typer.echo(f"  {words}: {number:,}  {cards.words(reason)}")
    if over := dataset.counts.get("records/over_cap"):
        typer.echo(f"  over the cap of {dataset.settings.cap:,}: {over:,} records, those with the fewest pairs")
    if any(file.path.endswith("rejected.jsonl") for file in dataset.files):
        typer.echo(f"  which ones: {dataset.name}/rejected.jsonl")
    if dataset.source.kind == "hub" and dataset.declared_rows and rows != dataset.declared_rows:
        typer.echo(f"  {dataset.declared_rows:,} rows were declared, {rows:,} are there", err=True)


def show_total(collection: Collection, out: Path, written: Path) -> None:
    """What the whole collection holds."""
    typer.echo(
        f"\n{len(collection.datasets):,} datasets, {collection.num_records:,} records, {collection.num_pairs:,} pairs "
        f"in {out}, card in {written}."
    )


def show_report(report: Report) -> None:
    """Every finding by file and line, then what was checked."""
    for finding in report.findings:
        typer.echo(str(finding))
    for note in report.notes:
        typer.echo(note)
    verdict = f"{len(report.findings):,} findings" if report.findings else "nothing is wrong"
    typer.echo(f"{report.datasets:,} datasets, {report.records:,} records, {report.pairs:,} pairs: {verdict}.")
