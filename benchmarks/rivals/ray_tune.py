"""Ray Tune with OptunaSearch and ASHA, one `TorchTrainer.fit()` per trial with the Trainer inside.

It follows Ray's guides to hyperparameter tuning with Ray Train and to Transformers, and does what helps
beyond them: data is encoded once and shared through the object store, trials take no CPU beside their
worker's, reports are polled ten times a second, and Ray's own report callback keeps one checkpoint per trial.
"""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path
from typing import Any

import ray
import torch
from optuna.samplers import TPESampler
from ray import tune
from ray.air.integrations.mlflow import MLflowLoggerCallback
from ray.train import CheckpointConfig, RunConfig, ScalingConfig
from ray.train.huggingface.transformers import RayTrainReportCallback, prepare_trainer
from ray.train.torch import TorchConfig, TorchTrainer
from ray.tune.integration.ray_train import TuneReportCallback
from ray.tune.schedulers import AsyncHyperBandScheduler
from ray.tune.search.optuna import OptunaSearch

from benchmarks.rivals.hf_trainer import (
    GenerateScorer,
    RecipeTrainer,
    Rungs,
    freeze_all_but,
    load_tokenizer,
    training_arguments,
)
from benchmarks.rivals.options import Options, parse
from benchmarks.rivals.problem import Problem
from benchmarks.rivals.trace import Reported, append, now

AT_A_TIME = 2
METRIC = "eval_score"
_DRIVER = "train_driver"


def train_worker(config: dict[str, Any]) -> None:
    """Train one recipe in a Ray Train worker; report score and checkpoint at each rung."""
    torch.set_num_threads(1)
    problem, scorer = ray.get(config["shared"])
    recipe = problem.recipe(config["subset"], config["learning_rate"])
    with tempfile.TemporaryDirectory() as folder:
        trainer = RecipeTrainer(
            problem,
            scorer,
            Rungs(problem.rungs, saves=True),
            model=freeze_all_but(problem.base_model(), recipe),
            args=training_arguments(problem, Path(folder), config["seed"], recipe.learning_rate),
            processing_class=scorer.tokenizer,
            callbacks=[RayTrainReportCallback()],
        )
        prepare_trainer(trainer).train()


class Tracer(tune.Callback):
    """Writes the trace as reports reach the driver."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._numbers: dict[str, int] = {}

    def on_trial_result(
        self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **_: Any
    ) -> None:
        """Note a report."""
        number = self._numbers.setdefault(trial.trial_id, len(self._numbers))
        append(
            self._file,
            Reported(
                at=now(),
                trial=number,
                subset=trial.config["subset"],
                learning_rate=trial.config["learning_rate"],
                step=result["step"],
                score=result[METRIC],
                started_at=result["eval_started_at"],
            ),
        )


def start_ray() -> None:
    """Start Ray as `ray.init()` does; its state API, which frees what a stopped trial held, finds this one.

    Where other clusters run on the machine that API does not know whose it is, and stopped trials would keep
    their worker's CPU.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ["RAY_GCS_SERVER_PORT"] = str(port)
    address = f"{ray.util.get_node_ip_address()}:{port}"
    ray.init(
        address="local",
        num_cpus=AT_A_TIME,
        resources={_DRIVER: AT_A_TIME},
        runtime_env={"env_vars": {"RAY_ADDRESS": address}},
    )


def search(options: Options) -> None:
    """Run the search."""
    torch.set_num_threads(1)
    problem = Problem.load(options.study)
    scorer = GenerateScorer(problem, load_tokenizer(problem))
    scorer.measure_base(problem.base_model())
    start_ray()
    shared = ray.put((problem, scorer))
    storage = options.folder / "ray"

    def trial(config: dict[str, Any]) -> None:
        TorchTrainer(
            train_worker,
            train_loop_config={**config, "shared": shared, "seed": options.seed},
            scaling_config=ScalingConfig(num_workers=1, resources_per_worker={"CPU": 1}),
            torch_config=TorchConfig(backend="gloo"),
            run_config=RunConfig(
                name=f"train-{tune.get_context().get_trial_id()}",
                storage_path=str(storage),
                checkpoint_config=CheckpointConfig(num_to_keep=1),
                callbacks=[TuneReportCallback()],
            ),
        ).fit()

    tune.Tuner(
        tune.with_resources(trial, tune.PlacementGroupFactory([{_DRIVER: 1}])),
        param_space={
            "subset": tune.choice(list(problem.subsets)),
            "learning_rate": tune.loguniform(*problem.bounds),
        },
        tune_config=tune.TuneConfig(
            metric=METRIC,
            mode="max",
            num_samples=options.trials,
            max_concurrent_trials=AT_A_TIME,
            search_alg=OptunaSearch(
                sampler=TPESampler(multivariate=True, constant_liar=True, seed=options.seed),
                metric=METRIC,
                mode="max",
            ),
            scheduler=AsyncHyperBandScheduler(
                time_attr="step",
                grace_period=problem.rungs[0],
                reduction_factor=problem.reduction_factor,
                max_t=problem.steps,
            ),
            time_budget_s=options.limit,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(storage),
            callbacks=[
                Tracer(options.trace),
                MLflowLoggerCallback(
                    tracking_uri=f"sqlite:///{options.folder / 'mlflow.db'}", experiment_name="rivals"
                ),
            ],
            verbose=0,
        ),
    ).fit()
    ray.shutdown()


if __name__ == "__main__":
    # Set before workers start: the default looks for reports every two seconds.
    os.environ["RAY_TRAIN_HEALTH_CHECK_INTERVAL_S"] = "0.1"
    search(parse(__doc__)[0])
