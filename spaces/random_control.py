"""Random controls: as many elements as a subset has, drawn by chance, to tell its effect from its size's.

Half fine-tuning (arXiv 2404.18466) shows that training a random half already forgets less than training all.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence

from spaces.parts import Part, Slice


def random_parts(parts: Sequence[Part], count: int, seed: int) -> tuple[Part, ...]:
    """Draw whole matrices, the last one cut, until as many elements are taken.

    The last matrix is cut along its rows (a fused one along the dimension that its roles share), so that the
    number of elements is met to within half a row.

    Args:
        parts: What to draw from; only matrices that belong to a layer are drawn.
        count: Elements to take.
        seed: Seed of the draw.

    Returns:
        The parts drawn, in the order of `parts`.

    Raises:
        ValueError: There are fewer elements than are to be taken.
    """
    matrices = [part for part in parts if part.layer is not None and len(part.shape) > 1]
    there = sum(part.count for part in matrices)
    if count > there:
        raise ValueError(f"{count} elements can't be drawn from the {there} in the layers' matrices")
    drawn: dict[int, Part] = {}
    left = count
    for index in random.Random(seed).sample(range(len(matrices)), len(matrices)):
        if (part := _at_most(matrices[index], left)) is not None:
            drawn[index] = part
        left -= matrices[index].count
        if left <= 0:
            break
    return tuple(drawn[index] for index in sorted(drawn))


def _at_most(part: Part, count: int) -> Part | None:
    """Return a part, or as many of its first rows as come nearest to a number of elements, if any do."""
    if part.count <= count:
        return part
    # The matrices of a layer's experts lie one behind another: each gives its first rows.
    axis = len(part.shape) - 2
    whole = part.slice or Slice(axis, 1, 0, part.shape[axis])
    rows = whole.stop - whole.start
    row = part.count // rows
    kept = (2 * count + row) // (2 * row)
    if not kept:
        return None
    return (
        part
        if kept == rows
        else dataclasses.replace(part, slice=dataclasses.replace(whole, stop=whole.start + kept))
    )
