from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables.scoring.number_metrics import clock_time, number_in, numeric, relaxed_accuracy, time_in


@pytest.mark.parametrize(
    ("text", "answer", "points"),
    [
        # Within 5 % of the reference: of 100 from 95 to 105.
        ("95", "100", 100.0),
        ("105", "100", 100.0),
        ("94.9", "100", 0.0),
        ("-98", "-100", 100.0),
        ("98", "-100", 0.0),
        # A percentage is a hundredth on both sides.
        ("0.123", "12.5%", 100.0),
        ("12.5", "12.5%", 0.0),
        ("12.1 %", "12.5%", 100.0),
        # What is no number is compared as a text, and so is everything with a reference of zero.
        ("Blue ", "blue", 100.0),
        ("about 100", "100", 0.0),
        ("0", "0", 100.0),
        ("0.0", "0", 0.0),
        ("1,000", "1000", 0.0),
        ("nan", "nan", 100.0),
        ("inf", "100", 0.0),
        ("", "5", 0.0),
    ],
)
def test_relaxed_accuracy(text: str, answer: str, points: float) -> None:
    assert relaxed_accuracy(text, [answer], {"tolerance": 0.05}) == points


def test_relaxed_accuracy_takes_any_reference_and_another_tolerance() -> None:
    assert relaxed_accuracy("90", ["10", "100"], {"tolerance": 0.05}) == 0.0
    assert relaxed_accuracy("90", ["10", "100"], {"tolerance": 0.1}) == 100.0


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("7", 7.0),
        ("There are 12 birds.", 12.0),
        ("-3.5 degrees", -3.5),
        ("\u22123", -3.0),
        ("1,234,567.5", 1234567.5),
        # Three digits make a thousand; else a comma parts two numbers, of which the first counts.
        ("1,23", 1.0),
        ("5 of 12", 5.0),
        ("3-5", 3.0),
        ("50%", 50.0),
        ("A4 and 5", 5.0),
        # Without a nought before the point, and in powers of ten.
        (".5 of it", 0.5),
        ("-.25", -0.25),
        ("1e-05", 0.00001),
        ("about 2.5E+3.", 2500.0),
        ("1,000e3", 1000000.0),
        ("1e\u22122", 0.01),
        ("5e of 6", 5.0),
        ("2e3x", 2.0),
        ("No.5", None),
        ("1e999", None),
        # Digits come before words, the first word before the others.
        ("one can see 5", 5.0),
        ("There are five birds, one of them red", 5.0),
        ("None", 0.0),
        ("twenty-one", 21.0),
        ("two hundred and three", 203.0),
        ("a hundred", 100.0),
        ("three thousand four hundred and ninety nine", 3499.0),
        ("one million two thousand", 1002000.0),
        ("two three", 2.0),
        ("nineteen six", 19.0),
        ("someone", None),
        ("and", None),
        ("", None),
    ],
)
def test_the_number_that_a_text_names(text: str, number: float | None) -> None:
    assert number_in(text) == number


@given(st.integers(min_value=-(10**9), max_value=10**9))
def test_a_number_is_read_as_it_is_written(number: int) -> None:
    assert number_in(f"{number}") == number_in(f"{number:,}") == number


@pytest.mark.parametrize(
    ("text", "answer", "tolerance", "points"),
    [
        ("three birds", "3", 0.0, 100.0),
        ("3.0", "three", 0.0, 100.0),
        ("4", "3", 0.0, 0.0),
        ("0.00001", "1e-05", 0.0, 100.0),
        ("1", "1e-05", 0.0, 0.0),
        ("0.5", ".5", 0.0, 100.0),
        # A tenth of 30 is 3; 0.29 of 100 is 29, though not quite in binary.
        ("33", "30", 0.1, 100.0),
        ("33.1", "30", 0.1, 0.0),
        ("129", "100", 0.29, 100.0),
        # Nothing but zero is within a share of zero.
        ("0", "0", 0.5, 100.0),
        ("0.1", "0", 0.5, 0.0),
        ("many", "3", 1.0, 0.0),
    ],
)
def test_numeric(text: str, answer: str, tolerance: float, points: float) -> None:
    assert numeric(text, ["no number", answer], {"tolerance": tolerance}) == points


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("3:45", 225),
        ("The time is 03:45.", 225),
        ("15 : 45", 225),
        ("3.45", 225),
        ("3 45", 225),
        ("10h08", 608),
        # Twelve is the start of the half day; seconds don't count.
        ("12:07", 7),
        ("00:07:59", 7),
        ("24:00", 0),
        # There is no such time, so the next one counts.
        ("99:10 or 3:75 or 4:05", 245),
        # A colon says more than a full stop, and that more than a blank between any two numbers.
        ("Between 10 20 and 3:45", 225),
        ("1.5 hours after 3 : 45", 225),
        ("10 20 or 3.45", 225),
        ("99:10 or 3 45", 225),
        ("half past three", None),
        ("2024", None),
        ("", None),
    ],
)
def test_the_time_that_a_text_names(text: str, minutes: int | None) -> None:
    assert time_in(text) == minutes


@pytest.mark.parametrize(
    ("text", "answer", "points"),
    [
        ("3:45", "3:45", 100.0),
        ("3:46", "3:45", 100.0),
        ("3:47", "3:45", 0.0),
        ("4:00", "3:59", 100.0),
        # Once around: 12:59 and 1:00, 11:59 and 12:00 are a minute apart, and the hand tells no afternoon.
        ("12:59", "1:00", 100.0),
        ("12:00", "11:59", 100.0),
        ("15:45", "3:45", 100.0),
        ("9:45", "3:45", 0.0),
        ("no clock", "3:45", 0.0),
    ],
)
def test_clock_time(text: str, answer: str, points: float) -> None:
    assert clock_time(text, [answer], {"minutes": 1}) == points


@given(st.integers(0, 719), st.integers(-720, 720), st.integers(0, 30))
def test_clock_time_is_the_distance_on_the_dial(time: int, shift: int, minutes: int) -> None:
    one, other = (f"{(t // 60) % 12 or 12}:{t % 60:02}" for t in (time, (time + shift) % 720))
    apart = min(shift % 720, -shift % 720)
    assert clock_time(other, [one], {"minutes": minutes}) == (100.0 if apart <= minutes else 0.0)
    assert clock_time(one, [other], {"minutes": minutes}) == clock_time(other, [one], {"minutes": minutes})
