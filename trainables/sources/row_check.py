"""What every row of a text file must be, whatever its columns mean: texts in UTF-8, nested within reason."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable
from typing import Any, Final

# Lists and objects within one another that a value may have: what recurses stays far from Python's limit.
_DEEPEST: Final = 100
NESTED_TOO_DEEPLY: Final = f"nested too deeply: more than {_DEEPEST} lists and objects within one another"


def check_value(value: Any) -> None:
    """Refuse a value as JSON or YAML gives it that no sample could be made of or kept.

    Raises:
        ValueError: It is nested too deeply, or a text or key in it has half a character of UTF-16, or a byte
            that is not UTF-8.
    """
    layer, depth = [value], 0
    while layer:
        for each in layer:
            if isinstance(each, str):
                _check_text(each)
        holders = [each for each in layer if isinstance(each, (dict, list, tuple))]
        depth += bool(holders)
        if depth > _DEEPEST:
            raise ValueError(NESTED_TOO_DEEPLY)
        layer = [inner for each in holders for inner in _inside(each)]


def _inside(value: dict[Any, Any] | list[Any] | tuple[Any, ...]) -> Iterable[Any]:
    return (*value, *value.values()) if isinstance(value, dict) else value


def _check_text(text: str) -> None:
    """Refuse a text that UTF-8 can't write.

    Raises:
        ValueError: It can't.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        near = text[max(0, error.start - 12) : error.start + 12]
        raise ValueError(f"not UTF-8 text: {text[error.start]!a} in {reprlib.repr(near)}") from None
