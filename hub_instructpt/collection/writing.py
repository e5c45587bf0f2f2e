"""Records become files: shards of a few megabytes as JSON Lines, and the list of them that readers of the published
collection look for; where asked, Parquet beside them.

    squad/shard/00000.jsonl      {"context": …, "QA_list": [{"Q": …, "A": …}], "QA_type": …, "rc_name": "squad"}
    squad/json/valid.json        [{"source": "shard/00000.jsonl", "source_lang": "en", "weight": 1.0}]
    squad/parquet/00000.parquet

Keeps true: a file is whole or not there, and its facts agree with it; the same records give the same bytes.
Does not know where records come from.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from hub_instructpt.collection.manifest import FileFacts
from hub_instructpt.collection.source import Record
from hub_instructpt.runs.files import sha256, write_whole

BYTES_PER_SHARD = 7_000_000
"""As in the published collection, whose shards have some seven megabytes."""
PAIR = pa.struct([("Q", pa.string()), ("A", pa.string())])
SCHEMA = pa.schema(
    [("context", pa.string()), ("QA_list", pa.list_(PAIR)), ("QA_type", pa.string()), ("rc_name", pa.string())]
)


def write_records(records: Iterable[Record], folder: Path, name: str, parquet: bool) -> Iterator[FileFacts]:
    """Write the records of a dataset, shard by shard.

    Args:
        folder: the dataset's own; `name` is what the paths in the facts begin with.
    """
    (folder / "shard").mkdir(parents=True)
    if parquet:
        (folder / "parquet").mkdir()
    shards: list[dict[str, Any]] = []
    for number, (lines, held_records) in enumerate(_cut(records)):
        path = f"shard/{number:05d}.jsonl"
        table = pa.Table.from_pylist(held_records, schema=SCHEMA)
        held = {"num_rows": len(lines), "arrow_bytes": table.nbytes}
        with write_whole(folder / path) as temporary, temporary.open("wb") as stream:
            stream.writelines(lines)
        yield facts_of_file(folder, path, name).model_copy(update=held)
        shards.append({"source": path, "source_lang": "en", "weight": 1.0})
        if parquet:
            path = f"parquet/{number:05d}.parquet"
            with write_whole(folder / path) as temporary:
                pq.write_table(table, temporary, compression="zstd", use_dictionary=False, row_group_size=1000)
            yield facts_of_file(folder, path, name).model_copy(update=held)
    yield write_bytes(folder, "json/valid.json", name, orjson.dumps(shards) + b"\n")


def write_bytes(folder: Path, path: str, name: str, content: bytes) -> FileFacts:
    """Write one further file of a dataset."""
    (folder / path).parent.mkdir(exist_ok=True)
    with write_whole(folder / path) as temporary:
        temporary.write_bytes(content)
    return facts_of_file(folder, path, name)


def facts_of_file(folder: Path, path: str, name: str) -> FileFacts:
    """What the manifest says of a file."""
    file = folder / path
    return FileFacts(path=f"{name}/{path}", num_bytes=file.stat().st_size, sha256=sha256(file))


def _cut(records: Iterable[Record]) -> Iterator[tuple[list[bytes], list[Record]]]:
    """As many records as fill a shard, and their lines; the last one may be short, and none is empty."""
    lines: list[bytes] = []
    held: list[Record] = []
    size = 0
    for record in records:
        line = orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)
        if lines and size + len(line) > BYTES_PER_SHARD:
            yield lines, held
            lines, held, size = [], [], 0
        lines.append(line)
        held.append(record)
        size += len(line)
    if lines:
        yield lines, held
