"""Metrics of answers by letter: which choice's letter a text names.

Each takes what was written, the answers that count as right, and the metric's options, and returns 100 or 0.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

# A letter that no word runs into; the apostrophe keeps `I'm` out.
_BEFORE: Final = r"(?<![^\W_])(?<!['\u2019])"
_AFTER: Final = r"(?![^\W_]|['\u2019]\w)"
# What says that a letter follows: `the answer is`, `option`, `correct choice:`.
_LEAD: Final = r"(?:answer|option|choice)(?:\s+is)?(?:\s+option|\s+choice)?"
_PLACES: Final = (
    # At the start: a capital or a digit, though not the word I; in lower case only if no word follows.
    re.compile(rf"^[\W_]*((?!I\s+\w)[A-Z0-9]){_AFTER}"),
    re.compile(r"^[\W_]*([a-z])(?:[).:\]*,]|[\W_]*$)"),
    # At the end, then after what announces it, then in brackets.
    re.compile(rf"{_BEFORE}([A-Z])[\W_]*$"),
    re.compile(rf"\b(?i:{_LEAD})[\W_]*([A-Z0-9]|[a-z](?=[\W_]*$)){_AFTER}"),
    re.compile(r"\(([A-Za-z])\)"),
)


def choice_letter(prediction: str, accepted: Sequence[str], options: Mapping[str, float]) -> float:
    """Score a text that names the right choice's letter; see `letter_in`."""
    return 100.0 if letter_in(prediction) in {answer.strip().upper() for answer in accepted} else 0.0


def letter_or_text(prediction: str, accepted: Sequence[str], options: Mapping[str, float]) -> float:
    """Score a letter where the answer is one, and else the same text, whatever its case and final full stop.

    As lmms-eval scores RealWorldQA, where some questions have choices.
    """
    # A digit is a number here.
    if all(is_letter(answer) and answer.strip().isalpha() for answer in accepted):
        return choice_letter(prediction, accepted, options)
    return 100.0 if _plain(prediction) in map(_plain, accepted) else 0.0


def is_letter(answer: str) -> bool:
    """Return whether an answer is a choice's letter, or its digit."""
    return re.fullmatch(r"[A-Za-z0-9]", answer.strip()) is not None


def letter_in(text: str) -> str | None:
    """Return the letter that a text names, in upper case, if there is one.

    It stands by itself, marks aside, at the start (`B. red`, `(b)`, `B red`), else at the end (`it is B`),
    else after `answer`, `option` or `choice`, else in brackets; of several such places the last. An article
    at the start is taken for a letter, as it is by lmms-eval.
    """
    for place in _PLACES:
        if found := place.findall(text):
            return found[-1].upper()
    return None


def _plain(text: str) -> str:
    return text.lower().strip().rstrip(".")
