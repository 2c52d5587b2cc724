"""Pictures to compare within: bars of a chart and two shapes of different size."""

from __future__ import annotations

import numpy as np
from PIL import ImageDraw

from trainables.data.samples import Split
from trainables.tiny.canvas import BIG, PALETTE, Colour, Item, any_colour, canvas, finish, shade

BAR_COLOURS = ("red", "green", "blue", "yellow", "black")
_TRAIN_SHAPES = ("circle", "square", "triangle")
_TEST_SHAPES = ("diamond", "hexagon", "star")


def bars(pool: Split, index: int, rng: np.random.Generator) -> Item:
    """Draw three bars of different colours; the answer is the tallest one's colour."""
    answer = BAR_COLOURS[index % len(BAR_COLOURS)]
    others = [name for name in BAR_COLOURS if name != answer]
    colours = [answer, *rng.permutation(others)[:2]]
    tallest = int(rng.integers(64, 116))
    heights = [tallest, *(int(tallest - rng.integers(18, tallest - 12)) for _ in range(2))]
    image, pen = canvas(any_colour(rng, 185, 256))
    floor = BIG - int(rng.integers(4, 12))
    step, width = 40, int(rng.integers(22, 36))
    left = int(rng.integers(2, BIG - 2 * step - width - 2))
    for place, bar in enumerate(rng.permutation(3)):
        x = left + place * step
        pen.rectangle((x, floor - heights[bar], x + width, floor), fill=shade(rng, PALETTE[colours[bar]]))
    if rng.random() < 0.5:
        pen.line((0, floor, BIG, floor), fill=any_colour(rng, 0, 100), width=4)
    return finish(image, rng), "what color is the tallest bar ?", answer


def larger(pool: Split, index: int, rng: np.random.Generator) -> Item:
    """Draw two shapes side by side, one at least 1.4 times as large as the other."""
    answer = ("left", "right")[index % 2]
    shapes = _TRAIN_SHAPES if pool == "train" else _TEST_SHAPES
    big = rng.uniform(17, 28)
    radii = {answer: big, "right" if answer == "left" else "left": big / rng.uniform(1.4, 2.4)}
    image, pen = canvas(any_colour(rng, 165, 256))
    for side, centre in (("left", 32), ("right", 96)):
        x, y = centre + rng.uniform(-4, 4), BIG / 2 + rng.uniform(-28, 28)
        shape = shapes[int(rng.integers(len(shapes)))]
        draw_shape(
            pen, shape, x, y, float(radii[side]), any_colour(rng, 0, 130), turn=float(rng.uniform(-0.3, 0.3))
        )
    return finish(image, rng), "which side is larger ?", answer


def draw_shape(
    pen: ImageDraw.ImageDraw, shape: str, x: float, y: float, radius: float, colour: Colour, turn: float = 0.0
) -> None:
    """Draw a filled shape, its corners on a circle of `radius` canvas pixels, turned by `turn` radians."""
    if shape == "circle":
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
        return
    corners, start = {
        "square": (4, 0.25),
        "triangle": (3, 0.5),
        "diamond": (4, 0.5),
        "hexagon": (6, 0.0),
    }.get(shape, (10, 0.5))
    angles = np.pi * start + turn + np.arange(corners) * 2 * np.pi / corners
    reach = np.full(corners, radius)
    if shape == "star":
        reach[1::2] *= 0.5
    pen.polygon(
        [(x + r * np.cos(a), y - r * np.sin(a)) for r, a in zip(reach, angles, strict=True)], fill=colour
    )
