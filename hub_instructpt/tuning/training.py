"""Training proper: transformers' Trainer with our sequences, its checkpoints, its log.

Keeps true: training goes on from the newest complete checkpoint to the same data in the same order; a loss that is no
number ends it with an error, not with a broken model.
Does not know collections, or what the folder of a synthesizer looks like.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

import torch
import transformers

from hub_instructpt.errors import RunError, SettingsError
from hub_instructpt.tuning import checkpoints
from hub_instructpt.tuning.batches import Collator, Sequences
from hub_instructpt.tuning.facts import TuningSettings, warmup_of
from hub_instructpt.tuning.packing import Sequence_
from hub_instructpt.tuning.progress import Progress
from hub_instructpt.tuning.store import Store

KEPT = 2
"""Checkpoints that are kept: should the newest one be damaged, there is another."""
_NAMES = {
    "loss": "loss", "learning_rate": "learning_rate", "grad_norm": "grad_norm", "eval_seen_loss": "seen_loss",
    "eval_unseen_loss": "unseen_loss",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Running:
    """How it runs; the weights do not depend on it, but for rounding.

    Args:
        micro_batch: sequences that a device takes at a time.
        gradient_checkpointing: less memory, more time.
        save_every, eval_every: steps between checkpoints, and between measurings of the held-out loss; by default a
            tenth of the steps, and 500 at most.
        cpu: do not use a GPU that is there.
        workers: processes that join sequences beside the training one.
    """

    micro_batch: int = 1
    gradient_checkpointing: bool = False
    save_every: int | None = None
    eval_every: int | None = None
    cpu: bool = False
    workers: int = 0


class _InOrder(transformers.Trainer):  # type: ignore[misc]
    """Takes sequences in the order of the plan, which is shuffled already."""

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        return torch.utils.data.SequentialSampler(train_dataset if train_dataset is not None else self.train_dataset)


class _Watch(transformers.TrainerCallback):  # type: ignore[misc]
    """Tells of progress, marks checkpoints, and ends the training where it must."""

    def __init__(self, progress: Progress, stop: Event, distributed: bool) -> None:
        self.progress, self.stop, self.distributed = progress, stop, distributed

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.is_world_process_zero:
            self.progress.step(state.global_step)
        if self._stopped(args.device):
            control.should_save = control.should_training_stop = True
        if control.should_save:
            control.should_log = True  # a checkpoint forgets what was summed up since the last entry of the log

    def _stopped(self, device: torch.device) -> bool:
        """Whether any of the processes was told to stop: they must all end after the same step."""
        if not self.distributed:
            return self.stop.is_set()
        told = torch.tensor(int(self.stop.is_set()), device=device)
        torch.distributed.all_reduce(told, torch.distributed.ReduceOp.MAX)
        return bool(told.item())

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **_: Any) -> None:
        entry = entry_of({"step": state.global_step, **(logs or {})})
        if not math.isfinite(entry.get("loss", 0.0)):
            raise RunError(
                f"The loss is {entry['loss']} at step {state.global_step}: the training has broken down.",
                advice="Take a lower --learning-rate, or more --warmup-steps, and another --out.",
            )
        if state.is_world_process_zero and len(entry) > 1:
            self.progress.logged(entry)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if not state.is_world_process_zero:
            return
        checkpoints.complete(Path(args.output_dir) / f"checkpoint-{state.global_step}")


def entry_of(logged: Mapping[str, Any]) -> dict[str, float]:
    """An entry of the Trainer's log: its step, and what we keep of it under our names."""
    kept = {name: float(logged[theirs]) for theirs, name in _NAMES.items() if theirs in logged}
    return {"step": float(logged["step"]), **kept}


@dataclass(frozen=True, slots=True)
class Trained:
    """The model after training, and what was logged. `steps` is less than planned where it was stopped."""

    model: Any
    steps: int
    log: list[dict[str, float]]


def _checkpointing() -> dict[str, Any]:
    """Activations are computed again instead of being kept; what that is called has changed."""
    known = {field.name for field in dataclasses.fields(transformers.TrainingArguments)}
    name = next(name for name in ("activation_checkpointing", "gradient_checkpointing") if name in known)
    return {name: True, f"{name}_kwargs": {"use_reentrant": False}}


def train(
    model: Any,
    tokenizer: Any,
    store: Store,
    sequences: Sequence[tuple[str, Sequence_]],
    held_out: Mapping[str, Sequence[tuple[str, Sequence_]]],
    settings: TuningSettings,
    running: Running,
    per_step: int,
    work: Path,
    progress: Progress,
    stop: Event,
) -> Trained:
    """Train a model, from the last checkpoint on if there is one.

    Args:
        sequences: of the whole training, each with its group in the store; whole steps of `per_step` sequences.
        held_out: sequences to measure the loss on, by what they are called.
        stop: once it is set, the training is saved after the step, and ends.

    Raises:
        SettingsError: it was launched with sharded weights.
        RunError: memory is short, the disk is full, or the loss is no number.
    """
    steps = len(sequences) // per_step
    world = int(os.environ.get("WORLD_SIZE", "1"))
    micro = max(size for size in range(1, running.micro_batch + 1) if per_step % (size * world) == 0)
    on_gpu = torch.cuda.is_available() and not running.cpu
    usual = max(1, min(500, steps // 10))
    if running.gradient_checkpointing and hasattr(model, "enable_input_require_grads"):
        model.enable_input_require_grads()
    checkpoint = checkpoints.newest(work)
    arguments = transformers.TrainingArguments(
        output_dir=str(work),
        max_steps=steps,
        per_device_train_batch_size=micro,
        per_device_eval_batch_size=micro,
        gradient_accumulation_steps=per_step // (micro * world),
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=warmup_of(settings, steps),
        weight_decay=0.0,
        adam_beta1=0.9,
        adam_beta2=0.95,
        max_grad_norm=1.0,
        bf16=on_gpu and torch.cuda.is_bf16_supported(),
        **(_checkpointing() if running.gradient_checkpointing else {}),
        use_cpu=running.cpu,
        seed=settings.seed,
        logging_steps=max(1, min(10, steps // 50)),
        logging_nan_inf_filter=False,
        eval_strategy="steps" if held_out else "no",
        eval_steps=running.eval_every or usual,
        eval_on_start=bool(held_out) and checkpoint is None,  # what the base is worth
        save_strategy="steps",
        save_steps=running.save_every or usual,
        save_total_limit=KEPT,
        dataloader_num_workers=running.workers,
        dataloader_pin_memory=on_gpu,
        remove_unused_columns=False,
        ddp_find_unused_parameters=False,
        label_names=["labels"],
        prediction_loss_only=True,
        disable_tqdm=True,
        report_to="none",
        log_level="error",
    )
    if arguments.n_gpu > 1:  # one process takes one GPU: left alone, the Trainer would make steps of several batches
        progress.said(f"{arguments.n_gpu} GPUs are here, and one is used; torchrun --nproc-per-node uses them all.")
        arguments._n_gpu = 1
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    trainer = _InOrder(
        model=model,
        args=arguments,
        data_collator=Collator(pad),
        train_dataset=Sequences(store, sequences),
        eval_dataset={name: Sequences(store, each) for name, each in held_out.items()} or None,
        callbacks=[_Watch(progress, stop, world > 1)],
    )
    if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
        raise SettingsError(
            "Weights that are sharded over devices (FSDP, DeepSpeed) can not be tuned here.",
            advice="Give each device a whole copy, by torchrun; --lora and --dtype bfloat16 need less memory.",
        )
    trainer.remove_callback(transformers.PrinterCallback)
    if trainer.is_world_process_zero():
        progress.begin(int(checkpoint.name.rpartition("-")[2]) if checkpoint else 0, steps)
    try:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except torch.OutOfMemoryError:
        raise RunError(
            "The device has too little memory for this.",
            advice="Take --lora, --gradient-checkpointing, --micro-batch 1, or a smaller --max-length.",
        ) from None
    except OSError as error:
        raise RunError(
            f"{work} can not be written: {error.strerror or error}.", advice="Make room, then run the same again."
        ) from None
    log = [entry for entry in map(entry_of, trainer.state.log_history) if len(entry) > 1]
    return Trained(trainer.accelerator.unwrap_model(trainer.model), trainer.state.global_step, log)
