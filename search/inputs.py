"""What a study reads before anything starts: data that is there, and trained on or scored on but not both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from search.config import StudyConfig
from search.leakage import Findings, Leak, compare_splits
from search.study_file import InputError
from trainables.jobs import TaskData
from trainables.samples import Sample, Split
from trainables.tasks import Task


@dataclass(frozen=True, kw_only=True)
class StudyData:
    """What a study trains and scores on.

    Attributes:
        tasks: Targets and held-out tasks, without their confirm splits.
        replay: Tasks of replay, with their training samples alone.
        leaks: Training samples that were left out, since they are also, or nearly, scored ones.
        warnings: What is allowed and yet worth a thought, one line each.
        fingerprints: `<task>/<split>` -> content hash, for every split that the study uses, and for the
            confirm splits of its tasks.
    """

    tasks: tuple[TaskData, ...]
    replay: tuple[TaskData, ...]
    leaks: tuple[Leak, ...]
    warnings: tuple[str, ...]
    fingerprints: Mapping[str, str]

    @property
    def all(self) -> tuple[TaskData, ...]:
        """The tasks and those of replay."""
        return (*self.tasks, *self.replay)


def load_data(config: StudyConfig) -> StudyData:
    """Load all that a study trains and scores on.

    Raises:
        InputError: A task is unknown, a source is missing, wrong or empty, a metric can't score a sample, or
            training samples are scored ones and `data.on_leak` is not `drop`, or none would be left.
    """
    try:
        sources, replayed = config.resolved_tasks(), config.replay_tasks()
        tasks = tuple(_load(config, source) for source in sources.values())
        replay = tuple(_load_replay(config, source) for source in replayed.values())
        confirm = {
            name: partial(_samples, source, "confirm", config.evaluation.samples)
            for name, source in sources.items()
            if "confirm" in source.splits
        }
        found = compare_splits(tasks, replay, confirm)
    except ValueError as error:
        raise InputError(str(error)) from None
    if found.leaks and config.data.on_leak == "error":
        raise InputError(
            f"data: {'; '.join(map(str, found.leaks))}. No model may be trained on what scores it: take "
            "these samples out of the training split, or leave them out with data.on_leak: drop"
        )
    return StudyData(
        tasks=_without(tasks, found),
        replay=_without(replay, found),
        leaks=found.leaks,
        warnings=found.warnings,
        fingerprints=found.fingerprints,
    )


def _load(config: StudyConfig, source: Task) -> TaskData:
    is_target = source.name in config.targets
    search = _samples(source, "search", config.evaluation.samples)
    source.metric.check(source.name, search)
    return TaskData(
        name=source.name,
        role="target" if is_target else "held_out",
        metric=source.metric,
        decoding=source.decoding,
        train=tuple(_samples(source, "train", config.training.samples)) if is_target else (),
        search=tuple(search),
    )


def _load_replay(config: StudyConfig, source: Task) -> TaskData:
    return TaskData(
        name=source.name,
        role="replay",
        metric=source.metric,
        decoding=source.decoding,
        train=tuple(_samples(source, "train", config.training.samples)),
        search=(),
    )


def _samples(source: Task, split: Split, limit: int | None) -> list[Sample]:
    return source.load(split, limit)


def _without(tasks: Sequence[TaskData], found: Findings) -> tuple[TaskData, ...]:
    """Return the tasks without the training samples that are scored ones."""
    left = []
    for task in tasks:
        split = f"{task.name}/train"
        train = tuple(
            sample for place, sample in enumerate(task.train) if (split, place) not in found.dropped
        )
        if task.train and not train:
            raise InputError(
                f"data.on_leak: each of the {len(task.train)} samples of {split} is also a scored one, "
                "so none is left"
            )
        left.append(replace(task, train=train))
    return tuple(left)
