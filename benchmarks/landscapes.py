"""Landscapes: what recipes are truly worth, and a search in them with the noise of seeds and of samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from scipy.special import ndtri

from search.config import StudyConfig
from search.decision.candidates import Candidate, candidates
from search.decision.evidence import Finalist
from search.objective import Objective, Score
from search.phases.point_search import plan_points
from search.results import PointResult, Rung, TrialResult, TrialState
from spaces.points import Interpolation, Transform
from spaces.recipe import Recipe
from trainables.scoring.evaluation import Evaluation

TRIALS: Final = 24
SAMPLES: Final = 150
"""Samples of each task in the search split, and in the confirm split unless told otherwise."""
CONFIRM: Final = (SAMPLES, 600)
"""Sizes of the confirm split."""
TARGETS: Final = ("target",)
HELD_OUT: Final = tuple(f"held_out_{number}" for number in range(6))
TASKS: Final = (*TARGETS, *HELD_OUT)
SUBSETS: Final = ("full", "llm", "sa_proj", "mlp", "gate_up", "sa_gate_up", "vision", "projector")
AGREEMENT: Final = 0.7
"""Share of what makes a sample hard that is the same for every model."""
RESAMPLES: Final = 500
"""Of the bootstrap: a quarter of the default, for the sake of time."""
SEED_NOISE: Final = 2.5
"""Standard deviation, in points, of a task's value over seeds."""

Array = np.ndarray[Any, np.dtype[np.float64]]
Evaluations = Mapping[str, Evaluation]


@dataclass(frozen=True)
class Landscape:
    """What recipes are truly worth: each task's value as a function of subset and learning rate.

    Attributes:
        base: The untouched model's values, [tasks], in points.
        peak: Decimal logarithm of each subset's best rate for the target.
        width: Decades around it within which most is learnt.
        gain: Points that each subset gains at most.
        brittle: Decimal logarithm of the rate at which each subset begins to forget.
        loss: Share of each held-out task that a rate ten times as large forgets, [subsets, tasks].
    """

    base: Array
    peak: Array
    width: Array
    gain: Array
    brittle: Array
    loss: Array

    @classmethod
    def draw(cls, random: np.random.Generator, *, gain: float) -> Landscape:
        """Draw a landscape.

        Args:
            random: Where the draws come from.
            gain: Points that a good subset gains at most, on average.
        """
        size = len(SUBSETS)
        peak = random.uniform(-3.6, -2.6, size)
        return cls(
            base=np.r_[random.uniform(2, 30), random.uniform(60, 98, len(HELD_OUT))],
            peak=peak,
            width=random.uniform(0.4, 0.9, size),
            gain=np.clip(random.normal(gain, gain / 4, size), 0, 65),
            brittle=peak + random.uniform(-0.5, 0.5, size),
            loss=random.beta(1.2, 4, (size, len(HELD_OUT))),
        )

    def values(self, subset: int, rate: float) -> Array:
        """Return the true value of every task after a recipe, [tasks], in points."""
        place = np.log10(rate)
        gain = self.gain[subset] * np.exp(-0.5 * ((place - self.peak[subset]) / self.width[subset]) ** 2)
        over = np.maximum(0.0, place - self.brittle[subset])
        kept = (1 - self.loss[subset]) ** over
        # Beyond what it can stand a model unlearns the target, too.
        return np.r_[min(self.base[0] + gain, 98.0), self.base[1:] * kept]


@dataclass(frozen=True)
class Split:
    """A split's samples: how hard each one is for every model, [tasks, samples], standard normal."""

    hardness: Array

    @classmethod
    def draw(cls, random: np.random.Generator, samples: int = SAMPLES) -> Split:
        """Draw a split of so many samples a task."""
        return cls(random.standard_normal((len(TASKS), samples)))

    def own(self, random: np.random.Generator) -> Array:
        """Draw how hard each sample is for one model alone."""
        return np.asarray(random.standard_normal(self.hardness.shape))

    def evaluations(self, values: Array, own: Array) -> dict[str, Evaluation]:
        """Evaluate a model that is right on a share of all samples, `values` [tasks] in points."""
        felt = np.sqrt(AGREEMENT) * self.hardness + np.sqrt(1 - AGREEMENT) * own
        right = felt < ndtri(np.clip(values, 0.1, 99.9) / 100)[:, None]
        return {
            task: Evaluation(task=task, scores=tuple(map(float, 100.0 * row)))
            for task, row in zip(TASKS, right, strict=True)
        }


@dataclass(frozen=True)
class Training:
    """A recipe trained on one seed.

    Attributes:
        base: The untouched model's true values, [tasks].
        values: The recipe's.
        shift: By how much the seed moves them.
        owns: How hard each split's samples are for this model alone.
    """

    base: Array
    values: Array
    shift: Array
    owns: tuple[Array, ...]

    @classmethod
    def draw(
        cls, random: np.random.Generator, base: Array, values: Array, splits: Sequence[Split]
    ) -> Training:
        """Train on a new seed, which moves each task a little."""
        shift = random.normal(0, SEED_NOISE, len(TASKS))
        return cls(base, values, shift, tuple(split.own(random) for split in splits))

    def evaluations(
        self, alpha: float, splits: Sequence[Split], random: np.random.Generator
    ) -> list[dict[str, Evaluation]]:
        """Evaluate an interpolation of its weights with the base on each split; at alpha 1 it itself.

        What the seed and the model alone do to it shrinks with alpha.
        """
        values = interpolated(self.base, self.values, alpha) + alpha * self.shift
        rest = np.sqrt(1 - alpha**2)
        return [
            split.evaluations(values, alpha * own + rest * split.own(random) if rest else own)
            for split, own in zip(splits, self.owns, strict=True)
        ]


def interpolated(base: Array, values: Array, alpha: float) -> Array:
    """Return the true values of an interpolation with the base, [tasks].

    On the way back to the base what is forgotten shrinks faster than what is gained, as WiSE-FT (arXiv
    2109.01903) found: of the forgetting alpha^2 is left, of the gain 1 - (1 - alpha)^2.
    """
    targets = len(TARGETS)
    shares = np.r_[np.full(targets, 1 - (1 - alpha) ** 2), np.full(len(TASKS) - targets, alpha**2)]
    return np.asarray(base + shares * (values - base))


@dataclass(frozen=True)
class Raced:
    """The finalists, trained again, and how many trainings that took."""

    finalists: tuple[Finalist, ...]
    trainings: int


@dataclass(frozen=True)
class Searched:
    """What a search left, and what is true.

    Attributes:
        config: The study.
        objective: What it maximises, with the base's values on the search split.
        base: The base on the search split.
        trials: The trials.
        points: Interpolations of the best of them.
        evaluations: Key of a candidate -> its evaluations.
        truth: Key of a candidate -> its true values, [tasks].
        base_truth: The base's.
        split: The search split.
        confirm: Samples of each task -> a confirm split of that size, and the base on it.
        seed: Seed of what is trained again.
    """

    config: StudyConfig
    objective: Objective
    base: Evaluations
    trials: tuple[TrialResult, ...]
    points: tuple[PointResult, ...]
    evaluations: Mapping[str, Evaluations]
    truth: Mapping[str, Array]
    base_truth: Array
    split: Split
    confirm: Mapping[int, tuple[Split, Evaluations]]
    seed: int

    @cached_property
    def candidates(self) -> tuple[Candidate, ...]:
        """What may be selected."""
        return candidates(self.trials, self.points)

    @cached_property
    def races(self) -> dict[tuple[int, int], Raced]:
        """(seeds, samples to confirm on) -> the race of the finalists, once it is run."""
        return {}

    def true_score(self, key: str | None) -> Score:
        """Return what a candidate is truly worth; None is the base."""
        objective = objective_on(dict(zip(TASKS, self.base_truth, strict=True)))
        values = self.base_truth if key is None else self.truth[key]
        return objective.score(dict(zip(TASKS, map(float, values), strict=True)))


def objective_on(base: Mapping[str, float]) -> Objective:
    """Return the objective beside a base's values."""
    return Objective(base=base, targets=TARGETS, held_out=HELD_OUT)


def study(seed: int) -> StudyConfig:
    """Return the study's configuration, with the defaults of its rule and of its finalists.

    Only the resamples are fewer, which makes an interval's ends a little more uncertain and no narrower.
    """
    return StudyConfig.model_validate(
        {
            "name": "replay",
            "model": {"path": "tiny-llava"},
            "targets": list(TARGETS),
            "held_out": list(HELD_OUT),
            "space": {"subsets": list(SUBSETS), "learning_rate": [1e-4, 1e-2]},
            "training": {"steps": 100, "batch_size": 32},
            "search": {"trials": TRIALS, "seed": seed},
            "finalists": {},
            "selection": {"replicates": RESAMPLES},
        }
    )


def searched(seed: int, gain: float) -> Searched:
    """Run one search in a landscape of its own."""
    random = np.random.default_rng(seed)
    landscape = Landscape.draw(random, gain=gain)
    split, *confirm_splits = (Split.draw(random, samples) for samples in (SAMPLES, *CONFIRM))
    base, *confirm_bases = (
        each.evaluations(landscape.base, each.own(random)) for each in (split, *confirm_splits)
    )
    objective = objective_on({task: evaluation.value for task, evaluation in base.items()})
    trials, evaluations, truth, models = [], {}, {}, []
    for number in range(TRIALS):
        subset, rate = number % len(SUBSETS), float(10 ** random.uniform(-4, -2))
        values = landscape.values(subset, rate)
        model = Training.draw(random, landscape.base, values, (split,))
        (found,) = model.evaluations(1.0, (split,), random)
        trials.append(_trial(number, SUBSETS[subset], rate, objective, found))
        models.append(model)
        evaluations[f"trial {number}"], truth[f"trial {number}"] = found, values

    points = []
    config = study(seed)
    assert config.points is not None
    without_soup = config.points.model_copy(update={"soup": None})
    for planned in plan_points(without_soup, trials, presets=False):
        number, model = planned.trial.number, models[planned.trial.number]
        alpha = alpha_of(planned.point.transform)
        (found,) = model.evaluations(alpha, (split,), random)
        rung = _rung(objective, found, planned.trial.last.metrics["cost/trainable_parameters"])
        points.append(PointResult(number=planned.number, point=planned.point, trial=planned.trial, rung=rung))
        key = f"point {planned.number}"
        evaluations[key] = found
        truth[key] = interpolated(landscape.base, truth[f"trial {number}"], alpha)

    return Searched(
        config=config,
        objective=objective,
        base=base,
        trials=tuple(trials),
        points=tuple(points),
        evaluations=evaluations,
        truth=truth,
        base_truth=landscape.base,
        split=split,
        confirm=dict(zip(CONFIRM, zip(confirm_splits, confirm_bases, strict=True), strict=True)),
        seed=seed,
    )


def alpha_of(transform: Transform) -> float:
    """Return by how much a transform keeps of what was trained."""
    return transform.alpha if isinstance(transform, Interpolation) else 1.0


def _trial(number: int, subset: str, rate: float, objective: Objective, found: Evaluations) -> TrialResult:
    size = float(SUBSETS.index(subset))
    rung = _rung(objective, found, 1e6 * (len(SUBSETS) - size))
    recipe = Recipe(subset=subset, learning_rate=rate, steps=100, batch_size=32)
    return TrialResult(
        trial_id=f"t{number}", number=number, recipe=recipe, state=TrialState.COMPLETE, rungs=(rung,)
    )


def _rung(objective: Objective, found: Evaluations, parameters: float) -> Rung:
    values = {task: evaluation.value for task, evaluation in found.items()}
    score = objective.score(values)
    metrics = {**score.to_metrics(), "cost/trainable_parameters": parameters}
    return Rung(step=100, progress=1.0, score=score, values=values, metrics=metrics)
