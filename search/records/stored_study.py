"""A study as its folder holds it: what select, report and export read of a finished or half-finished one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from search.config import StudyConfig
from search.data.leakage import Leak
from search.decision.candidates import candidates
from search.objective import Objective
from search.records.stored_finalists import read_finalists
from search.records.stored_results import (
    POINT_FILE,
    TRIAL_FILE,
    read_json,
    read_point,
    read_trial,
    write_json,
)
from search.records.study_folder import StudyFolder
from search.records.study_record import StudyRecord
from search.results import PointResult, TrialResult
from search.settings.user_input import InputError, parse_section, read_mapping
from spaces.nearest import did_you_mean
from trainables.data.bad_samples import BadSample
from trainables.files import write_atomically
from trainables.scoring.evaluation import Evaluation, evaluations_json, read_evaluations


def write_facts(folder: StudyFolder, record: StudyRecord) -> None:
    """Write what no file of a trial or point tells; called when a study starts, and when it has ended."""
    write_json(
        folder.facts,
        {
            "finished": record.finished,
            "run_id": record.run_id,
            "seconds": record.seconds,
            "points_seconds": record.points_seconds,
            "finalists_seconds": record.finalists_seconds,
            "finalists_left_out": list(record.finalists_left_out),
            "versions": dict(record.versions),
            "model_fingerprint": record.model_fingerprint,
            "architecture": record.architecture,
            "data_fingerprints": dict(record.data_fingerprints),
            "leaks": [dataclasses.asdict(leak) for leak in record.leaks],
            "bad": [dataclasses.asdict(bad) for bad in record.bad],
        },
    )


def write_base(folder: StudyFolder, base: Mapping[str, Evaluation]) -> None:
    """Write what the untouched model scored on the search split."""
    write_atomically(folder.base, evaluations_json(base))


def read_study(root: Path) -> StudyRecord:
    """Read back what a study measured, without its samples and predictions.

    Args:
        root: The study's folder.

    Raises:
        InputError: It is not a study's folder, nothing of the study has ended yet, or a file is damaged; one
            line that names the file.
    """
    folder = StudyFolder(root)
    if not folder.study.is_file():
        raise InputError(_no_study(root))
    config = parse_section(StudyConfig, read_mapping(folder.study, "study file"), str(folder.study))
    if not folder.base.is_file():
        raise InputError(
            f"{root}: the study ended before its base was evaluated, so there is nothing to read"
        )
    try:
        return _read(folder, config)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{root}: a file of the study is damaged: {error!r}") from None


def read_retraining(folder: StudyFolder) -> tuple[Mapping[str, float], ...]:
    """Return the last metrics of each training of a finalist, which count from its start.

    Raises:
        OSError: A file can't be read.
        ValueError: One is damaged.
    """
    files = sorted(folder.root.glob("finalists/trained/*/training.json"))
    found = [read_json(file)["metrics"] for file in files]
    return tuple(metrics[max(metrics, key=int)] for metrics in found if metrics)


def objective_of(config: StudyConfig, base: Mapping[str, Evaluation]) -> Objective:
    """Return what a study maximises.

    Args:
        config: The study.
        base: Task -> the untouched model's evaluation.
    """
    return Objective(
        base={task: evaluation.value for task, evaluation in base.items()},
        targets=config.targets,
        held_out=config.held_out,
        forgetting_weight=config.objective.forgetting_weight,
        max_forgetting=config.objective.max_forgetting,
    )


def _no_study(root: Path) -> str:
    """Say that a folder is none of a study's, and which are near."""
    around = root if root.is_dir() else root.parent
    near = [file.parent.name for file in sorted(around.glob(f"*/{StudyFolder(root).study.name}"))]
    if root.is_dir():
        text = f"{root} is not a study's folder: it has no {StudyFolder(root).study.name}"
        return (
            f"{text}; the stud{'y' if len(near) == 1 else 'ies'} {', '.join(near)} "
            + ("lies in it" if len(near) == 1 else "lie in it")
            if near
            else text
        )
    return f"{root}: no such folder; {did_you_mean(root.name, near)}" if near else f"{root}: no such folder"


def _read(folder: StudyFolder, config: StudyConfig) -> StudyRecord:
    base = read_evaluations(folder.base)
    facts = read_json(folder.facts)
    trials = _trials(folder)
    record = StudyRecord(
        config=config,
        objective=objective_of(config, base),
        base=base,
        trials=trials,
        seconds=facts["seconds"],
        versions=facts["versions"],
        points=_points(folder, trials),
        points_seconds=facts["points_seconds"],
        leaks=tuple(_leak(fields) for fields in facts["leaks"]),
        bad=tuple(BadSample(**fields) for fields in facts["bad"]),
        model_fingerprint=facts["model_fingerprint"],
        architecture=facts["architecture"],
        data_fingerprints=facts["data_fingerprints"],
        finalists=read_finalists(folder.root),
        confirm_base=read_evaluations(folder.confirm_base) if folder.confirm_base.is_file() else {},
        finalists_seconds=facts["finalists_seconds"],
        finalists_left_out=tuple(facts.get("finalists_left_out", ())),
        retraining=read_retraining(folder),
        run_id=facts["run_id"],
        finished=facts["finished"],
    )
    _check_finalists(record)
    return record


def _check_finalists(record: StudyRecord) -> None:
    """Check that finalists belong to what was measured.

    Raises:
        ValueError: One was made of nothing that is there, or is compared with a base that is not.
    """
    known = {each.key for each in candidates(record.trials, record.points)}
    for finalist in record.finalists:
        if finalist.candidate not in known:
            raise ValueError(f"finalist {finalist.candidate!r} is no complete trial and no measured point")
        missing = {task for run in finalist.runs for task in run.confirm} - record.confirm_base.keys()
        if missing:
            raise ValueError(f"confirm_base.json lacks {min(missing)!r}, which finalists were scored on")


def _trials(folder: StudyFolder) -> tuple[TrialResult, ...]:
    trials = [read_trial(folder.root, file) for file in folder.trials.glob(f"*/{TRIAL_FILE}")]
    return tuple(sorted(trials, key=lambda trial: trial.number))


def _points(folder: StudyFolder, trials: tuple[TrialResult, ...]) -> tuple[PointResult, ...]:
    by_number = {trial.number: trial for trial in trials}
    points = [read_point(folder.root, file, by_number) for file in folder.points.glob(f"*/{POINT_FILE}")]
    return tuple(sorted(points, key=lambda point: point.number))


def _leak(fields: dict[str, Any]) -> Leak:
    examples = tuple((one, other) for one, other in fields["examples"])
    return Leak(**fields | {"examples": examples})
