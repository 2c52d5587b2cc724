"""The base's evaluation: measured once per model, data and settings, then read from a cache."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from trainables.evaluation import Evaluation, evaluations_json, read_evaluations
from trainables.files import write_atomically
from trainables.jobs import WorkerSetup
from trainables.samples import fingerprint


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
