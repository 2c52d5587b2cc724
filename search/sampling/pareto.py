"""Which results are better where there is more than one aim: their fronts, and halving by them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# One number for each aim; smaller is better.
Losses = Sequence[float]


def fronts(losses: Sequence[Losses], violations: Sequence[float] | None = None) -> list[int]:
    """Return each result's front: 0 for what nothing dominates, 1 for what only front 0 does, and so on.

    Results that violate a bound come behind all that keep it, by how far they exceed it (constrained
    domination, NSGA-II, Deb et al. 2002).

    Args:
        losses: Each result's losses.
        violations: By how much each exceeds its bound, at most 0 if it keeps it; None is no bound.
    """
    values = np.asarray(losses, dtype=np.float64)
    excess = np.zeros(len(values)) if violations is None else np.maximum(violations, 0.0)
    ranks = np.zeros(len(values), dtype=np.int64)
    feasible = np.flatnonzero(excess == 0)
    ranks[feasible] = _peeled(values[feasible])
    behind = np.flatnonzero(excess > 0)
    if len(behind):
        _, steps = np.unique(excess[behind], return_inverse=True)
        ranks[behind] = ranks[feasible].max(initial=-1) + 1 + steps.reshape(-1)
    return [int(rank) for rank in ranks]


def spread(losses: Sequence[Losses], most: int | None = None) -> list[int]:
    """Return the order in which results cover their front best: the next one is farthest from all before.

    The first is the best in the first aim. Distances are Euclidean in aims scaled to the front's own range,
    so that no unit matters (epsilon-net, as in MO-ASHA, arXiv 2106.12639).

    Args:
        losses: Each result's losses.
        most: How many of the order are returned; None is all.
    """
    values = np.asarray(losses, dtype=np.float64)
    width = np.ptp(values, axis=0)
    scaled = (values - values.min(axis=0)) / np.where(width > 0, width, 1.0)
    order = [int(scaled[:, 0].argmin())]
    distance = np.full(len(values), np.inf)
    while len(order) < min(len(values), most or len(values)):
        distance = np.minimum(distance, np.linalg.norm(scaled - scaled[order[-1]], axis=1))
        distance[order] = -1.0
        order.append(int(distance.argmax()))
    return order


def goes_on(
    seen: Sequence[Losses],
    new: Losses,
    reduction_factor: int,
    *,
    violations: Sequence[float] | None = None,
    violation: float = 0.0,
) -> bool:
    """Return whether a trial goes on past a rung: at most one in `reduction_factor` before it may be better.

    With one aim this is ASHA's rule (arXiv 1810.05934) as Tune has it: not worse than the quantile
    1 - 1 / reduction_factor of what the rung has seen; where that falls between two results, the better one.
    A trial with a loss that is not finite stops, and is no rival to others: nothing dominates NaN.

    Args:
        seen: Losses of the trials that reached the rung before.
        new: Those of the trial itself.
        reduction_factor: One in this many trials goes on.
        violations: By how much each of `seen` exceeds its bound; None is no bound.
        violation: By how much the trial itself does.
    """
    if not np.isfinite([*new, violation]).all():
        return False
    excess = [0.0] * len(seen) if violations is None else violations
    known = [pair for pair in zip(seen, excess, strict=True) if np.isfinite([*pair[0], pair[1]]).all()]
    if not known:
        return True
    # The new one stands first: what equals it is not better.
    everyone = [new, *(losses for losses, _ in known)]
    ranks = fronts(everyone, [violation, *(excess for _, excess in known)])
    ahead = sum(rank < ranks[0] for rank in ranks)
    places = (len(known) - 1) // reduction_factor + 1 - ahead
    beside = [losses for losses, rank in zip(everyone, ranks, strict=True) if rank == ranks[0]]
    return places > 0 and 0 in spread(beside, places)


def _peeled(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the fronts of results without a bound."""
    no_worse: NDArray[np.bool_] = np.all(values[:, None, :] <= values[None, :, :], axis=2)
    dominated_by = no_worse & ~no_worse.T  # [i, j]: i dominates j
    ranks = np.full(len(values), -1, dtype=np.int64)
    rank = 0
    while (open_ := ranks < 0).any():
        ranks[open_ & ~dominated_by[open_].any(axis=0)] = rank
        rank += 1
    return ranks
