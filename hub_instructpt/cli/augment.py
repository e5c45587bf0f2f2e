"""`hub-instructpt augment`: a source through an engine into a run directory, with a progress bar and a card.

Does not know how any of it is done.
"""

from __future__ import annotations

import gc
import logging
import shlex
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import pyarrow.parquet as pq
import typer
from tqdm import tqdm

from hub_instructpt import cards, hub
from hub_instructpt.engines import open_engine
from hub_instructpt.engines.load import Load
from hub_instructpt.errors import InputError, RunError, SettingsError
from hub_instructpt.runs.hub_dataset import open_dataset
from hub_instructpt.runs.manifest import MANIFEST, Manifest, Settings
from hub_instructpt.runs.runner import Progress, augment_source
from hub_instructpt.runs.sources import Source, find_files, open_files
from hub_instructpt.synthesis import Synthesis

SECONDS_IN_A_LOG = 30.0
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
    out: Annotated[Path, typer.Option(help="Run directory: shards, manifest and card.")],
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
            help="Requests in flight to each server; by default what it allows, or as many as make it faster.", min=1
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
    max_failed_share: Annotated[float, typer.Option(help="Stop when a larger share of the texts fails.")] = 0.05,
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
    named = [*(engine or ()), *([f"@{engines_file}"] if engines_file else [])]
    opened = open_engine(
        named or "local", timeout_seconds=timeout, concurrency=concurrency, model=model,
        max_total_tokens=max_total_tokens, wake_seconds=wake_seconds,
    )  # fmt: skip
    if not named:
        _say(REAL_ENGINES)
    # Rows are kept until their shard is sealed, and none is part of a cycle: looking for cycles among them again and
    # again costs a tenth of all work.
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    with _stoppable(), _Bar() as bar:
        manifest = augment_source(
            _open_source(source, config, split, revision, text_column, keep, out),
            opened,
            settings,
            out,
            max_failed_share=max_failed_share,
            progress=bar,
            license=license,
            command=_command(source, sys.argv[1:]),
        )
    card = cards.write_card(out)
    _show(manifest, out, card, named=bool(named))


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


@contextmanager
def _stoppable() -> Iterator[None]:
    """Let SIGTERM, which a batch system sends, stop a run as Ctrl-C does, and say what a stop means."""

    def stop(number: int, frame: FrameType | None) -> None:
        handler = signal.getsignal(signal.SIGINT)
        if not callable(handler):  # a background job ignores SIGINT
            raise KeyboardInterrupt
        handler(number, frame)

    earlier = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt:
        raise RunError("Stopped.", advice="What was answered is kept; the same command goes on from there.") from None
    finally:
        signal.signal(signal.SIGTERM, earlier)


class _Lines:
    """A stream for a bar where no terminal is: a line for each state, instead of one that is drawn over."""

    def write(self, text: str) -> None:
        if state := text.strip("\r\n"):
            sys.stderr.write(f"{state}\n")

    def flush(self) -> None:
        sys.stderr.flush()


class _Bar(Progress):
    """A progress bar of rows, with pairs and failures beside it. In a log it says a line now and then."""

    def __init__(self) -> None:
        self.bar: tqdm[Any] | None = None
        self.pairs = self.failed = 0
        self.next_words = 0.0
        self.in_flight = ""

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self._words(self.bar)
            self.bar.close()

    def begin(self, done: int, total: int | None, manifest: Manifest) -> None:
        if done:
            _say(f"{done:,} rows are done already; going on from there.")
        _say(f"Synthesizer: {manifest.engine.model_id} ({cards.engine_name(manifest.engine.kind)}).")
        drawn = sys.stderr.isatty()
        self.bar = tqdm(
            initial=done, total=total, desc="Augmenting", unit=" rows", smoothing=0.1,
            mininterval=0.5 if drawn else SECONDS_IN_A_LOG, file=None if drawn else _Lines(),
        )  # fmt: skip

    def advance(self, rows: int, outcomes: Sequence[Synthesis]) -> None:
        if self.bar is None:
            return
        for outcome in outcomes:
            self.pairs += len(outcome.pairs)
            self.failed += outcome.failure is not None
        if (now := time.monotonic()) >= self.next_words:  # not for every row: it would show in the time of a run
            self.next_words = now + self.bar.mininterval / 2
            self._words(self.bar)
        self.bar.update(rows)

    def _words(self, bar: tqdm[Any]) -> None:
        failed = {"failed": self.failed} if self.failed else {}
        in_flight = {"in flight": self.in_flight} if self.in_flight else {}
        bar.set_postfix({"pairs": self.pairs, **failed, **in_flight}, refresh=False)

    def loaded(self, loads: Sequence[Load]) -> None:
        if loads:
            there = [load for load in loads if load.state != "aside"]
            servers = f" on {len(there)} of {len(loads)} servers" if len(loads) > 1 else ""
            in_flight, limit = sum(load.in_flight for load in there), sum(load.limit for load in there)
            self.in_flight = f"{in_flight} of {limit}{servers}"


def _show(manifest: Manifest, out: Path, card: Path, *, named: bool) -> None:
    """One augmented text, what came of it all, and what to type next."""
    sample = _sample(out, manifest)
    if sample:
        typer.echo(f"\n{' One augmented text ':-^80}\n{sample}\n{'-' * 80}\n")
    counts = manifest.counts
    failed = sum(number for key, number in counts.items() if key.startswith("texts_without_pairs/failed_"))
    rejected = sum(number for key, number in counts.items() if key.startswith("rows_rejected/"))
    typer.echo(
        f"{counts['rows/read']:,} rows, {counts['pairs/kept']:,} instruction-response pairs, "
        f"{len(manifest.shards):,} shards in {out}, card in {card}."
    )
    if failed or rejected:
        _say(
            f"{rejected:,} rows had no usable text and {failed:,} texts failed; `hub-instructpt status {out}` says why."
        )
    if not named:
        typer.echo("The same with a real engine:  add --engine http://HOST:PORT and another --out")
    typer.echo(f"Publish it:                   hub-instructpt push {shlex.quote(str(out))} NAMESPACE/NAME")


def _sample(out: Path, manifest: Manifest, longest: int = 600) -> str | None:
    """The first text that has pairs, with a long context shortened."""
    for shard in manifest.shards[:1]:
        for row in pq.read_table(out / shard.path, columns=["text", "examples", "num_pairs"]).to_pylist():
            if not row["num_pairs"]:
                continue
            text = str(row["text"])
            for example in row["examples"]:
                if len(example["context"]) > longest:
                    text = text.replace(example["context"], example["context"][:longest].rstrip() + " […]", 1)
            return text
    return None


def _command(source: str, arguments: Sequence[str]) -> str:
    """The command as it can be published: paths become names, an address a placeholder, and --out is left out."""
    shown: list[str] = []
    option = ""  # whose value comes next: every option of this command has one
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if option:
            shown += [] if option == "--out" else [_published_value(option, argument)]
            if option == "--engine" and shown[-2:] in (shown[i : i + 2] for i in range(len(shown) - 2)):
                del shown[-2:]  # a fleet of sixteen looks like one server, to others
            option = ""
        elif name in ("--engine", "--engines-file") and equals:
            shown.append(f"{name}={_published_value(name, value)}")
        elif argument == source:
            shown.append(_published_path(source))
        elif name not in ("--out", "--debug"):
            shown.append(argument)
            option = argument if argument.startswith("--") and not equals else ""
        elif argument == "--out":
            option = argument
    return shlex.join(["hub-instructpt", *shown, "--out", "DIR"])


def _published_path(path: str) -> str:
    whole = Path(path).expanduser()
    return whole.name if whole.is_absolute() or ".." in whole.parts else path


def _published_value(option: str, value: str) -> str:
    if option == "--engine":
        return _published_engine(value)
    return _published_path(value) if option == "--engines-file" else value


def _published_engine(engine: str) -> str:
    if "://" in engine:  # where a server stood says nothing to others, and its URL may hold a password
        return f"{engine.partition('://')[0]}://HOST:PORT"
    kind, colon, model = engine.partition(":")
    return f"{kind}{colon}{_published_path(model)}"


def _say(message: str) -> None:
    typer.echo(message, err=True)
