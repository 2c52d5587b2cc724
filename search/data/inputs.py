"""What a study reads before anything starts: data that is there, and trained on or scored on but not both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from search.config import StudyConfig
from search.data.bad_policy import SKIP_HINT, check_bad
from search.data.leakage import Findings, Leak, Overlap, compare_splits
from search.data.thumbnails import Thumbnails
from search.settings.study_file import InputError
from trainables.data.bad_samples import BadSample, SampleError
from trainables.data.samples import Sample, Split, fingerprint
from trainables.data.tasks import Task
from trainables.files import near_path
from trainables.scoring.lm_eval_task import LmEvalTask
from trainables.workers.jobs import TaskData


@dataclass(frozen=True, kw_only=True)
class StudyData:
    """What a study trains and scores on.

    Attributes:
        tasks: Targets and held-out tasks, without their confirm splits.
        confirm: The same tasks with their confirm splits as the samples that are scored, and no others; empty
            where no finalists are trained.
        replay: Tasks of replay, with their training samples alone.
        leaks: Training samples that were left out, since they are also, or nearly, scored ones.
        warnings: What is allowed and yet worth a thought, one line each.
        fingerprints: `<task>/<split>` -> content hash, for every split that the study uses, and for the
            confirm splits of its tasks.
        bad: Samples that were left out, since they can't be used.
    """

    tasks: tuple[TaskData, ...]
    replay: tuple[TaskData, ...]
    leaks: tuple[Leak, ...]
    warnings: tuple[str, ...]
    fingerprints: Mapping[str, str]
    bad: tuple[BadSample, ...] = ()
    confirm: tuple[TaskData, ...] = ()

    @property
    def all(self) -> tuple[TaskData, ...]:
        """All tasks whose samples a model will meet."""
        return (*self.tasks, *self.replay, *self.confirm)


def load_data(config: StudyConfig) -> StudyData:
    """Load all that a study trains and scores on.

    Raises:
        InputError: A task is unknown, a source is missing, wrong or empty, a sample is bad and
            `data.on_bad_sample` is not `skip`, or too many are, or training samples are scored ones and
            `data.on_leak` is not `drop`, or none would be left; likewise samples to confirm with that the
            search scores.
    """
    reader = _Reader(config)
    if config.data.mirror is not None and not Path(config.data.mirror).is_dir():
        near = near_path(Path(config.data.mirror))
        raise InputError(f"data.mirror: no such folder: {config.data.mirror}{near}")
    try:
        sources, replayed = config.resolved_tasks(), config.replay_tasks()
        tasks = tuple(_load(reader, source) for source in sources.values())
        replay = tuple(_load_replay(reader, source) for source in replayed.values())
        # The confirm splits are read meanwhile.
        reader.check()
        confirm = {
            name: partial(reader.to_confirm, source)
            for name, source in sources.items()
            if "confirm" in source.splits
        }
        thumbnails = Thumbnails(config.folder.parent / ".cache")
        found = compare_splits(tasks, replay, confirm, thumbnails)
        thumbnails.keep()
        reader.check()
    except InputError:
        raise
    except SampleError as error:
        raise InputError(f"{error}; {SKIP_HINT}") from None
    except ValueError as error:
        raise InputError(str(error)) from None
    if found.leaks and config.data.on_leak == "error":
        raise InputError(
            f"data: {'; '.join(map(str, found.leaks))}. No model may be trained on what scores it: take "
            "these samples out of the training split, or leave them out with data.on_leak: drop"
        )
    left_out = config.finalists is not None and config.data.on_leak == "drop"
    then = "left out of the confirm split" if left_out else "which so confirms less"
    confirm_tasks: tuple[TaskData, ...] = ()
    if config.finalists is not None:
        if not left_out:
            _check_overlaps(found.overlaps)
        overlaps = found.overlaps if left_out else ()
        confirm_tasks = tuple(_to_confirm(task, reader.held_back[task.name], overlaps) for task in tasks)
    return StudyData(
        tasks=_without(tasks, found),
        replay=_without(replay, found),
        leaks=found.leaks,
        warnings=(*(f"{overlap}, {then}" for overlap in found.overlaps), *found.warnings),
        fingerprints={
            **found.fingerprints,
            **{f"{task.name}/confirm": fingerprint(task.search) for task in confirm_tasks if found.overlaps},
        },
        bad=tuple(reader.bad),
        confirm=confirm_tasks,
    )


def load_scored(config: StudyConfig) -> tuple[TaskData, ...]:
    """Load what a study was scored on: its tasks with their search splits alone.

    Raises:
        ValueError: A split can't be read.
    """
    reader = _Reader(config)
    return tuple(
        TaskData(
            name=source.name,
            role="target" if source.name in config.targets else "held_out",
            metric=source.metric,
            decoding=source.decoding,
            train=(),
            search=tuple(reader.samples(source, "search")),
        )
        for source in config.resolved_tasks().values()
    )


class _Reader:
    """Reads splits, and keeps what was wrong with samples that are left out.

    Args:
        config: The study.

    Attributes:
        bad: What was wrong with samples that are left out.
        held_back: Task -> its samples to confirm finalists with; empty where there will be none.
    """

    def __init__(self, config: StudyConfig) -> None:
        self.config = config
        self.bad: list[BadSample] = []
        self.held_back: dict[str, tuple[Sample, ...]] = {}
        self._sizes: dict[str, int] = {}

    def samples(self, source: Task, split: Split) -> list[Sample]:
        """Return a split's samples.

        Raises:
            ValueError: The split can't be read, or a sample can't be used and none is to be left out.
        """
        config = self.config
        limit = config.training.samples if split == "train" else config.evaluation.samples
        skip = config.data.on_bad_sample == "skip"
        errors: list[SampleError] = []
        samples = source.load(split, limit, errors if skip else None)
        if split != "train":
            if skip:
                samples = _scorable(source, samples, errors)
            source.metric.check(source.name, samples)
        self.bad += [
            BadSample(task=source.name, split=split, label=error.label, reason=error.reason)
            for error in errors
        ]
        self._sizes[f"{source.name}/{split}"] = len(samples)
        return samples

    def to_confirm(self, source: Task) -> list[Sample]:
        """Return the samples of a confirm split; they are kept where finalists will be scored on them.

        Raises:
            ValueError: As for `samples`.
        """
        samples = self.samples(source, "confirm")
        if self.config.finalists is not None:
            self.held_back[source.name] = tuple(samples)
        return samples

    def check(self) -> None:
        """Refuse too many bad samples.

        Raises:
            InputError: There are.
        """
        check_bad(self.config.data, self.bad, self._sizes)


def _scorable(source: Task, samples: Sequence[Sample], errors: list[SampleError]) -> list[Sample]:
    """Return the samples that a task's metric can score, and keep what is wrong with the others."""
    scorable = []
    for sample in samples:
        if (reason := source.metric.unfit(sample)) is None:
            scorable.append(sample)
        else:
            errors.append(SampleError(sample.label, reason))
    return scorable


def _load(reader: _Reader, source: Task) -> TaskData:
    is_target = source.name in reader.config.targets
    return TaskData(
        name=source.name,
        role="target" if is_target else "held_out",
        metric=source.metric,
        decoding=source.decoding,
        train=tuple(reader.samples(source, "train")) if is_target else (),
        search=tuple(reader.samples(source, "search")),
        harness=source if isinstance(source, LmEvalTask) else None,
    )


def _load_replay(reader: _Reader, source: Task) -> TaskData:
    return TaskData(
        name=source.name,
        role="replay",
        metric=source.metric,
        decoding=source.decoding,
        train=tuple(reader.samples(source, "train")),
        search=(),
    )


def _check_overlaps(overlaps: Sequence[Overlap]) -> None:
    if grave := [overlap for overlap in overlaps if not overlap.chance]:
        raise InputError(
            f"data: {'; '.join(map(str, grave))}. What the search has seen confirms nothing: take these "
            "samples out of either split, or leave them out of the confirm split with data.on_leak: drop"
        )


def _to_confirm(task: TaskData, samples: Sequence[Sample], overlaps: Sequence[Overlap]) -> TaskData:
    """Return a task with what is left of its confirm split as the samples that are scored."""
    split = f"{task.name}/confirm"
    seen = {place for overlap in overlaps if overlap.confirm == split for place in overlap.places}
    left = tuple(sample for place, sample in enumerate(samples) if place not in seen)
    if not left:
        raise InputError(f"data.on_leak: the search scores every sample of {split}, so none is left")
    return replace(task, train=(), search=left)


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
