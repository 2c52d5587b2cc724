"""Training recipes again on a new seed, in warm worker groups and without a search."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from search.objective import Objective, Score, score_metrics
from search.phases.leased_jobs import run_jobs
from search.phases.study_run import StudyRun
from search.records.stored_results import write_json
from search.results import Rung
from spaces.recipe import Recipe
from trainables.checkpoint import MANIFEST_FILE
from trainables.files import write_atomically
from trainables.manifest import TrainableManifest
from trainables.scoring.evaluation import Evaluation
from trainables.weights.points import TrainedWeights
from trainables.workers.execution import GroupShape
from trainables.workers.jobs import Report, TrainJob

TRAINING_FILE = "training.json"


@dataclass(frozen=True, kw_only=True)
class Retrained:
    """A trial's recipe trained again.

    Attributes:
        trial: Number of the trial.
        rungs: What was measured, by rising step; empty if it failed.
        evaluations: Step -> task -> its evaluation on the search split.
        manifest: What was trained; None if that is not known.
        error: Why it failed, one line; None unless it did.
    """

    trial: int
    rungs: tuple[Rung, ...]
    evaluations: Mapping[int, Mapping[str, Evaluation]]
    manifest: TrainableManifest | None
    error: str | None = None

    def rung(self, step: int) -> Rung:
        """Return what was measured after so many optimiser steps."""
        return next(rung for rung in self.rungs if rung.step == step)

    def weights(self, step: int) -> TrainedWeights:
        """Return what was trained until a step."""
        path = self.rung(step).weights
        assert path is not None, "what was trained again leaves its weights"
        assert self.manifest is not None
        return TrainedWeights(path=path, manifest=self.manifest)


def retrain(
    run: StudyRun,
    objective: Objective,
    wanted: Mapping[int, tuple[Recipe, tuple[int, ...]]],
    *,
    seed: int,
    folder: Path,
) -> Iterator[Retrained]:
    """Train recipes again; yield each as it ends.

    Args:
        run: The study, with its pool.
        objective: What it maximises.
        wanted: Number of a trial -> its recipe, and the optimiser steps to evaluate it at, rising; its run
            ends with the last of them.
        seed: Fixes the order of the data, and new adapters.
        folder: The folder under which each run gets its own.
    """
    jobs = {
        number: _job(run, recipe, steps, seed=seed, folder=folder / name_of(number, seed))
        for number, (recipe, steps) in wanted.items()
    }
    reports: dict[int, list[Report]] = {number: [] for number in jobs}
    for number, report in run_jobs(run.pool, jobs, at_a_time=run.placement.concurrency):
        reports[number].append(report)
        if report.done:
            found = _retrained(number, wanted[number][0], reports[number], objective)
            _write(folder / name_of(number, seed), found, seed)
            yield found


def name_of(trial: int, seed: int) -> str:
    """Return the name of the folder of a trial's recipe trained again on a seed."""
    return f"trial_{trial}_seed_{seed}"


def measured(
    report: Report, objective: Objective, recipe: Recipe, *, step: int, weights: str | None = None
) -> Rung:
    """Return what a report measured.

    Args:
        report: Of a job that scored the search split.
        objective: What the study maximises.
        recipe: The recipe that was trained.
        step: Optimiser steps after which its weights were taken.
        weights: Where the weights lie.

    Raises:
        ValueError: A task's value is missing, or a metric not finite.
    """
    metrics = {**score_metrics(report.evaluations, objective=objective), **report.metrics}
    if broken := [name for name, value in metrics.items() if not math.isfinite(value)]:
        raise ValueError(f"metric {broken[0]} is {metrics[broken[0]]} at step {step}")
    return Rung(
        step=step,
        progress=step / recipe.steps,
        score=Score.from_metrics(metrics),
        values={task: evaluation.value for task, evaluation in report.evaluations.items()},
        metrics=metrics,
        weights=weights,
    )


def _job(
    run: StudyRun, recipe: Recipe, steps: tuple[int, ...], *, seed: int, folder: Path
) -> tuple[GroupShape, TrainJob]:
    execution = run.placement.executions[recipe.variant]
    job = TrainJob(
        trial_id=folder.name,
        recipe=recipe,
        seed=seed,
        rungs=steps,
        folder=str(folder),
        micro_batch_size=execution.micro_batch_size,
        activation_checkpointing=execution.activation_checkpointing,
        keep_rungs=True,
    )
    return execution.shape, job


def _retrained(trial: int, recipe: Recipe, reports: list[Report], objective: Objective) -> Retrained:
    manifest = next((report.manifest for report in reports if report.manifest is not None), None)
    rungs: list[Rung] = []
    error = reports[-1].error
    try:
        for report in reports if error is None else ():
            weights = None if report.checkpoint is None else report.checkpoint.path
            rungs.append(measured(report, objective, recipe, step=report.step, weights=weights))
    except ValueError as failure:
        error = str(failure)
    return Retrained(
        trial=trial,
        rungs=tuple(rungs) if error is None else (),
        evaluations={report.step: report.evaluations for report in reports},
        manifest=None if manifest is None else TrainableManifest.from_dict(manifest),
        error=error,
    )


def _write(folder: Path, found: Retrained, seed: int) -> None:
    """Write what describes the weights, and what training them cost."""
    if found.manifest is not None:
        write_atomically(folder / MANIFEST_FILE, json.dumps(found.manifest.to_dict()).encode())
    fields = {
        "trial": found.trial,
        "seed": seed,
        "metrics": {str(rung.step): dict(rung.metrics) for rung in found.rungs},
        "error": found.error,
    }
    write_json(folder / TRAINING_FILE, fields)
