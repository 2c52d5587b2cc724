"""Metrics of written text: normalised exact match, containment, token F1, ANLS and BLEU.

Each takes what was written, the answers that count as right, and the metric's options, and returns points, 0
to 100; of several answers the best counts.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

# Share of a text's characters that must be changed, from which on ANLS is 0.
_ANLS_THRESHOLD: Final = 0.5
# Full-width characters, as Chinese and Japanese texts have them, and the space of their width -> ASCII.
_NARROW: Final = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x3000: " "}


def normalize_answer(text: str) -> str:
    """Lower the case, drop punctuation, then articles, then surplus space (SQuAD, arXiv 1606.05250)."""
    text = "".join(char for char in text.lower() if char not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def normalized_exact_match(prediction: str, accepted: Sequence[str], options: Mapping[str, float]) -> float:
    """Score a text that is an accepted one after `normalize_answer`."""
    return 100.0 if normalize_answer(prediction) in map(normalize_answer, accepted) else 0.0


def contains(prediction: str, accepted: Sequence[str], options: Mapping[str, float]) -> float:
    """Score a text that has an accepted one in it, whatever case and width (OCRBench, arXiv 2305.07895)."""
    return 100.0 if any(_bare(answer) in _bare(prediction) for answer in accepted) else 0.0


def token_f1(prediction: str, accepted: Sequence[str], options: Mapping[str, float]) -> float:
    """Score the words that a text shares with an accepted one (SQuAD, arXiv 1606.05250).

    The harmonic mean of the share of its words that are right and the share of the right words that it has,
    after `normalize_answer` and with repetitions. A text without words is right where the answer has none.
    """
    return 100.0 * max(_f1(prediction, answer) for answer in accepted)


def anls(prediction: str, accepted: Sequence[str], options: Mapping[str, float]) -> float:
    """Score how few characters part a text from an accepted one (ST-VQA, arXiv 1905.13648).

    1 - NL, where NL is the Levenshtein distance over the length of the longer text, and 0 from NL = 0.5 on;
    case and surplus space don't count.
    """
    return 100.0 * max(_similarity(_spaced(prediction), _spaced(answer)) for answer in accepted)


def bleu(prediction: str, accepted: Sequence[str], options: Mapping[str, float]) -> float:
    """Score the n-grams that a text shares with the accepted ones: sentence BLEU as sacreBLEU computes it.

    With n up to 4, but not beyond what the text's length allows, exponential smoothing and the tokenizer 13a.
    """
    # Takes a tenth of a second to load, which other studies need not wait for.
    from sacrebleu import sentence_bleu

    return min(100.0, sentence_bleu(prediction, list(accepted)).score)


def _bare(text: str) -> str:
    return text.translate(_NARROW).lower().strip().replace("\n", " ")


def _spaced(text: str) -> str:
    return " ".join(text.lower().split())


def _f1(prediction: str, answer: str) -> float:
    own, right = normalize_answer(prediction).split(), normalize_answer(answer).split()
    if not own or not right:
        return float(own == right)
    shared = (Counter(own) & Counter(right)).total()
    return 2 * shared / (len(own) + len(right))


def _similarity(text: str, answer: str) -> float:
    longer = max(len(text), len(answer))
    distance = _levenshtein(text, answer) / longer if longer else 0.0
    return 1.0 - distance if distance < _ANLS_THRESHOLD else 0.0


def _levenshtein(one: str, other: str) -> int:
    """Return how many characters must be inserted, deleted or replaced to make one text the other."""
    above = list(range(len(other) + 1))
    for row, char in enumerate(one, start=1):
        current = [row]
        for column, wanted in enumerate(other, start=1):
            replaced = above[column - 1] + (char != wanted)
            current.append(min(replaced, above[column] + 1, current[-1] + 1))
        above = current
    return above[-1]
