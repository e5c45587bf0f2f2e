"""`hub-instructpt evaluate-synthesizer`: an engine is measured on the datasets of a collection.

Does not know how any of it is done.
"""

from __future__ import annotations

import logging
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer
from tqdm import tqdm

from hub_instructpt import hub
from hub_instructpt.engines import open_engine
from hub_instructpt.errors import SettingsError
from hub_instructpt.tuning.asking import Measured
from hub_instructpt.tuning.card import add_scores
from hub_instructpt.tuning.evaluating import PLOT, PREDICTIONS, RESULTS, Exam, evaluate
from hub_instructpt.tuning.exams import exams_of
from hub_instructpt.tuning.facts import FACTS, TuningFacts
from hub_instructpt.tuning.parts import open_parts
from hub_instructpt.tuning.scores import Evaluation, EvaluationSettings, table


def evaluate_synthesizer(
    engine: Annotated[
        list[str],
        typer.Argument(
            metavar="ENGINE…",
            help="As of `augment`: http(s)://host:port of a server, local, or local:PATH_OR_MODEL_ID. "
            "Several of them share the work.",
        ),
    ],
    data: Annotated[
        str,
        typer.Option(
            metavar="COLLECTION",
            help="What `hub-instructpt collect` wrote, one dataset of it, or the id of a collection on the Hub.",
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder for scores, predictions and a plot. With it, a stop loses nothing.")
    ] = None,
    dataset: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Only this dataset. Repeatable.")] = None,
    seen: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="A dataset that the synthesizer was tuned on; with it, the others count as unseen."
        ),
    ] = None,
    tuned: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="What `tune` wrote: only contexts that it held out are measured on, and its card gets the scores. "
            "local:DIR knows the first without.",
        ),
    ] = None,
    num_shots: Annotated[int, typer.Option(help="Examples of the same dataset shown before each context.", min=0)] = 0,
    contexts: Annotated[int, typer.Option(help="Contexts of each dataset, at most.", min=1)] = 300,
    questions: Annotated[
        int, typer.Option(help="Gold instructions given of each context, at most; 0: pairs only.", min=0)
    ] = 3,
    max_new_tokens: Annotated[int, typer.Option(help="Token limit of the pairs of a context.", min=1)] = 400,
    max_answer_tokens: Annotated[int, typer.Option(help="Token limit of an answer.", min=1)] = 128,
    seed: Annotated[int, typer.Option(help="Of the choice of contexts, instructions and examples.")] = 0,
    concurrency: Annotated[int | None, typer.Option(help="Requests in flight to each server.", min=1)] = None,
    timeout: Annotated[float, typer.Option(help="Seconds for one request, the server's queue included.")] = 300.0,
    model: Annotated[str | None, typer.Option(help="Which one, of a server that has several models.")] = None,
    max_total_tokens: Annotated[
        int | None, typer.Option(help="Tokens of prompt and completion together; by default what is told.", min=1)
    ] = None,
) -> None:
    """Measure an instruction synthesizer: its answers and its pairs, against those of people.

    The same command again goes on where it was stopped, with --out.
    """
    logging.basicConfig(format="%(message)s")
    settings = EvaluationSettings(
        num_shots=num_shots, contexts=contexts, questions=questions, max_new_tokens=max_new_tokens,
        max_answer_tokens=max_answer_tokens, seed=seed,
    )  # fmt: skip
    opened = open_engine(
        engine, timeout_seconds=timeout, concurrency=concurrency, model=model, max_total_tokens=max_total_tokens
    )
    parts = open_parts(hub.collection_folder(data), dataset or ())
    facts = _tuned(tuned, engine)
    if facts is not None and seen:
        raise SettingsError("--seen is for synthesizers of which nothing is known.", advice="Leave it out.")
    exams = exams_of(parts, settings, tuned=facts, seen=seen, said=lambda words: typer.echo(words, err=True))
    with Bar(exams) as bar:
        evaluation = evaluate(opened, exams, settings, _name(data), out, bar.advance)
    show(evaluation)
    if tuned is not None:
        add_scores(tuned, evaluation)
        typer.echo(f"\nThe scores are on the card in {shlex.quote(str(tuned))}.")
    if out is not None:
        typer.echo(f"\n{RESULTS}, {PREDICTIONS} and {PLOT} are in {shlex.quote(str(out))}.")


def _tuned(folder: Path | None, engines: list[str]) -> TuningFacts | None:
    """How the synthesizer was tuned: told by --tuned, or by the folder of a model in the process."""
    if folder is not None:
        return TuningFacts.load(folder)
    kind, _, where = engines[0].partition(":")
    there = Path(where).expanduser()
    return TuningFacts.load(there) if kind == "local" and where and (there / FACTS).exists() else None


def _name(data: str) -> str:
    """What the data are called; where they lie on this machine is nobody's business."""
    path = Path(data).expanduser()
    return path.resolve().name if path.exists() else data


class Bar:
    """A progress bar of contexts, with the mean of what was measured so far beside it."""

    def __init__(self, exams: list[Exam]) -> None:
        self.total = sum(len(exam.cases) for exam in exams)
        self.pairs = self.written = 0
        self.f1: list[float] = []

    def __enter__(self) -> Bar:
        self.bar: tqdm[Any] = tqdm(total=self.total, desc="Measuring", unit=" texts", mininterval=0.5)
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def advance(self, name: str, measured: Measured) -> None:
        self.f1 += [answer.f1 for answer in measured.answers]
        if measured.pairs is not None:
            self.written, self.pairs = self.written + 1, self.pairs + len(measured.pairs)
        words = {"dataset": name}
        if self.f1:
            words["response F1"] = f"{100 * sum(self.f1) / len(self.f1):.1f}"
        if self.written:
            words["pairs/text"] = f"{self.pairs / self.written:.2f}"
        self.bar.set_postfix(words, refresh=False)
        self.bar.update()


def show(evaluation: Evaluation) -> None:
    """The scores as a table, and what they do not hold."""
    rows = table(evaluation)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (
            cell.ljust(width) if at < 2 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        typer.echo("  ".join(cells).rstrip())
    typer.echo("Texts and pairs/text are numbers, everything else is in percent.")
    for scores in evaluation.datasets:
        if scores.kinds:
            kinds = ", ".join(f"{number:,} {kind.replace('_', ' ')}" for kind, number in scores.kinds.items())
            typer.echo(f"{scores.name}: pairs are {kinds}.")
    for scores in evaluation.datasets:
        for key, number in scores.counts.items():
            group, _, reason = key.partition("/")
            if (
                group in ("contexts", "records_rejected", "pairs_rejected")
                or group.endswith("_failed")
                or key == "shots/left_out"
            ):
                typer.echo(f"{scores.name}: {number:,} {group.replace('_', ' ')}: {reason.replace('_', ' ')}", err=True)
