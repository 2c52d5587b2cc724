"""Paired bootstrap: what tuned models are worth beside their base, with intervals, from scores of samples.

Base and tuned model answered the same samples, so what is resampled are the samples' differences: each task's
own samples are drawn with replacement, as many as it has (a stratified bootstrap), and every model is
recomputed on the same draws, so two models can be compared, too. Intervals are percentiles of the replicates
(Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapters 13 and 16).

A task on which no sample changed would give an interval of no width, which claims too much of n samples. As
Agresti and Min (Statistics in Medicine 24, 2005) add half an observation to each cell of a matched table,
half a sample that gained all 100 points and half one that lost them are added to each task's draws, around
0, so that the value in the middle stays what was measured.

The largest drop of several noisy ones is too large on average, and so are its replicates. Its interval ends
at the largest of the tasks' upper ends, and begins as far below it as the largest of the tasks' errors may
reach (intersection bounds: Chernozhukov, Lee and Rosen, Econometrica 81, 2013).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from search.decision.evidence import Estimate, Estimates, Measure
from search.decision.seed_draws import degrees_of_freedom, seed_draws
from search.objective import Objective
from trainables.scoring.evaluation import Evaluation

Array = NDArray[np.float64]

_RANGE: Final = 100.0
"""Points that one sample can gain or lose."""
_DRAWN: Final = 4_000_000
"""Bound on the counts of drawn samples in memory at a time."""
_HELD: Final = 10_000_000
"""Bound on the tasks' replicates in memory at a time."""


@dataclass(frozen=True, kw_only=True)
class Resampled:
    """A model's replicates, in points; two models' are paired by their index.

    Attributes:
        estimates: What it is worth, with intervals.
        replicates: Name of a measure, such as `score` -> its value in each resample, without half samples.
    """

    estimates: Estimates
    replicates: Mapping[str, Array]


class Bootstrap:
    """Resamples of a study's samples, the same for every model.

    Args:
        base: Task -> the untouched model's evaluation, for every target and held-out task.
        objective: What the study maximises.
        confidence: Share of the distribution that an interval covers.
        replicates: Number of resamples.
        seed: Seed of the draws.
    """

    def __init__(
        self,
        base: Mapping[str, Evaluation],
        objective: Objective,
        *,
        confidence: float,
        replicates: int,
        seed: int,
    ) -> None:
        self._objective = objective
        self._tasks = (*objective.targets, *objective.held_out)
        self._base = {task: np.asarray(base[task].scores) for task in self._tasks}
        self._tails = _tails(confidence)
        self._replicates = replicates
        self._seed = seed
        halves = np.random.default_rng([seed, 0]).poisson(0.5, (2, len(self._tasks), replicates))
        sizes = np.array([len(self._base[task]) for task in self._tasks])
        # [tasks, replicates]: what the half samples add to a task's mean.
        self._halves: Array = _RANGE * (halves[0] - halves[1]) / sizes[:, None]
        self._compared = self._measures(self._halves[None])
        # Of the largest drop: those of the task with the fewest samples.
        fewest = len(objective.targets) + int(sizes[len(objective.targets) :].argmin())
        self._compared["worst_forgetting"] = self._halves[None, fewest]

    def resample(self, tuned: Sequence[Mapping[str, Evaluation]]) -> list[Resampled]:
        """Return the replicates of some models.

        Raises:
            ValueError: A model was not evaluated on the base's samples.
        """
        found: list[Resampled] = []
        at_once = max(1, _HELD // (len(self._tasks) * self._replicates))
        for start in range(0, len(tuned), at_once):
            changes = [self._changes(task, tuned[start : start + at_once]) for task in self._tasks]
            means = np.stack([each.mean(axis=1) for each in changes], axis=1)
            drawn = np.stack([self._drawn(task, each) for task, each in enumerate(changes)], axis=1)
            found += self._resampled(means, drawn)
        return found

    def estimates(self, tuned: Mapping[str, Evaluation]) -> Estimates:
        """Return what a model is worth beside the base.

        Raises:
            ValueError: It was not evaluated on the base's samples.
        """
        return self.resample([tuned])[0].estimates

    def resample_runs(
        self, models: Sequence[Mapping[int, Mapping[str, Evaluation]]], trained: Sequence[Hashable] = ()
    ) -> list[Resampled]:
        """Return the replicates of some recipes that were trained several times each: seeds, then samples.

        What a recipe is worth is its mean over seeds. To the samples' draws are added draws of the seeds'
        deviations from their recipe's mean, which all recipes share, since one has too few, widened for their
        number: by sqrt(k / (k - 1)), as k deviations from their own mean are too small, and by Student's t.
        The deviations hold some of the samples' noise, too: the intervals are rather too wide. Without a
        recipe that was trained twice nothing is known of seeds, and the intervals are those of the samples.

        Variants of one training, such as a trial and its interpolations, are moved by the same seeds, so
        these are drawn once for all of them and what they share cancels in their difference; see
        `search.decision.seed_draws`.

        Args:
            models: Each recipe's runs by their seeds.
            trained: What was trained for each of them: those of which it is the same share their trainings,
                which count once. Without it each has its own. One whose seeds are not those of the others,
                since a run of it failed, is drawn for itself: its difference to them is rather too wide.
        """
        runs = [each[seed] for each in models for seed in sorted(each)]
        sizes = [len(each) for each in models]
        of = np.repeat(np.arange(len(models)), sizes)
        share: Array = (of == np.arange(len(models))[:, None]) / np.array([[size] for size in sizes])
        changes = [self._changes(task, runs) for task in self._tasks]
        by_run = np.stack([each.mean(axis=1) for each in changes], axis=1)
        what = trained or range(len(models))
        deviations = np.split(by_run - (share @ by_run)[of], np.cumsum(sizes)[:-1])
        by_seeds = [(own, frozenset(each)) for own, each in zip(what, models, strict=True)]
        freedom = degrees_of_freedom(sizes, what)
        seeds = seed_draws(deviations, by_seeds, freedom, replicates=self._replicates, seed=self._seed)
        drawn = np.stack([self._drawn(task, share @ each) for task, each in enumerate(changes)], axis=1)
        return self._resampled(share @ by_run, drawn + seeds)

    def estimates_over(self, runs: Sequence[Mapping[str, Evaluation]]) -> Estimates:
        """Return what a recipe is worth over several seeds; see `resample_runs`."""
        return self.resample_runs([dict(enumerate(runs))])[0].estimates

    def difference(
        self, one: Resampled, other: Resampled, measure: Measure, confidence: float | None = None
    ) -> Estimate:
        """Return by how much one model's measure exceeds another's, on the same resamples.

        Args:
            one: A model.
            other: Another one.
            measure: What is compared.
            confidence: Share of the distribution that the interval covers; None takes that of all others.
        """
        value = one.estimates.of(measure).value - other.estimates.of(measure).value
        replicates = one.replicates[measure] - other.replicates[measure] + self._compared[measure][0]
        return _interval(value, replicates, self._tails if confidence is None else _tails(confidence))

    def _changes(self, task: str, models: Sequence[Mapping[str, Evaluation]]) -> Array:
        """Return tuned - base of a task, [models, samples]."""
        base = self._base[task]
        changes = np.empty((len(models), len(base)))
        for row, model in zip(changes, models, strict=True):
            evaluation = model.get(task)
            if evaluation is None or evaluation.n != len(base):
                n = 0 if evaluation is None else evaluation.n
                raise ValueError(f"task {task!r}: the base has {len(base)} samples, the tuned model {n}")
            row[:] = np.asarray(evaluation.scores) - base
        return changes

    def _drawn(self, task: int, changes: Array) -> Array:
        """Return a task's mean change in each resample, [models, replicates]."""
        n = changes.shape[1]
        generator = np.random.default_rng([self._seed, 1 + task])
        means = np.empty((len(changes), self._replicates))
        at_once = max(1, _DRAWN // n)
        for start in range(0, self._replicates, at_once):
            count = min(at_once, self._replicates - start)
            drawn = generator.integers(n, size=(count, n)) + n * np.arange(count)[:, None]
            counts = np.bincount(drawn.ravel(), minlength=count * n).reshape(count, n)
            means[:, start : start + count] = changes.astype(np.float32) @ counts.T.astype(np.float32) / n
        return means

    def _measures(self, changes: Array) -> dict[str, Array]:
        """Return the measures of changes [models, tasks, ...], each [models, ...]."""
        targets = len(self._objective.targets)
        gain, forgetting = changes[:, :targets].mean(axis=1), -changes[:, targets:].mean(axis=1)
        return {
            "target_gain": gain,
            "held_out_forgetting": forgetting,
            "worst_forgetting": -changes[:, targets:].min(axis=1),
            "score": gain - self._objective.forgetting_weight * forgetting,
        }

    def _interval(self, value: float, replicates: Array) -> Estimate:
        return _interval(value, replicates, self._tails)

    def _resampled(self, means: Array, drawn: Array) -> list[Resampled]:
        """Return each model's estimates from its changes [models, tasks] and their replicates."""
        widened = drawn + self._halves
        values, wide, bare = self._measures(means), self._measures(widened), self._measures(drawn)
        return [
            Resampled(
                estimates=self._estimates(
                    means[model],
                    widened[model],
                    {name: (values[name][model], wide[name][model]) for name in values},
                ),
                replicates={name: each[model] for name, each in bare.items()},
            )
            for model in range(len(means))
        ]

    def _estimates(
        self, means: Array, replicates: Array, measures: Mapping[str, tuple[float, Array]]
    ) -> Estimates:
        """Return a model's estimates from its changes [tasks], and its measures, each with the replicates."""
        changes = {
            task: self._interval(mean, each)
            for task, mean, each in zip(self._tasks, means, replicates, strict=True)
        }
        held_out = slice(len(self._objective.targets), None)
        errors = (means[held_out, None] - replicates[held_out]).max(axis=0)
        largest = float(measures["worst_forgetting"][0])
        worst = Estimate(
            value=largest,
            low=largest - max(float(np.quantile(errors, self._tails[1])), 0.0),
            high=max(-changes[task].low for task in self._objective.held_out),
        )
        return Estimates(
            target_gain=self._interval(*measures["target_gain"]),
            held_out_forgetting=self._interval(*measures["held_out_forgetting"]),
            worst_forgetting=worst,
            score=self._interval(*measures["score"]),
            changes=changes,
        )


def _tails(confidence: float) -> tuple[float, float]:
    return (1 - confidence) / 2, (1 + confidence) / 2


def _interval(value: float, replicates: Array, tails: tuple[float, float]) -> Estimate:
    low, high = np.quantile(replicates, tails)
    return Estimate(value=float(value), low=float(min(low, value)), high=float(max(high, value)))
