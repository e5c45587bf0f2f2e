"""Sealed shards of a mixture: texts, and packed sequences of their tokens.

Keeps true: the bytes of a shard depend on its texts only; memory holds one row group; a file with its final name is
whole. A packed sequence has exactly the length asked for: texts run on across sequences, and nothing is padded.
Does not know where texts come from.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hub_instructpt.errors import RunError
from hub_instructpt.mixing.tokens import Ids
from hub_instructpt.runs.files import write_whole

ROWS_PER_GROUP = 1000
CHARACTERS_PER_GROUP = 8_000_000
TOKENS_PER_GROUP = 1 << 20

PACKED_SCHEMA = pa.schema([("input_ids", pa.list_(pa.int32()))])


def text_schema(*, counted: bool) -> pa.Schema:
    """Columns of a shard of texts."""
    columns = [("text", pa.string()), ("source", pa.string())]
    return pa.schema([*columns, ("num_tokens", pa.int32())] if counted else columns)


def text_path(index: int) -> str:
    """Path of a shard of texts within its folder."""
    return f"data/train-{index:05d}.parquet"


def packed_path(index: int) -> str:
    """Path of the shard of sequences that were completed together with the texts of the same number."""
    return f"packed/train-{index:05d}.parquet"


class _Writer:
    """Rows into one Parquet file, group by group. An empty group is never written: `datasets` can not read one."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.schema = schema
        self.num_rows = self.arrow_bytes = 0
        # As in the shards of a run: dictionaries cost time on texts that hardly repeat, and content-defined chunks
        # let the Hub store only what has changed.
        self._parquet = pq.ParquetWriter(
            path, schema, compression="zstd", compression_level=3, use_dictionary=["source"], write_page_index=True,
            use_content_defined_chunking=True,
        )  # fmt: skip

    def write(self, table: pa.Table) -> None:
        if table.num_rows:
            self._parquet.write_table(table, row_group_size=table.num_rows)
            self.num_rows += table.num_rows
            self.arrow_bytes += table.nbytes

    def close(self) -> None:
        self._parquet.close()


class TextWriter(_Writer):
    """Texts with the names of their parts and, where counted, their tokens."""

    def __init__(self, path: Path, *, counted: bool) -> None:
        super().__init__(path, text_schema(counted=counted))
        self._rows: list[tuple[str, str, int]] = []
        self._characters = 0

    def add(self, text: str, source: str, num_tokens: int) -> None:
        """One text."""
        self._rows.append((text, source, num_tokens))
        self._characters += len(text)
        if len(self._rows) >= ROWS_PER_GROUP or self._characters >= CHARACTERS_PER_GROUP:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        columns = list(zip(*self._rows, strict=True))[: len(self.schema)]
        if columns:
            arrays = [pa.array(column, field.type) for column, field in zip(columns, self.schema, strict=True)]
            self.write(pa.Table.from_arrays(arrays, schema=self.schema))
        self._rows, self._characters = [], 0

    def close(self) -> None:
        self.flush()
        super().close()


class PackedWriter(_Writer):
    """Sequences of a fixed length."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, PACKED_SCHEMA)

    def add(self, sequences: Ids) -> None:
        """Some sequences: an array of two dimensions."""
        number, length = sequences.shape
        at_once = max(1, TOKENS_PER_GROUP // length)
        for start in range(0, number, at_once):
            some = sequences[start : start + at_once]
            offsets = np.arange(0, some.size + 1, length, dtype=np.int32)
            column = pa.ListArray.from_arrays(pa.array(offsets), pa.array(some.reshape(-1)))
            self.write(pa.Table.from_arrays([column.cast(PACKED_SCHEMA.field(0).type)], schema=PACKED_SCHEMA))


class Packer:
    """Cuts the tokens of texts that follow each other into sequences of `length`."""

    def __init__(self, length: int, carry: Ids | None = None) -> None:
        self.length = length
        self._pieces: list[Ids] = [] if carry is None else [carry]
        self._waiting = 0 if carry is None else len(carry)

    @property
    def waiting(self) -> int:
        """Tokens that wait to be written."""
        return self._waiting

    def add(self, ids: Ids) -> None:
        """The tokens of the next text."""
        self._pieces.append(ids)
        self._waiting += len(ids)

    @property
    def full(self) -> bool:
        """Whether so many wait that they should be taken."""
        return self._waiting >= max(TOKENS_PER_GROUP, self.length)

    def take(self, *, everything: bool) -> Ids:
        """Complete sequences that wait, as rows: all of them, or only as many as make a full group."""
        number = self._waiting // self.length
        if not everything:
            at_once = max(1, TOKENS_PER_GROUP // self.length)
            number -= number % at_once
        ids = np.concatenate(self._pieces) if self._pieces else np.zeros(0, dtype=np.int32)
        rest = ids[number * self.length :]
        # A copy, because a view would keep everything before it alive.
        self._pieces, self._waiting = [rest.copy()], len(rest)
        return ids[: number * self.length].reshape(number, self.length)


def last_texts(folder: Path, paths: list[str]) -> Iterator[tuple[str, int]]:
    """Texts of sealed shards with their tokens, from the last one backwards."""
    for path in reversed(paths):
        try:
            with pq.ParquetFile(folder / path) as file:
                for group in reversed(range(file.num_row_groups)):
                    table = file.read_row_group(group, columns=["text", "num_tokens"])
                    yield from reversed(list(zip(*(c.to_pylist() for c in table.columns), strict=True)))
        except (pa.ArrowException, OSError) as error:
            raise RunError(f"{path} can not be read: {str(error).splitlines()[0][:200]}.") from None


@contextmanager
def sealed(path: Path) -> Iterator[Path]:
    """A shard that is whole when the block ends, or not there."""
    try:
        path.parent.mkdir(exist_ok=True)
    except OSError as error:
        raise RunError(f"{path.parent} can not be made: {error.strerror}.", advice="Mend the folder.") from None
    with write_whole(path) as temporary:
        yield temporary
