"""Which rows of a source belong to a task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spaces.nearest import did_you_mean
from trainables.bad_samples import SampleError


def is_wanted(
    values: Mapping[str, Any], only: Mapping[str, tuple[str | int | bool, ...]], where: str
) -> bool:
    """Return whether a row has one of the allowed values in each column of `only`.

    Args:
        values: Column -> value of the row.
        only: Column -> allowed values; without any, every row is wanted.
        where: What messages call the row.

    Raises:
        SampleError: The row lacks such a column.
    """
    for column, allowed in only.items():
        if column not in values:
            raise SampleError(
                where, f"no column {column!r}, which `only` names: {did_you_mean(column, values)}"
            )
        if values[column] not in allowed:
            return False
    return True
