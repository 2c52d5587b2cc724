"""How each task's answers were scored, for a reader of its value."""

from __future__ import annotations

from search import wording
from search.results import StudyRecord


def metric_names(record: StudyRecord) -> dict[str, str]:
    """Return task -> its metric; a dash where that is not known."""
    known = {task.name: str(task.metric) for task in record.tasks}
    tasks = (*record.objective.targets, *record.objective.held_out)
    return {task: known.get(task, wording.UNKNOWN) for task in tasks}


def metric_notes(record: StudyRecord) -> list[str]:
    """Say once of each metric which direction is better and where its definition comes from."""
    metrics = {str(task.metric): task.metric.metric for task in record.tasks}
    return [f"{name} ({metric.direction} is better): {metric.source}" for name, metric in metrics.items()]
