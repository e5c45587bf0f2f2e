"""An engine, measured on the datasets of a collection: many requests in flight, answers journaled, files written.

    OUT/results.json        scores, settings, engine
    OUT/predictions.jsonl   every completion with its pairs, every answer, and their scores
    OUT/scores.svg          response F1 and pair F1 by dataset
    OUT/.journal/           what the engine answered, until everything is written

Keeps true: the same command after a stop asks for nothing that was answered; files are written whole.
Does not know tables on a terminal, or the Hub.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import ExitStack, aclosing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson
import xxhash

from hub_instructpt.background import new_event_loop
from hub_instructpt.engines.base import Engine, capacity_of
from hub_instructpt.in_order import in_order
from hub_instructpt.journal import Journal, JournaledEngine
from hub_instructpt.records import EngineInfo
from hub_instructpt.runs.files import write_text, write_whole
from hub_instructpt.runs.locks import only_writer
from hub_instructpt.synthesis import FailureBudget, Synthesis
from hub_instructpt.tuning.asking import Examiner, Measured
from hub_instructpt.tuning.plots import scores_plot
from hub_instructpt.tuning.sampling import Case
from hub_instructpt.tuning.scores import EngineScored, Evaluation, EvaluationSettings, scores_of

RESULTS, PREDICTIONS, PLOT = "results.json", "predictions.jsonl", "scores.svg"
JOURNAL = ".journal"
Progress = Callable[[str, Measured], None]


@dataclass(frozen=True, slots=True)
class Exam:
    """A dataset to measure on."""

    name: str
    seen: bool | None
    cases: Sequence[Case]
    counts: Counter[str]


def evaluate(
    engine: Engine,
    exams: Sequence[Exam],
    settings: EvaluationSettings,
    data: str,
    out: Path | None = None,
    progress: Progress = lambda name, measured: None,
) -> Evaluation:
    """Measure an engine. It is closed at the end.

    Args:
        data: what the data are called.
        out: folder for results; without it nothing is written, and a stop loses what was answered.
        progress: called with every context that is measured, and the name of its dataset.

    Raises:
        EngineError: the engine is gone, or fails too often.
        SettingsError: its limits leave no room for a prompt.
        RunError: `out` can not be written.
        RunDirectoryError: another process writes there.
    """
    with ExitStack() as stack:
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            stack.enter_context(only_writer(out))
        runner = stack.enter_context(asyncio.Runner(loop_factory=new_event_loop))
        return runner.run(_evaluate(engine, exams, settings, data, out, progress))


async def _evaluate(
    engine: Engine, exams: Sequence[Exam], settings: EvaluationSettings, data: str, out: Path | None, progress: Progress
) -> Evaluation:
    began = time.monotonic()
    journals: list[Journal] = []
    try:
        info = await engine.connect()
        ways = {"pairs": settings.max_new_tokens, "answers": settings.max_answer_tokens}
        engines: list[Engine] = [engine, engine]
        if out is not None:
            journals = [Journal(_journal_path(out, info, what, tokens)) for what, tokens in ways.items()]
            engines = [JournaledEngine(engine, journal) for journal in journals]
        examiner = Examiner(
            *engines, max_new_tokens=settings.max_new_tokens, max_answer_tokens=settings.max_answer_tokens
        )
        for sampling in (examiner.for_pairs, examiner.for_answers):
            info.input_budget(sampling)
        found = await _examine(examiner, exams, lambda: capacity_of(engine, info) + 16, progress)
    finally:
        for journal in journals:
            await journal.aclose()
        await engine.aclose()
    evaluation = Evaluation(
        engine=EngineScored(**{name: getattr(info, name) for name in EngineScored.model_fields}),
        settings=settings,
        data=data,
        datasets=[scores_of(exam.name, exam.seen, found[exam.name], exam.counts) for exam in exams],
        seconds=round(time.monotonic() - began, 1),
    )
    if out is not None:
        _write(evaluation, [(exam.name, found[exam.name]) for exam in exams], out)
    return evaluation


def _journal_path(out: Path, info: EngineInfo, what: str, tokens: int) -> Path:
    """A journal belongs to one model and one way of sampling."""
    model = xxhash.xxh3_64_hexdigest(f"{info.model_id} {info.model_sha}".encode())
    return out / JOURNAL / f"{model}-{what}-{tokens}.jsonl"


async def _examine(
    examiner: Examiner, exams: Sequence[Exam], running: Callable[[], int], progress: Progress
) -> dict[str, list[Measured]]:
    async def one(name: str, case: Case) -> Measured:
        measured = await examiner.examine(case)
        progress(name, measured)  # at once: an engine that sorts what waits may answer the first case last
        return measured

    async def work() -> AsyncGenerator[tuple[str, Coroutine[Any, Any, Measured]], None]:
        for exam in exams:
            for case in exam.cases:
                yield exam.name, one(exam.name, case)

    found: dict[str, list[Measured]] = {exam.name: [] for exam in exams}
    failures = FailureBudget()
    async with aclosing(in_order(work(), running)) as results:
        async for name, measured in results:
            failed = next((key for key in measured.counts if "_failed/" in key), None)
            failures.record(Synthesis(failure=failed and failed.partition("/")[2]))
            found[name].append(measured)
    failures.check()
    return found


def _write(evaluation: Evaluation, found: Sequence[tuple[str, list[Measured]]], out: Path) -> None:
    with write_whole(out / PREDICTIONS) as temporary, temporary.open("wb") as lines:
        for name, measured in found:
            for each in measured:
                lines.write(orjson.dumps(_row(name, each)) + b"\n")
    write_text(out / PLOT, scores_plot(evaluation))
    write_text(out / RESULTS, evaluation.model_dump_json(indent=1) + "\n")
    shutil.rmtree(out / JOURNAL, ignore_errors=True)


def _row(name: str, measured: Measured) -> dict[str, Any]:
    return {
        "dataset": name,
        "context": measured.case.example["context"],
        "gold_pairs": measured.case.example["pairs"],
        "completion": measured.completion,
        "pairs": measured.pairs,
        "pair_quality": measured.quality,
        "pair_coverage": measured.coverage,
        "answers": [asdict(answer) for answer in measured.answers],
        "dropped": dict(measured.dropped),
        "counts": dict(measured.counts),
    }
