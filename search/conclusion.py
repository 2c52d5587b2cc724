"""Conclusion: the selection that a study's record and its rule lead to, with what limits it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from search.candidates import candidates, trainings
from search.estimation import estimate, estimate_finalists
from search.evidence import Finalist
from search.results import TrialState
from search.selection import Selection, select
from search.study_record import StudyRecord
from search.wording import counted


def conclude(record: StudyRecord, folder: Path, choice: str | None = None) -> Selection:
    """Select by the study's rule from all that was measured so far.

    Args:
        record: What the study measured; its configuration holds the rule.
        folder: The study's folder, where the scores of each sample lie.
        choice: Name of the choice to take instead of what the rule says; see `search.choices`.

    Raises:
        ValueError: There is no such choice.
    """
    selection = select(
        record.trials,
        record.objective,
        record.points,
        rule=record.config.selection,
        evidence=estimate(record, folder),
        finalists=record.finalists,
        confirmation=estimate_finalists(
            record.finalists,
            record.confirm_base,
            record.objective,
            record.config,
            trainings(candidates(record.trials, record.points)),
        ),
        choice=choice,
    )
    return replace(selection, notes=tuple(_notes(record, selection)))


def _notes(record: StudyRecord, selection: Selection) -> Iterator[str]:
    found = candidates(record.trials, record.points)
    if not record.finished:
        complete = sum(trial.state is TrialState.COMPLETE for trial in record.trials)
        yield (
            f"The study has not finished: this is chosen from {counted(complete, 'complete trial')} of the "
            f"{counted(record.config.search.trials, 'planned trial')}."
        )
    unknown = len(found) - len(selection.estimates)
    if unknown:
        yield (
            f"The scores of each sample are not known for {unknown} of {counted(len(found), 'candidate')}: "
            "they have no interval, and count with what was measured alone."
        )
    if record.finalists and selection.winner is not None and selection.finalist is None:
        yield "The selected recipe was not trained again: its numbers are those of the search split."
    if selection.finalist is not None and all(_confirmed_runs(each) < 2 for each in record.finalists):
        yield "No finalist was trained on two new seeds: intervals hold the noise of samples alone."


def _confirmed_runs(finalist: Finalist) -> int:
    return sum(bool(run.confirm) for run in finalist.runs)
