"""Retention: whose trained parameters a study keeps once it has selected."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from search.decision.candidates import Candidate, candidates
from search.decision.evidence import FinalistRun
from search.records.study_folder import StudyFolder
from search.records.study_record import StudyRecord
from search.results import PointResult, Rung, TrialResult, TrialState
from search.selection import Selection

_TENSORS = "*.safetensors"


def with_kept_weights(record: StudyRecord, selection: Selection, folder: StudyFolder) -> StudyRecord:
    """Delete the trained parameters that `selection.keep_weights` does not keep; return the record without.

    What a failed trial left goes in any case, its optimiser's state maybe among it. Nothing outside the
    study's folder is touched.

    Args:
        record: What the study measured.
        selection: The verdict.
        folder: The study's folder.
    """
    root = folder.root.absolute()
    kept = {Path(rung.weights) for rung in _kept_rungs(record, selection) if rung.weights is not None}
    for run in _kept_runs(record, selection):
        kept.update((root / run.folder).glob(_TENSORS))
    for part in (folder.trials, folder.points, folder.finalists):
        for path in part.absolute().rglob(_TENSORS):
            if path not in kept:
                path.unlink()
    trials = {trial.number: _without_lost(trial) for trial in record.trials}
    points = (_point_without_lost(point, trials) for point in record.points)
    return replace(record, trials=tuple(trials.values()), points=tuple(points))


def pareto_front(feasible: Iterable[Candidate]) -> tuple[Candidate, ...]:
    """Return those that nobody, the base included, beats in gain or forgetting at no loss in the other."""
    found = list(feasible)
    scores = [(each.rung.score.target_gain, each.rung.score.held_out_forgetting) for each in found]
    everyone = {*scores, (0.0, 0.0)}

    def beaten(gain: float, forgetting: float) -> bool:
        return any(
            other != (gain, forgetting) and other[0] >= gain and other[1] <= forgetting for other in everyone
        )

    return tuple(each for each, score in zip(found, scores, strict=True) if not beaten(*score))


def _kept_rungs(record: StudyRecord, selection: Selection) -> Iterator[Rung]:
    policy = record.config.selection.keep_weights
    rungs = {(trial.number, rung.step): rung for trial in record.trials for rung in trial.rungs}
    if policy == "all":
        for trial in record.trials:
            yield from trial.rungs if trial.state is not TrialState.FAILED else ()
        yield from (point.rung for point in record.points if point.rung is not None)
        return
    found = candidates(record.trials, record.points)
    keys = {selection.key}
    if policy == "pareto":
        keys.update(each.key for each in pareto_front(_feasible(found, selection)))
        keys.update(each.candidate for each in record.finalists)
    for candidate in found:
        if candidate.key in keys:
            yield candidate.rung
            # A point that was not written can be made again from these.
            yield from _members(candidate, rungs)


def _members(candidate: Candidate, rungs: Mapping[tuple[int, int], Rung]) -> Iterator[Rung]:
    for member in candidate.point.members:
        yield rungs[member.trial, member.step]


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


def _without_lost(trial: TrialResult) -> TrialResult:
    rungs = tuple(_rung_without_lost(rung) for rung in trial.rungs)
    return trial if rungs == trial.rungs else replace(trial, rungs=rungs)


def _point_without_lost(point: PointResult, trials: Mapping[int, TrialResult]) -> PointResult:
    rung = None if point.rung is None else _rung_without_lost(point.rung)
    return replace(point, trial=trials[point.trial.number], rung=rung)


def _rung_without_lost(rung: Rung) -> Rung:
    lost = rung.weights is not None and not Path(rung.weights).exists()
    return replace(rung, weights=None) if lost else rung
