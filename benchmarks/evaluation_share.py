"""Evaluation's share of a trial of the quickstart, with all samples or fewer at rungs before the last."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

import torch
from rich.console import Console

from benchmarks.machine import write_results
from search.data.inputs import load_data
from search.settings.study_file import load_study
from spaces.recipe import Recipe
from trainables.workers.jobs import TrainJob, WorkerSetup
from trainables.workers.workbench import Workbench

STUDY = Path(__file__).parents[1] / "examples" / "quickstart.yaml"
SUBSETS = ("full", "gate_up", "projector")


def evaluation_share(subset: str, folder: Path, rung_samples: int | None) -> dict[str, float]:
    """Return evaluation's share of the CPU time of a trial of the quickstart, up to each of its rungs.

    Args:
        subset: What is trained.
        folder: Where its checkpoints go.
        rung_samples: Samples per task that are scored before the last rung; None scores all.
    """
    config = load_study(STUDY)
    worker = WorkerSetup(
        model=config.model.path,
        dtype=config.model.dtype,
        tasks=load_data(config).tasks,
        eval_batch_size=config.evaluation.batch_size,
        drift_samples=config.evaluation.drift_samples,
        threads=1,
        rung_samples=rung_samples,
    )
    bench = Workbench(worker)
    bench.evaluator.prepare_for_drift()
    recipe = Recipe(
        subset=subset, learning_rate=1e-4, steps=config.training.steps, batch_size=config.training.batch_size
    )
    job = TrainJob(trial_id="x", recipe=recipe, seed=0, rungs=config.rungs, folder=str(folder))
    shares = {}
    # A trial asks for wall-clock time, which what else runs on the machine would stretch here or there.
    with patch("time.perf_counter", time.process_time):
        for report in bench.run(job):
            train, evaluation = (report.metrics[f"cost/{kind}_seconds"] for kind in ("train", "eval"))
            shares[str(report.step)] = round(evaluation / (train + evaluation), 3)
    return shares


def main() -> int:
    """Measure, print and write the shares."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rung-samples", type=int, default=64)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    console = Console(highlight=False)
    shares: dict[str, dict[str, dict[str, float]]] = {subset: {} for subset in SUBSETS}
    with tempfile.TemporaryDirectory() as temporary:
        for subset in SUBSETS:
            for samples in (None, arguments.rung_samples):
                folder = Path(temporary) / f"{subset}-{samples}"
                shares[subset][str(samples or "all")] = evaluation_share(subset, folder, samples)
                console.print(f"{subset}, {samples or 'all'} samples per task: {shares[subset]}")
    what = "evaluation's share of CPU time up to each step, by subset and samples at rungs before the last"
    console.print(f"written to {write_results('evaluation_share', {'unit': what, **shares})}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
