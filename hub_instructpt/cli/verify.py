"""`hub-instructpt verify`: whether what lies there is what its manifest says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from tqdm import tqdm

from hub_instructpt import hub
from hub_instructpt.collection.verify import verify as verify_collection
from hub_instructpt.errors import RunError, SettingsError
from hub_instructpt.runs.verify import verify as verify_run


def verify(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A directory of a run or a collection.")],
) -> None:
    """Check every file, row and count against the manifest. Changes nothing."""
    kind = hub.kind_of(folder)
    if kind == "mixture":
        raise SettingsError(f"{folder} is a mixture: `verify` knows runs and collections.")
    with tqdm(desc="Checking", unit=" rows", leave=False, mininterval=0.5, disable=None) as bar:

        def tick(rows: int) -> None:
            bar.update(rows)

        if kind == "collection":
            collection = verify_collection(folder, tick)
            findings, notes = [str(finding) for finding in collection.findings], collection.notes
            seen = f"{collection.datasets:,} datasets, {collection.records:,} records, {collection.pairs:,} pairs"
        else:
            run = verify_run(folder, tick)
            findings, notes = run.findings, run.notes
            seen = f"{run.shards:,} shards, {run.rows:,} rows, {run.pairs:,} pairs"
    for line in (*findings, *notes):
        typer.echo(line)
    if findings:
        raise RunError(
            f"{len(findings):,} things are not as the manifest says.",
            advice="For a run, the same `hub-instructpt augment` again makes damaged shards anew.",
        )
    typer.echo(f"{seen}: everything is as the manifest says.")
