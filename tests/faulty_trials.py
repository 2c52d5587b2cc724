"""A trial that something happens to, and the same one undisturbed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from ray import tune
from safetensors.torch import load_file
from tiny_models import setup, task, train_job

from search.objective import Objective, score_metrics
from spaces.space import Bounds, RecipeSpace
from trainables.metrics import MetricSpec
from trainables.trainable import RecipeTrainable, TrialContext
from trainables.workers.execution import Execution, GroupShape
from trainables.workers.jobs import Report, WorkerSetup
from trainables.workers.workbench import Workbench

# A few steps, many, and one more with a long evaluation: in each a fault meets something else.
RUNGS = (2, 300, 301)
SPACE = RecipeSpace(subsets=("full",), learning_rate=Bounds(1e-4, 1e-2), steps=RUNGS[-1], batch_size=(4,))
CONFIG: dict[str, Any] = {"subset": "full", "learning_rate": 1e-3, "preset": None}
OBJECTIVE = Objective(base={"easy": 0.0, "kept": 0.0}, targets=("easy",), held_out=("kept",))


def worker_setup(base: Path) -> WorkerSetup:
    """Return tasks whose evaluation takes long at a trial's last rung alone."""
    written = task("kept", "held_out", n=480, metric=MetricSpec("normalized_exact_match"))
    tasks = (task("easy", "target", answers=("yes",)), written)
    return replace(setup(base, tasks), rung_samples=3)


def undisturbed_reports(base: Path, folder: Path) -> list[Report]:
    """Run the same trial in this process, on a model that was just loaded."""
    job = train_job(folder, rungs=RUNGS, learning_rate=CONFIG["learning_rate"])
    return list(Workbench(worker_setup(base)).run(replace(job, keep_rungs=True)))


def make(pool: Any, folder: Path, execution: Execution | None = None) -> Any:
    """Return the trial `t-1`, as Tune would have it in a process."""
    return trainable(pool, folder, execution)({**CONFIG, "trial_id": "t-1"})


def trainable(pool: Any, folder: Path, execution: Execution | None = None) -> Any:
    """Return the class of which Tune makes trials."""
    context = TrialContext(
        pool=pool,
        executions=dict.fromkeys(SPACE.subsets, execution or Execution(shape=GroupShape())),
        recipe=SPACE.recipe,
        score=partial(score_metrics, objective=OBJECTIVE),
        seed=3,
        rungs=RUNGS,
        folder=str(folder),
        keep_rungs=True,
    )
    return tune.with_parameters(RecipeTrainable, context=context)


def assert_same(results: Sequence[Mapping[str, Any]], reports: Sequence[Report]) -> None:
    """Check metrics, scores and weights of every rung."""
    for result, report in zip(results, reports, strict=True):
        metrics = {k: v for k, v in result["metrics"].items() if not k.startswith("cost/")}
        expected = score_metrics(report.evaluations, objective=OBJECTIVE)
        expected |= {k: v for k, v in report.metrics.items() if not k.startswith("cost/")}
        assert metrics == expected
        for name in ("cost/train_flops", "cost/full_train_flops", "cost/micro_batch_size"):
            assert result["metrics"][name] == report.metrics[name]
        assert (result["step"], result["done"]) == (report.step, report.done)
        assert report.checkpoint is not None
        tuned, other = load_file(result["weights"]), load_file(report.checkpoint.path)
        assert set(tuned) == set(other)
        assert all(torch.equal(tuned[name], other[name]) for name in other)
