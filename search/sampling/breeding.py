"""NSGA-II and NSGA-III that breed recipes of a conditional space, and know trials that were pruned.

Optuna's own cross only what every complete trial has in common with the same bounds. In a space whose
learning rate is bounded by subset that leaves the rate, which matters most, to chance in every generation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.samplers import NSGAIIISampler, NSGAIISampler
from optuna.samplers._ga import BaseGASampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from search.sampling.pareto import fronts

_CROSSED: Final = 0.9  # share of children with two parents, as in NSGA-II
_STEP: Final = 0.1  # standard deviation of a mutated number, as a share of its bounds' distance (of logs)


class Breeding:
    """Makes a child of two recipes: of each parameter one parent's value, changed now and then.

    A parameter that only one parent has, such as the rank of its adapters, comes from that one. Where the
    child does not need it Optuna drops it, and draws anew what the child's bounds exclude.

    Args:
        seed: Seed of the choices.
    """

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)

    def __call__(
        self, study: Study, search_space: Mapping[str, BaseDistribution], parents: Sequence[FrozenTrial]
    ) -> dict[str, Any]:
        """Return the values that a child is proposed to have."""
        one, other = self._parent(study, parents), self._parent(study, parents)
        child = dict(one.params)
        if self._random.random() < _CROSSED:
            child = {**other.params, **child}
            for name in sorted({*one.params} & {*other.params}):
                if self._random.random() < 0.5:
                    child[name] = other.params[name]
        proposed = {}
        for name in sorted(child):
            if name not in search_space:
                continue
            if self._random.random() >= 1 / len(child):
                proposed[name] = child[name]
            elif not isinstance(search_space[name], CategoricalDistribution):
                proposed[name] = self._moved(child[name], search_space[name])
            # What is not proposed is drawn by chance.
        return proposed

    def _parent(self, study: Study, parents: Sequence[FrozenTrial]) -> FrozenTrial:
        """Return the better of two parents that are drawn by chance."""
        one, other = (parents[int(place)] for place in self._random.integers(len(parents), size=2))
        pair = (one, other)
        first, second = fronts([_losses(t, study.directions) for t in pair], [_violation(t) for t in pair])
        return other if second < first else one

    def _moved(self, value: float, distribution: BaseDistribution) -> float:
        assert isinstance(distribution, FloatDistribution)
        low, high = distribution.low, distribution.high
        if distribution.log:
            low, high, value = np.log(low), np.log(high), np.log(value)
        moved = np.clip(value + self._random.normal(0, _STEP * (high - low)), low, high)
        return float(
            np.clip(np.exp(moved), distribution.low, distribution.high) if distribution.log else moved
        )


class _Generations(BaseGASampler):
    """What both samplers do otherwise than Optuna's."""

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return every parameter that a complete trial had; of bounds that differ, the last."""
        return {
            name: distribution
            for done in _ended(study, TrialState.COMPLETE)
            for name, distribution in done.distributions.items()
        }

    def get_trial_generation(self, study: Study, trial: FrozenTrial) -> int:
        """Return a new trial's generation: the next begins when as many have ended as a population has.

        Optuna counts complete trials alone, so that with pruning a study would hardly see a second one. It
        keeps a generation's parents, none at all included, so without any the first one goes on.
        """
        assert self.population_size is not None
        if not _ended(study, TrialState.COMPLETE):
            return 0
        return len(_ended(study, TrialState.COMPLETE, TrialState.PRUNED)) // self.population_size

    def select_parent(self, study: Study, generation: int) -> list[FrozenTrial]:
        """Return the best of all complete trials.

        Optuna takes the last generation and its parents, and forgets what ends late; with pruning that is
        what survived.
        """
        complete = _ended(study, TrialState.COMPLETE)
        chosen: list[FrozenTrial] = self._elite_population_selection_strategy(study, complete)
        return chosen


class BreedingNSGAII(_Generations, NSGAIISampler):
    """NSGA-II over a conditional space."""


class BreedingNSGAIII(_Generations, NSGAIIISampler):
    """NSGA-III over a conditional space."""


def _ended(study: Study, *states: TrialState) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=states)


def _losses(trial: FrozenTrial, directions: Sequence[StudyDirection]) -> tuple[float, ...]:
    signs = (-1.0 if direction is StudyDirection.MAXIMIZE else 1.0 for direction in directions)
    return tuple(sign * value for sign, value in zip(signs, trial.values, strict=True))


def _violation(trial: FrozenTrial) -> float:
    return sum(max(0.0, value) for value in trial.constraints.values())
