"""True scores of recipes: trained again on new seeds, scored on the confirm split, which no side has seen."""

from __future__ import annotations

import json
import multiprocessing
import os
import statistics
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from benchmarks.rivals.handed import Handed
from benchmarks.rivals.problem import Problem
from spaces.points import Identity
from trainables.data.tasks import EmbeddedTask
from trainables.manifest import TrainableManifest
from trainables.metrics import EXACT_MATCH
from trainables.weights.points import TrainedWeights
from trainables.workers.jobs import EvaluateJob, PointJob, TaskData, TrainJob, WorkerSetup
from trainables.workers.workbench import Workbench

SEEDS: Final = (1001, 1002, 1003)


class Confirmed:
    """Confirmed scores, each computed once and kept in a file.

    Args:
        study: The study file.
        file: Where scores are kept.
        seeds: Seeds of training that no side used.
    """

    def __init__(self, study: Path, file: Path, seeds: Sequence[int] = SEEDS) -> None:
        self._study = study
        self._file = file
        self._seeds = tuple(seeds)
        self._known: dict[str, float] = json.loads(file.read_text()) if file.exists() else {}

    def measure(self, handed: Iterable[Handed]) -> None:
        """Compute the scores that are not known yet, as many at a time as there are cores."""
        wanted = [(each, seed) for each in handed for seed in self._seeds]
        missing = {_key(*pair): pair for pair in wanted if _key(*pair) not in self._known}
        if not missing:
            return
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(os.cpu_count(), mp_context=context) as pool:
            found = pool.map(_score, [(str(self._study), each, seed) for each, seed in missing.values()])
            for key, score in zip(missing, found, strict=True):
                self._known[key] = score
                self._file.write_text(json.dumps(self._known, indent=1) + "\n")

    def scores(self, handed: Handed) -> list[float]:
        """Return the score for each seed; none where not all of them are known."""
        found = [self._known.get(_key(handed, seed)) for seed in self._seeds]
        return [score for score in found if score is not None] if None not in found else []

    def mean(self, handed: Handed) -> float:
        """Return the mean over the seeds, in points."""
        return statistics.fmean(self.scores(handed))


def _key(handed: Handed, seed: int) -> str:
    return f"{handed.key} {seed}"


@lru_cache(maxsize=1)
def _bench(study: str) -> tuple[Problem, Workbench, dict[str, float]]:
    """Return the problem, a workbench whose scored samples are the confirm splits, and the base's values."""
    problem = Problem.load(Path(study))
    roles: dict[str, Any] = {**dict.fromkeys(problem.targets, "target")}
    roles |= dict.fromkeys(problem.held_out, "held_out")
    tasks = tuple(
        TaskData(
            name=name,
            role=role,
            metric=EXACT_MATCH,
            train=tuple(EmbeddedTask(name=name).load("train")) if role == "target" else (),
            search=tuple(EmbeddedTask(name=name).load("confirm")),
        )
        for name, role in roles.items()
    )
    bench = Workbench(
        WorkerSetup(
            model=problem.model,
            dtype="float32",
            tasks=tasks,
            eval_batch_size=problem.eval_batch_size,
            drift_samples=1,
            threads=1,
        )
    )
    (report,) = bench.run(EvaluateJob())
    return problem, bench, {task: each.value for task, each in report.evaluations.items()}


def _score(wanted: tuple[str, Handed, int]) -> float:
    study, handed, seed = wanted
    problem, bench, base = _bench(study)
    members = []
    with tempfile.TemporaryDirectory() as folder:
        for number, recipe in enumerate(handed.recipes):
            job = TrainJob(
                trial_id=f"confirm{number}",
                recipe=problem.recipe(*recipe),
                seed=seed,
                rungs=(problem.steps,),
                folder=f"{folder}/{number}",
            )
            (report,) = bench.run(job)
            assert report.checkpoint is not None
            assert report.manifest is not None
            manifest = TrainableManifest.from_dict(report.manifest)
            members.append(TrainedWeights(path=report.checkpoint.path, manifest=manifest))
        if handed.point.transform != Identity():
            (report,) = bench.run(PointJob(point=handed.point, members=tuple(members)))
    values = {task: each.value for task, each in report.evaluations.items()}
    return problem.score(values, base).score
