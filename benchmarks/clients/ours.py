"""hub-instructpt, as the command `augment` works: read, ask, parse, render, crash-safe journal, Parquet, manifest."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

from clock import guard, timed

from hub_instructpt.engines import open_engine
from hub_instructpt.runs.manifest import Settings
from hub_instructpt.runs.runner import augment_source
from hub_instructpt.runs.sources import open_files

port, documents, concurrency, folder = sys.argv[1:5]
guard()
settings = Settings(
    text_column="text", keep_columns=[], num_shots=1, max_new_tokens=400, temperature=0.0, top_p=1.0,
    rows_per_shard=1000, limit=None, seed=0,
)  # fmt: skip
with open(documents, "rb") as stream:
    count = sum(1 for _ in stream)
with timed(count) as found:
    gc.freeze()  # as the command does
    gc.set_threshold(100_000, 50, 100)
    engine = open_engine(f"tgi+http://127.0.0.1:{port}", concurrency=int(concurrency))
    manifest = augment_source(open_files([Path(documents)], "text", []), engine, settings, Path(folder) / "run")
    found["rows"] = manifest.counts["rows/read"]
    found["pairs"] = manifest.counts["pairs/kept"]
