"""What the recipes in dataset_scripts/ share: published mixtures as a few commands of this package, one after another.

    OUT/split       the general recipe: a fifth of the rows, and the rest of them
    OUT/augmented   the run
    OUT/mixture     what comes out

Keeps true: each step is a command as a person would type it, so that each can be killed and the same recipe goes on;
the rows that are augmented and those that stay raw are told apart by their numbers, and the source is read once.
Does not know how any of it is done.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ValidationError

from hub_instructpt import hub
from hub_instructpt.errors import HubInstructPTError, RunDirectoryError
from hub_instructpt.runs.files import write_text, write_whole
from hub_instructpt.runs.hub_dataset import open_dataset
from hub_instructpt.runs.locks import only_writer
from hub_instructpt.runs.sources import Source, find_files, open_files

COLLECTION = "instruction-pretrain/ft-instruction-synthesizer-collection"
COLLECTION_ROWS = 249_000
INSTRUCTIONS = "Open-Orca/OpenOrca"
ROWS_PER_BLOCK = 20_000
SCHEMA = pa.schema([("text", pa.string())])


def general_corpus(about: str, arguments: Sequence[str] | None = None, *, source: str, text_column: str) -> None:
    """One fifth of the texts augmented with M = 2, the rest raw, and the fine-tuning collection four times."""
    asked = _parser(about, source, text_column)
    asked.add_argument("--collection", default=COLLECTION, help="fine-tuning collection: Hub id or local")
    options = asked.parse_args(arguments)
    with _told():
        split, facts = split_rows(options.source, _column(options, source), options.out / "split", 5, options.limit)
    run, origin = options.out / "augmented", _origin(facts)
    _command("augment", split / "chosen", "--num-shots", 2, "--out", run, *_augmenting(options), *_licence(facts))
    rest = [f"{split / 'rest'},name=raw,form=raw{origin}"] if facts.rows_rest else []
    collection = f"{options.collection},name=collection,form=collection,repeats=4,rows={COLLECTION_ROWS}"
    parts = [f"{run},name=augmented{origin}", *rest, collection]
    _mix(options, parts, "--by", "repeats")


def domain_corpus(
    about: str, arguments: Sequence[str] | None = None, *, source: str, text_column: str, tokenizer: str
) -> None:
    """Every text augmented with M = 3, mixed one to one by tokens with general instructions."""
    asked = _parser(about, source, text_column)
    asked.add_argument("--instructions", default=INSTRUCTIONS, help="columns question and response: Hub id or local")
    asked.add_argument("--tokenizer", default=tokenizer, help="of the base model; counts tokens")
    asked.add_argument("--pack", type=int, metavar="N", help="also sequences of exactly N tokens")
    options = asked.parse_args(arguments)
    run, column = options.out / "augmented", _column(options, source)
    limit = ["--limit", options.limit] if options.limit else []
    words = ["--text-column", column, "--num-shots", 3, *_augmenting(options), *limit]
    _command("augment", options.source, *words, "--out", run)
    parts = [f"{run},name=augmented", f"{options.instructions},name=instructions,form=instructions"]
    packed = ["--pack", options.pack] if options.pack else []
    # The corpus is taken once and whole; instructions are there for as long as it lasts.
    _mix(options, parts, "--by", "tokens", "--tokenizer", options.tokenizer, "--stop", "augmented", *packed)


# -- commands ------------------------------------------------------------------------------------------------------


def _parser(about: str, source: str, text_column: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=about.strip().splitlines()[0])
    parser.add_argument("--engine", required=True, action="append", help="http://host:port, local, or local:MODEL")
    parser.add_argument("--out", required=True, type=Path, help="folder for all of it")
    parser.add_argument("--source", default=source, help=f"raw texts: Hub id or local; by default {source}")
    parser.add_argument("--text-column", help=f"by default {text_column}, and text for another source")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N rows of the source")
    parser.add_argument("--max-new-tokens", type=int, default=400, help="token limit of a completion")
    parser.add_argument("--rows-per-shard", type=int, help="of the run and of the mixture")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--push", metavar="NAMESPACE/NAME", help="publish the mixture there")
    parser.set_defaults(default_column=text_column)
    return parser


def _column(options: argparse.Namespace, source: str) -> str:
    return str(options.text_column or (options.default_column if options.source == source else "text"))


def _augmenting(options: argparse.Namespace) -> list[object]:
    engines = [word for engine in options.engine for word in ("--engine", engine)]
    return [*engines, "--max-new-tokens", options.max_new_tokens, "--seed", options.seed, *_sharding(options)]


def _sharding(options: argparse.Namespace) -> list[object]:
    return ["--rows-per-shard", options.rows_per_shard] if options.rows_per_shard else []


def _mix(options: argparse.Namespace, parts: Sequence[str], *words: object) -> None:
    mixture = options.out / "mixture"
    _command("mix", *parts, *words, "--seed", options.seed, *_sharding(options), "--out", mixture)
    if options.push:
        _command("push", mixture, options.push)


def _command(*words: object) -> None:
    """Run a command of this package, shown first; when it fails, so does the recipe, with the same status."""
    spoken = [str(word) for word in words]
    print(f"$ {shlex.join(['hub-instructpt', *spoken])}", flush=True)
    status = subprocess.run([sys.executable, "-m", "hub_instructpt", *spoken], check=False).returncode
    if status:
        raise SystemExit(status if status > 0 else 1)


class _told:  # noqa: N801
    """Errors of ours as the command line tells them."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        if isinstance(error, HubInstructPTError):
            print(f"hub-instructpt: {error}", file=sys.stderr)
            raise SystemExit(error.exit_status) from None


# -- one fifth, and the rest ----------------------------------------------------------------------------------------


class Split(BaseModel, extra="forbid"):
    """A source cut in two by row number: what was asked for, and what came of it."""

    source: str
    text_column: str
    every: int
    limit: int | None
    on_hub: bool
    revision: str | None
    license: list[str] | None
    files: list[str]
    finished: bool = False
    rows_chosen: int = 0
    rows_rest: int = 0


def split_rows(source: str, text_column: str, folder: Path, every: int, limit: int | None) -> tuple[Path, Split]:
    """Read a source once, and write each row whose number `every` divides into one folder, the others into another.

    Goes on where it was stopped, block by block.

    Raises:
        RunDirectoryError: `folder` holds another split.
        InputError: the source can not be read.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunDirectoryError(f"{folder} can not be made: {error.strerror}.", advice="Give another --out.") from None
    with only_writer(folder):
        before = _earlier(folder)
        rows, split = _open(source, text_column, every, limit, before.revision if before else None)
        if before is not None:
            for name in ("source", "text_column", "every", "limit", "revision", "files"):
                if getattr(before, name) != getattr(split, name):
                    raise RunDirectoryError(
                        f"{folder} holds another split: its {name.replace('_', ' ')} was {getattr(before, name)!r}.",
                        advice="Give another --out, or the settings of that one.",
                    )
            split = before
        if not split.finished:
            _write_blocks(rows, split, folder)
        return folder, split


def _open(source: str, column: str, every: int, limit: int | None, revision: str | None) -> tuple[Source, Split]:
    files = find_files(source)
    if files is None:
        facts = hub.source_facts(source, None, "train", revision)
        rows = open_dataset(source, None, "train", facts, column, ())
    else:
        rows = open_files(files, column, ())
    name = rows.facts.name
    split = Split(
        source=name, text_column=column, every=every, limit=limit, on_hub=files is None,
        revision=rows.facts.revision, license=rows.facts.license, files=[file.xxh64 for file in rows.facts.files],
    )  # fmt: skip
    return rows, split


def _write_blocks(rows: Source, split: Split, folder: Path) -> None:
    record = folder / "split.json"
    write_text(record, split.model_dump_json(indent=1) + "\n")
    halves = [folder / "chosen", folder / "rest"]
    for half in halves:
        half.mkdir(exist_ok=True)
    name = split.source.rpartition("/")[2].partition(".")[0]

    def path(half: Path, block: int) -> Path:
        return half / f"{name}-{half.name}-{block:05d}.parquet"

    block = 0
    while all(path(half, block).exists() for half in halves):
        block += 1
    numbered = rows.rows(block * ROWS_PER_BLOCK, split.limit)
    while some := list(islice(numbered, ROWS_PER_BLOCK)):
        usable = [row for row in some if row.problem is None]
        for half, is_chosen in zip(halves, (True, False), strict=True):
            texts = [row.text for row in usable if (row.index % split.every == 0) is is_chosen]
            with (
                write_whole(path(half, block)) as temporary,
                pq.ParquetWriter(temporary, SCHEMA, compression="zstd", use_dictionary=False) as writer,
            ):
                if texts:
                    writer.write_table(pa.table({"text": texts}, schema=SCHEMA), row_group_size=1000)
        block += 1
    split.rows_chosen, split.rows_rest = (
        sum(pq.read_metadata(file).num_rows for file in half.glob("*.parquet")) for half in halves
    )
    split.finished = True
    write_text(record, split.model_dump_json(indent=1) + "\n")


def _earlier(folder: Path) -> Split | None:
    path = folder / "split.json"
    if not path.exists():
        return None
    try:
        return Split.model_validate_json(path.read_bytes())
    except ValidationError:
        raise RunDirectoryError(f"{path} is damaged.", advice="Remove its folder, or give another --out.") from None


def _origin(split: Split) -> str:
    """What a part made from a split says of where it comes from, as keys of a part."""
    origin = f",origin={split.source}" if split.on_hub else ""
    return origin + (f",license={split.license[0]}" if split.license else "")


def _licence(split: Split) -> list[str]:
    return ["--license", split.license[0]] if split.license else []
