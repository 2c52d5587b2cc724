"""StudyConfig: the study file, validated once, with its unit in every field."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from spaces.presets import preset_params
from spaces.recipe import Schedule
from spaces.space import Bounds, RecipeSpace
from spaces.subsets import parse_subset
from trainables.tasks import FileTask, Metric, Task, resolve_tasks

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def _number(value: Any) -> Any:
    """Accept `1e-4`, which YAML 1.1 reads as a string, and whole numbers where a real one is meant."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return float(value) if type(value) is int else value


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _subset(text: str) -> str:
    """Check an expression; blanks are taken out, so that one subset has one spelling."""
    parse_subset(text)
    return "".join(text.split())


def _distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{twice[0]!r} is listed twice")
    return names


def _ordered(bounds: tuple[float, float]) -> tuple[float, float]:
    low, high = bounds
    if low > high:
        raise ValueError(f"the lower bound {low:g} is above the upper bound {high:g}")
    return bounds


def _plain_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"must be letters, digits, '.', '_' and '-', got {name!r}")
    return name


def _whole_above_one(gpus: float) -> float:
    if gpus > 1 and gpus % 1:
        raise ValueError(f"must be at most 1 or a whole number, got {gpus:g}")
    return gpus


Sharding = Literal["auto", "ddp", "fsdp"]
Number = Annotated[float, BeforeValidator(_number), Field(allow_inf_nan=False)]
Positive = Annotated[Number, Field(gt=0)]
NonNegative = Annotated[Number, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Interval = Annotated[tuple[Positive, Positive], BeforeValidator(_tuple), AfterValidator(_ordered)]
Names = Annotated[tuple[str, ...], BeforeValidator(_tuple), AfterValidator(_distinct), Field(min_length=1)]
Subset = Annotated[str, AfterValidator(_subset)]
# Names become parts of paths and of MLflow's metric names.
Name = Annotated[str, AfterValidator(_plain_name)]


class ModelConfig(_Section):
    """The base model."""

    path: str = Field(description="Hugging Face id, local folder, or the embedded model 'tiny-llava'.")
    dtype: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="Type of the weights; in bfloat16 what is trained has masters in fp32.",
    )


class TaskConfig(_Section):
    """A task of the user's own: one JSON Lines file a split; see `trainables.tasks.FileTask` for a line."""

    train: str | None = Field(None, description="File of training samples; needed by a target.")
    search: str = Field(description="File of the samples that trials are scored on.")
    confirm: str | None = Field(
        None, description="File of samples for a final check; the search never reads it."
    )
    metric: Metric = Field("exact_match", description="How an answer is scored; see trainables/tasks.py.")


class SpaceConfig(_Section):
    """Which recipes may be tried."""

    subsets: Annotated[
        tuple[Subset, ...], BeforeValidator(_tuple), AfterValidator(_distinct), Field(min_length=1)
    ]
    learning_rate: Interval = Field(description="Lowest and highest peak step size, searched on a log scale.")
    learning_rate_of: dict[Subset, Interval] = Field({}, description="Subset -> bounds of its own.")
    warmup_ratio: Annotated[
        tuple[Annotated[Number, Field(ge=0, lt=1)], ...],
        BeforeValidator(_tuple),
        Field(min_length=1),
    ] = Field((0.03,), description="Shares of the steps to warm up over; searched if more than one.")


class TrainingConfig(_Section):
    """What all recipes of the study share."""

    steps: Count = Field(description="Optimiser steps of a trial that is not stopped early.")
    batch_size: Count = Field(description="Samples per optimiser step, over all workers.")
    micro_batch_size: Count | None = Field(
        None, description="Samples per forward pass and worker, gradients being added up; null: computed."
    )
    activation_checkpointing: bool | None = Field(
        None, description="Whether activations are computed again in the backward pass; null: computed."
    )
    schedule: Schedule = Field("cosine", description="Learning rate after the warm-up.")
    weight_decay: NonNegative = Field(0.0, description="AdamW's decoupled weight decay.")
    max_grad_norm: NonNegative = Field(1.0, description="Global L2 norm for clipping gradients; 0 is off.")
    samples: Count | None = Field(None, description="Training samples per target; null takes all.")


class EvaluationConfig(_Section):
    """How a rung is evaluated."""

    samples: Count | None = Field(None, description="Samples of the search split per task; null takes all.")
    batch_size: Count = Field(64, description="Samples per forward pass.")
    drift_samples: Count = Field(64, description="Samples per task over which the KL divergence is measured.")


class ObjectiveConfig(_Section):
    """What the study maximises."""

    forgetting_weight: NonNegative = Field(
        1.0, description="Points of target gain that one point of mean held-out forgetting costs."
    )
    max_forgetting: Number | None = Field(
        None, description="Bound on mean held-out forgetting in points; above it a recipe is infeasible."
    )


class PruningConfig(_Section):
    """Asynchronous successive halving (ASHA) over rungs at fixed absolute optimiser steps."""

    first_rung: Count = Field(description="Optimiser steps before the first decision.")
    reduction_factor: Annotated[int, Field(ge=2)] = Field(
        2, description="One in this many trials goes on at each rung; rungs are this factor apart."
    )


class SearchConfig(_Section):
    """How the space is searched."""

    trials: Count = Field(description="Number of trials, presets included.")
    seed: Annotated[int, Field(ge=0, lt=2**32)] = Field(
        0, description="Seed of the sampler and of every trial."
    )
    presets: bool = Field(
        True, description="Queue the published recipes first; they count as start-up trials."
    )
    preset_learning_rate: Positive | None = Field(
        None, description="Learning rate of the presets; null takes the middle of each subset's bounds."
    )
    pruning: PruningConfig | None = Field(None, description="Early stopping of weak trials; null is none.")
    storage: str | None = Field(
        None, description="Database of the Optuna study; null keeps it in the study's folder."
    )


class ResourcesConfig(_Section):
    """What one trial takes from the cluster; what is null is computed for each subset from its memory."""

    workers_per_trial: Count | None = Field(
        None, description="Ray Train workers that train one trial together; null: computed."
    )
    cpus_per_worker: Positive = Field(1.0, description="CPU cores per worker.")
    gpus_per_worker: Annotated[NonNegative, AfterValidator(_whole_above_one)] | None = Field(
        None, description="GPUs per worker, below 1 a share of one; null: computed, none where there is none."
    )
    sharding: Sharding = Field(
        "auto", description="Whether several workers hold replicas (ddp) or shards of the model (fsdp)."
    )
    gpu_memory_gib: Positive | None = Field(
        None, description="Memory of the cluster's smallest GPU in GiB; null: asked of the GPUs."
    )
    max_concurrent_trials: Count | None = Field(
        None, description="Bound on trials at a time; null: the cluster's."
    )
    max_idle_groups: Annotated[int, Field(ge=0)] | None = Field(
        None,
        description="Worker groups kept ready while no trial needs them; null: as many as there is room for.",
    )
    max_failures: Annotated[int, Field(ge=0)] = Field(
        3, description="Restarts of a worker group after a dead worker before its trial fails."
    )


class TrackingConfig(_Section):
    """Where MLflow records."""

    uri: str = Field("sqlite:///mlflow.db", description="MLflow tracking URI.")
    experiment: str = Field("recipe-search", description="MLflow experiment.")


class StudyConfig(_Section):
    """One study, as its file states it."""

    name: Name = Field(description="Name of the study and of its folder.")
    model: ModelConfig
    tasks: dict[Name, TaskConfig] = Field({}, description="Tasks of your own; embedded ones need no entry.")
    targets: Names = Field(description="Tasks that the model must learn.")
    held_out: Names = Field(description="Tasks whose skill the model must not lose.")
    space: SpaceConfig
    training: TrainingConfig
    evaluation: EvaluationConfig = EvaluationConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    search: SearchConfig
    resources: ResourcesConfig = ResourcesConfig()
    tracking: TrackingConfig = TrackingConfig()
    output: str = Field("runs", description="Folder under which the study's folder is made.")

    @model_validator(mode="after")
    def _consistent(self) -> StudyConfig:
        both = [task for task in self.targets if task in self.held_out]
        if both:
            raise ValueError(f"held_out: task {both[0]!r} is also listed as a target")
        for task in self.targets:
            if task in self.tasks and self.tasks[task].train is None:
                raise ValueError(f"tasks.{task}.train: a target needs training samples")
        for subset in self.space.learning_rate_of:
            if subset not in self.space.subsets:
                raise ValueError(f"space.learning_rate_of: {subset!r} is not among space.subsets")
        if self.search.pruning and self.search.pruning.first_rung > self.training.steps:
            raise ValueError(
                f"search.pruning.first_rung: {self.search.pruning.first_rung} is beyond "
                f"training.steps {self.training.steps}"
            )
        if self.search.storage == self.tracking.uri:
            raise ValueError("search.storage: must be another database than tracking.uri's")
        self._check_workers()
        return self

    def _check_workers(self) -> None:
        workers, batch = self.resources.workers_per_trial, self.training.batch_size
        if workers is not None and workers > batch:
            raise ValueError(
                f"resources.workers_per_trial: {workers} workers can't share "
                f"training.batch_size {batch} samples"
            )
        if workers == 1 and self.resources.sharding == "fsdp":
            raise ValueError("resources.sharding: fsdp spreads the model over several workers, not 1")

    @property
    def folder(self) -> Path:
        """The study's own folder."""
        return Path(self.output) / self.name

    @property
    def rungs(self) -> tuple[int, ...]:
        """Optimiser steps at which a trial is evaluated and reported, rising; the last is the end."""
        steps = self.training.steps
        if self.search.pruning is None:
            return (steps,)
        rung, factor = self.search.pruning.first_rung, self.search.pruning.reduction_factor
        rungs = []
        while rung < steps:
            rungs.append(rung)
            rung *= factor
        return (*rungs, steps)

    @property
    def startup_trials(self) -> int:
        """Fewest trials, presets included, before the sampler's model takes over from chance."""
        return max(1, min(10, self.search.trials // 3))

    def recipe_space(self) -> RecipeSpace:
        """Return the space that the study searches."""
        return RecipeSpace(
            subsets=self.space.subsets,
            learning_rate=Bounds(*self.space.learning_rate),
            learning_rate_of={s: Bounds(*bounds) for s, bounds in self.space.learning_rate_of.items()},
            warmup_ratio=self.space.warmup_ratio,
            steps=self.training.steps,
            batch_size=(self.training.batch_size,),
            schedule=(self.training.schedule,),
            weight_decay=(self.training.weight_decay,),
            max_grad_norm=(self.training.max_grad_norm,),
        )

    def queued_presets(self) -> dict[str, dict[str, Any]]:
        """Return the presets that are tried first, as parameter values by name; none where switched off."""
        if not self.search.presets:
            return {}
        return preset_params(self.recipe_space(), self.search.preset_learning_rate)

    def resolved_tasks(self) -> dict[str, Task]:
        """Return every target and held-out task by name, targets first.

        Raises:
            ValueError: A name is neither defined in the study file nor embedded; one line that names the key.
        """
        own = {
            name: FileTask(
                name=name,
                metric=task.metric,
                train=task.train,
                search=task.search,
                confirm=task.confirm,
            )
            for name, task in self.tasks.items()
        }
        resolved: dict[str, Task] = {}
        for key, names in (("targets", self.targets), ("held_out", self.held_out)):
            try:
                resolved |= resolve_tasks(names, own)
            except ValueError as error:
                raise ValueError(f"{key}: {error}") from None
        return resolved
