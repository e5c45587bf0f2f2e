"""The ledger: what did not make it into a shard, one by one and with its reason.

    {"row": 17, "what": "text", "reason": "failed_status_500", "number": 0, "attempts": 5, "status": 500,
     "finish_reason": null, "completion": null, "passing": true}

A JSON line for each source row without a usable text, each text without pairs, and each reason for which pairs of a
text were dropped; `DIR/ledger/train-00000.jsonl` belongs to the shard of that name, and is not there when nothing was
lost. `datasets.load_dataset("json", data_files="DIR/ledger/*.jsonl")` reads it.

Keeps true: sorted by row; written whole, before its shard; its lines add up to the counts of the manifest.
Does not know engines. What it holds was written by a model or says why nothing was: never a prompt.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from hub_instructpt.errors import RunError
from hub_instructpt.records import Loss
from hub_instructpt.runs.files import write_whole

LEDGER = "ledger"


def ledger_path(index: int) -> str:
    """Path of what was lost of a shard, within its run directory."""
    return f"{LEDGER}/train-{index:05d}.jsonl"


def write_ledger(folder: Path, index: int, losses: Sequence[tuple[int, Loss]]) -> None:
    """Write down what a shard lost, with the numbers of the source rows."""
    path = folder / ledger_path(index)
    if not losses:
        path.unlink(missing_ok=True)
        return
    try:
        path.parent.mkdir(exist_ok=True)
    except OSError as error:
        raise RunError(f"{path.parent} can not be made: {error.strerror}.", advice="Mend the folder.") from None
    lines = (orjson.dumps({"row": row} | asdict(loss)) for row, loss in sorted(losses, key=lambda one: one[0]))
    with write_whole(path) as temporary:
        temporary.write_bytes(b"".join(line + b"\n" for line in lines))


def read_ledger(folder: Path, index: int) -> Iterator[tuple[int, Loss]]:
    """What a shard lost, with the numbers of the source rows.

    Raises:
        RunError: a line can not be believed.
    """
    path = folder / ledger_path(index)
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return
    for number, line in enumerate(lines, 1):
        try:
            told: dict[str, Any] = orjson.loads(line)
            yield int(told.pop("row")), Loss(**told)
        except (ValueError, TypeError, KeyError, AttributeError):
            raise RunError(
                f"{path}, line {number}, is no line of a ledger.", advice="Restore it from a copy."
            ) from None
