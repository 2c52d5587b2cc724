"""Finalists: the best candidates trained again on new seeds, and scored once on the confirm split.

What the search chose by is the largest of many noisy numbers, and so too large. New seeds and samples that
nothing was chosen by tell what a recipe is worth.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from search.decision.candidates import Candidate, candidates, trainings
from search.decision.estimation import estimate, estimate_finalists, estimate_runs
from search.decision.evidence import Finalist, FinalistRun
from search.decision.rule import bounded
from search.finalists.choice import behind, entrant, finalists, worth
from search.finalists.progress import FinalistProgress
from search.finalists.racing import Entrant, after_round, fresh_seeds, needed, runners
from search.finalists.runs import FinalistRuns, Made, failed
from search.objective import Objective
from search.phases.study_run import StudyRun
from search.records.stored_finalists import read_confirmed, run_folder, write_finalist, write_run
from search.records.stored_study import objective_of
from search.records.study_record import StudyRecord
from trainables.files import write_atomically
from trainables.scoring.evaluation import Evaluation, evaluations_json
from trainables.workers.jobs import ConfirmData, Report


def with_finalists(run: StudyRun, record: StudyRecord) -> StudyRecord:
    """Train the best candidates again on new seeds, and score them on the confirm split.

    Args:
        run: The study, with its pool.
        record: What it measured, with its trials and points.

    Returns:
        The record with the finalists.

    Raises:
        StudyFailed: The base can't be evaluated on the confirm split.
    """
    config, data = run.config.finalists, run.prepared.confirm
    if config is None or data is None:
        return record
    began = time.monotonic()
    chosen = _chosen(run, record)
    if not chosen:
        run.console.print("no finalists: nothing that was tried is worth more than the untouched model")
        return record
    first = sum(entrant(chosen[0]).needs.values())
    if first > run.config.finalist_steps:
        run.console.print(
            f"no finalists: finalists.budget allows {run.config.finalist_steps} optimiser steps, and "
            f"training the best candidate again takes {first}"
        )
        return record
    race = _Race(run, record, chosen)
    with FinalistProgress(chosen, config.seeds, run.console) as progress:
        race.run_rounds(progress)
        base = race.confirm(data, progress)
    found = race.finalists(base)
    trained = {each.candidate for each in found}
    left_out = tuple(each.key for each in chosen if each.key not in trained)
    for place, finalist in enumerate(found):
        write_finalist(run.folder.root, place, finalist)
    return replace(
        record,
        finalists=found,
        finalists_left_out=left_out,
        confirm_base=base,
        finalists_seconds=time.monotonic() - began,
    )


def _chosen(run: StudyRun, record: StudyRecord) -> tuple[Candidate, ...]:
    assert run.config.finalists is not None
    rule = run.config.selection
    ranked = sorted(
        candidates(record.trials, record.points),
        key=lambda each: (-worth(each.rung.score, rule.maximise), each.rung.score.held_out_forgetting),
    )
    evidence = estimate(record, run.folder.root)
    most = run.config.finalists.most
    return finalists(ranked, record.objective, evidence, rule, most)


@dataclass
class _Racer:
    """A finalist in the race; `made` are its runs that did not fail, by seed."""

    candidate: Candidate
    runs: dict[int, FinalistRun] = field(default_factory=dict)
    made: dict[int, Made] = field(default_factory=dict)
    dropped: bool = False


class _Race:
    """The race of a study's finalists.

    Args:
        run: The study, with its pool.
        record: What it measured.
        chosen: Who takes part, best first by search score.
    """

    def __init__(self, run: StudyRun, record: StudyRecord, chosen: Sequence[Candidate]) -> None:
        self._run = run
        self._record = record
        self._racers = {each.key: _Racer(each) for each in chosen}
        trials = {trial.number: trial for trial in record.trials}
        self._runs = FinalistRuns(run=run, trials=trials, objective=record.objective)
        # Each run is scored on the confirm splits once, also where a driver died after it.
        self._confirmed = read_confirmed(run.folder.root)

    def run_rounds(self, progress: FinalistProgress) -> None:
        """Train who is in the race on one seed after another, as far as the budget goes."""
        config = self._run.config
        assert config.finalists is not None
        left = config.finalist_steps
        seeds = fresh_seeds(config.search.seed, config.finalists.seeds)
        standing = tuple(entrant(racer.candidate) for racer in self._racers.values())
        for number, seed in enumerate(seeds):
            running = runners(standing, rounds=len(seeds) - number, left=left)
            if not running:
                break
            left -= sum(needed(running).values())
            self._round(running, seed, progress)
            standing, dropped = self._standing(running)
            for each in dropped:
                self._racers[each.key].dropped = True
                progress.dropped(each.key, standing[0].key)

    def confirm(self, data: ConfirmData, progress: FinalistProgress) -> Mapping[str, Evaluation]:
        """Score the base and who was not dropped on the confirm splits, once; return the base's."""
        run = self._run
        base = run.base_on_confirm(data, lambda: self._runs.base(data))
        write_atomically(run.folder.confirm_base, evaluations_json(base))
        objective = objective_of(run.config, base)
        made = [each for racer in self._racers.values() if not racer.dropped for each in racer.made.values()]
        kept = []
        for each, rung in self._runs.written(made):
            ended = self._racers[each.candidate.key].runs
            if isinstance(rung, str):
                ended[each.seed] = failed(each.candidate, each.seed, rung)
                write_run(run.folder.root, ended[each.seed], {})
            else:
                ended[each.seed] = replace(ended[each.seed], rung=rung)
                kept.append(each)
        for each, scored in self._scored(kept, data, objective):
            self._racers[each.candidate.key].runs[each.seed] = scored
            write_run(run.folder.root, scored, each.evaluations)
            progress.confirmed(each.candidate.key, scored)
        for racer in self._racers.values():
            for result in racer.runs.values():
                run.tracker.log_finalist(racer.candidate, result, objective, dropped=racer.dropped)
        return base

    def finalists(self, base: Mapping[str, Evaluation]) -> tuple[Finalist, ...]:
        """Return who was trained at least once, by search score.

        Args:
            base: Task -> the base's evaluation on the confirm split.
        """
        found = [
            Finalist(candidate=key, runs=tuple(racer.runs.values()), dropped=racer.dropped)
            for key, racer in self._racers.items()
            if racer.runs
        ]
        known = estimate_finalists(
            found, base, self._record.objective, self._run.config, self._trainings()
        ).estimates
        return tuple(replace(each, estimates=known.get(each.candidate)) for each in found)

    def _scored(
        self, made: Sequence[Made], data: ConfirmData, objective: Objective
    ) -> Iterator[tuple[Made, FinalistRun]]:
        """Yield runs with what they score on the confirm splits, those first that were scored before."""
        to_score = []
        for each in made:
            ended = self._racers[each.candidate.key].runs[each.seed]
            if (known := self._confirmed.get(ended.folder)) is None:
                to_score.append(each)
            else:
                yield each, replace(ended, confirm=known.confirm, confirmed=known.confirmed)
        for each, report in self._runs.confirmed(to_score, data):
            ended = self._racers[each.candidate.key].runs[each.seed]
            yield each, _confirmed(ended, report, objective)

    def _round(self, running: Sequence[Entrant], seed: int, progress: FinalistProgress) -> None:
        racers = [self._racers[each.key].candidate for each in running]
        for candidate, made in self._runs.trained(racers, needed(running), seed):
            racer = self._racers[candidate.key]
            if isinstance(made, str):
                ended = failed(candidate, seed, made)
            else:
                racer.made[seed] = made
                # Where its weights lie is known once they are written, of those that are confirmed.
                ended = FinalistRun(
                    seed=seed,
                    rung=replace(made.rung, weights=None, sha256=None),
                    confirm={},
                    confirmed=None,
                    folder=str(run_folder(candidate.key, seed)),
                )
            racer.runs[seed] = ended
            if isinstance(made, str):
                write_run(self._run.folder.root, ended, {})
            elif ended.folder not in self._confirmed:
                # What it scored on the confirm splits stays, should this driver die before `confirm`, too.
                write_run(self._run.folder.root, ended, made.evaluations)
            progress.run_ended(candidate.key, ended)

    def _trainings(self) -> dict[str, frozenset[int]]:
        return trainings(racer.candidate for racer in self._racers.values())

    def _standing(self, running: Sequence[Entrant]) -> tuple[tuple[Entrant, ...], tuple[Entrant, ...]]:
        """Return who is still in the race, best first, and who is dropped, by what the new seeds say."""
        rule = self._run.config.selection
        made = {each.key: self._racers[each.key].made for each in running}
        made = {key: runs for key, runs in made.items() if runs}
        evidence = estimate_runs(
            {key: {seed: run.evaluations for seed, run in runs.items()} for key, runs in made.items()},
            self._record.base,
            self._record.objective,
            self._run.config,
            self._trainings(),
        )
        objective = self._record.objective

        def forgetting(key: str) -> float:
            mean = _mean(run.rung.score.held_out_forgetting for run in made[key].values())
            return bounded(mean, evidence.estimates.get(key), strict=rule.strict)

        means = {
            key: (
                objective.violation(forgetting(key)) <= 0,
                _mean(worth(run.rung.score, rule.maximise) for run in runs.values()),
            )
            for key, runs in made.items()
        }
        return after_round(running, means, lambda one, other: behind(evidence, one, other, rule))


def _confirmed(run: FinalistRun, report: Report, objective: Objective) -> FinalistRun:
    if report.error is not None:
        return replace(run, error=f"it can't be scored on the confirm split: {report.error}")
    try:
        values = {task: evaluation.value for task, evaluation in report.evaluations.items()}
        return replace(run, confirm=report.evaluations, confirmed=objective.score(values))
    except ValueError as error:
        return replace(run, error=str(error))


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return math.fsum(found) / len(found)
