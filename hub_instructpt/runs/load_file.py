"""How busy the servers of a run are, on disk for whoever asks while it goes on: `.load.json` in its directory,
one for each worker.

Beside the manifest and not in it, because it changes all the while, says nothing of the corpus, and holds addresses of
servers, which are nobody else's business: it is never pushed.

Keeps true: written whole; a run does not depend on it, and whoever reads it can do without.
Does not know engines beyond their load.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from hub_instructpt.engines.load import Load
from hub_instructpt.runs.share import ALONE, Worker

LOAD_FILES = ".load*.json"
LOOK_SECONDS = 5.0


@dataclass(slots=True)
class Clock:
    """Time and processor time since a run began, in this process."""

    began: float = field(default_factory=time.monotonic)
    cpu_began: float = field(default_factory=time.process_time)

    def cpu_share(self) -> float:
        """Share of one core that was used."""
        return (time.process_time() - self.cpu_began) / max(1e-3, time.monotonic() - self.began)


def save(folder: Path, loads: Sequence[Load], clock: Clock, worker: Worker = ALONE) -> None:
    """Write down the loads of a run's servers, as one worker sees them."""
    path = folder / (".load.json" if worker == ALONE else f".load-{worker.index}-of-{worker.of}.json")
    temporary = path.with_name(f"{path.name}.tmp")
    told = {"cpu_share": round(clock.cpu_share(), 3), "servers": [load.as_dict() for load in loads]}
    with suppress(OSError):  # whatever is wrong with the disk, the run itself will say it
        temporary.write_bytes(orjson.dumps(told, option=orjson.OPT_INDENT_2))
        temporary.replace(path)


def load(folder: Path) -> tuple[list[Load], float]:
    """The loads of a run's servers, one for each worker, and the share of a core that the busiest worker used.

    None where nothing is known.
    """
    loads: list[Load] = []
    shares = [0.0]
    for path in sorted(folder.glob(LOAD_FILES)):
        try:
            told = orjson.loads(path.read_bytes())
            loads += [Load.from_dict(one) for one in told["servers"]]
            shares.append(float(told["cpu_share"]))
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            continue
    return loads, max(shares)
