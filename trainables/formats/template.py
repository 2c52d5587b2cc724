"""Templates of prompts: text with columns in braces."""

from __future__ import annotations

from collections.abc import Mapping
from string import Formatter
from typing import Any

from spaces.nearest import did_you_mean
from trainables.formats.fields import NoColumnError, look_up
from trainables.formats.texts import as_text


def fill(template: str, own: Mapping[str, str], values: Mapping[str, Any]) -> str:
    """Return a template's text with the values of a row.

    A line that names columns, all of which are empty in the row, is left out.

    Args:
        template: Text with names such as `{question}` or `{meta.topic}`; `{{` is a brace.
        own: The format's fields, which come before columns of the same name.
        values: The row; a column that is null is empty.

    Raises:
        NoColumnError: The template names what the row has not.
        ValueError: The template is malformed, or a value is no text.
    """
    lines = (_line(line, own, values) for line in template.split("\n"))
    return "\n".join(line for line in lines if line is not None)


def _line(template: str, own: Mapping[str, str], values: Mapping[str, Any]) -> str | None:
    written, filled = [], []
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        raise ValueError(f"prompt: not a template: {error}") from None
    for text, name, spec, conversion in parts:
        written.append(text)
        if name is None:
            continue
        if spec or conversion:
            raise ValueError(f"prompt: {name!r} has a format of its own, which templates do not know")
        filled.append(own[name] if name in own else _column(name, own, values))
        written.append(filled[-1])
    return None if filled and not any(value.strip() for value in filled) else "".join(written)


def _column(name: str, own: Mapping[str, str], values: Mapping[str, Any]) -> str:
    try:
        value = look_up(values, name)
    except KeyError:
        near = did_you_mean(name, {*own, *values})
        raise NoColumnError(f"prompt: no column {name!r}: {near}") from None
    return "" if value is None else as_text(value, f"column {name!r}")
