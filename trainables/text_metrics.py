"""Metrics of written text: exact match, token F1, ANLS and BLEU."""

from __future__ import annotations

import re
import string
from collections.abc import Mapping, Sequence


def normalize_answer(text: str) -> str:
    """Lower the case, drop punctuation, then articles, then surplus space (SQuAD, arXiv 1606.05250)."""
    text = "".join(char for char in text.lower() if char not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def normalized_exact_match(prediction: str, accepted: Sequence[str], options: Mapping[str, float]) -> float:
    """Return 100 if the text is one of the accepted ones after `normalize_answer`."""
    return 100.0 if normalize_answer(prediction) in map(normalize_answer, accepted) else 0.0
