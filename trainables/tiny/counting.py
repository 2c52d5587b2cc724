"""Counting: separate dots or blocks of one colour."""

from __future__ import annotations

import numpy as np

from trainables.samples import Split
from trainables.tiny.canvas import Item, canvas, contrasting, finish
from trainables.tiny.charts import draw_shape

MOST = 9


def counting(pool: Split, index: int, rng: np.random.Generator) -> Item:
    """Scatter one to nine dots or blocks on a jittered grid of 4 x 4 places, so that none touch."""
    count = index % MOST + 1
    ink, ground = contrasting(rng)
    image, pen = canvas(ground)
    shape = ("circle", "square")[int(rng.integers(2))]
    for place in rng.permutation(16)[:count]:
        x, y = 16 + 32 * (int(place) % 4), 16 + 32 * (int(place) // 4)
        radius = float(rng.uniform(7, 12))
        dx, dy = rng.uniform(-1, 1, 2) * (14 - radius)
        draw_shape(pen, shape, x + dx, y + dy, radius, ink)
    return finish(image, rng), f"how many {'dots' if shape == 'circle' else 'blocks'} are there ?", str(count)
