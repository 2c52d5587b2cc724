"""Metrics of numbers and times: relaxed accuracy, numeric accuracy and clock time.

Each takes what was written, the answers that count as right, and the metric's options, and returns 100 or 0;
one answer that agrees is enough.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

_UNITS: Final = {
    word: value
    for value, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
        "sixteen seventeen eighteen nineteen".split()
    )
} | {"none": 0}
_TENS: Final = {
    word: 10 * value
    for value, word in enumerate("twenty thirty forty fifty sixty seventy eighty ninety".split(), start=2)
}
_SCALES: Final = {"thousand": 10**3, "million": 10**6, "billion": 10**9}

# A number in digits, with or without commas between thousands, that no word or other number runs into.
_DIGITS: Final = re.compile(
    r"(?<![\w.])[-+\u2212]?(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)(?:[eE][-+\u2212]?\d+(?!\w))?"
)
# Hours and minutes parted by a colon, else by other marks, else by a blank, as any two numbers may be.
_TIMES: Final = tuple(
    re.compile(rf"(?<!\d)(\d{{1,2}}){between}(\d{{1,2}})(?!\d)")
    for between in (r"\s*:\s*", r"\s*[.h]\s*", r"\s+")
)
_HALF_DAY: Final = 12 * 60  # minutes


def relaxed_accuracy(prediction: str, accepted: Sequence[str], options: Mapping[str, float]) -> float:
    """Score a number within `tolerance` of an accepted one, else the same text (ChartQA, arXiv 2203.10244).

    A number is the whole text, and one with % a hundredth of it; a reference of 0 is compared as a text.
    """
    return 100.0 if any(_relaxed(prediction, answer, options["tolerance"]) for answer in accepted) else 0.0


def numeric(prediction: str, accepted: Sequence[str], options: Mapping[str, float]) -> float:
    """Score a number that differs from an accepted one by at most `tolerance`, a share of the latter."""
    found = number_in(prediction)
    rights = [right for answer in accepted if (right := number_in(answer)) is not None]
    if found is None:
        return 0.0
    # Room for rounding: 0.29 of 100 is a little less than 29 in binary.
    share = options["tolerance"] + 1e-9
    return 100.0 if any(abs(found - right) <= share * abs(right) for right in rights) else 0.0


def clock_time(prediction: str, accepted: Sequence[str], options: Mapping[str, float]) -> float:
    """Score a time that differs from an accepted one by at most `minutes`, around a clock of twelve hours."""
    found = time_in(prediction)
    rights = [right for answer in accepted if (right := time_in(answer)) is not None]
    if found is None:
        return 0.0
    apart = [abs(found - right) for right in rights]
    return 100.0 if any(min(d, _HALF_DAY - d) <= options["minutes"] for d in apart) else 0.0


def number_in(text: str) -> float | None:
    """Return the number that a text names: the first in digits, else the first in words, if there is one."""
    if found := _DIGITS.search(text):
        number = float(found[0].replace(",", "").replace("\u2212", "-"))
        return number if math.isfinite(number) else None
    return next(_in_words(text), None)


def time_in(text: str) -> int | None:
    """Return the first time of day that a text names, in minutes from twelve o'clock, if there is one.

    One with a colon comes before `3.45` and `10h08`, and these before `3 45`.
    """
    for written in _TIMES:
        for hour, minute in written.findall(text):
            if int(hour) <= 24 and int(minute) < 60:
                return (60 * int(hour) + int(minute)) % _HALF_DAY
    return None


def _relaxed(prediction: str, answer: str, tolerance: float) -> bool:
    own, right = _as_float(prediction), _as_float(answer)
    if own is not None and right:
        return abs(own - right) / abs(right) <= tolerance
    return prediction.strip().lower() == answer.strip().lower()


def _as_float(text: str) -> float | None:
    text = text.strip()
    try:
        value = float(text.removesuffix("%")) / (100.0 if text.endswith("%") else 1.0)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _in_words(text: str) -> Iterator[float]:
    """Yield the numbers that a text has in words; `two three` are two, `two hundred and three` is one."""
    total, current, open_ = 0, 0, False
    for word in re.findall(r"[a-z]+", text.lower()):
        value = _UNITS.get(word, _TENS.get(word))
        if value is not None:
            if open_ and not _goes_on(current, value):
                yield float(total + current)
                total, current = 0, 0
            current, open_ = current + value, True
        elif word == "hundred":
            current, open_ = max(1, current) * 100, True
        elif word in _SCALES:
            total, current, open_ = total + max(1, current) * _SCALES[word], 0, True
        elif word != "and" and open_:
            yield float(total + current)
            total, current, open_ = 0, 0, False
    if open_:
        yield float(total + current)


def _goes_on(current: int, value: int) -> bool:
    """Return whether a number word can follow what is there: `twenty` then `one`, `hundred` then `six`."""
    last = current % 100
    return last == 0 if value >= 10 else last == 0 or (last >= 20 and last % 10 == 0)
