"""Turn-round: last report of a trial consumed -> first optimiser step of the next one started.

Two ways to run the same trials one after the other under Tune, in one run, alternating:

- warm: a worker group that serves one trial after another, as a study does;
- cold: one `TorchTrainer.fit()` in each trial, the documented pattern, with Tune's report callback.

Both do the same work with the same `Workbench`. The driver takes the time at which it consumes a trial's last
report; the worker sends the time at which its first optimiser step began. The cold side's figure holds, as it
must, loading and one evaluation of the base (100 samples) per trial; the warm side's leaves out scoring and
writing per-sample results, which a study's own `cost/turn_round_seconds` includes.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import ray
import ray.train
from ray import tune
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer
from ray.tune.integration.ray_train import TuneReportCallback
from rich.console import Console
from rich.table import Table

from benchmarks.machine import spread, write_results
from search.clusters.cluster import connected
from search.clusters.devices import DRIVER_RESOURCE
from spaces.recipe import Recipe
from trainables.data.tasks import EmbeddedTask
from trainables.metrics import EXACT_MATCH
from trainables.pool import ON_HEAD, WorkerPool
from trainables.trainable import RecipeTrainable, TrialContext
from trainables.workers.execution import Execution, GroupShape
from trainables.workers.jobs import TaskData, TrainJob, WorkerSetup
from trainables.workers.workbench import Workbench

STEPS = 4
SUBSETS = ("sa_proj", "gate_up", "mlp", "llm")


class Clock(tune.Callback):
    """Notes when the driver consumes reports, and each trial's first step."""

    def __init__(self) -> None:
        self.turn_rounds: list[float] = []
        self._last_consumed: float | None = None

    def on_trial_result(
        self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **_: Any
    ) -> None:
        """Take the time of a report; a trial has one."""
        if self._last_consumed is not None:
            self.turn_rounds.append(result["started_at"] - self._last_consumed)
        self._last_consumed = time.time()


class TimedTrainable(RecipeTrainable):
    """The study's own trainable, whose result carries the time of its first step."""

    def _result(self, report: Any) -> dict[str, Any]:
        return {"started_at": report.started_at, "done": report.done, "score": report.metrics["train/loss"]}


def setup() -> WorkerSetup:
    """Return a study's worth of data on the embedded model, small enough to time what is around it."""
    tasks = {name: EmbeddedTask(name=name) for name in ("counting", "digits")}
    data = (
        TaskData(
            name="counting",
            role="target",
            metric=EXACT_MATCH,
            train=tuple(tasks["counting"].load("train", 500)),
            search=tuple(tasks["counting"].load("search", 50)),
        ),
        TaskData(
            name="digits",
            role="held_out",
            metric=EXACT_MATCH,
            train=(),
            search=tuple(tasks["digits"].load("search", 50)),
        ),
    )
    return WorkerSetup(
        model="tiny-llava", dtype="float32", tasks=data, eval_batch_size=50, drift_samples=16, threads=1
    )


def recipe(config: dict[str, Any]) -> Recipe:
    """Return the trial's recipe."""
    return Recipe(subset=config["subset"], learning_rate=1e-4, steps=STEPS, batch_size=8)


def warm(worker_setup: WorkerSetup, folder: Path, trials: int) -> list[float]:
    """Run trials in one warm group; return the turn-rounds between them."""
    execution = Execution(shape=GroupShape(workers=1, cpus=1, gpus=0))
    pool = ray.remote(num_cpus=0, max_concurrency=1000, resources=ON_HEAD)(WorkerPool).remote(
        worker_setup, [{"CPU": 2}], str(folder / "ray"), 0
    )
    context = TrialContext(
        pool=pool,
        executions=dict.fromkeys(SUBSETS, execution),
        recipe=recipe,
        score=dict,
        seed=0,
        rungs=(STEPS,),
        folder=str(folder / "trials"),
    )
    try:
        return _tune(tune.with_parameters(TimedTrainable, context=context), folder, trials)
    finally:
        ray.get(pool.close.remote())


def cold(worker_setup: WorkerSetup, folder: Path, trials: int) -> list[float]:
    """Run trials with a `TorchTrainer.fit()` in each; return the turn-rounds between them."""

    def train_loop(config: dict[str, Any]) -> None:
        workbench = Workbench(ray.get(config["setup"]))
        job = TrainJob(
            trial_id=config["id"], recipe=recipe(config), seed=0, rungs=(STEPS,), folder=config["folder"]
        )
        for report in workbench.run(job):
            ray.train.report({"started_at": report.started_at, "score": report.metrics["train/loss"]})

    setup_ref = ray.put(worker_setup)

    def trial(config: dict[str, Any]) -> None:
        trial_id = tune.get_context().get_trial_id()
        TorchTrainer(
            train_loop,
            train_loop_config={
                **config,
                "setup": setup_ref,
                "id": trial_id,
                "folder": str(folder / "trials" / trial_id),
            },
            scaling_config=ScalingConfig(num_workers=1, resources_per_worker={"CPU": 1}),
            torch_config=TorchConfig(backend="gloo"),
            run_config=RunConfig(
                name=trial_id, storage_path=str(folder / "train"), callbacks=[TuneReportCallback()]
            ),
        ).fit()

    return _tune(trial, folder, trials)


def _tune(trainable: Any, folder: Path, trials: int) -> list[float]:
    clock = Clock()
    tune.Tuner(
        tune.with_resources(trainable, tune.PlacementGroupFactory([{DRIVER_RESOURCE: 1}])),
        param_space={"subset": tune.grid_search([SUBSETS[i % len(SUBSETS)] for i in range(trials)])},
        tune_config=tune.TuneConfig(max_concurrent_trials=1, reuse_actors=True, metric="score", mode="min"),
        run_config=tune.RunConfig(
            name="tune", storage_path=str(folder / "tune"), callbacks=[clock], verbose=0
        ),
    ).fit()
    return clock.turn_rounds


def main() -> int:
    """Measure both ways, print the table and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=2, help="alternations of warm and cold")
    parser.add_argument("--warm-trials", type=int, default=9, help="trials per warm round")
    parser.add_argument("--cold-trials", type=int, default=4, help="trials per cold round")
    arguments = parser.parse_args()
    console = Console(highlight=False)
    worker_setup = setup()
    measured: dict[str, list[float]] = {"warm": [], "cold": []}
    with tempfile.TemporaryDirectory() as temporary, connected():
        for turn in range(arguments.rounds):
            for name, way, trials in (
                ("warm", warm, arguments.warm_trials),
                ("cold", cold, arguments.cold_trials),
            ):
                found = way(worker_setup, Path(temporary) / f"{name}{turn}", trials)
                measured[name] += found
                console.print(f"round {turn + 1} {name}: {', '.join(f'{t:.3f}' for t in found)} s")
    if not all(measured.values()):
        print("error: a side measured nothing", file=sys.stderr)
        return 1
    figures = {name: spread(values) for name, values in measured.items()}
    ratio = figures["cold"]["median"] / figures["warm"]["median"]
    table = Table("turn-round in seconds", "n", "median", "min", "max", box=None, header_style="bold")
    table.add_row("warm worker group", *(str(value) for value in figures["warm"].values()))
    table.add_row("one TorchTrainer.fit() per trial", *(str(value) for value in figures["cold"].values()))
    console.print(table)
    console.print(f"ratio of medians: {ratio:.0f}")
    path = write_results(
        "turn_round",
        {"unit": "seconds", **figures, "ratio_of_medians": round(ratio, 1), "samples": measured},
    )
    console.print(f"written to {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
