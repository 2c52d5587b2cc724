"""The base's evaluation: measured once per model, data and settings, then read from a cache."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from search.config import StudyConfig
from search.phases.leased_jobs import run_jobs
from search.phases.study_failed import StudyFailed
from trainables.data.samples import fingerprint
from trainables.files import write_atomically
from trainables.scoring.evaluation import Evaluation, evaluations_json, read_evaluations
from trainables.workers.execution import GroupShape
from trainables.workers.jobs import EvaluateJob, WorkerSetup

_LITTLE_TO_LOSE = 10.0  # points; a held-out task that starts below this says little about forgetting


def base_key(
    setup: WorkerSetup, model_fingerprint: str, environment: Iterable[str], *, predictions: bool = False
) -> str:
    """Return the content hash of everything that the base's evaluation depends on.

    Args:
        setup: Data and settings.
        model_fingerprint: Content hash of the model.
        environment: What else can change a float's last bits: devices, workers, versions.
        predictions: Whether it tells what the base answered.
    """
    parts = [model_fingerprint, setup.dtype, str(setup.eval_batch_size), *environment]
    parts += ["with predictions"] if predictions else []
    parts += [
        f"{task.name} {task.metric} {task.decoding} {task.harness} {fingerprint(task.search)}"
        for task in setup.tasks
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def cached_base(
    cache: Path, key: str, measure: Callable[[], Mapping[str, Evaluation]]
) -> tuple[dict[str, Evaluation], bool]:
    """Return the base's evaluations and whether they came from the cache.

    Args:
        cache: Folder of the cache.
        key: Content hash, see `base_key`.
        measure: Evaluates the base; called when the cache lacks the key or its file is damaged.
    """
    file = cache / f"{key}.json"
    if (found := cached_evaluations(file)) is not None:
        return found, True
    evaluations = dict(measure())
    write_atomically(file, evaluations_json(evaluations))
    return evaluations, False


def cached_evaluations(file: Path) -> dict[str, Evaluation] | None:
    """Return the evaluations that a file of the cache holds; None where it is missing or damaged."""
    try:
        return read_evaluations(file)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def measure_base(pool: Any, shape: GroupShape) -> Mapping[str, Evaluation]:
    """Evaluate the untouched model in a leased group.

    Raises:
        StudyFailed: The evaluation failed.
    """
    ((_, report),) = run_jobs(pool, {"base": (shape, EvaluateJob())}, at_a_time=1)
    if report.error is not None:
        raise StudyFailed(f"the base can't be evaluated: {report.error}")
    return report.evaluations


def base_lines(config: StudyConfig, base: Mapping[str, Evaluation]) -> list[str]:
    """Return what the untouched model scores, and which held-out tasks have next to nothing to lose."""

    def scores(tasks: Iterable[str]) -> str:
        return ", ".join(f"{task} {base[task].value:.1f}" for task in tasks)

    lines = [f"base, in points: {scores(config.targets)}; held out: {scores(config.held_out)}"]
    low = [task for task in config.held_out if base[task].value < _LITTLE_TO_LOSE]
    if low:
        lines.append(f"warning: held-out {scores(low)}: a skill that the base lacks can't be forgotten")
    return lines
