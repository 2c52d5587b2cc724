"""Nearly the same text: in another template, or a long one with a few words changed.

Long texts are found by their word 8-grams, without case and punctuation, as GPT-3's authors looked for
benchmarks in their training data: by n-grams of 8 to 13 words, of which those in more than 10 documents were
ignored (Brown et al., 2020, arXiv 2005.14165, appendix C). There one n-gram in common was enough; here whole
texts are compared then, since questions of one template share most of their words.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

LONG: Final = 100
"""Words of the shortest text that may differ from another that counts as nearly the same."""
CORE: Final = 8
"""Words that a text must have besides a template."""
_GRAM: Final = 8  # words
_COMMON: Final = 10  # texts with an n-gram above which it is a template's
_KEYS: Final = 64  # n-grams by which a text is found
_LEAST_HITS: Final = 0.25  # share of these that a candidate has
_CHANGED: Final = 1 / LONG  # share of the words
_LONGEST_CHANGE: Final = 2  # words in a row
_AT_A_TIME: Final = 4096

# Languages that are written without spaces count each character as a word.
_WORD: Final = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\s\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+"
)


def words_of(plain: str) -> list[str]:
    """Return the words of a plain text."""
    return _WORD.findall(plain)


def within(one: Sequence[str], other: Sequence[str], least: int) -> bool:
    """Tell whether the shorter of two lists of words, of at least so many, is a part of the longer."""
    short, long = sorted((one, other), key=len)
    return len(short) >= least and f" {' '.join(short)} " in f" {' '.join(long)} "


def alike(one: Sequence[str], other: Sequence[str]) -> bool:
    """Tell whether two long texts are nearly the same.

    They are if at most one word in 100 differs, never more than two in a row, and none of these has a digit:
    questions of one template differ by some words, and most of all by their numbers.
    """
    short, long = sorted((one, other), key=len)
    allowed = int(_CHANGED * len(short))
    if short == long:
        return True
    if not allowed or len(long) - len(short) > allowed:
        return False
    surplus = [Counter(a) - Counter(b) for a, b in ((short, long), (long, short))]
    if any(each.total() > allowed or any(map(_has_digit, each)) for each in surplus):
        return False
    changes = [
        (short[a:b], long[c:d])
        for change, a, b, c, d in SequenceMatcher(None, short, long, autojunk=False).get_opcodes()
        if change != "equal"
    ]
    changed = [word for a, b in changes for word in (*a, *b)]
    return (
        sum(max(len(a), len(b)) for a, b in changes) <= allowed
        and all(max(len(a), len(b)) <= _LONGEST_CHANGE for a, b in changes)
        and not any(map(_has_digit, changed))
    )


def cores(texts: Sequence[list[str]]) -> list[list[str] | None]:
    """Return each text without the words that all of them begin and end with; None where little is left.

    A template shows only where texts differ: of one alone nothing is taken away.
    """
    if not texts:
        return []
    first, last = min(texts), max(texts)
    backwards = [text[::-1] for text in texts]
    start = end = 0
    if first != last:
        start, end = _in_common(first, last), _in_common(min(backwards), max(backwards))
    return [text[start : len(text) - end] if len(text) - start - end >= CORE else None for text in texts]


def _in_common(one: list[str], other: list[str]) -> int:
    """Return how many words two texts begin with alike."""
    return next(
        (n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )


def candidates(ones: Sequence[Sequence[str]], others: Sequence[Sequence[str]]) -> Iterator[tuple[int, int]]:
    """Yield the places of texts that share enough n-grams to be compared, in rising order of `ones`."""
    keys, owners, numbers = _keys(others)
    if not len(keys):
        return
    for start in range(0, len(ones), _AT_A_TIME):
        grams, texts = _grams(ones[start : start + _AT_A_TIME])
        if not len(grams):
            continue
        first, last = np.searchsorted(keys, grams, "left"), np.searchsorted(keys, grams, "right")
        hits = last - first
        asked = np.repeat(texts, hits)
        places = np.repeat(first - np.cumsum(hits) + hits, hits) + np.arange(hits.sum())
        pairs, shared = np.unique(asked * len(others) + owners[places], return_counts=True)
        left, right = np.divmod(pairs, len(others))
        most = np.minimum(np.bincount(texts, minlength=_AT_A_TIME)[left], numbers[right])
        enough = shared >= np.maximum(1, _LEAST_HITS * most)
        yield from zip((left[enough] + start).tolist(), right[enough].tolist(), strict=True)


def _keys(
    texts: Sequence[Sequence[str]],
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return n-grams in rising order with the texts that have them, and each text's number of them."""
    parts = [_grams(texts[start : start + _AT_A_TIME]) for start in range(0, len(texts), _AT_A_TIME)]
    grams = np.concatenate([grams for grams, _ in parts]) if parts else np.empty(0, np.uint64)
    owners = np.concatenate(
        [owner + i * _AT_A_TIME for i, (_, owner) in enumerate(parts)] or [np.empty(0, np.int64)]
    )
    _, inverse, counts = np.unique(grams, return_inverse=True, return_counts=True)
    rare = counts[inverse] <= _COMMON
    grams, owners = grams[rare], owners[rare]
    # `_grams` gives each text's in rising order, so that its first ones are the smallest.
    starts = np.searchsorted(owners, np.arange(len(texts)))
    kept = np.arange(len(owners)) - starts[owners] < _KEYS
    grams, owners = grams[kept], owners[kept]
    order = np.argsort(grams, kind="stable")
    return grams[order], owners[order], np.bincount(owners, minlength=len(texts))


def _grams(texts: Sequence[Sequence[str]]) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    """Return the hashes of each text's distinct n-grams and the text's place, by text and rising hash."""
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    words = np.fromiter((_hash(word) for text in texts for word in text), np.uint64, int(lengths.sum()))
    if len(words) < _GRAM:
        return np.empty(0, np.uint64), np.empty(0, np.int64)
    grams = np.zeros(len(words) - _GRAM + 1, np.uint64)
    for place in range(_GRAM):
        grams = grams * np.uint64(0x9E3779B97F4A7C15) + words[place : place + len(grams)]
    grams ^= grams >> np.uint64(29)
    owners = np.repeat(np.arange(len(texts)), lengths)
    inside = owners[: len(grams)] == owners[_GRAM - 1 :]
    grams, owners = grams[inside], owners[: len(grams)][inside]
    order = np.lexsort((grams, owners))
    grams, owners = grams[order], owners[order]
    new = np.ones(len(grams), bool)
    new[1:] = (grams[1:] != grams[:-1]) | (owners[1:] != owners[:-1])
    return grams[new], owners[new]


@lru_cache(maxsize=1 << 16)
def _hash(word: str) -> int:
    return zlib.crc32(word.encode()) * 0x9E3779B1 + 1


def _has_digit(word: str) -> bool:
    return any(letter.isdigit() for letter in word)
