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
            splits share a sample, or a metric can't score one.
    """
    try:
        tasks = config.resolved_tasks()
        return tuple(_load(config, tasks[name]) for name in (*config.targets, *config.held_out))
    except ValueError as error:
        raise InputError(str(error)) from None


def load_samples(config: StudyConfig) -> tuple[TaskData, ...]:
    """Load all that a study trains and scores on; see `load_tasks` and `load_replay`."""
    tasks = load_tasks(config)
    return (*tasks, *load_replay(config, tasks))


def load_replay(config: StudyConfig, tasks: tuple[TaskData, ...]) -> tuple[TaskData, ...]:
    """Load the training samples of the tasks of `training.replay`.

    Args:
        config: The study.
        tasks: Its targets and held-out tasks.

    Raises:
        InputError: A task is unknown, a file is missing, wrong or empty, or a sample is one that trials are
            scored on.
    """
    scored = {sample.content_hash(): (task.name, sample.id) for task in tasks for sample in task.search}
    try:
        replayed = [
            TaskData(
                name=task.name,
                role="replay",
                metric=task.metric,
                decoding=task.decoding,
                train=tuple(task.load("train", config.training.samples)),
                search=(),
            )
            for task in config.replay_tasks().values()
        ]
    except ValueError as error:
        raise InputError(str(error)) from None
    for task in replayed:
        for sample in task.train:
            if (twin := scored.get(sample.content_hash())) is not None:
                raise InputError(
                    f"training.replay: sample {sample.id!r} of task {task.name!r} is also search sample "
                    f"{twin[1]!r} of task {twin[0]!r}; trials must not be trained on what scores them"
                )
    return tuple(replayed)


def fingerprints(tasks: tuple[TaskData, ...]) -> dict[str, str]:
    """Return `<task>/<split>` -> content hash, for every split that the study uses."""
    prints = {}
    for task in tasks:
        if task.train:
            prints[f"{task.name}/train"] = fingerprint(task.train)
        if task.search:
            prints[f"{task.name}/search"] = fingerprint(task.search)
    return prints


def _load(config: StudyConfig, task: Task) -> TaskData:
    is_target = task.name in config.targets
    train: list[Sample] = task.load("train", config.training.samples) if is_target else []
    search = task.load("search", config.evaluation.samples)
    task.metric.check(task.name, search)
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
        decoding=task.decoding,
        train=tuple(train),
        search=tuple(search),
    )
