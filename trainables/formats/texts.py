"""Values of a row as text, and what messages show of them."""

from __future__ import annotations

import ast
import json
import math
import reprlib
from decimal import Decimal
from typing import Any

from trainables.sources.row_check import NESTED_TOO_DEEPLY, check_value


def as_text(value: Any, what: str) -> str:
    """Return a text or a number as text.

    Args:
        value: What the row holds.
        what: What messages call it.

    Raises:
        ValueError: It is neither.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer():
        # Tables hold whole numbers as floating-point ones where some are missing.
        return str(int(value))
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        # Never as 1e-05, which people don't write.
        return f"{Decimal(str(value)):f}"
    raise ValueError(f"{what} must be a text, got {shown(value)}")


def filled_text(value: Any, what: str) -> str:
    """Return a text or a number as text that is not blank.

    Raises:
        ValueError: It is neither, or blank.
    """
    text = "" if value is None else as_text(value, what)
    if not text.strip():
        raise ValueError(f"{what} is empty")
    return text


def nested(value: Any) -> Any:
    """Return what a text writes as JSON or as Python writes lists, as tables of text do; else the value.

    Raises:
        ValueError: What it writes is nothing that a row may hold.
    """
    if not isinstance(value, str) or not value.lstrip().startswith(("[", "{")):
        return value
    try:
        written = _written(value)
    except RecursionError:
        raise ValueError(NESTED_TOO_DEEPLY) from None
    check_value(written)
    return written


def _written(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        pass
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError):
        # Python's parser calls it lack of memory where brackets and signs are nested too deeply.
        return text


def shown(value: Any) -> str:
    """Return a short form of a value, with its type where that is not plain."""
    if value is None:
        return "null"
    if hasattr(value, "read"):
        return "an image"
    return f"{type(value).__name__} {reprlib.repr(value)}"
