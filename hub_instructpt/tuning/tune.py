"""From a collection and a base to a folder with a synthesizer.

    OUT/config.json, model*.safetensors, tokenizer…   the model, as transformers, TGI and vLLM load it
    OUT/README.md, loss.svg, scores.svg               its card
    OUT/tuning.json                                   what it was made of and how
    OUT/.work/                                        tokens and checkpoints, until it is finished

Keeps true: the same command again goes on from the last checkpoint, and does nothing where all is done; other settings,
another base or other records are refused by name; one tuning at a time writes to a folder. With several processes
(torchrun, accelerate launch) the first one writes.
Does not know terminals, or the Hub.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from threading import Event
from typing import Any

from hub_instructpt.errors import RunDirectoryError, SettingsError
from hub_instructpt.runs.files import sha256
from hub_instructpt.runs.locks import only_writer
from hub_instructpt.runs.manifest import now
from hub_instructpt.tuning import base as bases
from hub_instructpt.tuning import tokens
from hub_instructpt.tuning.base import Base
from hub_instructpt.tuning.card import write_card
from hub_instructpt.tuning.encoding import Encoder
from hub_instructpt.tuning.facts import (
    FACTS,
    DataFacts,
    FileFacts,
    Machine,
    TunedOn,
    TuningFacts,
    TuningSettings,
    refuse_other,
)
from hub_instructpt.tuning.packing import Plan, plan
from hub_instructpt.tuning.parts import Part
from hub_instructpt.tuning.progress import Progress
from hub_instructpt.tuning.split import Split, split
from hub_instructpt.tuning.store import Store, is_made

WORK, TOKENS = ".work", "tokens"


def tune(
    parts: Sequence[Part],
    data_name: str,
    base_name: str,
    settings: TuningSettings,
    out: Path,
    *,
    running: Any = None,
    revision: str | None = None,
    license: str | None = None,  # noqa: A002
    progress: Progress | None = None,
    stop: Event | None = None,
) -> TuningFacts:
    """Tune a base into a synthesizer.

    Args:
        parts: the datasets of the collection.
        data_name: what the collection is called.
        base_name: folder or Hub id of a causal LM, or `local`.
        running: how it runs, `training.Running`.
        revision: of a base on the Hub.
        license: of the synthesizer, for its card.
        stop: once it is set, the training is saved after the step it is at; `steps_done` is below `steps` then.

    Raises:
        SettingsError: settings that do not go together, or no such base.
        InputError: the collection holds nothing to learn from.
        RunDirectoryError: the folder holds something else, or is being written to.
        RunError: it broke off. The last checkpoint is kept.
    """
    bases.require()
    from accelerate import PartialState

    from hub_instructpt.tuning import training

    running = running or training.Running()
    progress = progress or Progress()
    state = PartialState(cpu=running.cpu)
    if state.is_main_process:
        _refuse_strange(out)
    with only_writer(out) if state.is_main_process else nullcontext():
        return _Tuning(parts, settings, out, running, progress, state).run(
            data_name, base_name, revision, license, stop or Event()
        )


def _refuse_strange(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        strange = [path.name for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError as error:
        raise RunDirectoryError(f"{folder} can not be made: {error.strerror}.", advice="Give another --out.") from None
    if strange and FACTS not in strange:
        raise RunDirectoryError(f"{folder} holds {sorted(strange)[0]} and no tuning.", advice="Give another --out.")


class _Noting(Progress):
    """Passes on what it is told, and notes it in the facts, so that `status` can tell while it goes on."""

    def __init__(self, progress: Progress, facts: TuningFacts, earlier: TuningFacts | None, out: Path) -> None:
        self.progress, self.facts, self.out = progress, facts, out
        self.before = earlier.log if earlier is not None else []

    def begin(self, done: int, steps: int) -> None:
        self.facts.steps_done = done
        self.facts.log = [entry for entry in self.before if entry["step"] <= done]
        self.progress.begin(done, steps)

    def step(self, done: int) -> None:
        self.progress.step(done)

    def logged(self, entry: Mapping[str, float]) -> None:
        self.facts.log.append(dict(entry))
        self.facts.steps_done = int(entry["step"])
        if "loss" not in entry:  # of the held-out loss, which is measured now and then
            self.facts.save(self.out)
        self.progress.logged(entry)


class _Tuning:
    """One call. `state` tells which of the processes this is."""

    def __init__(
        self, parts: Sequence[Part], settings: TuningSettings, out: Path, running: Any, progress: Progress, state: Any
    ) -> None:
        self.parts, self.settings, self.out, self.running = parts, settings, out, running
        self.progress, self.state, self.work = progress, state, out / WORK

    def run(
        self, data_name: str, base_name: str, revision: str | None, license_: str | None, stop: Event
    ) -> TuningFacts:
        from hub_instructpt.tuning import training

        began = time.monotonic()
        base = bases.load(base_name, revision)
        self._check_length(base)
        facts = TuningFacts(
            license=license_,
            base=base.facts,
            settings=self.settings,
            data=DataFacts(name=data_name, digest=tokens.digest_of(self.parts)),
            machine=_machine(self.state),
            sequences_per_step=self._per_step(),
        )
        earlier = self._earlier(facts)
        if earlier is not None and earlier.finished_at:
            return earlier
        chosen = split(
            self.parts, hold_out=self.settings.hold_out, contexts=self.settings.eval_contexts, seed=self.settings.seed,
            tick=self.progress.reading,
        )  # fmt: skip
        store = self._store(base, chosen, facts.data.digest)
        planned = self._plan(store)
        facts.steps = len(planned.sequences) // facts.sequences_per_step
        facts.data = self._data(facts.data, chosen, store, planned)
        if earlier is not None:
            facts.created_at, facts.seconds = earlier.created_at, earlier.seconds
        if self.state.is_main_process:
            facts.save(self.out)
        sequences = [(f"train/{name}", members) for name, members in planned.sequences]
        model = bases.prepare(base, self.settings.dtype, self.settings.lora, self.settings.seed)
        trained = training.train(
            model, base.tokenizer, store, sequences, tokens.held_out(store, self.settings.max_length), self.settings,
            self.running, facts.sequences_per_step, self.work, _Noting(self.progress, facts, earlier, self.out), stop,
        )  # fmt: skip
        facts.steps_done, facts.log = trained.steps, trained.log
        facts.seconds = round(facts.seconds + time.monotonic() - began, 1)
        if self.state.is_main_process:
            if facts.steps_done == facts.steps:
                self._finish(trained.model, base, facts)
            facts.save(self.out)
        self.state.wait_for_everyone()
        return facts

    def _check_length(self, base: Base) -> None:
        if base.max_length is not None and self.settings.max_length > base.max_length:
            raise SettingsError(
                f"--max-length {self.settings.max_length:,} is more than {base.facts.name} takes.",
                advice=f"Give {base.max_length:,} or less.",
            )

    def _per_step(self) -> int:
        """Sequences of a step: as many as make the batch, in whole rounds of the processes."""
        world = int(self.state.num_processes)
        wanted = max(1, round(self.settings.batch_tokens / self.settings.max_length))
        return -(-wanted // world) * world

    def _earlier(self, facts: TuningFacts) -> TuningFacts | None:
        """What is in the folder already, if it is this tuning."""
        if not (self.out / FACTS).exists():
            return None
        earlier = TuningFacts.load(self.out)
        refuse_other(earlier, facts, self.out)
        return earlier

    # -- data ------------------------------------------------------------------------------------------------------

    def _store(self, base: Base, chosen: Split, digest: str) -> Store:
        """The encoded examples: made once, by the first process."""
        key = tokens.key_of(digest, base.tokenizer, self.settings)
        folder = self.work / TOKENS
        if self.state.is_main_process and not is_made(folder, key):
            tokens.make(folder, key, Encoder(base.tokenizer, self.settings.max_length), self.parts, chosen,
                        self.progress.encoding)  # fmt: skip
        self.state.wait_for_everyone()
        return tokens.opened(folder)

    def _plan(self, store: Store) -> Plan:
        settings = self.settings
        return plan(
            {part.name: store.lengths(f"train/{part.name}") for part in self.parts},
            max_length=settings.max_length, per_step=self._per_step(), epochs=settings.epochs,
            max_steps=settings.max_steps, alpha=settings.alpha, max_repeats=settings.max_repeats, seed=settings.seed,
        )  # fmt: skip

    def _data(self, facts: DataFacts, chosen: Split, store: Store, planned: Plan) -> DataFacts:
        datasets = []
        for part in self.parts:
            group = f"train/{part.name}"
            lengths = store.lengths(group)
            datasets.append(
                TunedOn(
                    name=part.name,
                    seen=part.name not in chosen.unseen,
                    licence=part.licence,
                    source=part.source,
                    homepage=part.homepage,
                    examples=len(lengths),
                    tokens=sum(lengths),
                    tokens_with_loss=store.learnt(group),
                    sequences=planned.sizes.get(part.name, 0),
                    per_epoch=planned.quotas.get(part.name, 0),
                    held_out=sorted(f"{key:016x}" for key in chosen.measured[part.name]),
                )
            )
        counts = dict(sorted((key, number) for key, number in store.counts.items() if number))
        return facts.model_copy(update={"datasets": datasets, "counts": counts})

    # -- the end ---------------------------------------------------------------------------------------------------

    def _finish(self, model: Any, base: Base, facts: TuningFacts) -> None:
        """Put the model in its place; the facts that name its files come last."""
        made = self.work / "model"
        shutil.rmtree(made, ignore_errors=True)
        bases.write(model, base, made)
        for path in sorted(made.iterdir()):
            facts.files.append(FileFacts(path=path.name, num_bytes=path.stat().st_size, sha256=sha256(path)))
            path.replace(self.out / path.name)
        facts.finished_at = now()
        facts.save(self.out)
        write_card(self.out)
        shutil.rmtree(self.work, ignore_errors=True)


def _machine(state: Any) -> Machine:
    from importlib.metadata import PackageNotFoundError, version

    import torch

    def known(name: str) -> str | None:
        try:
            return version(name)
        except PackageNotFoundError:
            return None

    name = torch.cuda.get_device_name() if state.device.type == "cuda" else state.device.type
    versions = {name: known(name) for name in ("torch", "transformers", "accelerate", "peft")}
    return Machine(
        device=name, processes=state.num_processes, versions={name: found for name, found in versions.items() if found}
    )
