"""`hub-instructpt augment`: a source through an engine into a run directory, with a progress bar and a card.

Does not know how any of it is done.
"""

from __future__ import annotations

import gc
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from tqdm import tqdm

from hub_instructpt import hub
from hub_instructpt.cli.outcome import show_outcome
from hub_instructpt.cli.places import Place, working, write_card
from hub_instructpt.cli.progress import Bar, say
from hub_instructpt.cli.published import published_command
from hub_instructpt.cli.push import show_pushed
from hub_instructpt.cli.ray_address import with_address
from hub_instructpt.cli.stopping import stoppable
from hub_instructpt.engines import open_engine
from hub_instructpt.errors import HubInstructPTError, InputError, SettingsError
from hub_instructpt.on_ray.driver import augment_on_ray
from hub_instructpt.runs.hub_dataset import open_dataset
from hub_instructpt.runs.manifest import MANIFEST, Manifest, Settings
from hub_instructpt.runs.runner import augment_source
from hub_instructpt.runs.share import ALONE, Worker
from hub_instructpt.runs.sources import Source, find_files, open_files

REAL_ENGINES = (
    "No engine was named, so the tiny synthesizer that comes along writes the pairs: it shows the format, no more. "
    "Real ones: --engine http://HOST:PORT (text-generation-inference, vLLM, SGLang, …), "
    "--engine local:instruction-pretrain/instruction-synthesizer."
)


def augment(
    source: Annotated[
        str,
        typer.Argument(
            help="Hub dataset id, or local .jsonl, .parquet, .csv, .txt: file, folder, glob.", metavar="SOURCE"
        ),
    ],
    out: Annotated[
        Place,
        typer.Option(
            parser=Place.parse,
            metavar="DIR",
            help="Run directory: shards, manifest and card. Or s3://, gs://, hf://buckets/…, any URL of fsspec.",
        ),
    ],
    engine: Annotated[
        list[str] | None,
        typer.Option(
            help="http(s)://host:port of a text-generation server (TGI, vLLM, SGLang, llama.cpp, transformers serve; "
            "found out by asking), tgi+http://… or openai+http://… to insist, local, or local:PATH_OR_MODEL_ID. "
            "Several of them share the work.",
            metavar="E",
        ),
    ] = None,
    engines_file: Annotated[
        Path | None,
        typer.Option(help="File with one engine a line; may be edited while the run goes on.", metavar="FILE"),
    ] = None,
    config: Annotated[str | None, typer.Option(help="Config of a Hub dataset.")] = None,
    split: Annotated[str, typer.Option(help="Split of a Hub dataset.")] = "train",
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a Hub dataset.")] = None,
    text_column: Annotated[str, typer.Option(help="Column with the raw text.")] = "text",
    keep_column: Annotated[
        list[str] | None, typer.Option(help="Column that travels along, such as url or title. Repeatable.", metavar="K")
    ] = None,
    num_shots: Annotated[int, typer.Option(help="M: texts chained into one M-shot example.", min=1)] = 1,
    max_new_tokens: Annotated[int, typer.Option(help="Token limit of a completion.", min=1)] = 400,
    temperature: Annotated[float, typer.Option(help="0 is greedy.", min=0.0)] = 0.0,
    top_p: Annotated[float, typer.Option(help="Nucleus sampling, with a temperature.")] = 1.0,
    rows_per_shard: Annotated[int, typer.Option(help="Source rows per shard, the unit of resumption.", min=1)] = 1000,
    limit: Annotated[int | None, typer.Option(help="Only the first N rows.", min=1, metavar="N")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the rendering.")] = 0,
    license: Annotated[  # noqa: A002
        str | None, typer.Option(help="Licence of the corpus, for its card; by default the source's.")
    ] = None,
    concurrency: Annotated[
        int | None,
        typer.Option(
            help="Requests in flight to each server, from all tasks together; by default what it allows, or as many as "
            "make it faster.",
            min=1,
        ),
    ] = None,
    timeout: Annotated[float, typer.Option(help="Seconds for one request, the server's queue included.")] = 300.0,
    model: Annotated[str | None, typer.Option(help="Which one, of a server that has several models.")] = None,
    max_total_tokens: Annotated[
        int | None,
        typer.Option(help="Tokens of prompt and completion together; by default what the server tells.", min=1),
    ] = None,
    wake_seconds: Annotated[
        float | None,
        typer.Option(
            help="Time for a server that scaled to zero to wake. Default: 600 for Inference Endpoints, else 0.",
            min=0.0,
        ),
    ] = None,
    worker: Annotated[
        str | None,
        typer.Option(
            help="This process makes every N-th shard, from the I-th on; N of them, on any machines, share DIR.",
            metavar="I/N",
        ),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            help="Make the shards as tasks on a Ray cluster: auto, which is the default of ADDRESS, HOST:PORT or "
            "ray://HOST:PORT. All its machines must see DIR and the source under the same paths.",
            metavar="[ADDRESS]",
        ),
    ] = None,
    ray_tasks: Annotated[
        int | None,
        typer.Option(help="Tasks at once; by default as many as there are CPUs, shards and requests for.", min=1),
    ] = None,
    max_failed_share: Annotated[float, typer.Option(help="Stop when a larger share of the texts fails.")] = 0.05,
    push_to: Annotated[
        str | None,
        typer.Option(help="Push to this dataset repo while the run goes on, and at its end.", metavar="NAMESPACE/NAME"),
    ] = None,
    push_config: Annotated[
        str | None, typer.Option(help="Push as this config, in a folder of its own; others stay.", metavar="NAME")
    ] = None,
    private: Annotated[bool | None, typer.Option("--private/--public", help="Visibility of a new repo.")] = None,
    commit_every: Annotated[
        int, typer.Option(help="Shards between two commits to it.", min=1, metavar="K")
    ] = hub.COMMIT_EVERY,
) -> None:
    """Augment raw texts with instruction-response pairs.

    The same command again goes on where a run was stopped.
    """
    logging.basicConfig(format="%(message)s")
    keep = list(keep_column or ())
    for name in keep:
        if name in ("context", "pairs") or keep.count(name) > 1:
            raise SettingsError(f"--keep-column {name} can not be kept: the name is taken.")
    settings = Settings(
        text_column=text_column, keep_columns=keep, num_shots=num_shots, max_new_tokens=max_new_tokens,
        temperature=temperature, top_p=top_p, rows_per_shard=rows_per_shard, limit=limit, seed=seed,
    )  # fmt: skip
    if ray is not None and worker is not None:
        raise SettingsError("--ray and --worker do not go together.", advice="Ray shares the shards out by itself.")
    if ray is not None and out.folder is None:
        raise SettingsError(
            f"--ray needs a folder that all machines see, and --out {out} is none.",
            advice="Give one, and --push-to or a copy later; or run workers (--worker I/N) on the store.",
        )
    if ray is None and ray_tasks is not None:
        raise SettingsError("--ray-tasks is nothing without --ray.")
    named = [*(engine or ()), *([f"@{engines_file}"] if engines_file else [])]
    options = {
        "timeout_seconds": timeout, "concurrency": concurrency, "model": model,
        "max_total_tokens": max_total_tokens, "wake_seconds": wake_seconds,
    }  # fmt: skip
    opened = open_engine(named or "local", **options)
    if not named:
        say(REAL_ENGINES)
    # Rows are kept until their shard is sealed, and none is part of a cycle: looking for cycles among them again and
    # again costs a tenth of all work.
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    along = None
    if push_to is not None:
        if out.folder is None:
            raise SettingsError(f"--push-to pushes from a folder, and --out {out} is none.", advice="Leave one out.")
        along = hub.PushingAlong(
            out.folder, push_to, commit_every=commit_every, private=private, config_name=push_config, say=say
        )
    part = Worker.parse(worker) if worker else ALONE
    with stoppable() as stop, Bar() as bar, _pushing(along), working(out, part, stop) as work:
        rows = _open_source(source, config, split, revision, text_column, keep, work.folder)
        how: dict[str, Any] = {
            "stop": stop,
            "max_failed_share": max_failed_share,
            "progress": bar,
            "license": license,
            "command": published_command(source, with_address(sys.argv[1:])),
            "on_sealed": along.sealed if along else None,
        }
        if ray is None:
            manifest = augment_source(rows, opened, settings, work.folder, worker=part, shelf=work.shelf, **how)
        else:
            manifest = augment_on_ray(
                rows, named or "local", settings, work.folder, address=ray, tasks=ray_tasks, engine_options=options,
                **how,
            )  # fmt: skip
        manifest = work.finish(manifest)
    if manifest.finished or out.folder is not None:
        card = write_card(out)
    if manifest.finished:
        show_outcome(manifest, out, card, named=bool(named), pushed=along is not None)
    else:
        done = f"{manifest.rows_sealed:,} rows in {len(manifest.shards):,} shards"
        say(f"Worker {worker} is done. Of the whole run so far: {done}; the last worker finishes it.")
    if along is not None:
        show_pushed(along.finish())


@contextmanager
def _pushing(along: hub.PushingAlong | None) -> Iterator[None]:
    """Push while the block runs; where it fails, push what is sealed; where it is stopped, send no more."""
    if along is None:
        yield
        return
    along.begin()
    try:
        yield
    except HubInstructPTError:
        along.settle()
        raise
    except BaseException:
        along.stop()
        raise


def _open_source(
    source: str, config: str | None, split: str, revision: str | None, text_column: str, keep: Sequence[str], out: Path
) -> Source:
    files = find_files(source)
    if files is None:
        facts = hub.source_facts(source, config, split, revision or _pinned(out, source))
        return open_dataset(source, config, split, facts, text_column, keep)
    # What a run writes is never its own source, or it could not go on.
    ours = out.resolve()
    files = [file for file in files if ours not in file.resolve().parents]
    if not files:
        raise InputError(f"{source} holds nothing but what lies in --out {out}.", advice="Give another --out.")
    with tqdm(desc="Checking the source", unit=" rows", leave=False, mininterval=0.5, disable=None) as bar:
        return open_files(files, text_column, keep, lambda rows: _tick(bar, rows))


def _pinned(out: Path, source: str) -> str | None:
    """The commit that a run in `out` reads: going on, it must not see what came to the dataset since."""
    if not (out / MANIFEST).exists():
        return None
    facts = Manifest.load(out).source
    return facts.revision if facts.kind == "hub" and facts.name == source else None


def _tick(bar: tqdm[Any], rows: int) -> None:
    bar.update(rows)
