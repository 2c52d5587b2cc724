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
# A capital amid other words: initials (`U.S.`), compounds (`T-shirt`) and the word I are none.
_CAPITAL: Final = rf"{_BEFORE}(?<!\w[.-])(?!I\s+\w)([A-Z])(?![.-]\w){_AFTER}"
_MARKS: Final = r"(?:(?![()])[\W_])*"
# What says that a letter follows, maybe not at once: `the answer is clearly B`.
_ANNOUNCED: Final = re.compile(r"(?i:\b(?:answer|option|choice)\s+is\b|\bI\s+(?:choose|select|pick)\b)")
# What stands right before a letter: `answer: b`, `option`, `correct choice is option`.
_LEAD: Final = r"(?:answer|option|choice)(?:\s+is)?(?:\s+option|\s+choice)?"
_ENDS: Final = (
    # At the start: a capital or a digit, though not the word I; in lower case only if no word follows. A
    # letter in brackets is none of these, as it may be the first of several.
    re.compile(rf"^{_MARKS}((?!I\s+\w)[A-Z]){_AFTER}"),
    re.compile(rf"^[\W_]*([0-9]){_AFTER}"),
    re.compile(rf"^{_MARKS}([a-z])(?:[).:\]*,]|[\W_]*$)"),
    re.compile(rf"{_BEFORE}([A-Z]){_MARKS}$"),
)
_PLACES: Final = (
    re.compile(r"\(([A-Z])\)"),
    *(re.compile(rf"{_CAPITAL}{mark}") for mark in (r"\.", ":", r"\)", r"\s", "")),
    # Not in capitals: in brackets, then after what stands right before it.
    re.compile(r"(?<!\w)\(([a-z])\)"),
    re.compile(rf"\b(?i:{_LEAD})[\W_]*([0-9]|[a-z](?=[\W_]*$)){_AFTER}"),
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

    It stands by itself, marks aside, at the start (`B. red`, `B red`), else at the end (`it is B`), else
    somewhere behind `answer is` or `I choose` and the like, else in brackets, else before a full stop, a
    colon, a bracket, a space, in this order, else anywhere; of several such places the last. An article at
    the start is taken for a letter, as it is by lmms-eval.
    """
    found = _last(_ENDS, text) or _announced(text) or _last(_PLACES, text)
    return found.upper() if found else None


def _last(places: Sequence[re.Pattern[str]], text: str) -> str | None:
    """Return the last letter at the first of some places that has one."""
    return next((found[-1] for place in places if (found := place.findall(text))), None)


def _announced(text: str) -> str | None:
    """Return the letter behind the last announcement that has one; of several the one that is new last.

    As in lmms-eval, so that `the answer is not A but B, as A is red` is B.
    """
    for announcement in reversed([*_ANNOUNCED.finditer(text)]):
        letters = re.findall(_CAPITAL, text[announcement.end() :])
        if letters:
            return list(dict.fromkeys(letters))[-1]
    return None


def _plain(text: str) -> str:
    return text.lower().strip().rstrip(".")
