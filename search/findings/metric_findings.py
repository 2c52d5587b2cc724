"""How each task's answers were scored, for a reader of its value."""

from __future__ import annotations

from typing import TYPE_CHECKING

from search import wording
from search.records.study_record import StudyRecord

if TYPE_CHECKING:
    from trainables.workers.jobs import TaskData


def metric_label(task: TaskData) -> str:
    """Return what a task's metric is called, with its options: `clock_time(minutes=1)`, `lm-eval (acc)`."""
    if task.harness is None:
        return str(task.metric)
    return "lm-eval" if task.harness.chosen is None else f"lm-eval ({task.harness.chosen})"


def metric_names(record: StudyRecord) -> dict[str, str]:
    """Return task -> its metric; a dash where that is not known."""
    known = {task.name: metric_label(task) for task in record.tasks}
    tasks = (*record.objective.targets, *record.objective.held_out)
    return {task: known.get(task, wording.UNKNOWN) for task in tasks}


def metric_notes(record: StudyRecord) -> list[str]:
    """Say once of each metric which direction is better and where its definition comes from."""
    notes = {}
    for task in record.tasks:
        direction, source = task.metric.metric.direction, task.metric.metric.source
        if task.harness is not None:
            chosen = "the named" if task.harness.chosen else "the first"
            direction, source = "higher", f"{chosen} metric of the task, as lm-eval defines and measures it"
        notes[metric_label(task)] = f"{direction} is better): {source}"
    return [f"{label} ({note}" for label, note in notes.items()]
