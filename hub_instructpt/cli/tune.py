"""`hub-instructpt tune`: a collection and a base become a synthesizer, with a progress bar and a card.

Does not know how any of it is done.
"""

from __future__ import annotations

import logging
import os
import shlex
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from types import FrameType
from typing import Annotated

import typer

from hub_instructpt import hub
from hub_instructpt.cli.evaluate_synthesizer import Bar, show
from hub_instructpt.cli.places import folder_for
from hub_instructpt.cli.tuning_bar import TuningBar
from hub_instructpt.engines import open_engine
from hub_instructpt.errors import RunError, SettingsError
from hub_instructpt.tuning.card import CURVES, add_scores
from hub_instructpt.tuning.evaluating import evaluate
from hub_instructpt.tuning.exams import exams_of
from hub_instructpt.tuning.facts import Dtype, LoraSettings, TuningFacts, TuningSettings
from hub_instructpt.tuning.parts import Part, open_parts
from hub_instructpt.tuning.scores import EvaluationSettings
from hub_instructpt.tuning.tune import tune as tune_base

MAX_LENGTH = 4096


def tune(
    collection: Annotated[
        str,
        typer.Argument(metavar="COLLECTION", help="What `hub-instructpt collect` wrote, or the id of one on the Hub."),
    ],
    base: Annotated[
        str,
        typer.Option(metavar="MODEL", help="Causal LM: a folder, an id on the Hub, or local, the tiny synthesizer."),
    ],
    out: Annotated[
        Path, typer.Option(parser=folder_for("tune"), metavar="DIR", help="Where the synthesizer goes, or goes on.")
    ],
    dataset: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Only this dataset. Repeatable.")] = None,
    hold_out: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Dataset not to be trained on: what is unseen is measured on it."),
    ] = None,
    eval_contexts: Annotated[
        int, typer.Option(help="Contexts held out of each dataset; a tenth of a small one at most.", min=0)
    ] = 64,
    max_length: Annotated[
        int | None, typer.Option(help="Tokens of a sequence. Default: 4,096, or what the base takes.", min=32)
    ] = None,
    batch_tokens: Annotated[int, typer.Option(help="Tokens of a step, on all devices together.", min=32)] = 16_384,
    learning_rate: Annotated[float, typer.Option(help="Highest rate; it falls along a cosine.", min=0.0)] = 5e-6,
    warmup_steps: Annotated[
        int | None, typer.Option(help="Steps until that rate. Default: 1,000, and a tenth of all at most.", min=0)
    ] = None,
    epochs: Annotated[float, typer.Option(help="How often as much as there is, is gone through.", min=0.0)] = 1.0,
    max_steps: Annotated[int | None, typer.Option(help="Steps in all, instead of epochs.", min=1)] = None,
    alpha: Annotated[
        float,
        typer.Option(
            help="Mixing: a dataset of n sequences gets a share like n ** alpha; 1: all once, 0: all equal.",
            min=0.0,
            max=1.0,
        ),
    ] = 0.5,
    max_repeats: Annotated[float, typer.Option(help="How often in an epoch a dataset is gone through.", min=1.0)] = 2.0,
    lora: Annotated[bool, typer.Option("--lora", help="Train low-rank adapters, and merge them in the end.")] = False,
    lora_rank: Annotated[int, typer.Option(help="Their rank; their alpha is twice that.", min=1)] = 64,
    dtype: Annotated[
        Dtype | None,
        typer.Option(
            help="float32 or bfloat16, of the weights while training. Default: bfloat16 with --lora on a GPU."
        ),
    ] = None,
    micro_batch: Annotated[int, typer.Option(help="Sequences that a device takes at a time.", min=1)] = 1,
    gradient_checkpointing: Annotated[
        bool, typer.Option("--gradient-checkpointing", help="Less memory, more time.")
    ] = False,
    save_every: Annotated[
        int | None, typer.Option(help="Steps between checkpoints. Default: a tenth of all, 500 at most.", min=1)
    ] = None,
    eval_every: Annotated[
        int | None, typer.Option(help="Steps between measurings of the held-out loss. Default: likewise.", min=1)
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the split, the order and the adapters.")] = 0,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a base on the Hub.")] = None,
    license: Annotated[str | None, typer.Option(help="Licence of the synthesizer, for its card.")] = None,  # noqa: A002
    score_contexts: Annotated[
        int, typer.Option(help="Held-out contexts of each dataset that it is scored on in the end.", min=0)
    ] = 20,
    cpu: Annotated[bool, typer.Option("--cpu", help="Use no GPU.")] = False,
) -> None:
    """Tune a causal LM into an instruction synthesizer.

    The same command again goes on where it was stopped. On several GPUs: torchrun --nproc-per-node N -m hub_instructpt
    tune …, or accelerate launch.
    """
    logging.basicConfig(format="%(message)s")
    if not learning_rate or not (epochs or max_steps):
        raise SettingsError("Nothing would be learnt.", advice="--learning-rate and --epochs must be above 0.")
    from hub_instructpt.tuning import base as bases

    bases.require()
    from hub_instructpt.tuning.training import Running

    running = Running(
        micro_batch=micro_batch, gradient_checkpointing=gradient_checkpointing, save_every=save_every,
        eval_every=eval_every, cpu=cpu,
    )  # fmt: skip
    parts = open_parts(hub.collection_folder(collection), dataset or ())
    length = max_length or min(MAX_LENGTH, bases.longest(base, revision) or MAX_LENGTH)
    settings = TuningSettings(
        max_length=length, batch_tokens=batch_tokens, learning_rate=learning_rate,
        warmup_steps=warmup_steps, epochs=epochs, max_steps=max_steps, alpha=alpha,
        max_repeats=max_repeats, eval_contexts=eval_contexts, hold_out=hold_out or [], seed=seed,
        dtype=dtype or ("bfloat16" if lora and bases.on_gpu(cpu) else "float32"),
        lora=LoraSettings(rank=lora_rank, alpha=2 * lora_rank) if lora else None,
    )  # fmt: skip
    path = Path(collection).expanduser()
    name = path.resolve().name if path.exists() else collection
    main = os.environ.get("RANK", "0") == "0"  # of several processes, one tells
    with _stoppable() as stop, TuningBar(main) as bar:
        facts = tune_base(
            parts, name, base, settings, out, running=running, revision=revision, license=license, progress=bar,
            stop=stop,
        )  # fmt: skip
    if facts.steps_done < facts.steps:
        raise RunError(
            f"Stopped after {facts.steps_done:,} of {facts.steps:,} steps.",
            advice="They are kept; the same command goes on from there.",
        )
    if main:
        if score_contexts and not facts.evaluations:
            _score(out, facts, parts, name, score_contexts, cpu)
        _show(facts, out)


def _score(out: Path, facts: TuningFacts, parts: list[Part], name: str, contexts: int, cpu: bool) -> None:
    """Scores on held-out contexts, for the card."""
    settings = EvaluationSettings(contexts=contexts, questions=1, seed=facts.settings.seed)
    longest = facts.settings.max_length
    settings.max_new_tokens = min(settings.max_new_tokens, longest // 2)
    settings.max_answer_tokens = min(settings.max_answer_tokens, longest // 2)
    try:
        exams = exams_of(parts, settings, tuned=facts, said=lambda words: typer.echo(words, err=True))
    except SettingsError as error:
        typer.echo(f"No scores: {error}", err=True)
        return
    from hub_instructpt.tuning.base import free

    free()
    engine = open_engine(f"local:{out}", **({"device": "cpu"} if cpu else {}))
    with Bar(exams) as bar:
        evaluation = evaluate(engine, exams, settings, name, progress=bar.advance)
    show(evaluation)
    add_scores(out, evaluation)


@contextmanager
def _stoppable() -> Iterator[Event]:
    """Let SIGTERM, which a batch system sends, and the first Ctrl-C end the training after its step, with a
    checkpoint; a second Ctrl-C ends it at once."""
    stop = Event()

    def end(number: int, frame: FrameType | None) -> None:
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()

    earlier = {each: signal.signal(each, end) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    except KeyboardInterrupt:
        raise RunError("Stopped.", advice="The same command goes on from the last checkpoint.") from None
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def _show(facts: TuningFacts, out: Path) -> None:
    """What it was tuned on, what came of it, and what to type next."""
    for dataset in facts.data.datasets:
        share = 100 * dataset.per_epoch / max(1, sum(each.per_epoch for each in facts.data.datasets))
        typer.echo(
            f"{dataset.name}: {dataset.examples:,} examples, {dataset.tokens:,} tokens, {share:.1f} % of an epoch; "
            f"{len(dataset.held_out):,} contexts held out."
            if dataset.seen
            else f"{dataset.name}: held out whole."
        )
    for key, number in facts.left_out.items():
        typer.echo(f"  {key.replace('_', ' ').replace('/', ': ')}: {number:,}", err=True)
    losses = [f"{name} {facts.curve(key)[-1][1]:.3f}" for key, name in CURVES.items() if facts.curve(key)]
    typer.echo(f"\n{facts.steps:,} steps in {facts.seconds:,.0f} s. Loss: {', '.join(losses)}.")
    where = shlex.quote(str(out))
    typer.echo(f"Use it:      hub-instructpt augment SOURCE --engine local:{where} --out DIR")
    typer.echo(f"Measure it:  hub-instructpt evaluate-synthesizer local:{where} --data COLLECTION --tuned {where}")
    typer.echo(f"Publish it:  hub-instructpt push {where} NAMESPACE/NAME")
