"""Training recipes again on a new seed, in warm worker groups and without a search."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from search.objective import Objective, Score, score_metrics
from search.phases.leased_jobs import none_lost, run_jobs
from search.phases.study_run import StudyRun
from search.records.stored_results import rung_to_dict, write_json
from search.records.stored_training import TRAINING_FILE, read_training, training_name
from search.results import Rung
from spaces.recipe import Recipe
from trainables.checkpoint import MANIFEST_FILE
from trainables.files import write_atomically
from trainables.manifest import TrainableManifest
from trainables.pointer import CHECKPOINTS, Pointer, pointer_to_dict
from trainables.scoring.evaluation import Evaluation, evaluations_json, rung_file
from trainables.weights.points import TrainedWeights
from trainables.workers.execution import GroupShape
from trainables.workers.jobs import Report, TrainJob


@dataclass(frozen=True, kw_only=True)
class Retrained:
    """A trial's recipe trained again.

    Attributes:
        trial: Number of the trial.
        rungs: What was measured, by rising step; empty if it failed.
        evaluations: Step -> task -> its evaluation on the search split.
        manifest: What was trained; None if that is not known.
        error: Why it failed, one line; None unless it did.
        earlier: Whether an earlier driver of the study had trained it all.
    """

    trial: int
    rungs: tuple[Rung, ...]
    evaluations: Mapping[int, Mapping[str, Evaluation]]
    manifest: TrainableManifest | None
    error: str | None = None
    earlier: bool = False

    def rung(self, step: int) -> Rung:
        """Return what was measured after so many optimiser steps."""
        return next(rung for rung in self.rungs if rung.step == step)

    def weights(self, step: int) -> TrainedWeights:
        """Return what was trained until a step."""
        rung = self.rung(step)
        assert rung.weights is not None, "what was trained again leaves its weights"
        assert self.manifest is not None
        return TrainedWeights(path=rung.weights, manifest=self.manifest, sha256=rung.sha256)


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

    Raises:
        WorkersLost: Too many workers were lost; what was measured until then stays in the folder.
    """
    begun = {number: _Training.begun(folder / training_name(number, seed), number, seed) for number in wanted}
    jobs = {}
    for number, (recipe, steps) in wanted.items():
        training = begun[number]
        if training.has_ended(steps):
            yield replace(training.retrained(), earlier=True)
        else:
            jobs[number] = _job(run, recipe, steps, training, seed)
    for number, report in none_lost(run_jobs(run.pool, jobs, at_a_time=run.placement.concurrency)):
        training = begun[number]
        training.take(report, objective, wanted[number][0])
        if report.done:
            yield training.retrained()


def measured(
    report: Report, objective: Objective, recipe: Recipe, *, step: int, weights: Pointer | None = None
) -> Rung:
    """Return what a report measured.

    Args:
        report: Of a job that scored the search split.
        objective: What the study maximises.
        recipe: The recipe that was trained.
        step: Optimiser steps after which its weights were taken.
        weights: Where the weights lie; None where they were not written.

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
        weights=None if weights is None else weights.path,
        sha256=None if weights is None else weights.sha256,
    )


@dataclass(kw_only=True)
class _Training:
    """A recipe that is trained again, as far as it has come; its folder has it all.

    Attributes:
        folder: Where it lies.
        trial: Number of the trial.
        seed: The seed.
        rungs: What was measured, by rising step.
        evaluations: Step -> task -> its evaluation.
        checkpoints: Where the tensors of its last rungs lie, newest first.
        manifest: What is trained; None before the first rung.
        error: Why it failed, one line; None unless it did.
    """

    folder: Path
    trial: int
    seed: int
    rungs: list[Rung] = field(default_factory=list)
    evaluations: dict[int, Mapping[str, Evaluation]] = field(default_factory=dict)
    checkpoints: list[Mapping[str, Any]] = field(default_factory=list)
    manifest: Mapping[str, Any] | None = None
    error: str | None = None

    @classmethod
    def begun(cls, folder: Path, trial: int, seed: int) -> _Training:
        """Return a training, as far as an earlier driver of the study brought it and left its weights.

        Raises:
            DamagedFile: What it wrote is damaged.
        """
        anew = cls(folder=folder, trial=trial, seed=seed)
        if (stored := read_training(folder)) is None:
            return anew
        return replace(
            anew,
            rungs=list(stored.rungs),
            evaluations=dict(stored.evaluations),
            checkpoints=list(stored.checkpoints),
            manifest=stored.manifest,
            error=stored.error,
        )

    def has_ended(self, steps: Sequence[int]) -> bool:
        """Return whether nothing is left to do until the last of these steps."""
        return self.error is not None or [rung.step for rung in self.rungs] == list(steps)

    def take(self, report: Report, objective: Objective, recipe: Recipe) -> None:
        """Take a report of the job, and write it."""
        self.error = report.error
        if self.error is None:
            try:
                rung = measured(report, objective, recipe, step=report.step, weights=report.checkpoint)
            except ValueError as failure:
                self.error = str(failure)
            else:
                self.rungs.append(rung)
                self.evaluations[rung.step] = report.evaluations
                write_atomically(self.folder / rung_file(rung.step), evaluations_json(report.evaluations))
        if report.manifest is not None:
            self.manifest = dict(report.manifest)
            write_json(self.folder / MANIFEST_FILE, self.manifest)
        if report.checkpoint is not None:
            self.checkpoints = [report.checkpoint.to_dict(), *self.checkpoints][:CHECKPOINTS]
        self._write()

    def retrained(self) -> Retrained:
        """Return what came of it."""
        return Retrained(
            trial=self.trial,
            rungs=tuple(self.rungs) if self.error is None else (),
            evaluations=self.evaluations,
            manifest=None if self.manifest is None else TrainableManifest.from_dict(self.manifest),
            error=self.error,
        )

    def _write(self) -> None:
        fields = {
            "trial": self.trial,
            "seed": self.seed,
            "metrics": {str(rung.step): dict(rung.metrics) for rung in self.rungs},
            "rungs": [rung_to_dict(rung, self.folder) for rung in self.rungs],
            "checkpoints": [pointer_to_dict(each) for each in self.checkpoints],
            "error": self.error,
        }
        write_json(self.folder / TRAINING_FILE, fields)


def _job(
    run: StudyRun, recipe: Recipe, steps: tuple[int, ...], training: _Training, seed: int
) -> tuple[GroupShape, TrainJob]:
    execution = run.placement.executions[recipe.variant]
    resume = tuple(map(Pointer.from_dict, training.checkpoints))
    job = TrainJob(
        trial_id=training.folder.name,
        recipe=recipe,
        seed=seed,
        rungs=steps,
        folder=str(training.folder),
        micro_batch_size=resume[0].micro_batch_size if resume else execution.micro_batch_size,
        activation_checkpointing=execution.activation_checkpointing,
        keep_rungs=True,
        resume=resume,
    )
    return execution.shape, job
