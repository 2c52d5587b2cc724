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


def near_miss(name: str, valid: Iterable[str]) -> str | None:
    """Return the valid name that a wrong one is a slip of the hand from, if any.

    Where names mean very different things, a longer one that holds the wrong one is no guess to make:
    `accuracy` is not `vqa_accuracy` with letters missing, though most of its letters agree.

    Args:
        name: What the user wrote.
        valid: The names that would have been right.
    """
    close = difflib.get_close_matches(name, sorted(valid), n=1, cutoff=0.6)
    return close[0] if close and _edits(name, close[0]) <= max(1, len(name) // 3) else None


def _edits(one: str, other: str) -> int:
    """Return how many letters must be put in, left out, replaced or swapped with the next one."""
    table = [[i + j for j in range(len(other) + 1)] for i in range(len(one) + 1)]
    for i, a in enumerate(one, start=1):
        for j, b in enumerate(other, start=1):
            table[i][j] = min(table[i - 1][j] + 1, table[i][j - 1] + 1, table[i - 1][j - 1] + (a != b))
            if i > 1 and j > 1 and (a, b) == (other[j - 2], one[i - 2]):
                table[i][j] = min(table[i][j], table[i - 2][j - 2] + 1)
    return table[-1][-1]
