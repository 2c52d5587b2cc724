"""Who proposes recipes in a simulated study: the project's sampler, with what the study begins with."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import optuna
from optuna.storages import InMemoryStorage

from benchmarks.recipe_table.table import RecipeTable
from benchmarks.recipe_table.variants import Variant, rungs_of
from search.sampler import RecipeSampler
from spaces.presets import preset_params
from spaces.space import Bounds, RecipeSpace

Result = tuple[Mapping[str, Any], float]
"""A recipe that was trained to its end, and the score that a study saw, in points."""

_BATCH: Final = (32,)  # samples a step, which mean nothing to a table
_BEST: Final = 8  # recipes of a study of another target that are tried first


def space_of(table: RecipeTable) -> RecipeSpace:
    """Return the space whose grid a table holds."""
    return RecipeSpace(
        subsets=table.subsets,
        learning_rate=Bounds(table.learning_rates[0], table.learning_rates[-1]),
        steps=table.rungs[-1],
        batch_size=_BATCH,
    )


def sampler_of(
    table: RecipeTable, variant: Variant, *, seed: int, whole_trials: int, elsewhere: Sequence[Result]
) -> RecipeSampler:
    """Return the sampler of a study, with its first recipes queued.

    Args:
        table: What the study runs on.
        variant: How it searches.
        seed: The sampler's seed.
        whole_trials: Trials that the study's steps suffice for, if none is stopped.
        elsewhere: What a study of another target tried.
    """
    space = space_of(table)
    queued = _queued(table, space, variant, seed, whole_trials, elsewhere)
    sampler = RecipeSampler(
        space,
        presets=queued,
        violation=lambda forgetting: 0.0,
        storage=InMemoryStorage(),
        study_name="simulated",
        seed=seed,
        startup_trials=variant.startup_trials(whole_trials),
        trials=sys.maxsize,
        sampler="random" if variant.sampler == "grid" else variant.sampler,
    )
    if variant.start == "results elsewhere":
        _tell(sampler, space, elsewhere)
    return sampler


def _queued(
    table: RecipeTable,
    space: RecipeSpace,
    variant: Variant,
    seed: int,
    whole_trials: int,
    elsewhere: Sequence[Result],
) -> dict[str, dict[str, Any]]:
    if variant.sampler == "grid":
        rungs = rungs_of(variant.pruning, variant.drift, table.rungs)
        return _grid(table, seed, variant.trials(whole_trials, rungs))
    if variant.start == "presets":
        return preset_params(space)
    if variant.start == "low presets":
        return _presets_at(space, (1 / 4,))
    if variant.start == "three rates":
        return _presets_at(space, (1 / 2, 1 / 6, 5 / 6))
    if variant.start == "best elsewhere":
        ranked = sorted(elsewhere, key=lambda each: -each[1])
        return {f"elsewhere {place}": dict(params) for place, (params, _) in enumerate(ranked[:_BEST])}
    return {}


def _presets_at(space: RecipeSpace, places: Sequence[float]) -> dict[str, dict[str, Any]]:
    """Return the published recipes at rates so far along the logarithms of the bounds, 0 to 1."""
    low, high = space.learning_rate.low, space.learning_rate.high
    return {
        f"{name} {place:.2f}": params
        for place in places
        for name, params in preset_params(space, low * (high / low) ** place).items()
    }


def _grid(table: RecipeTable, seed: int, trials: int) -> dict[str, dict[str, Any]]:
    """Return as many rates for each subset as there is room for, equally far apart, in an order by chance.

    Where the first of them lies is left to chance, too: on the table's own rates a grid would meet its best.
    """
    low, high = table.learning_rates[0], table.learning_rates[-1]
    count = max(2, trials // len(table.subsets))
    random = np.random.default_rng([seed, 2])
    rates = low * (high / low) ** ((np.arange(count) + random.random()) / count)
    points = [(subset, float(rate)) for rate in rates for subset in table.subsets]
    return {
        f"grid {place}": {"subset": points[place][0], "learning_rate": points[place][1]}
        for place in map(int, random.permutation(len(points)))
    }


def _tell(sampler: RecipeSampler, space: RecipeSpace, results: Sequence[Result]) -> None:
    """Tell a sampler results as if they were trials of its own study that have ended."""
    low, high = space.learning_rate.low, space.learning_rate.high
    distributions = {
        "subset": optuna.distributions.CategoricalDistribution(list(space.subsets)),
        "learning_rate": optuna.distributions.FloatDistribution(low, high, log=True),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        for params, score in results:
            known = optuna.trial.create_trial(params=dict(params), distributions=distributions, value=score)
            sampler._ot_study.add_trial(known)
