"""Columns that travel along: which Arrow type a kept column has in every shard, and how a value fits into it.

Keeps true: shards agree, so the type is settled before the first of them is written; no value is lost or rounded, and
what fits no one type becomes JSON text. Does not know files or rows.
"""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from hub_instructpt.records import whole_text


class ColumnType:
    """The Arrow type that all values of a kept column fit; JSON text where there is none."""

    _ARROW = {str: pa.string(), bool: pa.bool_(), int: pa.int64(), float: pa.float64()}  # noqa: RUF012

    def __init__(self) -> None:
        self._types: set[pa.DataType] = set()
        self._exact_as_float = True

    def see(self, value: Any) -> None:
        if value is None:
            return
        kind = self._ARROW.get(type(value))
        if kind == pa.int64():
            self._exact_as_float &= -(2**53) <= value <= 2**53
            if not -(2**63) <= value < 2**63:
                kind = None
        self._types.add(kind)

    def see_type(self, kind: pa.DataType) -> None:
        self._types.add(settled_type(kind))

    def arrow(self) -> pa.DataType:
        if self._types == {pa.int64(), pa.float64()} and self._exact_as_float:
            return pa.float64()
        only = next(iter(self._types)) if len(self._types) == 1 else None
        return only if only is not None else pa.string()


def plain_type(kind: pa.DataType) -> pa.DataType:
    """The type of the values themselves, however they are stored."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def settled_type(kind: pa.DataType) -> pa.DataType:
    """The type that a kept column has in a shard: its own where `datasets` can load it, else a string."""
    import datasets

    kind = plain_type(kind)
    if is_text(kind) or pa.types.is_null(kind) or isinstance(kind, pa.BaseExtensionType):
        return pa.string()
    if pa.types.is_binary_view(kind) or pa.types.is_fixed_size_binary(kind):
        return pa.binary()
    try:
        same = datasets.Features.from_arrow_schema(pa.schema([("kept", kind)])).arrow_schema.field("kept").type
    except (ValueError, TypeError, NotImplementedError):
        return pa.string()
    return kind if same == kind else pa.string()


def fitted(value: Any, kind: pa.DataType) -> Any:
    """A kept value as its column can hold it."""
    if value is None:
        return None
    if pa.types.is_string(kind):
        if not isinstance(value, str):
            value = json.dumps(value, ensure_ascii=False, default=str)
        return whole_text(value)[0]
    return float(value) if pa.types.is_float64(kind) and isinstance(value, int) else value


def is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))
