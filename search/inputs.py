"""What a study reads before anything starts: data that is there and disjoint."""

from __future__ import annotations

from collections.abc import Mapping

from search.config import StudyConfig
from search.study_file import InputError
from trainables.jobs import TaskData
from trainables.samples import Sample, fingerprint
from trainables.tasks import Task


def load_tasks(config: StudyConfig) -> tuple[TaskData, ...]:
    """Load the train and search splits of every task; the confirm split stays unread.

    Raises:
        InputError: A task is unknown, a file is missing, wrong or empty, or a target's train and search
            splits share a sample.
    """
    try:
        tasks = config.resolved_tasks()
        return tuple(_load(config, tasks[name]) for name in (*config.targets, *config.held_out))
    except ValueError as error:
        raise InputError(str(error)) from None


def fingerprints(tasks: tuple[TaskData, ...]) -> dict[str, str]:
    """Return `<task>/<split>` -> content hash, for every split that the study uses."""
    prints = {}
    for task in tasks:
        if task.train:
            prints[f"{task.name}/train"] = fingerprint(task.train)
        prints[f"{task.name}/search"] = fingerprint(task.search)
    return prints


def _load(config: StudyConfig, task: Task) -> TaskData:
    is_target = task.name in config.targets
    train: list[Sample] = task.load("train", config.training.samples) if is_target else []
    search = task.load("search", config.evaluation.samples)
    seen: Mapping[str, str] = {sample.content_hash(): sample.id for sample in train}
    for sample in search:
        if (twin := seen.get(sample.content_hash())) is not None:
            raise InputError(
                f"task {task.name!r}: search sample {sample.id!r} is also training sample {twin!r}; "
                "the splits must be disjoint"
            )
    return TaskData(
        name=task.name,
        role="target" if is_target else "held_out",
        metric=task.metric,
        train=tuple(train),
        search=tuple(search),
    )
