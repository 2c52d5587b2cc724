"""RecipeTrainable: the Tune trial, which only leases a worker group, submits a job and relays its reports."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray import tune

from spaces.recipe import Recipe
from trainables.checkpoint import MANIFEST_FILE
from trainables.files import write_atomically
from trainables.pointer import CHECKPOINTS, Pointer
from trainables.pool import Lease
from trainables.scoring.evaluation import Evaluation, evaluations_json, rung_file
from trainables.weights.rung_files import taken_up
from trainables.workers.causes import GroupHopeless, cause_of
from trainables.workers.execution import Execution
from trainables.workers.jobs import Report, TrainJob

POINTER_FILE = "pointers.json"


class TrialError(RuntimeError):
    """The trial failed by itself, and would again: it is recorded as failed and not tried once more."""


class GroupLost(RuntimeError):
    """What the trial ran on died, and could not be replaced: the trial may be handed out again."""


@dataclass(frozen=True, kw_only=True)
class TrialContext:
    """What every trial of a study shares.

    Attributes:
        pool: Handle of the `WorkerPool` actor.
        executions: `Recipe.variant` -> how its trials are carried out.
        recipe: Turns Tune's configuration into a recipe.
        score: Turns a rung's evaluations into the metrics of the objective, `score` among them.
        seed: Fixes the order of the data.
        rungs: Optimiser steps to evaluate and report at, rising.
        folder: The folder under which each trial has its own, on storage that every node shares.
        keep_rungs: Whether the trained parameters of earlier rungs stay there, too.
    """

    pool: Any
    executions: Mapping[str, Execution]
    recipe: Callable[[Mapping[str, Any]], Recipe]
    score: Callable[[Mapping[str, Evaluation]], dict[str, float]]
    seed: int
    rungs: tuple[int, ...]
    folder: str
    keep_rungs: bool = False


class RecipeTrainable(tune.Trainable):
    """One step is one rung. The actor is reused; all state of a trial goes with `_finish`.

    Tune's configuration holds, beside the recipe's own fields, the trial's `trial_id` in the study and under
    `checkpoints` what an earlier life of it left, newest first: see `Pointer.to_dict`.
    """

    def setup(self, config: dict[str, Any], context: TrialContext) -> None:
        """Remember what to train; the job is submitted with the first `step`, after any checkpoint."""
        self._context = context
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next trial; always possible."""
        self._finish()
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Let the job go on to its next rung.

        Raises:
            TrialError: The trial failed by itself.
            GroupLost: What it ran on died.
        """
        report = self._next_report()
        if report.lost:
            self._finish(usable=False)
            raise GroupLost(str(report.error))
        try:
            if report.error is not None:
                raise ValueError(report.error)
            result = self._result(report)
        except ValueError as error:
            self._finish()
            raise TrialError(str(error)) from None
        if report.checkpoint is not None:
            self._pointers = (report.checkpoint, *self._pointers)[:CHECKPOINTS]
        if report.done:
            self._finish()
        return result

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Write the pointers to the last rungs' tensors."""
        pointers = [pointer.to_dict() for pointer in self._pointers]
        write_atomically(Path(checkpoint_dir) / POINTER_FILE, json.dumps(pointers).encode())

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        """Read the pointers; the job that is submitted next goes on from there."""
        pointers = json.loads((Path(checkpoint_dir) / POINTER_FILE).read_text(encoding="utf-8"))
        self._pointers = tuple(map(Pointer.from_dict, pointers))

    def cleanup(self) -> None:
        """Give the group back when Tune ends the actor."""
        self._finish()

    def _begin(self, config: dict[str, Any]) -> None:
        self._recipe = self._context.recipe(config)
        self._lease: Lease | None = None
        self._sequence = -1
        # Tune's own id is another one each time that a trial is handed out.
        self._id: str = config.get("trial_id", self.trial_id)
        self._folder = Path(self._context.folder) / self._id
        self._pointers = tuple(map(Pointer.from_dict, config.get("checkpoints", [])))

    def _next_report(self) -> Report:
        """Wait for the job's next report; a group that dies meanwhile is replaced."""
        lost = 0
        while True:
            bound = 0
            try:
                if self._lease is None:
                    self._submit()
                assert self._lease is not None
                bound = self._lease.max_failures
                report: Report = ray.get(self._lease.group.next_report.remote(self._sequence))
                return report
            except (GroupHopeless, ValueError) as error:
                self._finish(usable=False)
                raise TrialError(f"the worker group failed: {cause_of(error)}") from None
            except ray.exceptions.RayError as error:
                self._finish(usable=False)
                lost += 1
                if lost > bound:
                    raise GroupLost(f"the worker group failed: {cause_of(error)}") from None

    def _submit(self) -> None:
        execution = self._context.executions[self._recipe.variant]
        self._lease = ray.get(self._context.pool.lease.remote(execution.shape, self._id))
        job = TrainJob(
            trial_id=self._id,
            recipe=self._recipe,
            seed=self._context.seed,
            rungs=self._context.rungs,
            folder=str(self._folder),
            micro_batch_size=self._micro_batch_size(execution),
            activation_checkpointing=execution.activation_checkpointing,
            keep_rungs=self._context.keep_rungs,
            resume=self._pointers,
        )
        self._sequence = ray.get(self._lease.group.submit.remote(taken_up(job)))

    def _micro_batch_size(self, execution: Execution) -> int | None:
        """Return what the trial had come down to, if it has begun."""
        known = [pointer.micro_batch_size for pointer in self._pointers[:1]]
        return next((size for size in known if size is not None), execution.micro_batch_size)

    def _finish(self, *, usable: bool = True) -> None:
        """Abandon what is open and give the group back."""
        if self._lease is None:
            return
        lease, self._lease = self._lease, None
        if usable:
            lease.group.abandon.remote(self._sequence)
        ray.get(self._context.pool.release.remote(lease.name, usable=usable))

    def _result(self, report: Report) -> dict[str, Any]:
        metrics = {**self._context.score(report.evaluations), **report.metrics}
        broken = [name for name, value in metrics.items() if not math.isfinite(value)]
        if broken:
            raise ValueError(f"metric {broken[0]} is {metrics[broken[0]]} at step {report.step}")
        write_atomically(self._folder / rung_file(report.step), evaluations_json(report.evaluations))
        if report.manifest is not None:
            write_atomically(self._folder / MANIFEST_FILE, json.dumps(dict(report.manifest)).encode())
        return {
            "score": metrics["score"],
            "held_out_forgetting": metrics["held_out_forgetting"],
            "step": report.step,
            "progress": report.step / self._recipe.steps,
            "done": report.done,
            "metrics": metrics,
            "weights": None if report.checkpoint is None else report.checkpoint.path,
            "checkpoint": None if report.checkpoint is None else report.checkpoint.to_dict(),
            "nodes": list(report.nodes),
        }
