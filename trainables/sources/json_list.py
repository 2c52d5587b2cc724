"""The items of a JSON file's list, each with its place in the text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from trainables.sources.row_check import NESTED_TOO_DEEPLY

_DECODER: Final = json.JSONDecoder()


def list_items(text: str) -> Iterator[tuple[int, Any]]:
    """Yield the items of a text's list and where each begins.

    Args:
        text: A list, or an object with one list of objects among its values.

    Raises:
        ValueError: The object has no such list or several.
        json.JSONDecodeError: The text is not JSON from some place on.
    """
    position = skip_space(text, 0)
    if text[position : position + 1] == "{":
        position = _only_list(text, position)
        yield from _items(text, position)
        return
    if text[position : position + 1] != "[":
        raise json.JSONDecodeError("Expecting a list or an object", text, position)
    end = yield from _items(text, position)
    if (rest := skip_space(text, end)) < len(text):
        raise json.JSONDecodeError("Extra data", text, rest)


def is_lines(text: str) -> bool:
    """Tell whether the text is objects one after another, as JSON Lines has them."""
    start = skip_space(text, 0)
    if text[start : start + 1] != "{":
        return False
    try:
        _, end = _decoded(text, start)
    except json.JSONDecodeError:
        return False
    return skip_space(text, end) < len(text)


def skip_space(text: str, position: int) -> int:
    """Return the place of the next character that is no white space, or the text's end."""
    while text[position : position + 1] in {" ", "\t", "\r", "\n"}:
        position += 1
    return position


def _items(text: str, position: int) -> Iterator[tuple[int, Any]]:
    """Yield the items of the list that opens at a place; returns the place after it."""
    position = skip_space(text, position + 1)
    if text[position : position + 1] == "]":
        return position + 1
    while True:
        value, end = _decoded(text, position)
        yield position, value
        end = skip_space(text, end)
        if text[end : end + 1] == "]":
            return end + 1
        if text[end : end + 1] != ",":
            raise json.JSONDecodeError("Expecting ',' delimiter", text, end)
        position = skip_space(text, end + 1)


def _decoded(text: str, position: int) -> tuple[Any, int]:
    """Return the value that stands at a place, and the place after it."""
    try:
        return _DECODER.raw_decode(text, position)
    except RecursionError:
        raise json.JSONDecodeError(NESTED_TOO_DEEPLY, text, position) from None


def _only_list(text: str, start: int) -> int:
    """Return where the one list of objects among an object's values begins."""
    _, end = _decoded(text, start)
    if (rest := skip_space(text, end)) < len(text):
        raise json.JSONDecodeError("Extra data", text, rest)
    found: dict[str, int] = {}
    position = start
    # The text is known to be valid here: what stands between keys and values is what JSON has there.
    while text[position] != "}":
        name, position = _DECODER.raw_decode(text, skip_space(text, position + 1))
        begin = skip_space(text, skip_space(text, position) + 1)
        value, position = _DECODER.raw_decode(text, begin)
        position = skip_space(text, position)
        if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
            found[name] = begin
    if len(found) != 1:
        raise ValueError(
            f"expected a list of objects, or an object with one such list, got one with "
            f"{' and '.join(map(repr, found)) or 'none'}"
        )
    return next(iter(found.values()))
