"""The card of a tuned synthesizer: its facts become a README with the metadata of a model repo.

Keeps true: everything comes from `tuning.json`; text from outside can not break the page; what a person wrote in an
earlier card survives; no licence is claimed that nobody gave.
Does not know the Hub's API.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from hub_instructpt import cards
from hub_instructpt.runs.files import write_text
from hub_instructpt.tuning.facts import TunedOn, TuningFacts
from hub_instructpt.tuning.plots import loss_plot, scores_plot
from hub_instructpt.tuning.scores import Evaluation, table

TEMPLATE, CARD = "synthesizer.md.jinja", "README.md"
CURVE, PLOT = "loss.svg", "scores.svg"
CURVES = {"loss": "training", "seen_loss": "held-out contexts", "unseen_loss": "held-out datasets"}


def add_scores(folder: Path, evaluation: Evaluation) -> TuningFacts:
    """Put scores into a synthesizer's folder, in the place of earlier ones on the same data with as many examples
    shown, and write its card anew.

    Raises:
        RunDirectoryError: the folder holds no synthesizer.
    """
    facts = TuningFacts.load(folder)
    key = (evaluation.data, evaluation.settings.num_shots)
    others = [each for each in facts.evaluations if (each.data, each.settings.num_shots) != key]
    facts.evaluations = sorted([*others, evaluation], key=lambda each: (each.settings.num_shots, each.data))
    facts.save(folder)
    write_card(folder)
    return facts


def write_card(folder: Path, repo_id: str | None = None) -> Path:
    """Write the card of a synthesizer and its plots.

    Args:
        repo_id: where it will lie on the Hub.
    """
    facts = TuningFacts.load(folder)
    write_text(
        folder / CURVE, loss_plot([(name, facts.curve(key)) for key, name in CURVES.items() if facts.curve(key)])
    )
    if facts.evaluations:
        write_text(folder / PLOT, scores_plot(facts.evaluations[0]))
    path = folder / CARD
    write_text(path, render_card(facts, repo_id, cards.read_card(folder)))
    return path


def render_card(facts: TuningFacts, repo_id: str | None = None, earlier: str | None = None) -> str:
    """The card of a synthesizer.

    Raises:
        CardError: the earlier card is broken, so that what a person wrote there could be lost.
    """

    def part(metadata: dict[str, Any]) -> str:
        return cards.render(TEMPLATE, _values(facts, repo_id))

    return cards.assemble(card_metadata(facts), part, earlier)


def card_metadata(facts: TuningFacts) -> dict[str, Any]:
    """The YAML part of the card."""
    on_hub = "/" in facts.base.name and facts.base.name != cards.TINY
    metadata = {
        **(cards.license_metadata([facts.license]) if facts.license else {}),
        "language": ["en"],
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "base_model": facts.base.name if on_hub else "",
        "base_model_relation": "finetune" if on_hub else "",
        "datasets": list(dict.fromkeys(each.source for each in facts.trained if each.source)),
        "tags": ["instruction-synthesizer", "instruction-pretraining", "hub-instructpt"],
    }
    return {key: value for key, value in metadata.items() if value}


def _values(facts: TuningFacts, repo_id: str | None) -> dict[str, Any]:
    per_epoch = sum(each.per_epoch for each in facts.trained) or 1
    return {
        "f": facts,
        "repo_id": repo_id or "NAMESPACE/NAME",
        "base": cards.linked(facts.base.name, "", "/" in facts.base.name and facts.base.name != cards.TINY),
        "shares": {each.name: each.per_epoch / per_epoch for each in facts.trained},
        "licences": {each.name: _licence(each) for each in facts.data.datasets},
        "sources": {each.name: _source(each) for each in facts.data.datasets},
        "unseen": [each.name for each in facts.data.datasets if not each.seen],
        "non_commercial": _marked(facts, "non_commercial"),
        "share_alike": _marked(facts, "share_alike"),
        "unclear": [
            each.name for each in facts.trained if each.licence is None or "unclear" in each.licence.restrictions
        ],
        "forbidden": [each.name for each in facts.trained if each.licence and not each.licence.redistributable],
        "left_out": facts.left_out,
        "settings": settings_shown(facts),
        "losses": _losses(facts),
        "tables": [(_title(each), table(each)) for each in facts.evaluations],
        "curve": CURVE,
        "plot": PLOT,
        "command": command(facts),
    }  # fmt: skip


def _licence(dataset: TunedOn) -> str:
    if dataset.licence is None:
        return "not known"
    licence = dataset.licence
    marks = [*licence.restrictions, *(["share-alike"] if licence.share_alike else [])]
    return licence.name + (f" ({', '.join(marks)})" if marks else "")


def _source(dataset: TunedOn) -> str:
    return cards.linked(dataset.source, "datasets/", True) if dataset.source else "–"


def _marked(facts: TuningFacts, mark: str) -> list[str]:
    return [each.name for each in facts.trained if each.licence is not None and getattr(each.licence, mark)]


def _title(evaluation: Evaluation) -> str:
    shots = evaluation.settings.num_shots
    shown = "no example" if not shots else f"{shots} example{'s' if shots > 1 else ''}"
    return f"{evaluation.data}, {shown} shown before each text"


def _losses(facts: TuningFacts) -> list[tuple[str, float, float, float]]:
    """Of each curve its name, and the first, the lowest and the last value."""
    found = []
    for key, name in CURVES.items():
        values = [value for _, value in facts.curve(key)]
        if values:
            found.append((name, values[0], min(values), values[-1]))
    return found


def settings_shown(facts: TuningFacts) -> list[tuple[str, str]]:
    """The settings, as a card has them."""
    settings, machine, per_step = facts.settings, facts.machine, facts.sequences_per_step
    weights = "all weights"
    if settings.lora:
        weights = (
            f"low-rank adapters (rank {settings.lora.rank}, alpha {settings.lora.alpha}) on all linear layers, merged"
        )
    return [
        ("weights trained", weights),
        ("sequences", f"several examples of one dataset, up to {settings.max_length:,} tokens"),
        ("batch", f"{per_step:,} sequences, up to {per_step * settings.max_length:,} tokens"),
        ("steps", f"{facts.steps_done:,} of {facts.steps:,}" if facts.steps_done < facts.steps else f"{facts.steps:,}"),
        ("learning rate", f"{settings.learning_rate:g}, warm-up of {facts.warmup:,} steps, then along a cosine"),
        ("optimiser", "AdamW, betas 0.9 and 0.95, no weight decay, gradients clipped at 1"),
        ("mixing", f"n sequences: a share like n^{settings.alpha:g}, {settings.max_repeats:g} passes an epoch at most"),
        ("loss", "on pairs, their end marker and the end of the sequence; none on contexts"),
        ("precision", f"weights in {settings.dtype} while training, written in {facts.base.dtype}"),
        ("seed", str(settings.seed)),
        ("trained on", f"{machine.processes} × {machine.device}, {facts.seconds:,.0f} s"),
        ("with", ", ".join(f"{name} {version}" for name, version in machine.versions.items())),
    ]  # fmt: skip


def command(facts: TuningFacts) -> str:
    """The command that makes it again."""
    settings = facts.settings
    words = [
        "hub-instructpt",
        "tune",
        facts.data.name,
        "--base",
        "local" if facts.base.name == cards.TINY else facts.base.name,
    ]
    plain = type(settings)().model_dump()
    for name, value in settings.model_dump().items():
        if name == "lora":
            words += ["--lora", "--lora-rank", str(value["rank"])] if value else []
        elif name == "hold_out":
            words += [word for each in value for word in ("--hold-out", each)]
        elif value != plain[name]:
            words += [f"--{name.replace('_', '-')}", str(value)]
    return shlex.join([*words, "--out", "DIR"])
