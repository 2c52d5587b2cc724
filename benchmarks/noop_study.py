"""A study whose training is a no-op: what is left is what Tune and our own driver do for each trial."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from ray import tune
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import ConcurrencyLimiter, SearchGenerator
from rich.console import Console

from benchmarks.simulated_tune import SimulatedActors, drive
from search.config import StudyConfig
from search.objective import Objective, score_metrics
from search.phases.progress import StudyProgress
from search.phases.recorder import TrialRecorder
from search.records.ended_weights import EndedWeights
from search.results import TrialResult
from search.sampler import RecipeSampler
from search.scheduler import StudyScheduler, make_scheduler
from search.stores.optuna_store import open_storage
from search.stores.run_update import RunUpdate
from search.tracking import StudyTracker
from trainables.checkpoint import MANIFEST_FILE
from trainables.scoring.evaluation import Evaluation

TARGETS = ("counting", "clock")
HELD_OUT = ("colour", "shape", "digits", "letters")
SUBSETS = ("full", "llm", "vision", "projector", "sa_proj", "mlp", "gate_up", "sa_gate_up")
SAMPLES = 100
_WEIGHTS = "/shared/runs/noop/trials/trial/checkpoint.safetensors"
BASE = {name: 20.0 for name in TARGETS} | {name: 80.0 for name in HELD_OUT}


def study_config(
    trials: int, folder: Path, storage: str | None = None, search: Mapping[str, Any] = MappingProxyType({})
) -> StudyConfig:
    """Return a study of eight subsets with rungs at 25, 50 and 100 steps; `search` adds to that section."""
    return StudyConfig.model_validate(
        {
            "name": "noop",
            "model": {"path": "tiny-llava"},
            "targets": list(TARGETS),
            "held_out": list(HELD_OUT),
            "space": {
                "subsets": list(SUBSETS),
                "learning_rate": [1e-5, 1e-2],
            },
            "training": {"steps": 100, "batch_size": 8},
            "search": {
                "trials": trials,
                "pruning": {"first_rung": 25, "reduction_factor": 2},
                "storage": storage,
                **search,
            },
            "tracking": {"uri": f"sqlite:///{folder}/mlflow.db", "experiment": "noop"},
            "output": str(folder / "runs"),
        }
    )


def objective(config: StudyConfig) -> Objective:
    """Return the objective over a base of 20 points on targets and 80 on held-out tasks."""
    return Objective(
        base=BASE,
        targets=config.targets,
        held_out=config.held_out,
        forgetting_weight=config.objective.forgetting_weight,
        max_forgetting=config.objective.max_forgetting,
    )


def evaluations(learning_rate: float, progress: float, seed: int) -> dict[str, Evaluation]:
    """Return what a recipe would score: it gains most at 1e-3, and loses more with the rate."""
    random = np.random.default_rng(seed)
    distance = math.log10(learning_rate) + 3
    gained = 50 * progress * math.exp(-distance * distance)
    lost = 10 * progress * max(0.0, distance + 1)
    expected = {name: BASE[name] + gained for name in TARGETS} | {
        name: BASE[name] - lost for name in HELD_OUT
    }
    return {
        name: Evaluation(task=name, scores=tuple(100.0 * (random.random(SAMPLES) < value / 100)))
        for name, value in expected.items()
    }


class NoopTrainable(tune.Trainable):
    """Answers at once with a result of the form that `RecipeTrainable`'s have, and a pointer to save."""

    # Not `tune.with_parameters`, which needs Ray to run.
    _context: Mapping[str, Any]

    def setup(self, config: dict[str, Any]) -> None:
        """Begin the first trial."""
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin the next trial."""
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Return the next rung's result."""
        step = self._context["rungs"][self._rung]
        self._rung += 1
        rate = self.config["learning_rate"]
        scored = evaluations(rate, step / 100, seed=int(rate * 1e12) % 2**32)
        metrics = {**self._context["score"](scored), **COSTS}
        metrics["cost/train_flops"] *= SHARES[self.config["subset"]] * step / 100
        if self._rung == 1 and self._context["folder"] is not None:
            folder = Path(self._context["folder"]) / self.config["trial_id"]
            folder.mkdir(parents=True, exist_ok=True)
            (folder / MANIFEST_FILE).write_text(json.dumps(MANIFEST))
        return {
            "score": metrics["score"],
            "held_out_forgetting": metrics["held_out_forgetting"],
            "step": step,
            "progress": step / 100,
            "done": step == 100,
            "metrics": metrics,
            "weights": _WEIGHTS,
            "checkpoint": {"path": _WEIGHTS, "sha256": "0" * 64, "step": step},
            "nodes": ["10.0.0.1"],
        }

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Write a pointer."""
        (Path(checkpoint_dir) / "pointer.json").write_text('{"path": "somewhere", "step": 25}')

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing is ever loaded."""

    def _begin(self, config: dict[str, Any]) -> None:
        self.config = config
        self._rung = 0


# As many metrics and manifest entries as a real trial has.
COSTS = {
    "drift/kl_target": 0.1,
    "drift/kl_held_out": 0.02,
    "drift/number_token_bias": 0.0,
    "train/loss": 1.0,
    "cost/train_seconds": 10.0,
    "cost/eval_seconds": 2.0,
    "cost/gpu_seconds": 12.0,
    "cost/peak_memory_bytes": 1e10,
    "cost/train_flops": 1e15,
    "cost/trainable_parameters": 1e9,
    "cost/turn_round_seconds": 0.1,
}
# Of full tuning's FLOPs, by subset.
SHARES = dict(zip(SUBSETS, (1.0, 0.9, 0.6, 0.4, 0.7, 0.8, 0.7, 0.8), strict=True))
MANIFEST = {
    "subset": "gate_up",
    "parameters": 1_000_000,
    "bytes": 4_000_000,
    "names": {f"model.layers.{i}.mlp.gate_proj.weight": [1024, 1024] for i in range(64)},
}


class NoopStudy:
    """One no-op study, in two ways over simulated actors: with all that we add to Tune, and Tune alone.

    Args:
        folder: Takes the study's files.
        trials: Trials of the study.
        concurrency: Trials at a time.
        storage: Address of an Optuna database, prepared, or None for the journal file.
        search: What the study's section `search` has besides.
    """

    def __init__(
        self,
        folder: Path,
        *,
        trials: int,
        concurrency: int,
        storage: str | None = None,
        search: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.config = study_config(trials, folder, storage, search)
        self.concurrency = concurrency
        self.objective = objective(self.config)
        self.results = 0
        self.trials: tuple[TrialResult, ...] = ()
        self.seconds = 0.0

    def ours(self) -> SimulatedActors:
        """Run with our sampler, recorder and display, and an MLflow record that is queued but not written.

        Writing is a thread's of its own, which `benchmarks.scale mlflow` measures apart.
        """
        sampler, scheduler = self.sampler(), StudyScheduler(self.scheduler())
        recorder = self.recorder(_Unwritten("sqlite:///nowhere", "noop"), sampler, scheduler)
        actors = drive(
            self._trainable(self.folder / "trials"),
            search=SearchGenerator(ConcurrencyLimiter(sampler, max_concurrent=self.concurrency)),
            scheduler=scheduler,
            callbacks=[recorder],
            trials=self.config.search.trials,
            folder=self.folder / "ray",
        )
        self.trials = recorder.results
        self.results = sum(len(trial.rungs) for trial in self.trials)
        return actors

    def bare(self) -> SimulatedActors:
        """Run with Tune's random search, the same scheduler and nothing else."""
        counter = _Counter()
        space = self.config.space
        actors = drive(
            self._trainable(None),
            search=tune.search.BasicVariantGenerator(max_concurrent=self.concurrency),
            scheduler=self.scheduler(),
            callbacks=[counter],
            trials=self.config.search.trials,
            folder=self.folder / "ray",
            config={
                "subset": tune.choice(list(space.subsets)),
                "learning_rate": tune.loguniform(*space.learning_rate),
            },
        )
        self.results = counter.results
        return actors

    def scheduler(self) -> TrialScheduler:
        """Return the study's scheduler."""
        search = self.config.search
        return make_scheduler(
            search.pruning, self.config.training.steps, search.objectives, self.objective.violation
        )

    def sampler(self) -> RecipeSampler:
        """Return the study's sampler."""
        return RecipeSampler(
            self.config.recipe_space(),
            presets=self.config.queued_presets(),
            violation=self.objective.violation,
            storage=open_storage(self.config.search.storage, self.folder / "optuna.journal"),
            study_name="noop",
            seed=0,
            startup_trials=self.config.startup_trials,
            trials=self.config.search.trials,
            objectives=self.config.search.objectives,
            sampler=self.config.search.sampler,
        )

    def recorder(
        self, tracker: StudyTracker, sampler: RecipeSampler, scheduler: StudyScheduler
    ) -> TrialRecorder:
        """Return the study's recorder, with a live display that nobody sees."""
        screen = Console(file=io.StringIO(), force_terminal=True, width=120)
        return TrialRecorder(
            recipe=self.config.recipe_space().recipe,
            folder=self.folder,
            tracker=tracker,
            progress=StudyProgress(self.config.search.trials, screen),
            reclaim=lambda trial_id: None,
            queue=sampler,
            has_stopped=scheduler.has_stopped,
            weights=EndedWeights(),
            max_losses=0,
        )

    def _trainable(self, folder: Path | None) -> Any:
        context = {
            "rungs": self.config.rungs,
            "score": lambda scored: score_metrics(scored, objective=self.objective),
            "folder": None if folder is None else str(folder),
        }
        return type("BoundNoopTrainable", (NoopTrainable,), {"_context": context})


class _Unwritten(StudyTracker):
    def _submit(self, update: RunUpdate, once: str | None = None) -> None:
        pass


class _Counter(tune.Callback):
    results = 0

    def on_trial_result(self, **info: Any) -> None:
        self.results += 1
