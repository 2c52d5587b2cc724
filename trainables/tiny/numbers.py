"""A task without images: which of two numbers is larger."""

from __future__ import annotations

from functools import cache

import numpy as np

from trainables.data.samples import Split
from trainables.tiny.canvas import Item

_LIMIT = 100
_TESTED = {"search": (0, 300), "confirm": (300, 700)}


def compare(pool: Split, index: int, rng: np.random.Generator) -> Item:
    """Ask for the larger number of a pair; a pair belongs to one split, whatever its order."""
    pairs = _pairs()
    start, stop = _TESTED.get(pool, (700, len(pairs)))
    low, high = (int(v) for v in pairs[start + index % (stop - start)])
    first, second = (low, high) if _low_first(pool, index, stop - start, rng) else (high, low)
    return None, f"which is larger , {first} or {second} ?", str(high)


def _low_first(pool: Split, index: int, size: int, rng: np.random.Generator) -> bool:
    """Alternate the order on each round through the training pairs, so that a split repeats no question."""
    if pool == "train":
        return (index // size + index) % 2 == 0
    return bool(rng.random() < 0.5)


@cache
def _pairs() -> np.ndarray:
    """Return all pairs low < high `[4950, 2]` in a fixed shuffled order."""
    low, high = np.triu_indices(_LIMIT, k=1)
    order = np.random.default_rng(20240517).permutation(len(low))
    return np.stack([low, high], axis=1)[order]
