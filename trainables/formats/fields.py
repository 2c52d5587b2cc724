"""Fields: a row's values under the names that a format knows them by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from spaces.nearest import did_you_mean
from trainables.formats.texts import shown

SEVERAL: Final = ("choices", "images")
"""Fields that may lie in several columns."""


class NoColumnError(ValueError):
    """A row has not the column that the user names."""


class Fields:
    """A row's values by the fields of a format.

    Args:
        values: The row.
        names: Field -> columns that may hold it; the first that does is taken.
        columns: Field -> the columns that do, as the user says; within nested values such as `meta.topic`.
    """

    def __init__(
        self,
        values: Mapping[str, Any],
        names: Mapping[str, tuple[str, ...]],
        columns: Mapping[str, tuple[str, ...]],
    ) -> None:
        self.values = values
        self._names = names
        self._columns = columns

    def given(self, field: str) -> bool:
        """Tell whether the user names the field's columns, or the row has one that is known to hold it."""
        return field in self._columns or self._own(field) is not None

    def named(self, field: str) -> bool:
        """Tell whether the user names the field's columns."""
        return field in self._columns

    def first(self, *fields: str) -> str:
        """Return the first of some fields that is given, those before others that the user names."""
        named = [field for field in fields if field in self._columns]
        return next((field for field in (*named, *fields) if self.given(field)), fields[0])

    def get(self, field: str) -> Any:
        """Return a field's value, or None where the row has none; a list where it lies in several columns.

        Raises:
            NoColumnError: The column that the user names is not there.
            ValueError: Two columns hold the field and differ.
        """
        if field in self._columns:
            found = [self._looked_up(field, column) for column in self._columns[field]]
            if len(found) == 1:
                return found[0]
            if field not in SEVERAL:
                raise ValueError(f"columns.{field}: takes one column, got {len(found)}")
            return found
        own = self._own(field)
        if own is None:
            return None
        self._check_alone(field, own)
        return self.values[own]

    def name(self, field: str) -> str:
        """Return what messages call a field: its column."""
        if field in self._columns:
            return f"column {', '.join(map(repr, self._columns[field]))}"
        return repr(self._own(field) or field)

    def _own(self, field: str) -> str | None:
        return next((name for name in self._names.get(field, ()) if self.values.get(name) is not None), None)

    def _check_alone(self, field: str, own: str) -> None:
        """Refuse another column that is known to hold a field, and holds another text.

        A choice may be answered by letter in one column and by its text in another; an `input` beside an
        `instruction` is a field of its own.
        """
        texts = _texts(self.values[own])
        others = [name for name in self._names[field] if name != own and name not in self._names]
        for other in others if texts and field != "answer" else ():
            twins = _texts(self.values.get(other))
            if twins and twins != texts:
                raise ValueError(
                    f"{own!r} and {other!r} both hold {field} and differ: {shown(self.values[own])} and "
                    f"{shown(self.values[other])}; say under columns which one is meant: columns.{field}"
                )

    def empty(self, *fields: str) -> str | None:
        """Return the first column of the row that is known to hold one of some fields, and is null there."""
        known = [name for field in fields for name in self._columns.get(field, self._names.get(field, ()))]
        return next((name for name in known if name in self.values and self.values[name] is None), None)

    def _looked_up(self, field: str, column: str) -> Any:
        try:
            return look_up(self.values, column)
        except KeyError:
            near = did_you_mean(column, self.values)
            raise NoColumnError(f"columns.{field}: no column {column!r}: {near}") from None


def _texts(value: Any) -> list[str]:
    """Return a text, or the texts of a list, without the space around them; nothing of what is otherwise."""
    each = list(value) if isinstance(value, (list, tuple)) else [value]
    return (
        [text.strip() for text in each if text.strip()] if all(isinstance(text, str) for text in each) else []
    )


def look_up(values: Any, path: str) -> Any:
    """Return a value, or what lies inside it at a path such as `answers.0.text`.

    In a list, a name is looked up in each item, and a number chooses one.

    Raises:
        KeyError: There is no such value.
    """
    if isinstance(values, Mapping) and path in values:
        return values[path]
    step, _, rest = path.partition(".")
    if isinstance(values, Mapping):
        if step not in values:
            raise KeyError(path)
        found = values[step]
    elif isinstance(values, (list, tuple)):
        if not step.isdecimal():
            return [look_up(item, path) for item in values]
        if int(step) >= len(values):
            raise KeyError(path)
        found = values[int(step)]
    else:
        raise KeyError(path)
    return look_up(found, rest) if rest else found
