"""StudyConfig: the study file, validated once, with its unit in every field."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from search.settings.config_types import (
    Count,
    Name,
    Names,
    NonNegative,
    Number,
    PathText,
    Positive,
    Section,
)
from search.settings.points_config import PointsConfig
from search.settings.search_config import SearchConfig, check_search, startup_trials
from search.settings.selection_config import FinalistsConfig, SelectionConfig
from search.settings.space_config import LoraConfig, SpaceConfig, check_space
from search.settings.task_config import DataConfig, TaskConfig
from search.settings.task_resolution import resolve
from spaces.own_roles import own_role_map
from spaces.presets import POINT_PRESETS, preset_params
from spaces.recipe import Schedule
from spaces.role_map import RoleMap
from spaces.space import Bounds, RecipeSpace
from trainables.data.tasks import Task


def _whole_above_one(gpus: float) -> float:
    if gpus > 1 and gpus % 1:
        raise ValueError(f"must be at most 1 or a whole number, got {gpus:g}")
    return gpus


def _role_map(values: dict[str, Any]) -> dict[str, Any]:
    own_role_map(values)
    return values


Sharding = Literal["auto", "ddp", "fsdp"]


class ModelConfig(Section):
    """The base model."""

    path: PathText = Field(description="Hugging Face id, local folder, or the embedded model 'tiny-llava'.")
    dtype: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="Type of the weights; in bfloat16 what is trained has masters in fp32.",
    )
    trust_remote_code: bool = Field(
        False, description="Whether code that the model brings may run, which can do whatever you can."
    )
    roles: Annotated[dict[str, Any], AfterValidator(_role_map)] | None = Field(
        None, description="Roles of the parameters of an architecture that is not known, or not as meant."
    )

    @property
    def role_map(self) -> RoleMap | None:
        """The roles as a map, if there are any."""
        return None if self.roles is None else own_role_map(self.roles)


class TrainingConfig(Section):
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
    samples: Count | None = Field(
        None, description="Training samples per target, and per task of replay; null takes all."
    )
    replay: Names | None = Field(
        None, description="Tasks whose training samples are mixed in, as space.replay_ratio says."
    )


class EvaluationConfig(Section):
    """How a rung is evaluated."""

    samples: Count | None = Field(None, description="Samples of the search split per task; null takes all.")
    rung_samples: Count | None = Field(
        None, description="The first of them, that alone count at rungs before the last; null takes all."
    )
    batch_size: Count = Field(64, description="Samples per forward pass.")
    drift_samples: Count = Field(64, description="Samples per task over which the KL divergence is measured.")


class ObjectiveConfig(Section):
    """What the study maximises."""

    forgetting_weight: NonNegative = Field(
        1.0, description="Points of target gain that one point of mean held-out forgetting costs."
    )
    max_forgetting: Number | None = Field(
        None, description="Bound on mean held-out forgetting in points; above it a recipe is infeasible."
    )


class ResourcesConfig(Section):
    """What one trial takes from the cluster; what is null is computed for each subset from its memory."""

    workers_per_trial: Count | None = Field(
        None, description="Ray Train workers that train one trial together; null: computed."
    )
    min_workers: Count | None = Field(
        None,
        description="Workers that a trial may come down to where nodes are lost; null: it waits for others.",
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
        3,
        description="Restarts after dead workers, without a rung in between, before a trial fails.",
    )
    hang_seconds: Positive = Field(
        300.0,
        description="Workers that give no sign of progress for so long are ended and started anew.",
    )


class TrackingConfig(Section):
    """Where MLflow records."""

    uri: str = Field("sqlite:///mlflow.db", description="MLflow tracking URI.")
    experiment: str = Field("recipe-search", description="MLflow experiment.")
    register_weights: Literal["delta", "merged"] | None = Field(
        "delta",
        description="What of the selected model enters MLflow's registry: what was trained, or the whole.",
    )
    registered_model: Name | None = Field(
        None, description="Name of the registered model; null: the study's name."
    )
    carbon_intensity: NonNegative = Field(
        481.0,
        description="Grams of CO2 equivalents per kWh of electricity; by default the world's of 2023.",
    )


class StudyConfig(Section):
    """One study, as its file states it."""

    name: Name = Field(description="Name of the study and of its folder.")
    model: ModelConfig
    tasks: dict[Name, TaskConfig] = Field({}, description="Tasks of your own; embedded ones need no entry.")
    data: DataConfig = DataConfig()
    targets: Names = Field(description="Tasks that the model must learn.")
    held_out: Names = Field(description="Tasks whose skill the model must not lose.")
    space: SpaceConfig
    training: TrainingConfig
    evaluation: EvaluationConfig = EvaluationConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    search: SearchConfig
    points: PointsConfig | None = PointsConfig()
    selection: SelectionConfig = SelectionConfig()
    finalists: FinalistsConfig | None = FinalistsConfig()
    resources: ResourcesConfig = ResourcesConfig()
    tracking: TrackingConfig = TrackingConfig()
    output: PathText = Field("runs", description="Folder under which the study's folder is made.")

    @model_validator(mode="after")
    def _consistent(self) -> StudyConfig:
        both = [task for task in self.targets if task in self.held_out]
        if both:
            raise ValueError(f"held_out: task {both[0]!r} is also listed as a target")
        check_space(self.space)
        self._check_replay()
        self.check_tasks()
        check_search(self.search)
        self._check_rungs()
        if self.search.storage == self.tracking.uri:
            raise ValueError("search.storage: must be another database than tracking.uri's")
        self._check_workers()
        return self

    def _check_rungs(self) -> None:
        pruning, most, early = self.search.pruning, self.evaluation.samples, self.evaluation.rung_samples
        if pruning and pruning.first_rung > self.training.steps:
            raise ValueError(
                f"search.pruning.first_rung: {pruning.first_rung} is beyond "
                f"training.steps {self.training.steps}"
            )
        if early is not None and most is not None and early > most:
            raise ValueError(f"evaluation.rung_samples: {early} is above evaluation.samples {most}")
        if self.points and self.points.earlier_rungs:
            if pruning is None:
                raise ValueError("points.earlier_rungs: without search.pruning a trial has one rung alone")
            if early is not None:
                raise ValueError(
                    f"points.earlier_rungs: with evaluation.rung_samples {early} earlier rungs are not "
                    "evaluated on all samples, which what may be selected must be"
                )

    def _check_replay(self) -> None:
        drawn = max(self.space.replay_ratio) > 0
        if drawn and not self.training.replay:
            raise ValueError(
                "space.replay_ratio: it draws from the tasks of training.replay, and there is none"
            )
        if self.training.replay and not drawn:
            raise ValueError("training.replay: without a space.replay_ratio above 0 nothing is drawn from it")
        for task in self.training.replay or ():
            if task in self.targets:
                raise ValueError(
                    f"training.replay: task {task!r} is a target, whose samples are drawn anyway"
                )

    def check_tasks(self) -> None:
        """Check that the tasks have the splits that the study needs, as far as they are defined here.

        Raises:
            ValueError: One has not; the message names its key.
        """
        scored = (*self.targets, *self.held_out)
        for names, split, needs in (
            (self.targets, "train", "a target needs training samples"),
            (scored, "search", "a target or held-out task needs samples to score"),
            (self.training.replay or (), "train", "a task of training.replay needs training samples"),
        ):
            for name in names:
                task = self.tasks.get(name)
                # What a card adds is not known yet.
                if task is not None and task.card is None and split not in task.splits:
                    raise ValueError(f"tasks.{name}.{split}: {needs}")
        if self.finalists is not None:
            self._check_confirm(scored)

    def _check_confirm(self, scored: tuple[str, ...]) -> None:
        for name in scored:
            task = self.tasks.get(name)
            if task is None or task.card is not None or "confirm" in task.splits:
                continue
            if task.lm_eval is not None:
                raise ValueError(
                    f"tasks.{name}.lm_eval.confirm: the finalists are scored on documents that the search "
                    "never saw, and a share of 0 leaves none; give a share, or train no finalists with "
                    "finalists: null"
                )
            raise ValueError(
                f"tasks.{name}.confirm: the finalists are scored on samples that the search never saw; name "
                f"some, or the same as under tasks.{name}.search, which are then divided by "
                f"tasks.{name}.divide, or train no finalists with finalists: null"
            )

    def _check_workers(self) -> None:
        workers = self.resources.workers_per_trial
        key = "training" if self.space.batch_size is None else "space"
        batch = min(self.recipe_space().batch_size)
        if workers is not None and workers > batch:
            raise ValueError(
                f"resources.workers_per_trial: {workers} workers can't share {key}.batch_size {batch} samples"
            )
        fewest = self.resources.min_workers
        if workers is not None and fewest is not None and fewest > workers:
            raise ValueError(
                f"resources.min_workers: {fewest} is above resources.workers_per_trial {workers}"
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
    def most_points(self) -> int:
        """Most points that are evaluated once the trials have ended; only complete ones have any."""
        if self.points is None:
            return 0
        transforms = len(self.points.alpha) + len(self.points.keep)
        soups = int(self.points.soup is not None and self.search.trials > 1)
        presets = sum(trained in self.queued_presets() for trained, _ in POINT_PRESETS.values())
        return min(self.points.top, self.search.trials) * transforms + soups + presets

    @property
    def finalist_steps(self) -> int:
        """Most optimiser steps that all finalists take together."""
        if self.finalists is None:
            return 0
        return int(self.finalists.budget * self.search.trials * self.training.steps)

    @property
    def startup_trials(self) -> int:
        """Fewest trials, presets included, before the sampler takes over from chance."""
        return startup_trials(self.search)

    def recipe_space(self) -> RecipeSpace:
        """Return the space that the study searches."""
        space, training = self.space, self.training
        lora = space.lora or LoraConfig()
        return RecipeSpace(
            subsets=space.subsets,
            layers=space.layers,
            methods=space.methods,
            learning_rate=Bounds(*space.learning_rate),
            learning_rate_of={key: Bounds(*bounds) for key, bounds in space.learning_rate_of.items()},
            lora_rank=lora.rank,
            lora_alpha=lora.alpha,
            lora_dropout=lora.dropout,
            lora_variant=lora.variant,
            lwf_weight=space.lwf.weight,
            lwf_temperature=space.lwf.temperature,
            l2sp_weight=space.l2sp_weight,
            replay_ratio=space.replay_ratio,
            steps=training.steps,
            batch_size=space.batch_size or (training.batch_size,),
            warmup_ratio=space.warmup_ratio,
            schedule=space.schedule or (training.schedule,),
            weight_decay=space.weight_decay or (training.weight_decay,),
            max_grad_norm=space.max_grad_norm or (training.max_grad_norm,),
        )

    def queued_presets(self) -> dict[str, dict[str, Any]]:
        """Return the presets that are tried first, as parameter values by name; none where switched off."""
        if not self.search.presets:
            return {}
        return preset_params(self.recipe_space(), self.search.preset_learning_rate)

    @property
    def task_names(self) -> dict[str, tuple[str, ...]]:
        """Key that names tasks -> their names."""
        return {
            "targets": self.targets,
            "held_out": self.held_out,
            "training.replay": self.training.replay or (),
        }

    def resolved_tasks(self) -> dict[str, Task]:
        """Return every target and held-out task by name, targets first.

        Raises:
            ValueError: A name is unknown or its definition wrong; one line that names the key or file.
        """
        return self._resolved("targets", "held_out")

    def replay_tasks(self) -> dict[str, Task]:
        """Return the tasks whose training samples are replayed, by name.

        Raises:
            ValueError: As for `resolved_tasks`.
        """
        return self._resolved("training.replay")

    def _resolved(self, *keys: str) -> dict[str, Task]:
        names = {key: self.task_names[key] for key in keys}
        return resolve(names, self.tasks, self.data, confirmed=self.finalists is not None)
