"""The same 48 times of day on two dials: seven segments and two hands."""

from __future__ import annotations

import numpy as np
from PIL import ImageDraw

from trainables.data.samples import Split
from trainables.tiny.canvas import BIG, Colour, Item, any_colour, canvas, contrasting, finish

QUARTERS = (0, 15, 30, 45)
PROMPT = "what time is it ?"

_SEGMENTS = ("abcdef", "bc", "abged", "abgcd", "fgbc", "afgcd", "afgedc", "abc", "abcdefg", "abcdfg")
_ENDS = {
    "a": ((0, 0), (1, 0)),
    "b": ((1, 0), (1, 1)),
    "c": ((1, 1), (1, 2)),
    "d": ((0, 2), (1, 2)),
    "e": ((0, 1), (0, 2)),
    "f": ((0, 0), (0, 1)),
    "g": ((0, 1), (1, 1)),
}
_TRAIN_STYLES = ((4, 0.0), (4, 0.16), (8, 0.0), (8, 0.16))
_TEST_STYLES = ((6, 0.08), (6, 0.04), (7, 0.08))


def digital(pool: Split, index: int, rng: np.random.Generator) -> Item:
    """Draw a seven-segment display; stroke width and slant depend on the split."""
    hour, minute = _time(index)
    styles = _TRAIN_STYLES if pool == "train" else _TEST_STYLES
    stroke, slant = styles[int(rng.integers(len(styles)))]
    ink, ground = contrasting(rng)
    image, pen = canvas(ground)
    width, height = 18, int(rng.integers(22, 30))
    left, top = int(rng.integers(4, 12)), int(rng.integers(12, BIG - 2 * height - 12))
    digits = f"{hour:2d}{minute:02d}"
    for place, digit in enumerate(digits):
        x = left + place * 28 + (6 if place > 1 else 0)
        if digit != " ":
            _seven_segments(pen, int(digit), x, top, width, height, stroke, slant, ink)
    middle = left + 2 * 28 - 2
    for fraction in (0.6, 1.4):
        y = top + fraction * height
        x = middle + slant * (2 - fraction) * height
        pen.rectangle((x - 3, y - 3, x + 3, y + 3), fill=ink)
    return finish(image, rng), PROMPT, _spoken(hour, minute)


def analogue(pool: Split, index: int, rng: np.random.Generator) -> Item:
    """Draw a round clock with a short thick hour hand and a long thin minute hand."""
    hour, minute = _time(index)
    ink, face = any_colour(rng, 0, 80), any_colour(rng, 185, 256)
    image, pen = canvas(any_colour(rng, 60, 200))
    radius = float(rng.uniform(50, 62))
    x, y = BIG / 2 + rng.uniform(-3, 3, 2)
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=face, outline=ink, width=4)
    for mark in range(12):
        angle = np.pi / 6 * mark
        inner = 0.78 if mark % 3 == 0 else 0.86
        pen.line(_spoke(x, y, angle, radius * inner, radius * 0.94), fill=ink, width=4)
    hour_angle = np.pi / 6 * (hour % 12 + minute / 60)
    pen.line(
        _spoke(x, y, hour_angle, -4, radius * rng.uniform(0.42, 0.52)),
        fill=ink,
        width=int(rng.integers(9, 13)),
    )
    hand = any_colour(rng, 0, 120)
    minute_angle = 2 * np.pi * minute / 60
    pen.line(
        _spoke(x, y, minute_angle, -6, radius * rng.uniform(0.74, 0.84)),
        fill=hand,
        width=int(rng.integers(4, 7)),
    )
    return finish(image, rng), PROMPT, _spoken(hour, minute)


def _time(index: int) -> tuple[int, int]:
    return index % 12 + 1, QUARTERS[index // 12 % 4]


def _spoken(hour: int, minute: int) -> str:
    return f"{hour} : {minute:02d}"


def _spoke(x: float, y: float, angle: float, start: float, end: float) -> tuple[float, float, float, float]:
    """Return a line along the direction `angle`, clockwise from twelve o'clock."""
    dx, dy = float(np.sin(angle)), -float(np.cos(angle))
    return x + dx * start, y + dy * start, x + dx * end, y + dy * end


def _seven_segments(
    pen: ImageDraw.ImageDraw,
    digit: int,
    x: float,
    y: float,
    width: int,
    height: int,
    stroke: int,
    slant: float,
    ink: Colour,
) -> None:
    """Draw a digit of `width` by 2 x `height`, sheared to the right by `slant` per unit of height."""
    for segment in _SEGMENTS[digit]:
        ends = [
            (x + column * width + slant * (2 - row) * height, y + row * height)
            for column, row in _ENDS[segment]
        ]
        pen.line(ends, fill=ink, width=stroke)
