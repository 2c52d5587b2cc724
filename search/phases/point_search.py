"""Points without retraining: which to evaluate once the trials have ended, and what they scored."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from search.config import StudyConfig
from search.decision.candidates import EVALUATIONS_FILE
from search.objective import Score, score_metrics
from search.phases.leased_jobs import none_lost, run_jobs
from search.phases.point_progress import PointProgress
from search.phases.study_run import StudyRun
from search.records.stored_results import write_point
from search.records.stored_study import read_points
from search.records.study_record import StudyRecord
from search.results import PointResult, Rung, TrialResult, TrialState
from search.selection import Selection
from search.settings.points_config import PointsConfig
from spaces.points import Identity, Interpolation, Member, Point, Pruning, Soup, Transform
from spaces.presets import POINT_PRESETS
from trainables.checkpoint import MANIFEST_FILE
from trainables.files import write_atomically
from trainables.manifest import TrainableManifest
from trainables.scoring.evaluation import Evaluation, evaluations_json, read_evaluations, rung_file
from trainables.weights.points import TrainedWeights
from trainables.workers.execution import Execution, GroupShape, largest_shape
from trainables.workers.jobs import PointJob, Report

_WEIGHTS_FILE = "weights.safetensors"


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedPoint:
    """A point that is to be evaluated.

    Attributes:
        number: Order of the points, from 0.
        point: What is done.
        trial: To which trial's weights; of a soup, its best member.
        preset: Name of the preset that it stands for, or None.
    """

    number: int
    point: Point
    trial: TrialResult
    preset: str | None


def plan_points(
    config: PointsConfig, trials: Sequence[TrialResult], *, presets: bool
) -> tuple[PlannedPoint, ...]:
    """Return the points that a study evaluates.

    The trials that are interpolated and pruned are taken in turn by their score and by their target gain:
    what gains most often forgets too much, and takes most of that back on its way to the base. A soup takes
    the best by score. Nothing is asked of what they forget: a point may be feasible where its trial is not.

    Args:
        config: Which points.
        trials: The trials; only complete ones have points.
        presets: Whether the published points are among them.
    """
    best = sorted(
        (trial for trial in trials if trial.state is TrialState.COMPLETE),
        key=lambda trial: (-trial.last.score.score, trial.last.score.held_out_forgetting, trial.number),
    )
    points: dict[Point, str | None] = {}
    for trial in _in_turn(best)[: config.top]:
        if config.earlier_rungs:
            points |= {Point(trial.number, rung.step, Identity()): None for rung in trial.rungs[:-1]}
        transforms: list[Transform] = [*map(Interpolation, config.alpha), *map(Pruning, config.keep)]
        points |= {Point(trial.number, trial.last.step, transform): None for transform in transforms}
    members = tuple(Member(trial.number, trial.last.step) for trial in best[: config.soup or 0])
    if len(members) > 1:
        points[Point(members[0].trial, members[0].step, Soup(members))] = None
    for name, (trained, transform) in POINT_PRESETS.items():
        for trial in best:
            if presets and trial.preset == trained:
                points[Point(trial.number, trial.last.step, transform)] = name
    by_number = {trial.number: trial for trial in best}
    return tuple(
        PlannedPoint(number=number, point=point, trial=by_number[point.trial], preset=preset)
        for number, (point, preset) in enumerate(points.items())
    )


def needed_for_points(config: StudyConfig, trials: Sequence[TrialResult]) -> frozenset[int]:
    """Return the numbers of the trials whose weights points would be made of, had the search ended."""
    if config.points is None:
        return frozenset()
    plan = plan_points(config.points, trials, presets=config.search.presets)
    return frozenset(member.trial for planned in plan for member in planned.point.members)


def with_points(run: StudyRun, record: StudyRecord) -> StudyRecord:
    """Evaluate what is made of the best trials' weights.

    Args:
        run: The study, with its pool.
        record: What it measured, with its trials.

    Returns:
        The record with the points.
    """
    config = run.config
    if config.points is None:
        return record
    plan = plan_points(config.points, record.trials, presets=config.search.presets)
    if not plan:
        return record
    began = time.monotonic()
    # What an earlier driver measured before it died.
    measured = {result.number: result for result in read_points(run.folder, record.trials)}
    results = [measured[each.number] for each in plan if _is_of(each, measured.get(each.number))]
    known = {result.number for result in results}
    search = point_search(run, record)
    with PointProgress(len(plan), run.console) as progress:
        for result in chain(results.copy(), search.evaluate([p for p in plan if p.number not in known])):
            if result.number not in known:
                results.append(result)
            run.tracker.log_point(result)
            write_point(run.folder.root, result)
            progress.point_ended(result)
    points = tuple(sorted(results, key=lambda result: result.number))
    return replace(record, points=points, points_seconds=time.monotonic() - began)


def point_search(run: StudyRun, record: StudyRecord) -> PointSearch:
    """Return what evaluating points of a running study needs."""
    return PointSearch(
        pool=run.pool,
        executions=run.placement.executions,
        at_a_time=run.placement.concurrency,
        trials=record.trials,
        trial_folders=run.folder.trials,
        folder=run.folder.points,
        metrics=partial(score_metrics, objective=record.objective),
    )


def _in_turn(by_score: Sequence[TrialResult]) -> list[TrialResult]:
    """Return the trials in turn by score and by target gain, each time the next that is not among them."""
    by_gain = sorted(by_score, key=lambda trial: -trial.last.score.target_gain)
    taken: dict[int, TrialResult] = {}
    while len(taken) < len(by_score):
        for order in (by_score, by_gain):
            following = next((trial for trial in order if trial.number not in taken), None)
            if following is not None:
                taken[following.number] = following
    return list(taken.values())


@dataclass(frozen=True, kw_only=True)
class PointSearch:
    """What evaluating points needs of a study.

    Attributes:
        pool: Handle of the `WorkerPool` actor.
        executions: `Recipe.variant` -> how its trials were carried out.
        at_a_time: Bound on evaluations at a time.
        trials: The study's trials.
        trial_folders: The folder under which each trial has its own.
        folder: The folder under which each point gets its own.
        metrics: Turns evaluations into the metrics of the objective.
    """

    pool: Any
    executions: Mapping[str, Execution]
    at_a_time: int
    trials: Sequence[TrialResult]
    trial_folders: Path
    folder: Path
    metrics: Callable[[Mapping[str, Evaluation]], dict[str, float]]

    def evaluate(self, plan: Sequence[PlannedPoint]) -> Iterator[PointResult]:
        """Yield each planned point as it is evaluated on the search split; a rung as the trial found it.

        Raises:
            WorkersLost: Too many workers were lost.
        """
        by_number = {planned.number: planned for planned in plan}
        open_points = {}
        for planned in plan:
            if isinstance(planned.point.transform, Identity):
                yield _result(planned, rung=_rung_of(planned.trial, planned.point.step))
            else:
                open_points[planned.number] = self.job(planned.point)
        reports = run_jobs(self.pool, open_points, at_a_time=self.at_a_time)
        for number, report in none_lost(reports):
            yield self._evaluated(by_number[number], report)

    def job(self, point: Point) -> tuple[GroupShape, PointJob]:
        """Return a point's job, and the largest of the shapes that trained its members."""
        by_number = {trial.number: trial for trial in self.trials}
        members, shapes = [], []
        for member in point.members:
            trial = by_number[member.trial]
            rung = _rung_of(trial, member.step)
            assert rung.weights is not None, "a complete trial leaves its weights"
            description = (self.trial_folders / trial.trial_id / MANIFEST_FILE).read_text("utf-8")
            manifest = TrainableManifest.from_dict(json.loads(description))
            members.append(TrainedWeights(path=rung.weights, manifest=manifest, sha256=rung.sha256))
            shapes.append(self.executions[trial.recipe.variant].shape)
        return largest_shape(shapes), PointJob(point=point, members=tuple(members))

    def recorded(self, selection: Selection) -> dict[str, Evaluation]:
        """Return what the selected trial or point scored when it was evaluated."""
        trial, made = selection.winner, selection.made
        assert trial is not None, "the base was selected"
        assert made is not None
        if isinstance(made.transform, Identity):
            return read_evaluations(self.trial_folders / trial.trial_id / rung_file(made.step))
        assert selection.point is not None
        return read_evaluations(self.folder / str(selection.point.number) / EVALUATIONS_FILE)

    def written(self, results: Iterable[PointResult]) -> Iterator[PointResult]:
        """Yield points as their weights are written, or with the reason why they can't be.

        Raises:
            WorkersLost: Too many workers were lost.
        """
        by_number = {result.number: result for result in results}
        jobs = {}
        for number, result in by_number.items():
            shape, job = self.job(result.point)
            jobs[number] = shape, replace(job, write_to=str(self.folder / str(number) / _WEIGHTS_FILE))
        for number, report in none_lost(run_jobs(self.pool, jobs, at_a_time=self.at_a_time)):
            result = by_number[number]
            pointer = report.checkpoint
            if report.error is not None or pointer is None or report.manifest is None:
                yield replace(result, unwritten=str(report.error))
                continue
            manifest = json.dumps(dict(report.manifest)).encode()
            write_atomically(self.folder / str(number) / MANIFEST_FILE, manifest)
            rung = result.measured
            metrics = {**rung.metrics, **report.metrics}
            rung = replace(rung, weights=pointer.path, sha256=pointer.sha256, metrics=metrics)
            yield replace(result, rung=rung)

    def _evaluated(self, planned: PlannedPoint, report: Report) -> PointResult:
        if report.error is not None:
            return _result(planned, error=report.error)
        try:
            metrics = {**self.metrics(report.evaluations), **report.metrics}
        except ValueError as error:
            return _result(planned, error=str(error))
        if broken := [name for name, value in metrics.items() if not math.isfinite(value)]:
            return _result(planned, error=f"metric {broken[0]} is {metrics[broken[0]]}")
        file = self.folder / str(planned.number) / EVALUATIONS_FILE
        write_atomically(file, evaluations_json(report.evaluations))
        rung = Rung(
            step=planned.point.step,
            progress=planned.point.step / planned.trial.recipe.steps,
            score=Score.from_metrics(metrics),
            values={task: evaluation.value for task, evaluation in report.evaluations.items()},
            metrics=metrics,
        )
        return _result(planned, rung=rung)


def _is_of(planned: PlannedPoint, result: PointResult | None) -> bool:
    return result is not None and result.point == planned.point


def _rung_of(trial: TrialResult, step: int) -> Rung:
    return next(rung for rung in trial.rungs if rung.step == step)


def _result(planned: PlannedPoint, *, rung: Rung | None = None, error: str | None = None) -> PointResult:
    return PointResult(
        number=planned.number,
        point=planned.point,
        trial=planned.trial,
        preset=planned.preset,
        rung=rung,
        error=error,
    )
