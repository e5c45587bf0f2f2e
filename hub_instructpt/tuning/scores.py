"""Scores: what was measured on each context, added up by dataset, and over seen and unseen datasets.

Keeps true: a mean over datasets gives each the same weight; what failed is counted and left out of the means, it is
nobody's score; every share says of what. Errors of means are standard errors over contexts.
Does not know engines or files.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from hub_instructpt.runs.manifest import now
from hub_instructpt.tuning import metrics
from hub_instructpt.tuning.asking import Measured
from hub_instructpt.version import __version__


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Mean(_Strict):
    """A mean of `number` values. `error` is its standard error, over contexts."""

    mean: float
    error: float | None
    number: int


class Scores(_Strict):
    """Scores of one dataset. Means lie in [0, 1]; None where there was nothing to score.

    Attributes:
        seen: whether the synthesizer was tuned on the dataset (on other contexts of it); None where that is not known.
        response_f1, response_exact: of answers to gold instructions, against the gold answers.
        answers_closed: share of them that were ended by `</END>` within the token limit.
        pair_quality, pair_coverage: of generated pairs against gold pairs, as metrics.py has them.
        parsed: share of completions that give a pair; clean: of which nothing is dropped.
        pairs_per_text: pairs in a completion.
        extractive: share of pairs whose response is a span of the context.
        repeated: share of the well-formed pairs that repeat an instruction of their text, and are dropped.
        kinds: how many pairs of which kind.
        counts: what was asked, dropped, cut and failed.
    """

    name: str
    seen: bool | None = None
    contexts: int
    response_f1: Mean | None = None
    response_exact: float | None = None
    answers_closed: float | None = None
    pair_quality: Mean | None = None
    pair_coverage: Mean | None = None
    parsed: float | None = None
    clean: float | None = None
    pairs_per_text: float | None = None
    extractive: float | None = None
    repeated: float | None = None
    kinds: dict[str, int] = Field(default_factory=dict)
    counts: dict[str, int] = Field(default_factory=dict)


class EvaluationSettings(_Strict):
    """Everything that the scores depend on, besides the engine and the data."""

    num_shots: int = 0
    contexts: int = 300
    questions: int = 3
    max_new_tokens: int = 400
    max_answer_tokens: int = 128
    seed: int = 0


class EngineScored(_Strict):
    """The engine that was scored."""

    kind: str
    model_id: str
    model_sha: str | None = None
    version: str | None = None
    dtype: str | None = None


class Evaluation(_Strict):
    """Scores of an engine on datasets."""

    kind: Literal["evaluation"] = "evaluation"
    format: Literal[1] = 1
    version: str = __version__
    measured_at: str = Field(default_factory=now)
    seconds: float = 0.0
    engine: EngineScored
    settings: EvaluationSettings
    data: str
    datasets: list[Scores] = Field(default_factory=list)

    def groups(self) -> list[tuple[str, list[Scores]]]:
        """Seen and unseen datasets, and all of them, where these are several and not the same."""
        found = [
            ("seen", [scores for scores in self.datasets if scores.seen is True]),
            ("unseen", [scores for scores in self.datasets if scores.seen is False]),
        ]
        found = [(name, group) for name, group in found if group]
        return [*found, ("all", self.datasets)] if len(self.datasets) > 1 else []


def scores_of(name: str, seen: bool | None, measured: Sequence[Measured], counts: Counter[str]) -> Scores:
    """Add up what was measured on the contexts of a dataset.

    Args:
        counts: of reading the dataset; those of asking are added.
    """
    total = Counter(counts)
    for each in measured:
        total.update(each.counts)
        total.update({f"pairs_dropped/{reason}": number for reason, number in each.dropped.items()})
    written = [each for each in measured if each.pairs is not None]
    answered = [each for each in measured if each.answers]
    answers = [answer for each in answered for answer in each.answers]
    pairs = [(each.case.example["context"], pair) for each in written for pair in each.pairs or ()]
    repeated = sum(each.dropped["repeated_instruction"] for each in written)
    return Scores(
        name=name,
        seen=seen,
        contexts=len(measured),
        response_f1=_mean([[answer.f1 for answer in each.answers] for each in answered]),
        response_exact=_share(answer.exact for answer in answers),
        answers_closed=_share(answer.closed for answer in answers),
        pair_quality=_mean([[each.quality] for each in written]),
        pair_coverage=_mean([[each.coverage] for each in written]),
        parsed=_share(bool(each.pairs) for each in written),
        clean=_share(bool(each.pairs) and not each.dropped.total() for each in written),
        pairs_per_text=round(len(pairs) / len(written), 4) if written else None,
        extractive=_share(metrics.stands_in(metrics.final_answer(pair["response"]), text) for text, pair in pairs),
        repeated=round(repeated / (repeated + len(pairs)), 4) if repeated + len(pairs) else None,
        kinds=dict(sorted(Counter(metrics.kind_of(pair) for _, pair in pairs).items())),
        counts=dict(sorted((key, number) for key, number in total.items() if number)),
    )


def _share(values: Iterable[bool]) -> float | None:
    found = list(values)
    return round(sum(found) / len(found), 4) if found else None


def _mean(by_context: list[list[float]]) -> Mean | None:
    """The mean of all values, and its error from the sums of contexts, since values of one context hang together."""
    values = [value for group in by_context for value in group]
    if not values:
        return None
    mean, number = statistics.fmean(values), len(by_context)
    error = None
    if number > 1:
        off = [sum(group) - mean * len(group) for group in by_context]
        error = (sum(each * each for each in off) * number / (number - 1)) ** 0.5 / len(values)
    return Mean(mean=round(mean, 4), error=None if error is None else round(error, 4), number=len(values))


COLUMNS = (
    ("response F1", "response_f1"), ("exact", "response_exact"), ("pair F1", "pair_quality"),
    ("coverage", "pair_coverage"), ("parsed", "parsed"), ("pairs/text", "pairs_per_text"),
    ("extractive", "extractive"), ("repeated", "repeated"),
)  # fmt: skip


def value_of(scores: Scores, column: str) -> float | None:
    """A column of a table: shares and means in percent, but for the number of pairs."""
    value = getattr(scores, column)
    if isinstance(value, Mean):
        value = value.mean
    return None if value is None else float(value) if column == "pairs_per_text" else 100 * float(value)


def mean_of(group: Sequence[Scores], column: str) -> float | None:
    """The mean over datasets that have the value."""
    values = [value for scores in group if (value := value_of(scores, column)) is not None]
    return statistics.fmean(values) if values else None


def table(evaluation: Evaluation) -> list[tuple[str, ...]]:
    """The scores as rows of text, the header first; then means over seen, unseen and all datasets.

    Means over contexts have their standard errors with them.
    """
    marks = {True: "seen", False: "unseen", None: "–"}
    rows: list[tuple[str, ...]] = [("dataset", "", "texts", *(title for title, _ in COLUMNS))]
    for scores in evaluation.datasets:
        cells = (_with_error(scores, column) for _, column in COLUMNS)
        rows.append((scores.name, marks[scores.seen], f"{scores.contexts:,}", *cells))
    for name, group in evaluation.groups():
        cells = (_cell(mean_of(group, column), column) for _, column in COLUMNS)
        rows.append((f"mean of {len(group)}", name, f"{sum(each.contexts for each in group):,}", *cells))
    return rows


def _with_error(scores: Scores, column: str) -> str:
    value = getattr(scores, column)
    shown = _cell(value_of(scores, column), column)
    return f"{shown} ± {100 * value.error:.1f}" if isinstance(value, Mean) and value.error is not None else shown


def _cell(value: float | None, column: str) -> str:
    if value is None:
        return "–"
    return f"{value:.2f}" if column == "pairs_per_text" else f"{value:.1f}"
