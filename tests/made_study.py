"""Small studies made by hand, for the tests of what reads a finished study."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from search.config import StudyConfig
from search.decision.evidence import Estimate, Estimates, Finalist, FinalistRun
from search.objective import Objective
from search.records.study_record import Predictions, StudyRecord
from search.results import Rung, TrialResult, TrialState
from spaces.recipe import Recipe
from trainables.data.bad_samples import BadSample
from trainables.data.samples import Sample
from trainables.metrics import EXACT_MATCH, MetricSpec
from trainables.scoring.evaluation import Evaluation
from trainables.workers.jobs import TaskData

BASE = {"count": 10.0, "clock": 20.0, "colour": 90.0, "shape": 80.0}
"""Points of the untouched model; `count` and `clock` are targets."""

# Gain (30 + 20) / 2 = 25, forgetting (2 + 4) / 2 = 3, worst 4, score 22.
GOOD = {"count": 40.0, "clock": 40.0, "colour": 88.0, "shape": 76.0}
# Gain (20 + 0) / 2 = 10, forgetting 0, score 10.
MODEST = {"count": 30.0}
# Gain 0, forgetting (40 + 0) / 2 = 20, score -20.
HARMFUL = {"colour": 50.0}

LORA = {"method": "lora", "lora_rank": 8, "lora_alpha": 16.0, "lora_dropout": 0.0, "lora_variant": "lora"}
"""A recipe's fields that make it one of adapters."""

STEPS = 40


@dataclass(frozen=True)
class Answered:
    """Samples of a task with the base's and the selected recipe's answers to them, each with its points."""

    task: str
    samples: Sequence[Sample]
    base: Sequence[tuple[str, float]]
    selected: Sequence[tuple[str, float]]
    metric: MetricSpec = EXACT_MATCH


def config(
    name: str = "made",
    *,
    held_out: Sequence[str] = ("colour", "shape"),
    subsets: Sequence[str] = ("gate_up", "full", "projector"),
    max_forgetting: float | None = None,
) -> StudyConfig:
    return StudyConfig.model_validate(
        {
            "name": name,
            "model": {"path": "tiny-llava"},
            "targets": ["count", "clock"],
            "held_out": list(held_out),
            "space": {"subsets": list(subsets), "learning_rate": [1e-5, 1e-1]},
            "training": {"steps": STEPS, "batch_size": 8},
            "objective": {"max_forgetting": max_forgetting},
            "search": {"trials": 4, "seed": 5},
        }
    )


def record(
    trials: Sequence[TrialResult] = (),
    *,
    study: StudyConfig | None = None,
    base: Mapping[str, float] = BASE,
    samples: int = 100,
    seconds: float = 100.0,
    versions: Mapping[str, str] | None = None,
    bad: Sequence[BadSample] = (),
) -> StudyRecord:
    """Make a finished study whose base scored 100 or 0 on each of `samples` samples of each task."""
    study = study or config()
    return StudyRecord(
        config=study,
        objective=objective(study, base),
        base={task: evaluation(task, value, samples) for task, value in base.items()},
        trials=tuple(trials),
        seconds=seconds,
        versions=versions or {"torch": "2.13.0"},
        bad=tuple(bad),
    )


def with_answers(study: StudyRecord, *answered: Answered) -> StudyRecord:
    """Return a study whose base and selected recipe were asked for their answers to some samples."""
    tasks, base, selected = [], {}, {}
    for each in answered:
        role: Literal["target", "held_out"] = "target" if each.task in study.config.targets else "held_out"
        samples = tuple(each.samples)
        tasks.append(TaskData(name=each.task, role=role, metric=each.metric, train=(), search=samples))
        base[each.task] = _answers(each.task, each.base)
        selected[each.task] = _answers(each.task, each.selected)
    predictions = Predictions(models={"base": base, "selected": selected}, seconds=12.0)
    return replace(study, tasks=tuple(tasks), predictions=predictions)


def _answers(task: str, answers: Sequence[tuple[str, float]]) -> Evaluation:
    texts, scores = zip(*answers, strict=True)
    return Evaluation(task=task, scores=scores, predictions=texts)


def objective(study: StudyConfig, base: Mapping[str, float] = BASE) -> Objective:
    return Objective(
        base=base,
        targets=study.targets,
        held_out=study.held_out,
        forgetting_weight=study.objective.forgetting_weight,
        max_forgetting=study.objective.max_forgetting,
    )


def evaluation(task: str, value: float, samples: int) -> Evaluation:
    right = round(value * samples / 100)
    return Evaluation(task=task, scores=(100.0,) * right + (0.0,) * (samples - right))


def trial(
    number: int,
    values: Sequence[Mapping[str, float]] = (),
    *,
    study: StudyConfig | None = None,
    base: Mapping[str, float] = BASE,
    subset: str = "gate_up",
    learning_rate: float = 1e-3,
    state: TrialState = TrialState.COMPLETE,
    preset: str | None = None,
    error: str | None = None,
    seconds: float = 30.0,
    parameters: float = 1000.0,
    kl: float = 0.5,
    started: float = math.nan,
    **recipe: Any,
) -> TrialResult:
    """Make a trial with one rung for each of `values`; a complete one's last rung is the end.

    What else is named are fields of its recipe.

    A whole run takes 10 s of training, and each rung 2 s of evaluation.
    """
    goal = objective(study or config(), base)
    end = len(values) if state is TrialState.COMPLETE else len(values) + 1
    return TrialResult(
        trial_id=f"id{number}",
        number=number,
        recipe=Recipe(subset=subset, learning_rate=learning_rate, steps=STEPS, batch_size=8, **recipe),
        state=state,
        rungs=tuple(
            _rung(goal, {**base, **at}, index, end, parameters, kl)
            for index, at in enumerate(values, start=1)
        ),
        preset=preset,
        error=error,
        seconds=seconds,
        started=started,
    )


def estimate(value: float, half: float = 2.0) -> Estimate:
    """Make an interval that reaches `half` points to both sides."""
    return Estimate(value=value, low=value - half, high=value + half)


def estimates(
    values: Mapping[str, float],
    *,
    half: float = 2.0,
    study: StudyConfig | None = None,
    base: Mapping[str, float] = BASE,
) -> Estimates:
    """Make what is known of a tuned model with these values; each interval reaches `half` points around."""
    tuned = {**base, **values}
    score = objective(study or config(), base).score(tuned)
    return Estimates(
        target_gain=estimate(score.target_gain, half),
        held_out_forgetting=estimate(score.held_out_forgetting, half),
        worst_forgetting=estimate(score.worst_forgetting, half),
        score=estimate(score.score, half),
        changes={task: estimate(tuned[task] - base[task], half) for task in base},
    )


def finalist(
    candidate: str,
    *confirmed: Mapping[str, float],
    half: float = 3.0,
    study: StudyConfig | None = None,
    base: Mapping[str, float] = BASE,
    dropped: bool = False,
) -> Finalist:
    """Make a finalist with one run for each of `confirmed`, on seeds from 100 on.

    Its runs scored on the search split what they score on the confirm split; its estimates are the means.
    """
    goal = objective(study or config(), base)
    found = [{**base, **values} for values in confirmed]
    runs = tuple(
        FinalistRun(
            seed=100 + place,
            rung=_rung(goal, values, 1, 1, 1000.0, 0.5),
            confirm={task: evaluation(task, value, 100) for task, value in values.items()},
            confirmed=goal.score(values),
            folder=f"finalists/{candidate.replace(' ', '-')}/seed_{100 + place}",
        )
        for place, values in enumerate(found)
    )
    mean = {task: statistics.fmean(values[task] for values in found) for task in base}
    known = estimates(mean, half=half, study=study, base=base)
    return Finalist(candidate=candidate, runs=runs, estimates=known, dropped=dropped)


def _rung(
    goal: Objective, values: Mapping[str, float], index: int, end: int, parameters: float, kl: float
) -> Rung:
    score = goal.score(values)
    step = math.ceil(STEPS * index / end)
    return Rung(
        step=step,
        progress=index / end,
        score=score,
        values=values,
        metrics={
            **score.to_metrics(),
            "drift/kl_target": kl,
            "cost/train_seconds": 10.0 * step / STEPS,
            "cost/eval_seconds": 2.0 * index,
            "cost/trainable_parameters": parameters,
        },
    )
