"""How busy the servers of a run are, on disk for whoever asks while it goes on: `.load.json` in its directory.

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

LOAD_FILE = ".load.json"
LOOK_SECONDS = 5.0


@dataclass(slots=True)
class Clock:
    """Time and processor time since a run began, in this process."""

    began: float = field(default_factory=time.monotonic)
    cpu_began: float = field(default_factory=time.process_time)

    def cpu_share(self) -> float:
        """Share of one core that was used."""
        return (time.process_time() - self.cpu_began) / max(1e-3, time.monotonic() - self.began)


def save(folder: Path, loads: Sequence[Load], clock: Clock) -> None:
    """Write down the loads of a run's servers."""
    temporary = folder / f"{LOAD_FILE}.tmp"
    told = {"cpu_share": round(clock.cpu_share(), 3), "servers": [load.as_dict() for load in loads]}
    with suppress(OSError):  # whatever is wrong with the disk, the run itself will say it
        temporary.write_bytes(orjson.dumps(told, option=orjson.OPT_INDENT_2))
        temporary.replace(folder / LOAD_FILE)


def load(folder: Path) -> tuple[list[Load], float]:
    """The loads of a run's servers, and the share of a core that the client used; none where nothing is known."""
    try:
        told = orjson.loads((folder / LOAD_FILE).read_bytes())
        return [Load.from_dict(one) for one in told["servers"]], float(told["cpu_share"])
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return [], 0.0
