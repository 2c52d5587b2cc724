"""Texts without what makes no difference to a reader: case, punctuation and surplus space."""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from typing import Final

# Within a number a mark is part of its value (3.5, 1,000, 10:30, 5/8), and so is the sign before it.
_KEPT: Final = re.compile(r"(?<=\d)[.,:/\-](?=\d)|[-\u2212](?=\s?\d)")


def plain_text(text: str) -> str:
    """Return a text in lower case, without punctuation and surplus space; one of nothing else stays whole.

    Signs that carry meaning of their own (`+ = < % * / # & @ $` and brackets) stay, and so does what belongs
    to a number.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    kept = {match.start() for match in _KEPT.finditer(folded)}
    bare = "".join(
        " " if _is_punctuation(letter) and place not in kept else letter
        for place, letter in enumerate(folded)
    )
    return " ".join(bare.split()) or " ".join(folded.split())


@cache
def _is_punctuation(letter: str) -> bool:
    return unicodedata.category(letter) in ("Pc", "Pd", "Pi", "Pf", "Po") and letter not in "%*/#&@"
