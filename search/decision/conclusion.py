"""Conclusion: the selection that a study's record and its rule lead to, with what limits it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from search.decision.candidates import Candidate, candidates, trainings
from search.decision.estimation import estimate, estimate_finalists, estimate_pruned
from search.decision.evidence import Finalist
from search.finalists.choice import entrant
from search.records.study_record import StudyRecord
from search.results import TrialState
from search.selection import Selection, select
from search.wording import counted, listed

_NAMED = 3
"""Finalists that a note names."""


def conclude(
    record: StudyRecord, folder: Path, choice: str | None = None, *, other_rule: bool = False
) -> Selection:
    """Select by the study's rule from all that was measured so far.

    Args:
        record: What the study measured; its configuration holds the rule.
        folder: The study's folder, where the scores of each sample lie.
        choice: Name of the choice to take instead of what the rule says; see `search.decision.choices`.
        other_rule: Whether the rule is another one than the finalists were taken by; see `search.selection`.

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
        other_rule=other_rule,
    )
    # Nothing is decided by these, which only the report shows.
    everyone = {**selection.estimates, **estimate_pruned(record, folder)}
    selection = replace(selection, estimates=everyone)
    return replace(selection, notes=(*_notes(record, selection), *selection.notes))


def _notes(record: StudyRecord, selection: Selection) -> Iterator[str]:
    found = candidates(record.trials, record.points)
    if not record.finished:
        complete = sum(trial.state is TrialState.COMPLETE for trial in record.trials)
        yield (
            f"The study has not finished: this is chosen from {counted(complete, 'complete trial')} of the "
            f"{counted(record.config.search.trials, 'planned trial')}."
        )
    unknown = sum(each.key not in selection.estimates for each in found)
    if unknown:
        yield (
            f"The scores of each sample are not known for {unknown} of {counted(len(found), 'candidate')}: "
            "they have no interval, and count with what was measured alone."
        )
    yield from _finalist_notes(record, selection)


def _finalist_notes(record: StudyRecord, selection: Selection) -> Iterator[str]:
    finalist, sure = selection.finalist, any(_confirmed_runs(each) for each in record.finalists)
    if lost := [f"{each.candidate} ({error})" for each in record.finalists if (error := _lost(each))]:
        whose = "Some finalists could not" if sure else "No finalist could"
        yield f"{whose} be confirmed: {listed(lost, _NAMED)}."
    if record.finalists_left_out:
        names = listed(record.finalists_left_out, _NAMED)
        yield f"finalists.budget was spent before {names} could be trained again."
    if not record.finalists and record.config.finalists is not None and selection.winner is not None:
        needed = sum(entrant(Candidate(trial=selection.winner, made=selection.point)).needs.values())
        if needed > record.config.finalist_steps:
            yield (
                f"finalists.budget allows {record.config.finalist_steps} optimiser steps, and training the "
                f"selected recipe again takes {needed}: there were no finalists, and nothing is confirmed."
            )
    if record.finalists and selection.winner is not None and finalist is None:
        yield "The selected recipe was not trained again: its numbers are those of the search split."
    if finalist is not None and finalist.estimates is None:
        yield "The selected recipe was not confirmed: its numbers are those of the search split."
    if finalist is not None and finalist.estimates and all(_confirmed_runs(f) < 2 for f in record.finalists):
        yield "No finalist was trained on two new seeds: intervals hold the noise of samples alone."


def _lost(finalist: Finalist) -> str | None:
    """Return why a finalist that was not dropped could not be confirmed; None if it was."""
    if finalist.dropped or _confirmed_runs(finalist):
        return None
    return next((run.error for run in finalist.runs if run.error is not None), None)


def _confirmed_runs(finalist: Finalist) -> int:
    return sum(bool(run.confirm) for run in finalist.runs)
