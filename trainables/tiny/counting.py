"""Counting: separate dots among blocks of the same colour, or blocks among dots."""

from __future__ import annotations

import numpy as np

from trainables.data.samples import Split
from trainables.tiny.canvas import Item, canvas, contrasting, finish
from trainables.tiny.charts import draw_shape

MOST = 9


def counting(pool: Split, index: int, rng: np.random.Generator) -> Item:
    """Scatter one to nine dots, and up to two blocks, or the reverse; none touch.

    They lie on a jittered grid of 4 x 4 places; the question is about those of the larger range.
    """
    count = index % MOST + 1
    ink, ground = contrasting(rng)
    image, pen = canvas(ground)
    shape, other = [("circle", "square"), ("square", "circle")][int(rng.integers(2))]
    others = int(rng.integers(3))
    for number, place in enumerate(rng.permutation(16)[: count + others]):
        x, y = 16 + 32 * (int(place) % 4), 16 + 32 * (int(place) // 4)
        radius = float(rng.uniform(8, 12))
        dx, dy = rng.uniform(-1, 1, 2) * (14 - radius)
        kind = shape if number < count else other
        draw_shape(pen, kind, x + dx, y + dy, radius * (1.2 if kind == "square" else 1), ink)
    return finish(image, rng), f"how many {'dots' if shape == 'circle' else 'blocks'} are there ?", str(count)
