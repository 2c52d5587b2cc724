"""What the study took, and what failed."""

from __future__ import annotations

from collections import Counter

from search import wording
from search.findings import study_findings as findings
from search.labels import approach_label
from search.records.study_record import StudyRecord
from search.results import TrialState


def total_rows(record: StudyRecord) -> list[tuple[str, str]]:
    """Return what was run and how long it took, each with its name."""
    states = Counter(trial.state.value.lower() for trial in record.trials)
    total = findings.cost(record)
    rows = [
        ("trials", ", ".join(f"{number} {state}" for state, number in states.items()) or "none"),
        ("wall-clock time of the search", wording.duration(total.wall)),
        ("training, summed over trials", wording.duration(total.train)),
        ("evaluation, summed over trials", wording.duration(total.evaluation)),
    ]
    if record.points:
        number = wording.counted(len(record.points), "point")
        rows.append(("without retraining", f"{number} in {wording.duration(record.points_seconds)}"))
    if record.finalists:
        runs = wording.counted(sum(len(finalist.runs) for finalist in record.finalists), "run")
        number = wording.counted(len(record.finalists), "finalist")
        rows.append(("confirming", f"{runs} of {number} in {wording.duration(record.finalists_seconds)}"))
    if record.predictions.models:
        files = ", ".join(f"predictions/{model}.parquet" for model in record.predictions.models)
        text = f"{files} in {wording.duration(record.predictions.seconds)}"
        rows.append(("every sample's prediction", text))
    return rows


def failure_rows(record: StudyRecord) -> list[dict[str, object]]:
    """Return the failed trials with their reasons."""
    return [
        {
            "number": trial.number,
            "recipe": f"{approach_label(trial.recipe)} {wording.rate(trial.recipe.learning_rate)}",
            "error": trial.error,
        }
        for trial in record.trials
        if trial.state is TrialState.FAILED
    ]
