"""Retention: whose trained parameters a study keeps once it has selected."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from search.decision.candidates import Candidate, candidates
from search.decision.evidence import FinalistRun
from search.decision.front import pareto_front
from search.records.study_folder import StudyFolder
from search.records.study_record import StudyRecord
from search.results import PointResult, Rung, TrialResult, TrialState
from search.selection import Selection
from trainables.pointer import TENSORS

_KEPT: Final[Mapping[str, str]] = {
    "selected": "what its own rule selected",
    "pareto": "what its own rule selected or took as a finalist, of the feasible front and the named choices",
}


def kept_files(record: StudyRecord, selection: Selection, folder: StudyFolder) -> frozenset[Path]:
    """Return the files of trained parameters that `selection.keep_weights` keeps.

    Args:
        record: What the study measured.
        selection: The verdict.
        folder: The study's folder.
    """
    kept = {Path(rung.weights) for rung in _kept_rungs(record, selection) if rung.weights is not None}
    for run in _kept_runs(record, selection):
        kept.update((folder.root.absolute() / run.folder).glob(TENSORS))
    return frozenset(kept)


def with_kept_weights(record: StudyRecord, kept: Collection[Path]) -> StudyRecord:
    """Return the record of what was measured without the trained parameters that do not stay.

    Args:
        record: What the study measured.
        kept: The files that stay.
    """
    trials = {trial.number: _of_kept(trial, kept) for trial in record.trials}
    points = (_point_of_kept(point, trials, kept) for point in record.points)
    return replace(record, trials=tuple(trials.values()), points=tuple(points))


def delete_others(folder: StudyFolder, kept: Collection[Path]) -> None:
    """Delete all trained parameters of a study but those that stay.

    What a failed trial left goes in any case. Nothing outside the study's folder is touched.

    Args:
        folder: The study's folder.
        kept: The files that stay.
    """
    for part in (folder.trials, folder.points, folder.finalists):
        for path in part.absolute().rglob(TENSORS):
            if path not in kept:
                path.unlink()


def points_to_write(record: StudyRecord, selection: Selection) -> tuple[PointResult, ...]:
    """Return the points whose trained parameters stay, and were not written so far.

    A finalist's are those of its run on a new seed.

    Args:
        record: What the study measured.
        selection: The verdict.
    """
    trained_again = {each.candidate for each in record.finalists if each.run is not None}
    return tuple(
        each.made
        for each in _kept(record, selection)
        if each.made is not None and each.rung.weights is None and each.key not in trained_again
    )


def why_lost(record: StudyRecord, selection: Selection) -> str:
    """Say why a selection's trained parameters are not there: what is said of "its weights".

    Args:
        record: What the study measured.
        selection: A verdict, by this rule or another.
    """
    point, policy = selection.point, record.config.selection.keep_weights
    if point is not None and point.unwritten is not None:
        return f"could not be written ({point.unwritten})"
    if not record.finished and point is not None:
        return "were not written, since the study has not finished"
    if not record.finished or policy == "all" or (policy == "pareto" and selection.run is not None):
        return "are no longer there"
    return f"were not kept: the study kept those of {_KEPT[policy]} alone (selection.keep_weights: {policy})"


def _kept_rungs(record: StudyRecord, selection: Selection) -> Iterator[Rung]:
    if record.config.selection.keep_weights == "all":
        for trial in record.trials:
            yield from trial.rungs if trial.state is not TrialState.FAILED else ()
    yield from (each.rung for each in _kept(record, selection))


def _kept(record: StudyRecord, selection: Selection) -> Sequence[Candidate]:
    """Return the candidates whose trained parameters stay."""
    found = candidates(record.trials, record.points)
    policy = record.config.selection.keep_weights
    if policy == "all":
        return found
    keys = {selection.key}
    if policy == "pareto":
        keys.update(each.key for each in pareto_front(_feasible(found, selection)))
        keys.update(each.candidate for each in record.finalists)
        keys.update(each.candidate for each in selection.choices)
    return [each for each in found if each.key in keys]


def _kept_runs(record: StudyRecord, selection: Selection) -> Sequence[FinalistRun]:
    if record.config.selection.keep_weights == "selected":
        return [selection.run] if selection.run is not None else []
    return [run for finalist in record.finalists for run in finalist.runs]


def _feasible(found: Iterable[Candidate], selection: Selection) -> Iterator[Candidate]:
    trials = {trial.number for trial in selection.ranking}
    points = {point.number for point in selection.points}
    for each in found:
        if each.trial.number in trials if each.made is None else each.made.number in points:
            yield each


def _of_kept(trial: TrialResult, kept: Collection[Path]) -> TrialResult:
    rungs = tuple(_rung_of_kept(rung, kept) for rung in trial.rungs)
    return trial if rungs == trial.rungs else replace(trial, rungs=rungs)


def _point_of_kept(
    point: PointResult, trials: Mapping[int, TrialResult], kept: Collection[Path]
) -> PointResult:
    rung = None if point.rung is None else _rung_of_kept(point.rung, kept)
    return replace(point, trial=trials[point.trial.number], rung=rung)


def _rung_of_kept(rung: Rung, kept: Collection[Path]) -> Rung:
    lost = rung.weights is not None and Path(rung.weights) not in kept
    return replace(rung, weights=None) if lost else rung
