"""Make a table: train every recipe of a grid on every seed, in the project's own warm worker groups.

    python -m benchmarks.recipe_table.produce tiny-llava --hours 2    # as far as it comes in two hours
    python -m benchmarks.recipe_table.produce tiny-llava --write      # store what there is

Each training that has ended is a file under `.cache/recipe_table/`; a production that was broken off goes on
with those that are missing there and in the stored table. Nothing else is kept: no weights, no MLflow record.
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from benchmarks.recipe_table.grid import GRIDS, ROOT, Cell, Grid, grid_of
from benchmarks.recipe_table.stored import take_over
from benchmarks.recipe_table.trainings import Trained, TrainingFiles, values_of
from benchmarks.recipe_table.writing import write_table
from search.clusters.warm_cluster import open_pool, placed, started
from search.config import StudyConfig
from search.phases.base import measure_base
from search.phases.leased_jobs import none_lost, run_jobs
from search.planning.placement import Placement
from search.planning.preparation import Prepared, prepare
from search.records.versions import versions
from search.settings.study_file import load_study, plain_values
from trainables.workers.execution import GroupShape
from trainables.workers.jobs import Report, TrainJob

CACHE: Final = ROOT / ".cache" / "recipe_table"
_PACKAGES: Final = ("torch", "transformers")  # those that change what a training measures


def study_of(grid: Grid, target: str, cache: Path) -> StudyConfig:
    """Return the study that says how a target's recipes are trained and scored.

    Every rung is scored on all samples. What a study sees at its early rungs, the first of them, is kept
    beside it.
    """
    return load_study(
        grid.study,
        [
            f"name={grid.model}-{target}",
            f"targets=[{target}]",
            f"space.subsets=[{', '.join(grid.subsets)}]",
            f"training.steps={grid.rungs[-1]}",
            "evaluation.rung_samples=null",
            "search.pruning=null",
            "points=null",
            "finalists=null",
            f"output={cache / 'work'}",
        ],
    )


def early_samples(grid: Grid) -> int | None:
    """Return how many samples a task the grid's study scores at rungs before the last; None scores all."""
    return load_study(grid.study).evaluation.rung_samples


def produce(grid: Grid, cache: Path, console: Console, *, until: float = math.inf) -> bool:
    """Train what is missing of a grid.

    Args:
        grid: The grid.
        cache: Folder of the trainings.
        console: Where the progress is shown.
        until: When to stop, on the clock of `time.monotonic`; what is being trained then is lost.

    Returns:
        Whether the grid is whole.

    Raises:
        InputError: A study of the grid is wrong.
        StudyFailed: The base could not be evaluated, or Ray failed.
        WorkersLost: Worker groups were lost, one after another.
    """
    work = list(_work(grid, cache))
    if any(todo for _, _, todo in work):
        with started(console) as (nodes, grows):
            for prepared, files, missing in work:
                if not missing or time.monotonic() >= until:
                    continue
                prepared, placement = placed(prepared, nodes, console)
                folder = prepared.config.folder.absolute()
                with open_pool(prepared, placement, folder / "ray", grows=grows) as pool:
                    _with_base(files, pool, placement.smallest_shape, early_samples(grid))
                    _train(grid, files, missing, prepared, placement, pool, console, until)
                shutil.rmtree(folder, ignore_errors=True)
    return not any(files.missing(todo) for _, files, todo in work)


def _work(grid: Grid, cache: Path) -> Iterator[tuple[Prepared, TrainingFiles, list[Cell]]]:
    """Yield each target's study and files, and the trainings that are missing."""
    for target in grid.targets:
        prepared = prepare(study_of(grid, target, cache))
        files = TrainingFiles.begun(cache / grid.model / target, made_from(prepared))
        take_over(grid.table, target, grid.cells(target), files)
        yield prepared, files, files.missing(grid.cells(target))


def made_from(prepared: Prepared) -> dict[str, Any]:
    """Return what the results of a study's trainings depend on, as plain values."""
    settings = plain_values(prepared.config)
    found = versions()
    return {
        "model": prepared.model_fingerprint,
        "data": dict(prepared.data_fingerprints),
        "training": settings["training"],
        "evaluation": settings["evaluation"],
        "targets": settings["targets"],
        "held_out": settings["held_out"],
        "versions": {name: found[name] for name in _PACKAGES},
    }


def _with_base(files: TrainingFiles, pool: Any, shape: GroupShape, early: int | None) -> None:
    if files.read_base() is None:
        files.write_base(values_of(measure_base(pool, shape), early))


def _train(
    grid: Grid,
    files: TrainingFiles,
    missing: list[Cell],
    prepared: Prepared,
    placement: Placement,
    pool: Any,
    console: Console,
    until: float,
) -> None:
    """Train what is missing of one target, as many recipes at a time as there is room for."""
    early, began = early_samples(grid), time.monotonic()
    jobs = {cell: _job(cell, grid, prepared, placement) for cell in missing}
    rungs: dict[Cell, dict[int, dict[str, float]]] = {cell: {} for cell in missing}
    done = 0
    with (
        _bar(console) as bar,
        closing(run_jobs(pool, jobs, at_a_time=placement.concurrency)) as reports,  # type: ignore[type-var]
    ):
        task = bar.add_task(missing[0].target, total=grid.trainings, completed=grid.trainings - len(missing))
        for cell, report in none_lost(reports):
            if report.error is None:
                rungs[cell][report.step] = {**_measured(report), **values_of(report.evaluations, early)}
            if report.done:
                files.write(Trained(cell=cell, rungs=rungs.pop(cell), error=report.error))
                shutil.rmtree(jobs[cell][1].folder, ignore_errors=True)
                done += 1
                bar.advance(task)
                if done % 10 == 0 and not console.is_terminal:
                    each = (time.monotonic() - began) / done
                    console.print(f"{cell.target}: {done} of {len(missing)}, {each:.1f} s a training")
            if time.monotonic() >= until:
                break


def _job(cell: Cell, grid: Grid, prepared: Prepared, placement: Placement) -> tuple[GroupShape, TrainJob]:
    space = prepared.config.recipe_space()
    recipe = space.recipe({"subset": cell.subset, "learning_rate": cell.learning_rate})
    execution = placement.executions[recipe.variant]
    job = TrainJob(
        trial_id=cell.name,
        recipe=recipe,
        seed=cell.seed,
        rungs=grid.rungs,
        folder=str(prepared.config.folder.absolute() / cell.name),
        micro_batch_size=execution.micro_batch_size,
        activation_checkpointing=execution.activation_checkpointing,
    )
    return execution.shape, job


def _measured(report: Report) -> dict[str, float]:
    kinds = ("drift/", "train/", "cost/")
    return {name: value for name, value in report.metrics.items() if name.startswith(kinds)}


def _bar(console: Console) -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, disable=not console.is_terminal)


def main() -> None:
    """Produce, or write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", nargs="?", default="tiny-llava", choices=list(GRIDS))
    parser.add_argument("--hours", type=float, default=math.inf, help="stop after so long")
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder of the trainings")
    parser.add_argument("--write", action="store_true", help="store what there is, and train nothing")
    options = parser.parse_args()
    grid, console = grid_of(options.model), Console()
    whole = False
    if not options.write:
        # Jobs that are given up when the time is over end with an error that nobody waits for.
        os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")
        whole = produce(grid, options.cache, console, until=time.monotonic() + 3600 * options.hours)
    if whole or options.write:
        console.print(write_table(grid, options.cache, grid.table, early=early_samples(grid)))


if __name__ == "__main__":
    main()
