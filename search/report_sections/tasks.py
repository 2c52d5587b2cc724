"""Task by task: the shown recipe's values beside the base's, on the search split and the confirm split."""

from __future__ import annotations

from search import wording
from search.findings import study_findings as findings
from search.findings.metric_findings import metric_names
from search.records.study_record import StudyRecord
from search.report_sections.whiskers import Scale, reach, whisker
from search.selection import Selection


def tasks_title(selection: Selection) -> str:
    """Say whose values the table shows."""
    shown = findings.shown(selection)
    if shown is None:
        return "The base model, task by task"
    which = "the selected recipe" if selection.winner else "the best recipe tried"
    made = f", {shown.made.point.label}" if shown.made else ""
    return f"Task by task: {which} (trial {shown.trial.number}{made}) against the base"


def task_rows(record: StudyRecord, selection: Selection) -> list[dict[str, object]]:
    """Return one row a task, targets first."""
    metrics = metric_names(record)
    shown, sure = findings.shown(selection), findings.confirmed(selection)
    changes = findings.changes(record, shown.rung if shown else None, findings.estimates_of(selection, shown))
    scale = Scale.around(value for row in changes for value in reach(row.change, row.interval))
    return [
        {
            "task": row.task,
            "metric": metrics[row.task],
            "role": "target" if row.target else "held-out",
            "n": row.n or wording.UNKNOWN,
            "base": wording.points(row.base, signed=False),
            "tuned": wording.points(row.tuned, signed=False),
            "change": wording.points(row.change),
            "interval": wording.interval(row.interval.low, row.interval.high) if row.interval else "",
            "mark": whisker(scale, row.change, row.interval) if shown else None,
            "confirmed": findings.with_interval(sure.changes[row.task].value, sure.changes[row.task])
            if sure
            else "",
            "sign": ("up" if row.change > 0 else "down") if row.sure else "",
        }
        for row in changes
    ]
