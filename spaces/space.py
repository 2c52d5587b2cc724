"""RecipeSpace: the recipes a study may try, as a conditional define-by-run search space."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from spaces.recipe import Recipe, Schedule
from spaces.subsets import roles_of


class SuggestingTrial(Protocol):
    """The part of an Optuna trial that a space needs."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """Choose one of `choices`."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """Choose a number in [low, high]."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """A closed interval of positive numbers, searched on a logarithmic scale."""

    low: float
    high: float

    def __post_init__(self) -> None:
        """Check the order of the bounds."""
        if not (math.isfinite(self.high) and 0 < self.low <= self.high):
            raise ValueError(f"bounds must satisfy 0 < low <= high, got low={self.low!r} high={self.high!r}")

    @property
    def middle(self) -> float:
        """The geometric mean of the bounds."""
        return math.sqrt(self.low * self.high)


@dataclass(frozen=True, kw_only=True)
class RecipeSpace:
    """Subsets, each with its own bounds for the learning rate, and what all recipes share.

    There is one parameter named `learning_rate`, whose bounds depend on the subset: with one name per
    subset a model-based sampler would learn nothing across subsets.

    Attributes:
        subsets: The subsets to choose from.
        learning_rate: Bounds for every subset that `learning_rate_of` does not name.
        learning_rate_of: Subset -> bounds of its own.
        warmup_ratio: The warm-up ratios to choose from; a single one is fixed, not searched.
        steps: Optimiser steps of every recipe.
        batch_size: Samples per optimiser step, over all workers.
        schedule: Shape of the learning rate after the warm-up.
        weight_decay: AdamW's decoupled weight decay.
        max_grad_norm: Global L2 norm for clipping; 0 is off.
    """

    subsets: tuple[str, ...]
    learning_rate: Bounds
    steps: int
    batch_size: int
    learning_rate_of: Mapping[str, Bounds] = field(default_factory=dict)
    warmup_ratio: tuple[float, ...] = (0.03,)
    schedule: Schedule = "cosine"
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0

    def __post_init__(self) -> None:
        """Check that the space is not empty and names only known subsets."""
        if not self.subsets:
            raise ValueError("a space needs at least one subset")
        for subset in (*self.subsets, *self.learning_rate_of):
            roles_of(subset)
        if not self.warmup_ratio:
            raise ValueError("a space needs at least one warmup_ratio")

    def bounds(self, subset: str) -> Bounds:
        """Return the learning-rate bounds of a subset."""
        return self.learning_rate_of.get(subset, self.learning_rate)

    def suggest(self, trial: SuggestingTrial) -> None:
        """Draw one point; the trial records the values that `recipe` reads back."""
        subset = trial.suggest_categorical("subset", list(self.subsets))
        bounds = self.bounds(subset)
        trial.suggest_float("learning_rate", bounds.low, bounds.high, log=True)
        if len(self.warmup_ratio) > 1:
            trial.suggest_categorical("warmup_ratio", list(self.warmup_ratio))

    def recipe(self, params: Mapping[str, Any]) -> Recipe:
        """Turn the values that a trial drew into the recipe that they stand for."""
        return Recipe(
            subset=params["subset"],
            learning_rate=params["learning_rate"],
            warmup_ratio=params.get("warmup_ratio", self.warmup_ratio[0]),
            steps=self.steps,
            batch_size=self.batch_size,
            schedule=self.schedule,
            weight_decay=self.weight_decay,
            max_grad_norm=self.max_grad_norm,
        )
