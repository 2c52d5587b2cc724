"""Parts: a parameter, or a slice of a fused one, that has one role."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Slice:
    """Some of a parameter's elements: one range of a dimension, in each of its repeats.

    The dimension of n elements is seen as `[repeats, n / repeats]`; the range is of the second. With one
    repeat these are neighbouring rows or columns, with one repeat per head a range of each head's.

    Attributes:
        axis: The dimension, counted from 0.
        repeats: How often the pattern repeats along it.
        start: First element of the range, within a repeat.
        stop: The element after the range's last.
    """

    axis: int
    repeats: int
    start: int
    stop: int

    def count(self, shape: tuple[int, ...]) -> int:
        """Return how many elements of a parameter the slice has."""
        return math.prod(shape) // shape[self.axis] * self.repeats * (self.stop - self.start)


@dataclass(frozen=True, slots=True)
class Part:
    """A parameter, or a slice of one, that has one role.

    Attributes:
        name: The parameter's name in the model.
        role: What it is for.
        layer: Index of its layer, or None outside the layers.
        shape: Shape of the whole parameter.
        slice: Which of its elements; None is all of them.
    """

    name: str
    role: str
    layer: int | None
    shape: tuple[int, ...]
    slice: Slice | None = None

    @property
    def count(self) -> int:
        """Number of elements."""
        return math.prod(self.shape) if self.slice is None else self.slice.count(self.shape)
