"""Optuna's samplers by the names that a study file has for them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Final

import optuna
from optuna.samplers import BaseSampler, RandomSampler, TPESampler

from search.sampling.breeding import Breeding, BreedingNSGAII, BreedingNSGAIII
from search.settings.search_config import SamplerName


def optuna_sampler(name: SamplerName, *, seed: int, startup_trials: int, queued: int) -> BaseSampler:
    """Return a sampler of a conditional space.

    Args:
        name: Which.
        seed: Its seed.
        startup_trials: Fewest trials before it takes over from chance; of NSGA a generation.
        queued: Trials that are queued first.
    """
    with warnings.catch_warnings():
        # `group` is what conditional spaces need, and NSGA's breeding; Optuna marks both as experimental.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return _SAMPLERS[name](seed, startup_trials, queued)


def _tpe(seed: int, startup_trials: int, queued: int) -> BaseSampler:
    startup_trials = max(startup_trials, queued)
    return TPESampler(
        multivariate=True, group=True, constant_liar=True, seed=seed, n_startup_trials=startup_trials
    )


def _nsga2(seed: int, startup_trials: int, queued: int) -> BaseSampler:
    return BreedingNSGAII(
        population_size=max(2, startup_trials), seed=seed, child_generation_strategy=Breeding(seed)
    )


def _nsga3(seed: int, startup_trials: int, queued: int) -> BaseSampler:
    return BreedingNSGAIII(
        population_size=max(2, startup_trials), seed=seed, child_generation_strategy=Breeding(seed)
    )


def _random(seed: int, startup_trials: int, queued: int) -> BaseSampler:
    return RandomSampler(seed=seed)


_SAMPLERS: Final[Mapping[SamplerName, Callable[[int, int, int], BaseSampler]]] = {
    "tpe": _tpe,
    "nsga2": _nsga2,
    "nsga3": _nsga3,
    "random": _random,
}
