"""Random controls: as many elements as a subset has, drawn by chance, to tell its effect from its size's.

Half fine-tuning (arXiv 2404.18466) shows that training a random half already forgets less than training all.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from typing import Final

from spaces.parts import Part, Slice
from spaces.roles import ATTENTION, MLP

_OF_MATRICES: Final = frozenset({*ATTENTION, *MLP, "mlp.router", "vision.attn", "vision.mlp"})


def random_parts(parts: Sequence[Part], count: int, seed: int) -> tuple[Part, ...]:
    """Draw whole matrices, the last one cut, until as many elements are taken.

    The last matrix is cut along its rows (a fused one along the dimension that its roles share), so that the
    number of elements is met to within half a row, which is one of each head or expert where a
    parameter holds several.

    Args:
        parts: What to draw from; only matrices that belong to a layer are drawn.
        count: Elements to take.
        seed: Seed of the draw.

    Returns:
        The parts drawn, in the order of `parts`.

    Raises:
        ValueError: There are fewer elements than are to be taken, or matrices that can't be cut don't leave
            enough others to take just as many.
    """
    matrices = [part for part in parts if _is_matrix(part)]
    there = sum(part.count for part in matrices)
    if count > there:
        raise ValueError(f"{count} elements can't be drawn from the {there} in the layers' matrices")
    order = random.Random(seed).sample(range(len(matrices)), len(matrices))
    drawn = _drawn_uncut([(index, matrices[index]) for index in order], count)
    left = count - sum(part.count for part in drawn.values())
    if left < 0:
        raise ValueError(f"{count} elements can't be drawn to within a row: too few matrices can be cut")
    for index in order:
        if left <= 0:
            break
        if _can_be_cut(matrices[index]):
            if (part := _at_most(matrices[index], left)) is not None:
                drawn[index] = part
            left -= matrices[index].count
    return tuple(drawn[index] for index in sorted(drawn))


def _is_matrix(part: Part) -> bool:
    """Whether it is a matrix of a layer: no norm, and no bias, which has two dimensions where experts do."""
    return (
        part.layer is not None
        and part.role in _OF_MATRICES
        and len(part.shape) > 1
        and not part.name.endswith("bias")
    )


def _can_be_cut(part: Part) -> bool:
    """Whether a row is less than all: not where roles take turns, each with one column at a time."""
    return part.slice is None or part.slice.repeats == 1 or part.slice.stop - part.slice.start > 1


def _drawn_uncut(order: Sequence[tuple[int, Part]], count: int) -> dict[int, Part]:
    """Return those matrices which can't be cut that a draw takes.

    They are those before the matrix that reaches the number of elements, and that one only if all that can be
    cut would be too little without it.

    Args:
        order: All matrices in the order of the draw.
        count: Elements to take.
    """
    others = sum(part.count for _, part in order if _can_be_cut(part))
    drawn: dict[int, Part] = {}
    left, alone = count, count
    for index, part in order:
        reached = part.count > left
        if not _can_be_cut(part) and (not reached or alone > others):
            drawn[index] = part
            alone -= part.count
        if reached:
            break
        left -= part.count
    return drawn


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
