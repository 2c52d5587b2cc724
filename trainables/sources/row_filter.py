"""Which rows of a source belong to a task."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any

from spaces.nearest import did_you_mean
from trainables.data.bad_samples import SampleError

Allowed = Mapping[str, tuple[str | int | bool, ...]]
"""Column -> the values of which a row must have one there."""


def is_wanted(values: Mapping[str, Any], only: Allowed, where: str) -> bool:
    """Return whether a row has one of the allowed values in each column of `only`.

    Args:
        values: Column -> value of the row. A text is also the number or truth value that it writes: tables of
            text hold nothing else.
        only: What is allowed; without any column every row is wanted.
        where: What messages call the row.

    Raises:
        SampleError: The row lacks such a column.
    """
    for column, allowed in only.items():
        if column not in values:
            raise SampleError(
                where, f"no column {column!r}, which `only` names: {did_you_mean(column, values)}"
            )
        if not any(_is(values[column], each) for each in allowed):
            return False
    return True


def told_values(values: Mapping[str, Any], only: Allowed) -> str:
    """Return what a row has in the columns of `only`, with its types: `year 2019, a text`."""
    return " and ".join(f"{column} {_typed(values.get(column))}" for column in only)


def told_filter(only: Allowed) -> str:
    """Return what rows must have: `year 2020 or 2021 and kind 'owl'`."""
    wanted = {column: " or ".join(map(_written, allowed)) for column, allowed in only.items()}
    return " and ".join(f"{column} {values}" for column, values in wanted.items())


def _is(value: Any, allowed: str | int | bool) -> bool:
    if isinstance(value, str) and not isinstance(allowed, str):
        return value.strip().lower() == _written(allowed)
    # To Python True is 1.
    return isinstance(value, bool) == isinstance(allowed, bool) and bool(value == allowed)


def _written(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _typed(value: Any) -> str:
    if value is None:
        return "null"
    kinds = {bool: "a truth value", int: "a number", float: "a number", str: "a text"}
    shown = _written(value) if isinstance(value, bool) else reprlib.repr(value)
    return f"{shown}, {kinds.get(type(value), type(value).__name__)}"
