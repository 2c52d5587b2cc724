"""Fine-grained naming: birds of 16 species that share one build and differ in colours and marks."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from PIL import ImageOps

from trainables.data.samples import Split
from trainables.tiny.canvas import BIG, Colour, Item, any_colour, canvas, finish, shade

SPECIES = tuple("ABCDEFGHIJKLMNOP")
_PLUMAGE: tuple[Colour, ...] = ((190, 60, 45), (60, 90, 170), (225, 190, 70), (70, 70, 70), (110, 145, 80))


class Marks(NamedTuple):
    """What tells one species from another: three plumage colours and two lengths in canvas pixels."""

    body: Colour
    crown: Colour
    wing: Colour
    beak: int
    tail: int


def naming(pool: Split, index: int, rng: np.random.Generator) -> Item:
    """Draw a bird in profile, facing either way."""
    answer = SPECIES[index % len(SPECIES)]
    marks = _species()[index % len(SPECIES)]
    image, pen = canvas(any_colour(rng, 150, 250))
    pen.rectangle((0, BIG - int(rng.integers(4, 26)), BIG, BIG), fill=any_colour(rng, 90, 200))
    size = rng.uniform(0.8, 1.05)
    x, y = 58 + rng.uniform(-6, 6), 72 + rng.uniform(-8, 8)

    def at(*points: tuple[float, float]) -> list[tuple[float, float]]:
        return [(x + dx * size, y + dy * size) for dx, dy in points]

    body, crown = shade(rng, marks.body, 14), shade(rng, marks.crown, 14)
    leg = (90, 60, 40)
    pen.line(at((0, 18), (2, 42)), fill=leg, width=4)
    pen.line(at((10, 18), (12, 42)), fill=leg, width=4)
    pen.polygon(
        at((-24, -4), (-30 - marks.tail, 8), (-28 - marks.tail, 18), (-20, 12)),
        fill=shade(rng, marks.wing, 14),
    )
    pen.ellipse(at((-34, -18), (30, 26)), fill=body)
    pen.polygon(at((38, -28), (44 + marks.beak, -22), (38, -16)), fill=(235, 150, 40))
    pen.ellipse(at((12, -42), (46, -8)), fill=body)
    pen.chord(at((12, -42), (46, -8)), 180, 360, fill=crown)
    pen.ellipse(at((-26, -10), (12, 14)), fill=shade(rng, marks.wing, 14))
    pen.ellipse(at((32, -28), (38, -22)), fill=(10, 10, 10))
    if rng.random() < 0.5:
        image = ImageOps.mirror(image)
    return finish(image, rng), "which species is this bird ?", answer


@cache
def _species() -> tuple[Marks, ...]:
    """Return the species' marks: each shares at least one plumage colour with several others."""
    rng = np.random.default_rng(11)
    chosen: dict[tuple[int, ...], Marks] = {}
    while len(chosen) < len(SPECIES):
        body, crown, wing = (int(v) for v in rng.integers(len(_PLUMAGE), size=3))
        if len({body, crown, wing}) == 1 or (body, crown, wing) in chosen:
            continue
        beak, tail = (6, 16)[int(rng.integers(2))], (0, 16)[int(rng.integers(2))]
        chosen[body, crown, wing] = Marks(_PLUMAGE[body], _PLUMAGE[crown], _PLUMAGE[wing], beak, tail)
    return tuple(chosen.values())
