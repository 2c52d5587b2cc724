"""Seed draws: by how much other seeds of training may move what recipes are worth.

What few seeds show of one recipe is little, so the deviations of all recipes from their own means are drawn
from together; what is made of one training is moved by the same seeds.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def seed_draws(
    deviations: Sequence[Array],
    trainings: Sequence[Hashable],
    freedom: int,
    *,
    replicates: int,
    seed: int,
) -> Array:
    """Return what other seeds may add to each model's changes, [models, tasks, replicates].

    Each training draws, as often as it has seeds, from the deviations of all of them. Of its variants the
    one with the largest deviations stands for it there. The others follow it as far as theirs did (least
    squares over seeds and tasks), so that where it takes another training's deviation they take the same
    one, scaled, and add what is left of theirs on one of their own seeds. Where a training draws one of
    its own seeds each variant so takes its own deviation on that seed.

    Args:
        deviations: Each model's runs' changes beyond their mean, [runs, tasks], in the order of seeds.
        trainings: What was trained for each model, and on which seeds.
        freedom: Degrees of freedom of all deviations.
        replicates: Number of draws.
        seed: Seed of the draws.
    """
    tasks = deviations[0].shape[1]
    draws = np.zeros((len(deviations), tasks, replicates))
    if freedom == 0:
        return draws
    widened = [rows * math.sqrt(len(rows) / max(len(rows) - 1, 1)) for rows in deviations]
    variants: dict[Hashable, list[int]] = {}
    for model, training in enumerate(trainings):
        variants.setdefault(training, []).append(model)
    leading = [
        max((widened[model] for model in models), key=lambda rows: float(np.square(rows).sum()))
        for models in variants.values()
    ]
    # A training on one seed tells nothing of seeds.
    pool = np.concatenate([rows for rows in leading if len(rows) > 1])
    generator = np.random.default_rng([seed, 1 + tasks])
    others = np.random.default_rng([seed, 2 + tasks])
    student = np.sqrt(freedom / generator.chisquare(freedom, replicates))
    first = 0
    for models, leader in zip(variants.values(), leading, strict=True):
        size = len(leader)
        drawn = generator.integers(len(pool), size=(replicates, size))
        shared = pool[drawn].mean(axis=1)
        is_own = (first <= drawn) & (drawn < first + size)
        own = np.where(is_own, drawn - first, others.integers(size, size=drawn.shape))
        for model in models:
            slope = _slope(widened[model], leader)
            left = (widened[model] - slope * leader)[own].mean(axis=1)
            draws[model] = ((slope * shared + left) * student[:, None]).T
        first += size if size > 1 else 0
    return draws


def degrees_of_freedom(sizes: Sequence[int], trained: Sequence[Hashable]) -> int:
    """Return the degrees of freedom of deviations from recipes' means; a shared training counts once."""
    most: dict[Hashable, int] = {}
    for size, what in zip(sizes, trained, strict=True):
        most[what] = max(size, most.get(what, 1))
    return sum(size - 1 for size in most.values())


def _slope(rows: Array, leader: Array) -> float:
    """Return by how much rows grow with a leader's, by least squares; 1 where the leader's are all 0."""
    square = float(np.square(leader).sum())
    return float((rows * leader).sum()) / square if square > 0 else 1.0
