"""How much a selection loses to chance: our rule and "take the best score" where the truth is known.

Each replay draws a landscape, lets a search try recipes in it with the noise of seeds and of samples, and has
several selections choose among what was tried: the trials and, as a default study makes them, interpolations
of the best two with the base. (Its soup is left out: what a mean of weights is worth does not follow from a
landscape.) The regret of a choice is by how much its true score, the mean
over seeds and all samples, falls short of the best true score among what was tried and the untouched model.

    python -m benchmarks.selection_regret [replays of each landscape]
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from multiprocessing import Pool
from typing import Any, Final

import numpy as np
from scipy.special import ndtri

from benchmarks.machine import write_results
from search.config import StudyConfig
from search.decision.candidates import Candidate, candidates, trainings
from search.decision.estimation import estimate_finalists, estimate_runs
from search.decision.evidence import Evidence, Finalist, FinalistRun
from search.finalists.choice import behind, entrant, finalists
from search.finalists.racing import after_round, needed, runners
from search.objective import Objective, Score
from search.phases.point_search import plan_points
from search.results import PointResult, Rung, TrialResult, TrialState
from search.selection import Selection, select
from search.settings.selection_config import SelectionConfig
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
        return random.standard_normal(self.hardness.shape)

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


@dataclass(frozen=True)
class Raced:
    """The finalists, trained again, and how many trainings that took."""

    finalists: tuple[Finalist, ...]
    trainings: int


@dataclass(frozen=True)
class Chosen:
    """What a selection says.

    Attributes:
        key: Key of the candidate; None keeps the base.
        told: The score that the user is told.
        low: Lower end of its interval, or NaN.
        high: Upper end.
        runs: Trainings beyond the search.
    """

    key: str | None
    told: float
    low: float = float("nan")
    high: float = float("nan")
    runs: int = 0


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
        alpha = _alpha(planned.point.transform)
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


def _alpha(transform: Transform) -> float:
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


def best_score(found: Searched) -> Chosen:
    """Take what has the highest score, if that is above 0."""
    best = max(found.candidates, key=lambda each: each.rung.score.score)
    told = best.rung.score.score
    return Chosen(best.key, told) if told > 0 else Chosen(None, 0.0)


def by_rule(found: Searched, evidence: Evidence, **changes: Any) -> Chosen:
    """Take what our rule selects from the search split alone.

    Args:
        found: The search.
        evidence: What its trials are worth.
        changes: Settings of `selection` that are not the defaults.
    """
    rule = found.config.selection.model_copy(update=changes)
    selection = select(found.trials, found.objective, found.points, rule=rule, evidence=evidence)
    return _chosen(selection, evidence)


def confirmed(
    found: Searched, evidence: Evidence, seeds: int = 3, samples: int = SAMPLES, **changes: Any
) -> Chosen:
    """Train finalists again as a study does, and take what our rule selects from the confirm split.

    Args:
        found: The search.
        evidence: What its trials are worth.
        seeds: New seeds that each finalist is trained on.
        samples: Samples of each task in the confirm split.
        changes: Settings of `selection` that are not the defaults.
    """
    split, base = found.confirm[samples]
    objective = objective_on({task: each.value for task, each in base.items()})
    if (seeds, samples) not in found.races:
        found.races[seeds, samples] = race(found, evidence, seeds, split, objective)
    raced = found.races[seeds, samples]
    config = found.config.model_copy(update={"selection": found.config.selection.model_copy(update=changes)})
    confirmation = estimate_finalists(raced.finalists, base, objective, config, trainings(found.candidates))
    selection = select(
        found.trials,
        found.objective,
        found.points,
        rule=config.selection,
        evidence=evidence,
        finalists=raced.finalists,
        confirmation=confirmation,
    )
    return _chosen(selection, confirmation, runs=raced.trainings)


def race(found: Searched, evidence: Evidence, seeds: int, confirm: Split, objective: Objective) -> Raced:
    """Choose finalists and train them again, seed after seed, as `search.finalists.finalist_search` does.

    Args:
        found: The search.
        evidence: What its trials are worth.
        seeds: New seeds.
        confirm: The confirm split.
        objective: What is maximised, with the base's values on that split.
    """
    config, rule = found.config.finalists, found.config.selection
    assert config is not None
    ranked = sorted(found.candidates, key=lambda each: -each.rung.score.score)
    chosen = {each.key: each for each in finalists(ranked, found.objective, evidence, rule, config.most)}
    runs: dict[str, dict[int, tuple[Evaluations, Evaluations]]] = {key: {} for key in chosen}
    splits, shared = (found.split, confirm), trainings(found.candidates)
    # Each selection that trains again draws its new seeds from the same stream.
    random = np.random.default_rng([found.seed, 1])
    standing, left = tuple(map(entrant, chosen.values())), found.config.finalist_steps
    out, count = set(), 0
    for seed in range(seeds):
        running = runners(standing, rounds=seeds - seed, left=left)
        needs = needed(running)
        left, count = left - sum(needs.values()), count + len(needs)
        models = {
            number: Training.draw(random, found.base_truth, found.truth[f"trial {number}"], splits)
            for number in needs
        }
        for each in running:
            candidate = chosen[each.key]
            alpha = _alpha(candidate.point.transform)
            on_search, on_confirm = models[candidate.trial.number].evaluations(alpha, splits, random)
            runs[each.key][seed] = on_search, on_confirm
        # No bound is set on forgetting, so all keep it.
        means = {each.key: (True, _mean_score(found, runs[each.key].values())) for each in running}
        again = estimate_runs(
            {each.key: {seed: run[0] for seed, run in runs[each.key].items()} for each in running},
            found.base,
            found.objective,
            found.config,
            shared,
        )
        standing, dropped = after_round(running, means, partial(_behind, again, rule))
        out |= {each.key for each in dropped}
    finals = tuple(
        Finalist(
            candidate=key,
            runs=tuple(
                _run(seed, run, found.objective, objective if key not in out else None)
                for seed, run in runs[key].items()
            ),
            dropped=key in out,
        )
        for key in chosen
        if runs[key]
    )
    return Raced(finals, count)


def _behind(evidence: Evidence, rule: SelectionConfig, one: str, other: str) -> bool:
    return behind(evidence, one, other, rule)


def _mean_score(found: Searched, runs: Iterable[tuple[Evaluations, Evaluations]]) -> float:
    return float(np.mean([_score(found.objective, on_search).score for on_search, _ in runs]))


def _score(objective: Objective, evaluations: Evaluations) -> Score:
    return objective.score({task: each.value for task, each in evaluations.items()})


def _run(
    seed: int, run: tuple[Evaluations, Evaluations], search: Objective, confirm: Objective | None
) -> FinalistRun:
    on_search, on_confirm = run
    score = _score(search, on_search)
    rung = Rung(step=100, progress=1.0, score=score, values={}, metrics=score.to_metrics())
    return FinalistRun(
        seed=seed,
        rung=rung,
        confirm={} if confirm is None else on_confirm,
        confirmed=None if confirm is None else _score(confirm, on_confirm),
        folder="",
    )


def _chosen(selection: Selection, evidence: Evidence, runs: int = 0) -> Chosen:
    if selection.key is None:
        return Chosen(None, 0.0, runs=runs)
    told = evidence.estimates[selection.key].score
    return Chosen(selection.key, told.value, told.low, told.high, runs)


SELECTIONS: Final[Mapping[str, Callable[[Searched, Evidence], Chosen]]] = {
    "best score": lambda found, evidence: best_score(found),
    "rule, search split": by_rule,
    "rule, search split, no tie-breaks": partial(by_rule, ties=()),
    "rule, finalists on confirm split": confirmed,
    "finalists on confirm split, no tie-breaks": partial(confirmed, ties=()),
    "rule, finalists on 2 seeds": partial(confirmed, seeds=2),
    "rule, finalists, confidence 0.9": partial(confirmed, confidence=0.9),
    "rule, finalists, 600 confirm samples": partial(confirmed, samples=600),
}
SCENARIOS: Final[Mapping[str, float]] = {"much to gain": 40.0, "little to gain": 8.0, "nothing to gain": 0.0}
"""Points that a good subset gains at most, on average."""


def replay(scenario: str, seed: int) -> dict[str, dict[str, float]]:
    """Return selection -> what its choice in one landscape is worth."""
    found = searched(seed, SCENARIOS[scenario])
    alone = {key: {seed: each} for key, each in found.evaluations.items()}
    evidence = estimate_runs(alone, found.base, found.objective, found.config)
    best = max(found.true_score(key).score for key in (None, *found.truth))
    rows = {}
    for name, choose in SELECTIONS.items():
        chosen = choose(found, evidence)
        true = found.true_score(chosen.key)
        rows[name] = {
            "regret": best - true.score,
            "forgetting": true.held_out_forgetting,
            "true_score": true.score,
            "optimism": chosen.told - true.score,
            "harmful": float(true.score < 0),
            "kept_base": float(chosen.key is None),
            "covered": float(chosen.low <= true.score <= chosen.high) if np.isfinite(chosen.low) else np.nan,
            "interpolation": float(chosen.key is not None and chosen.key.startswith("point")),
            "runs": float(chosen.runs),
        }
    return rows


def summary(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return what a selection came to over all replays; regret and optimism in points."""
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    regret = columns["regret"]
    told = columns["covered"][np.isfinite(columns["covered"])]
    chosen = columns["kept_base"] == 0
    return {
        "regret": round(float(regret.mean()), 3),
        "regret_stderr": round(float(regret.std(ddof=1) / np.sqrt(len(regret))), 3),
        "regret_95th_percentile": round(float(np.quantile(regret, 0.95)), 3),
        "true_score": round(float(columns["true_score"].mean()), 3),
        "true_forgetting": round(float(columns["forgetting"].mean()), 3),
        "optimism_where_chosen": round(float(columns["optimism"][chosen].mean()), 3) if chosen.any() else 0.0,
        "harmful_share": round(float(columns["harmful"].mean()), 4),
        "kept_base_share": round(float(columns["kept_base"].mean()), 4),
        "interpolation_share": round(float(columns["interpolation"].mean()), 4),
        **({"interval_covers_share": round(float(told.mean()), 4)} if len(told) else {}),
        "further_trainings": round(float(columns["runs"].mean()), 2),
    }


def main(replays: int) -> None:
    """Replay every scenario and write the figures."""
    figures: dict[str, Any] = {
        "replays": replays,
        "trials": TRIALS,
        "samples_per_task": SAMPLES,
        "held_out_tasks": len(HELD_OUT),
        "seed_noise_points": SEED_NOISE,
        "agreement": AGREEMENT,
        "bootstrap_replicates": RESAMPLES,
    }
    with Pool() as pool:
        for scenario in SCENARIOS:
            rows = pool.map(partial(replay, scenario), range(replays), chunksize=8)
            figures[scenario] = {name: summary([row[name] for row in rows]) for name in SELECTIONS}
            for name, figure in figures[scenario].items():
                print(f"{scenario:16} {name:42} {figure}", flush=True)
    print(write_results("selection_regret", figures))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 400)
