"""Messages between those who want a model trained or evaluated and the worker group that does it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from spaces.points import Point
from spaces.recipe import Recipe
from spaces.role_map import RoleMap
from trainables.data.samples import Sample
from trainables.metrics import DEFAULT_DECODING, Decoding, MetricSpec
from trainables.pointer import Pointer
from trainables.scoring.evaluation import Evaluation
from trainables.scoring.lm_eval_task import LmEvalTask
from trainables.weights.points import TrainedWeights

REPLAY: Final = "training.replay"
"""Stands for the samples of all tasks of replay where a split has its `<task>/<split>`."""


@dataclass(frozen=True, kw_only=True)
class TaskData:
    """The samples of one task that a search may see: never the `confirm` split, but see `ConfirmData`.

    Attributes:
        name: Name of the task.
        role: Whether it is to be learnt or kept, or only mixed in.
        metric: How an answer is scored.
        train: Training samples; empty for a held-out task.
        search: Samples that trials are scored on; empty for what is only mixed in.
        decoding: How answers are written, where the metric needs it.
        harness: The task of lm-eval that gives the scores; None scores the search samples by `metric`.
    """

    name: str
    role: Literal["target", "held_out", "replay"]
    metric: MetricSpec
    train: tuple[Sample, ...]
    search: tuple[Sample, ...]
    decoding: Decoding = DEFAULT_DECODING
    harness: LmEvalTask | None = None


@dataclass(frozen=True, kw_only=True)
class WorkerSetup:
    """What a worker loads once and keeps for all its jobs.

    Attributes:
        model: Hub id, folder or embedded name of the base model.
        dtype: Name of the weights' torch dtype.
        tasks: The study's tasks, targets first.
        eval_batch_size: Samples per forward pass of an evaluation.
        drift_samples: Samples per task over which drift is measured.
        threads: CPU threads per worker.
        replay: Samples that a recipe's `replay_ratio` of each batch is drawn from.
        roles: The user's role map of the model's parameters, if any.
        encoded: `<task>/<split>` or `REPLAY` -> folder of its encoded samples; a worker encodes the others.
        rung_samples: Samples per task on which a trial is scored before its last rung, the first ones; None
            takes all, as the last rung does.
        trust_remote_code: Whether code that the model brings may run.
    """

    model: str
    dtype: Literal["float32", "bfloat16"]
    tasks: tuple[TaskData, ...]
    eval_batch_size: int
    drift_samples: int
    threads: int
    replay: tuple[Sample, ...] = ()
    roles: RoleMap | None = None
    encoded: Mapping[str, str] = field(default_factory=dict)
    rung_samples: int | None = None
    trust_remote_code: bool = False


@dataclass(frozen=True, kw_only=True)
class ConfirmData:
    """The confirm splits: workers get them with a `ConfirmJob`, and in no other way.

    Attributes:
        tasks: The study's tasks, with the samples of their confirm splits as those that are scored, and none
            to train on.
        encoded: Task -> folder of its encoded samples; a worker encodes the others.
    """

    tasks: tuple[TaskData, ...]
    encoded: Mapping[str, str] = field(default_factory=dict)

    def setup(self, searched: WorkerSetup) -> WorkerSetup:
        """Return what to load in order to score these samples as those of the search are.

        Args:
            searched: What the search loads.
        """
        encoded = {f"{task}/search": folder for task, folder in self.encoded.items()}
        return replace(searched, tasks=self.tasks, replay=(), encoded=encoded)


@dataclass(frozen=True, kw_only=True)
class TrainJob:
    """Fine-tune the base with a recipe, evaluating at each rung.

    Attributes:
        trial_id: The trial's key.
        recipe: What to train and how.
        seed: Fixes the order of the data.
        rungs: Optimiser steps to evaluate and report at, rising.
        folder: The trial's folder on storage that every worker shares.
        micro_batch_size: Samples per forward pass and worker; None takes a worker's whole share at once.
        activation_checkpointing: Whether activations are computed again in the backward pass.
        keep_rungs: Whether earlier rungs' trained parameters stay on storage, not the last rung's alone.
        resume: Checkpoints to go on from, the newest first: where one is damaged the next is taken, at last
            the base. What was reported until the newest is not reported again.
    """

    trial_id: str
    recipe: Recipe
    seed: int
    rungs: tuple[int, ...]
    folder: str
    micro_batch_size: int | None = None
    activation_checkpointing: bool = False
    keep_rungs: bool = False
    resume: tuple[Pointer, ...] = ()


@dataclass(frozen=True, kw_only=True)
class EvaluateJob:
    """Evaluate the untouched base on every task.

    Attributes:
        predictions: Whether the evaluations tell what the model answered to each sample.
    """

    predictions: bool = False


@dataclass(frozen=True, kw_only=True)
class PointJob:
    """Turn the base into a point, without training; evaluate it on every task, or write its weights.

    Attributes:
        point: What to do.
        members: The weights that it is made of, in the order of `point.members`.
        write_to: The safetensors file for what the point changes, on storage that every worker shares; None
            evaluates the point instead.
        predictions: Whether the evaluations tell what the model answered to each sample.
    """

    point: Point
    members: tuple[TrainedWeights, ...]
    write_to: str | None = None
    predictions: bool = False


@dataclass(frozen=True, kw_only=True)
class ConfirmJob:
    """Evaluate the base or a point on the confirm splits, of which nothing stays with the worker.

    Attributes:
        data: The samples.
        point: What to make of the base; None leaves it as it is.
        members: The weights that the point is made of, in the order of `point.members`.
    """

    data: ConfirmData
    point: Point | None = None
    members: tuple[TrainedWeights, ...] = ()


Job = TrainJob | EvaluateJob | PointJob | ConfirmJob


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a worker group has to say about its open job.

    Attributes:
        step: Optimiser steps done.
        done: Whether the job has ended.
        evaluations: Task -> evaluation at this step.
        metrics: Metrics by their MLflow names (`drift/...`, `train/...`, `cost/...`).
        manifest: The `TrainableManifest.to_dict()` of a train job, with its first report, or of a point.
        checkpoint: Where the tensors of this step lie.
        started_at: Wall-clock time at which the job's first optimiser step began.
        error: Why the job failed, one line; it is then done.
        lost: Whether it failed for what its workers ran on, so that it may go well elsewhere.
        nodes: Addresses of the nodes that its workers run on, without repetition.
    """

    step: int
    done: bool
    evaluations: Mapping[str, Evaluation] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    manifest: Mapping[str, Any] | None = None
    checkpoint: Pointer | None = None
    started_at: float | None = None
    error: str | None = None
    lost: bool = False
    nodes: tuple[str, ...] = ()
