"""`hub-instructpt verify`: whether what lies there is what its manifest says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from tqdm import tqdm

from hub_instructpt import hub
from hub_instructpt.cli.places import Place, looking
from hub_instructpt.collection.verify import verify as verify_collection
from hub_instructpt.errors import RunError, SettingsError
from hub_instructpt.runs.remote import RemoteFiles
from hub_instructpt.runs.verify import verify as verify_run


def verify(
    target: Annotated[
        str,
        typer.Argument(
            metavar="DIR|NAMESPACE/NAME",
            help="A directory of a run or a collection, a dataset repo, or the URL of a run in an object store.",
        ),
    ],
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a repo.")] = None,
) -> None:
    """Check every file, row and count against the manifest. Changes nothing.

    Of a repo on the Hub, and of a run in a store, everything is downloaded, a file at a time.
    """
    place = Place.parse(target)
    if place.folder is not None:
        folder = place.folder.expanduser()
        if not folder.exists() and target.count("/") == 1 and not target.startswith((".", "/", "~")):
            _verify_repo(target, revision)
        else:
            _verify(folder)
        return
    with looking(place) as (folder, _):
        _verify(folder, RemoteFiles(place.store(), folder))


def _verify(folder: Path, files: RemoteFiles | None = None) -> None:
    kind = hub.kind_of(folder)
    if kind in ("mixture", "synthesizer"):
        raise SettingsError(f"{folder} is a {kind}: `verify` knows runs and collections.")
    with tqdm(desc="Checking", unit=" rows", leave=False, mininterval=0.5, disable=None) as bar:

        def tick(rows: int) -> None:
            bar.update(rows)

        if kind == "collection":
            collection = verify_collection(folder, tick)
            findings, notes = [str(finding) for finding in collection.findings], collection.notes
            seen = f"{collection.datasets:,} datasets, {collection.records:,} records, {collection.pairs:,} pairs"
        else:
            run = verify_run(folder, tick, files)
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


def _verify_repo(repo_id: str, revision: str | None) -> None:
    with tqdm(desc="Checking", unit="B", unit_scale=True, leave=False, mininterval=0.5, disable=None) as bar:

        def tick(num_bytes: int) -> None:
            bar.update(num_bytes)

        found = hub.verify_repo(repo_id, revision, tick)
    for line in found.findings:
        typer.echo(line)
    if found.findings:
        raise RunError(
            f"{len(found.findings):,} things in {repo_id} are not as its manifest says.",
            advice="`hub-instructpt push` of the directory again puts them right.",
        )
    seen = f"{found.files:,} files, {found.rows:,} rows, {found.num_bytes:,} bytes of {repo_id}"
    typer.echo(f"{seen} at commit {found.commit[:8]}: everything is as the manifest says.")
