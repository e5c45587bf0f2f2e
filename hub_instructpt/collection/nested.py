"""Columns as the Hub nests them: a `Sequence` of a struct is a dict of lists in one export and a list of dicts in
another.

Does not know any dataset.
"""

from __future__ import annotations

from typing import Any


def structs(value: Any) -> list[dict[str, Any]]:
    """A sequence of structs as a list of dicts, in whichever of the two ways it is nested.

    Raises:
        TypeError, ValueError: it is neither, or its lists differ in length.
    """
    if isinstance(value, dict):
        columns = {name: list(column) for name, column in value.items()}
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise TypeError("neither a dict of lists nor a list of dicts")
    return value
