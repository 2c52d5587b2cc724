"""Estimation: intervals of what candidates are worth, from the scores of each sample that a study keeps."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

from search.config import StudyConfig
from search.decision.bootstrap import Bootstrap, Resampled
from search.decision.candidates import Candidate, candidates
from search.decision.evidence import NO_EVIDENCE, Estimate, Estimates, Evidence, Finalist, Measure
from search.objective import Objective
from search.records.study_record import StudyRecord
from search.results import TrialState
from trainables.scoring.evaluation import Evaluation

_EACH_ITS_OWN: Final[Mapping[str, Hashable]] = MappingProxyType({})


def estimate(record: StudyRecord, folder: Path) -> Evidence:
    """Return what the candidates are worth on the search split, where the scores of each sample are known.

    Args:
        record: What the study measured.
        folder: Its folder. A candidate whose file is missing, damaged or of other samples has no estimates.
    """
    found: dict[str, Mapping[str, Evaluation]] = {}
    for candidate in candidates(record.trials, record.points):
        try:
            evaluations = candidate.evaluations(folder)
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if _same_samples(record.base, evaluations):
            found[candidate.key] = evaluations
    if not found or not _same_samples(record.base, record.base):
        return NO_EVIDENCE
    bootstrap = _bootstrap(record.base, record.objective, record.config)
    return _evidence(bootstrap, list(found), bootstrap.resample(list(found.values())))


def estimate_pruned(record: StudyRecord, folder: Path) -> dict[str, Estimates]:
    """Return what pruned trials were worth when they were stopped, by the keys that they would have.

    Each is compared with the base on the samples that it was scored on then, the first ones. Nobody chooses
    among them, so that they are never compared with each other.

    Args:
        record: What the study measured.
        folder: Its folder. A trial whose file is missing, damaged or of other samples has no estimates.
    """
    by_samples: dict[tuple[int, ...], dict[str, Mapping[str, Evaluation]]] = {}
    for trial in record.trials:
        if trial.state is not TrialState.PRUNED:
            continue
        candidate = Candidate(trial=trial)
        try:
            found = candidate.evaluations(folder)
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if all(task in found and found[task].n <= base.n for task, base in record.base.items()):
            sizes = tuple(found[task].n for task in record.base)
            by_samples.setdefault(sizes, {})[candidate.key] = found
    estimates: dict[str, Estimates] = {}
    for sizes, trials in by_samples.items():
        base = {task: each.first(n) for (task, each), n in zip(record.base.items(), sizes, strict=True)}
        resampled = _bootstrap(base, record.objective, record.config).resample(list(trials.values()))
        estimates |= {key: each.estimates for key, each in zip(trials, resampled, strict=True)}
    return estimates


def estimate_finalists(
    finalists: Sequence[Finalist],
    base: Mapping[str, Evaluation],
    objective: Objective,
    config: StudyConfig,
    trained: Mapping[str, Hashable] = _EACH_ITS_OWN,
) -> Evidence:
    """Return what the finalists are worth on the confirm split, over seeds and samples.

    Args:
        finalists: The finalists; one without a run that got to the confirm split has no estimates.
        base: Task -> the untouched model's evaluation on that split.
        objective: What the study maximises; the base's values there are not read.
        config: The study.
        trained: Key of a finalist -> what was trained for it; see `search.decision.candidates.trainings`.
    """
    runs = {each.candidate: {run.seed: run.confirm for run in each.runs} for each in finalists}
    return estimate_runs(runs, base, objective, config, trained)


def estimate_runs(
    runs: Mapping[str, Mapping[int, Mapping[str, Evaluation]]],
    base: Mapping[str, Evaluation],
    objective: Objective,
    config: StudyConfig,
    trained: Mapping[str, Hashable] = _EACH_ITS_OWN,
) -> Evidence:
    """Return what recipes are worth that were trained several times, over seeds and samples.

    Args:
        runs: Key of a candidate -> seed -> its evaluations; one without a run on the base's samples has no
            estimates.
        base: Task -> the untouched model's evaluation on the same split.
        objective: What the study maximises; the base's values there are not read.
        config: The study.
        trained: Key -> what was trained for it: candidates of which it is the same share their trainings. One
            that is not named has its own.
    """
    fitting = {
        key: {seed: run for seed, run in each.items() if _same_samples(base, run)}
        for key, each in runs.items()
    }
    found = {key: each for key, each in fitting.items() if each}
    if not found:
        return NO_EVIDENCE
    bootstrap = _bootstrap(base, objective, config)
    what = [trained.get(key, key) for key in found]
    return _evidence(bootstrap, list(found), bootstrap.resample_runs(list(found.values()), what))


def _bootstrap(base: Mapping[str, Evaluation], objective: Objective, config: StudyConfig) -> Bootstrap:
    return Bootstrap(
        base,
        objective,
        confidence=config.selection.confidence,
        replicates=config.selection.replicates,
        seed=config.search.seed,
    )


def _same_samples(base: Mapping[str, Evaluation], tuned: Mapping[str, Evaluation]) -> bool:
    return bool(base) and all(task in tuned and tuned[task].n == base[task].n for task in base)


def _evidence(bootstrap: Bootstrap, keys: Sequence[str], resampled: Sequence[Resampled]) -> Evidence:
    by_key = dict(zip(keys, resampled, strict=True))

    def difference(one: str, other: str, measure: Measure, confidence: float) -> Estimate:
        return bootstrap.difference(by_key[one], by_key[other], measure, confidence)

    return Evidence(estimates={key: each.estimates for key, each in by_key.items()}, difference=difference)
