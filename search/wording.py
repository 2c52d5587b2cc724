"""Wording: how numbers are written wherever a person reads them."""

from __future__ import annotations

import math
from collections.abc import Sequence

UNKNOWN = "–"  # noqa: RUF001  an en dash, read as "no value"


def rate(value: float) -> str:
    """Write a learning rate with two digits: `3.1e-4`."""
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def points(value: float, *, signed: bool = True) -> str:
    """Write points with one decimal, or a dash where there is no number."""
    if not math.isfinite(value):
        return UNKNOWN
    rounded = round(value, 1) + 0.0  # adding 0 turns -0.0 into 0.0
    return f"{rounded:+.1f}" if signed else f"{rounded:.1f}"


def interval(low: float, high: float) -> str:
    """Write an interval of points, to follow the value that it is of: `[19.8, 28.1]`."""
    return f"[{points(low, signed=False)}, {points(high, signed=False)}]"


def listed(names: Sequence[str], at_most: int = 4) -> str:
    """Write names in a row: `a`, `a and b`, `a, b and c`, `a, b, c and 5 others`."""
    if len(names) > at_most + 1:
        names = [*names[:at_most], f"{len(names) - at_most} others"]
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def count(value: float) -> str:
    """Write a number of things, such as parameters: `812`, `12.4 K`, `3.1 M`, `6.7 B`."""
    if not math.isfinite(value):
        return UNKNOWN
    for unit, size in (("B", 1e9), ("M", 1e6), ("K", 1e3)):
        if abs(value) >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.0f}"


def duration(seconds: float) -> str:
    """Write a time: `0.4s`, `38s`, `1m 40s`, `2h 05m`."""
    if not math.isfinite(seconds):
        return UNKNOWN
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}m {rest:02d}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h {minutes:02d}m"


def si(value: float, unit: str) -> str:
    """Write a quantity with three digits and a prefix of the SI: `31.4 mWh`, `2.5 kg`, `1.27 PFLOP`."""
    if not math.isfinite(value):
        return UNKNOWN
    prefixes = ("µ", "m", "", "k", "M", "G", "T", "P", "E", "Z")
    power = math.floor(math.log10(abs(value)) / 3) if value else 0
    power = min(max(power, -2), len(prefixes) - 3)
    number = value / 1000**power
    digits = 2 if abs(number) < 9.995 else 1 if abs(number) < 99.95 else 0
    return f"{number:.{digits}f} {prefixes[power + 2]}{unit}"


def percent(share: float) -> str:
    """Write a share with two digits at least: `0.42 %`, `4.2 %`, `42 %`, `142 %`."""
    if not math.isfinite(share):
        return UNKNOWN
    return f"{100 * share:.0f} %" if abs(share) >= 0.0995 else f"{100 * share:.2g} %"


def counted(number: int, noun: str) -> str:
    """Write a number with its noun, plural where needed: `1 trial`, `3 trials`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def human_bytes(count: float) -> str:
    """Return a size with a binary unit, such as `1.5 GiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
