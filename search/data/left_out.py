"""Leaving out the samples that only the model's encoder finds bad."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from search.data.bad_policy import check_bad, told
from search.planning.preparation import Prepared
from search.settings.study_file import InputError
from trainables.data.bad_samples import BadSample
from trainables.data.samples import Sample, Split, fingerprint
from trainables.workers.jobs import REPLAY, TaskData

Found = Mapping[str, Sequence[tuple[int, str]]]


def leave_out(prepared: Prepared, found: Found) -> Prepared:
    """Return the study without samples that can't be encoded.

    Args:
        prepared: The study.
        found: `<task>/<split>`, or `REPLAY` -> index of each such sample in that split, and why.

    Raises:
        InputError: They are too many, or none is to be left out, or none would be left.
    """
    if not any(found.values()):
        return prepared
    bad = list(prepared.bad)
    tasks = tuple(
        replace(
            task,
            train=_without(task, "train", found.get(f"{task.name}/train", ()), bad),
            search=_without(task, "search", found.get(f"{task.name}/search", ()), bad),
        )
        for task in prepared.setup.tasks
    )
    confirm = prepared.confirm
    if confirm is not None:
        held_back = tuple(
            replace(task, search=_without(task, "confirm", found.get(f"{task.name}/confirm", ()), bad))
            for task in confirm.tasks
        )
        confirm = replace(confirm, tasks=held_back)
    replay, first = [], 0
    for task in prepared.replay:
        last = first + len(task.train)
        own = [(index - first, reason) for index, reason in found.get(REPLAY, ()) if first <= index < last]
        replay.append(replace(task, train=_without(task, "train", own, bad)))
        first = last
    splits = {f"{task.name}/train": task.train for task in (*tasks, *replay)}
    splits |= {f"{task.name}/search": task.search for task in tasks}
    splits |= {f"{task.name}/confirm": task.search for task in (confirm.tasks if confirm else ())}
    fresh = bad[len(prepared.bad) :]
    touched = {f"{each.task}/{each.split}" for each in fresh}
    # Earlier ones count to the share of their split; the first that is told is one of the fresh.
    counted = [*fresh, *(each for each in prepared.bad if f"{each.task}/{each.split}" in touched)]
    check_bad(prepared.config.data, counted, {name: len(samples) for name, samples in splits.items()})
    if empty := [name for name in sorted(touched) if not splits[name]]:
        raise InputError(f"{empty[0]}: no sample can be used, such as {told(fresh[0])}")
    return replace(
        prepared,
        setup=replace(
            prepared.setup, tasks=tasks, replay=tuple(sample for task in replay for sample in task.train)
        ),
        replay=tuple(replay),
        confirm=confirm,
        bad=tuple(bad),
        data_fingerprints={
            **prepared.data_fingerprints,
            **{name: fingerprint(splits[name]) for name in sorted(touched)},
        },
    )


def _without(
    task: TaskData, split: Split, found: Sequence[tuple[int, str]], bad: list[BadSample]
) -> tuple[Sample, ...]:
    """Return a split without some samples, which are added to the bad ones."""
    samples = task.train if split == "train" else task.search
    reasons = dict(found)
    bad += [
        BadSample(task=task.name, split=split, label=samples[index].label, reason=reason)
        for index, reason in found
    ]
    return tuple(sample for index, sample in enumerate(samples) if index not in reasons)
