"""Renders a finished run again, with another seed or mode, into a run directory of its own, without asking any engine.

Keeps true: contexts, pairs, source rows and counts are those of the run; only `text` differs. The run itself is not
touched; a rendering that was stopped goes on, and one of another run or seed is refused by name.
Does not know engines or sources.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from hub_instructpt.errors import RunDirectoryError, RunError, SettingsError
from hub_instructpt.rendering import render_example
from hub_instructpt.rendering.modes import NAMES
from hub_instructpt.runs.ledger import read_ledger
from hub_instructpt.runs.locks import only_writer
from hub_instructpt.runs.manifest import MANIFEST, Manifest, ShardFacts
from hub_instructpt.runs.same_run import refuse_other_run
from hub_instructpt.runs.shards import OpenShard


def render_again(
    folder: Path,
    out: Path,
    seed: int,
    mode: str | None = None,
    *,
    tick: Callable[[int], None] = lambda rows: None,
    command: str | None = None,
) -> Manifest:
    """Render a run again.

    Args:
        folder: a finished run directory.
        out: where the new one goes.
        seed: of the new rendering.
        mode: of all texts that have the pairs for it; drawn when None.
        tick: called with the number of rows of each shard that is done.

    Raises:
        RunDirectoryError: the run is not finished, or `out` is not for this.
        RunError: a shard can not be read.
    """
    if mode is not None and mode not in NAMES:
        raise SettingsError(f"There is no mode {mode!r}; there are: {', '.join(NAMES)}.")
    there = Manifest.load(folder)
    if not there.finished:
        raise RunDirectoryError(f"{folder} is not finished.", advice="Let `hub-instructpt augment` finish it first.")
    if out.resolve() == folder.resolve():
        raise RunDirectoryError("A run is not rendered onto itself.", advice="Give another --out.")
    settings = there.settings.model_copy(update={"seed": seed, "mode": mode})
    here = there.model_copy(update={"settings": settings, "shards": [], "finished": False, "command": command})
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunDirectoryError(f"{out} can not be made: {error.strerror}.", advice="Give another --out.") from None
    with only_writer(out):
        if (out / MANIFEST).exists():
            before = Manifest.load(out)
            refuse_other_run(before, here, out)
            here = before
        elif any(not path.name.startswith(".lock") for path in out.iterdir()):
            raise RunDirectoryError(f"{out} is not empty, and what is there is no run.", advice="Give another --out.")
        for index, shard in enumerate(there.shards):
            if index >= len(here.shards):
                here.shards.append(_render_shard(folder, out, index, shard, seed, mode))
                here.save(out)
            tick(shard.num_rows)
        here.finished = True
        here.save(out)
    return here


def _render_shard(folder: Path, out: Path, index: int, shard: ShardFacts, seed: int, mode: str | None) -> ShardFacts:
    try:
        table = pq.read_table(folder / shard.path)
    except (OSError, pa.ArrowInvalid):
        raise RunError(f"{folder / shard.path} can not be read.", advice="Restore it from a copy.") from None
    rows = table.to_pylist()
    for row in rows:
        row["text"] = render_example(row["examples"], seed, mode)
    example = table.schema.field("examples").type.value_type
    kept = {field.name: field.type for field in example if field.name not in ("context", "pairs")}
    start, stop = shard.source_rows
    losses = list(read_ledger(folder, index))
    again = OpenShard(index, start, stop, read=True, counts=Counter(shard.counts), rows=rows, losses=losses)
    facts = again.seal(out, kept)
    facts.retryable = 0  # that is for the run itself to do
    return facts
