"""FinalistRuns: a finalist's runs, from its recipe's new weights to what they score on either split."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from search.decision.candidates import Candidate
from search.decision.evidence import FinalistRun
from search.finalists.retraining import Retrained, measured, retrain
from search.objective import Objective
from search.phases.leased_jobs import Key, none_lost, run_jobs
from search.phases.study_failed import StudyFailed
from search.phases.study_run import StudyRun
from search.records.stored_finalists import read_measured, run_folder
from search.results import Rung, TrialResult
from spaces.points import Identity
from trainables.checkpoint import MANIFEST_FILE, CheckpointError, copy_parameters
from trainables.files import write_atomically
from trainables.scoring.evaluation import Evaluation
from trainables.weights.points import TrainedWeights
from trainables.workers.execution import GroupShape
from trainables.workers.jobs import ConfirmData, ConfirmJob, PointJob, Report

WEIGHTS_FILE = "weights.safetensors"
Evaluations = Mapping[str, Evaluation]


@dataclass(frozen=True, kw_only=True)
class Made:
    """A finalist's run that did not fail.

    Attributes:
        candidate: The finalist.
        seed: The seed.
        members: What the finalist is made of, trained again on that seed.
        rung: What it scored on the search split.
        evaluations: The same by task.
    """

    candidate: Candidate
    seed: int
    members: tuple[TrainedWeights, ...]
    rung: Rung
    evaluations: Evaluations


@dataclass(frozen=True, kw_only=True)
class FinalistRuns:
    """Carries out finalists' runs in worker groups.

    Attributes:
        run: The study, with its pool.
        trials: Number -> trial.
        objective: What the study maximises, with the base's values on the search split.
    """

    run: StudyRun
    trials: Mapping[int, TrialResult]
    objective: Objective

    def trained(
        self, running: Sequence[Candidate], needs: Mapping[int, int], seed: int
    ) -> Iterator[tuple[Candidate, Made | str]]:
        """Train on a seed what candidates need; yield each with its run, or why that failed.

        Args:
            running: The candidates.
            needs: Number of each trial that any of them needs -> optimiser steps.
            seed: The seed.
        """
        steps = {number: {last} for number, last in needs.items()}
        for candidate in running:
            for member in candidate.point.members:
                steps[member.trial].add(member.step)
        wanted = {
            number: (self.trials[number].recipe, tuple(sorted(found))) for number, found in steps.items()
        }
        folder = self.run.folder.finalists / "trained"
        ended: dict[int, Retrained] = {}
        open_points: dict[str, Candidate] = {}
        for retrained in retrain(self.run, self.objective, wanted, seed=seed, folder=folder):
            ended[retrained.trial] = retrained
        for candidate in running:
            own = [ended[member.trial] for member in candidate.point.members]
            if errors := [f"trial {each.trial}'s recipe: {each.error}" for each in own if each.error]:
                yield candidate, errors[0]
            elif isinstance(candidate.point.transform, Identity):
                yield candidate, self._as_trained(candidate, seed, own[0])
            else:
                open_points[candidate.key] = candidate
        yield from self._as_points(open_points, seed, ended)

    def confirmed(self, made: Sequence[Made], data: ConfirmData) -> Iterator[tuple[Made, Report]]:
        """Score runs on the confirm splits; yield each with its report."""
        jobs = {
            number: (
                self._shape(each.candidate),
                ConfirmJob(data=data, point=each.candidate.point, members=each.members),
            )
            for number, each in enumerate(made)
        }
        for number, report in self._done(jobs):
            yield made[number], report

    def base(self, data: ConfirmData) -> Evaluations:
        """Return what the untouched model scores on the confirm splits.

        Raises:
            StudyFailed: It can't be evaluated.
        """
        ((_, report),) = self._done({"base": (self.run.shape, ConfirmJob(data=data))})
        if report.error is not None:
            raise StudyFailed(f"the base can't be evaluated on the confirm split: {report.error}")
        return report.evaluations

    def written(self, made: Sequence[Made]) -> Iterator[tuple[Made, Rung | str]]:
        """Write the weights of runs to their folders; yield each with its rung, or why that failed."""
        jobs = {}
        for number, each in enumerate(made):
            if isinstance(each.candidate.point.transform, Identity):
                (own,) = each.members
                target = self._folder(each) / WEIGHTS_FILE
                try:
                    sha256 = copy_parameters(Path(own.path), target, own.sha256)
                except CheckpointError as error:
                    yield each, f"its weights can't be written: {error}"
                    continue
                yield each, self._described(each, own.manifest.to_dict(), str(target), sha256)
                continue
            if each.rung.weights is not None:
                # An earlier driver wrote them.
                yield each, each.rung
                continue
            job = PointJob(
                point=each.candidate.point,
                members=each.members,
                write_to=str(self._folder(each) / WEIGHTS_FILE),
            )
            jobs[number] = self._shape(each.candidate), job
        for number, report in self._done(jobs):
            each = made[number]
            written = report.checkpoint
            if report.error is not None or written is None or report.manifest is None:
                yield each, f"its weights can't be written: {report.error}"
                continue
            yield each, self._described(each, report.manifest, written.path, written.sha256)

    def _described(self, made: Made, manifest: Mapping[str, Any], weights: str, sha256: str) -> Rung:
        write_atomically(self._folder(made) / MANIFEST_FILE, json.dumps(dict(manifest)).encode())
        return replace(made.rung, weights=weights, sha256=sha256)

    def _as_trained(self, candidate: Candidate, seed: int, own: Retrained) -> Made:
        step = candidate.point.step
        return Made(
            candidate=candidate,
            seed=seed,
            members=(own.weights(step),),
            rung=own.rung(step),
            evaluations=own.evaluations[step],
        )

    def _as_points(
        self, open_points: Mapping[str, Candidate], seed: int, ended: Mapping[int, Retrained]
    ) -> Iterator[tuple[Candidate, Made | str]]:
        members: dict[str, tuple[TrainedWeights, ...]] = {}
        jobs = {}

        def made(key: str, rung: Rung, evaluations: Mapping[str, Evaluation]) -> Made:
            return Made(
                candidate=open_points[key],
                seed=seed,
                members=members[key],
                rung=rung,
                evaluations=evaluations,
            )

        for key, candidate in open_points.items():
            own = [(ended[member.trial], member.step) for member in candidate.point.members]
            members[key] = tuple(each.weights(step) for each, step in own)
            # Of the same weights an earlier driver may have measured it before it died.
            known = None
            if all(each.earlier for each, _ in own):
                known = read_measured(self.run.folder.root, key, seed)
            if known is None:
                jobs[key] = self._shape(candidate), PointJob(point=candidate.point, members=members[key])
                continue
            rung, evaluations = known
            yield candidate, made(key, rung, evaluations)
        for key, report in self._done(jobs):
            candidate = open_points[key]
            if report.error is not None:
                yield candidate, report.error
                continue
            try:
                rung = measured(report, self.objective, candidate.trial.recipe, step=candidate.point.step)
            except ValueError as error:
                yield candidate, str(error)
                continue
            yield candidate, made(key, rung, report.evaluations)

    def _done(
        self, jobs: Mapping[Key, tuple[GroupShape, PointJob | ConfirmJob]]
    ) -> Iterator[tuple[Key, Report]]:
        return none_lost(run_jobs(self.run.pool, jobs, at_a_time=self.run.placement.concurrency))

    def _shape(self, candidate: Candidate) -> GroupShape:
        """Return the largest of the shapes that train what a candidate is made of."""
        members = (self.trials[member.trial] for member in candidate.point.members)
        return self.run.placement.shape_for(trial.recipe.variant for trial in members)

    def _folder(self, made: Made) -> Path:
        return self.run.folder.root / run_folder(made.candidate.key, made.seed)


def failed(candidate: Candidate, seed: int, error: str) -> FinalistRun:
    """Return a run that failed."""
    folder = str(run_folder(candidate.key, seed))
    return FinalistRun(seed=seed, rung=None, confirm={}, confirmed=None, folder=folder, error=error)
