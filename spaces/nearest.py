"""Answering an unknown name with the nearest valid one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """Return a half-sentence that names the nearest valid name, or all of them when none is near.

    Args:
        name: What the user wrote.
        valid: The names that would have been right.
    """
    known = sorted(valid)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"expected one of: {', '.join(known)}" if known else "none is defined"
