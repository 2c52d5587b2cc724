"""How numbers are written for a reader."""

from __future__ import annotations

import math

import pytest

from search import wording


@pytest.mark.parametrize(
    ("value", "text"), [(3.14e-4, "3.1e-4"), (1e-10, "1.0e-10"), (0.5, "5.0e-1"), (12.0, "1.2e1")]
)
def test_rates(value: float, text: str) -> None:
    assert wording.rate(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.44, "0.4s"), (9.96, "10s"), (59.6, "1m 00s"), (100, "1m 40s"), (7500, "2h 05m"), (math.nan, "–")],  # noqa: RUF001
)
def test_durations(seconds: float, text: str) -> None:
    assert wording.duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"), [(812, "812"), (12_400, "12.4 K"), (3_140_000, "3.14 M"), (6.74e9, "6.74 B")]
)
def test_counts(value: float, text: str) -> None:
    assert wording.count(value) == text


def test_points_have_no_negative_zero() -> None:
    assert wording.points(-0.04) == "+0.0"
