"""Plain values, as YAML and JSON hold them, checked for their type."""

from __future__ import annotations


def whole_number(name: str, value: object) -> int:
    """Return a value that must be a whole number, which true and false are not.

    Args:
        name: What the value is, for the message.
        value: The plain value.

    Raises:
        ValueError: It is anything else.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ValueError(f"{name} must be a whole number, got {value!r}")
