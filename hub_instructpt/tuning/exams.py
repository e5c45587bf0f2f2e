"""What a synthesizer is examined on: cases of every dataset, and of one that was tuned, only those it has not seen.

Keeps true: on the data that a synthesizer was tuned on, only contexts that were held out are measured on; a dataset
that it was not tuned on counts as unseen. Of another part of a dataset, which has none of the contexts that were held
out, all are measured on: that it shares none with what was trained on can not be told here. Does not know engines.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence

from hub_instructpt.errors import SettingsError
from hub_instructpt.tuning.evaluating import Exam
from hub_instructpt.tuning.facts import TuningFacts
from hub_instructpt.tuning.parts import Part, digest, read
from hub_instructpt.tuning.sampling import draw
from hub_instructpt.tuning.scores import EvaluationSettings


def exams_of(
    parts: Sequence[Part],
    settings: EvaluationSettings,
    *,
    tuned: TuningFacts | None = None,
    seen: Collection[str] | None = None,
    said: Callable[[str], None] = lambda words: None,
) -> list[Exam]:
    """An exam on each dataset.

    Args:
        tuned: how the synthesizer was tuned, where that is known.
        seen: names of datasets that it has seen, where nothing else tells; the others are unseen. None: not known.
        said: told of datasets of which nothing was held out, which are passed over, and of other parts.

    Raises:
        SettingsError: `seen` names a dataset that is not there, or no dataset is left.
        InputError: a dataset has too few contexts.
    """
    for name in seen or ():
        if name not in {part.name for part in parts}:
            raise SettingsError(f"--seen {name[:100]}: there is no such dataset.", advice="Names are as in the data.")
    trained = {} if tuned is None else {each.name: each for each in tuned.data.datasets if each.seen}
    found: list[Exam] = []
    for part in parts:
        allowed: Callable[[int], bool] = _anything
        if part.name in trained:
            held_out = {int(digest, 16) for digest in trained[part.name].held_out}
            if not held_out:
                said(f"{part.name} is passed over: none of its contexts was held out.")
                continue
            if any(digest(example["context"]) in held_out for example in read(part)):
                allowed = held_out.__contains__
            else:  # such as a dataset's dev part, where it was tuned on the train part
                said(f"{part.name} is another part than it was tuned on: nothing that was held out is here.")
        known = seen is not None or tuned is not None
        mark = (part.name in trained or part.name in (seen or ())) if known else None
        counts: Counter[str] = Counter()
        cases = draw(
            part, contexts=settings.contexts, questions=settings.questions, num_shots=settings.num_shots,
            seed=settings.seed, counts=counts, allowed=allowed,
        )  # fmt: skip
        found.append(Exam(part.name, mark, cases, counts))
    if not found:
        raise SettingsError(
            "There is nothing to measure on: nothing was held out.", advice="Give data that it was not tuned on."
        )
    return found


def _anything(digest: int) -> bool:
    return True
