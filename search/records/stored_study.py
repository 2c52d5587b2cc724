"""A study as its folder holds it: what select, report and export read of a finished or half-finished one."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from search.config import StudyConfig
from search.data.leakage import Leak
from search.decision.candidates import candidates
from search.objective import Objective
from search.records.stored_finalists import CONFIRM_FILE, read_finalists
from search.records.stored_results import (
    POINT_FILE,
    TRIAL_FILE,
    read_json,
    read_point,
    read_trial,
    write_json,
)
from search.records.stored_shapes import FactsShape, TrainingShape
from search.records.study_folder import StudyFolder
from search.records.study_identity import StudyIdentity
from search.records.study_record import StudyRecord
from search.results import PointResult, TrialResult
from search.settings.user_input import InputError, parse_section, read_mapping
from spaces.nearest import did_you_mean
from trainables.data.bad_samples import BadSample
from trainables.files import naming, write_atomically
from trainables.scoring.evaluation import Evaluation, evaluations_json, read_evaluations


def write_facts(folder: StudyFolder, record: StudyRecord, kept: Collection[Path] | None = None) -> None:
    """Write what no file of a trial or point tells; called when a study starts, and when it has ended.

    Args:
        folder: The study's folder.
        record: What it measured.
        kept: The files of trained parameters that stay; None before that is known.
    """
    root = folder.root.absolute()
    write_json(
        folder.facts,
        {
            "finished": record.finished,
            "study_id": StudyIdentity.read(folder).study_id if folder.identity.is_file() else None,
            "run_id": record.run_id,
            "kept": None if kept is None else sorted(str(path.relative_to(root)) for path in kept),
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


def read_kept(folder: StudyFolder) -> frozenset[Path] | None:
    """Return the files of trained parameters that stay, of a study that has ended; None where it says none.

    Raises:
        OSError: The file can't be read.
        DamagedFile: It is damaged.
    """
    kept = read_json(folder.facts, FactsShape).get("kept")
    return None if kept is None else frozenset(folder.root.absolute() / each for each in kept)


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
        raise InputError(_no_base(folder))
    try:
        return _read(folder, config)
    except OSError as error:
        raise InputError(
            f"{error.filename}: this file of the study can't be read: {error.strerror}"
        ) from None
    except ValueError as error:
        raise InputError(str(error)) from None


def _no_base(folder: StudyFolder) -> str:
    """Say why there is no `base.json`: it never was there, or is no longer."""
    if folder.base.exists():
        return f"{folder.base}: expected a file, but this is none that can be read"
    if next(folder.trials.glob(f"*/{TRIAL_FILE}"), None) is None:
        return f"{folder.root}: the study ended before its base was evaluated, so there is nothing to read"
    return (
        f"{folder.base}: this file of the study is missing, though trials have ended: it was removed, and "
        "what they gained and forgot can't be told without it"
    )


def read_retraining(folder: StudyFolder) -> tuple[Mapping[str, float], ...]:
    """Return the last metrics of each training of a finalist, which count from its start.

    Raises:
        OSError: A file can't be read.
        ValueError: One is damaged.
    """
    files = sorted(folder.root.glob("finalists/trained/*/training.json"))
    last = []
    for file in files:
        metrics = read_json(file, TrainingShape)["metrics"]
        with naming(file):
            last += [metrics[max(metrics, key=int)]] if metrics else []
    return tuple(last)


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
    hint = did_you_mean(root.name, near)
    return f"{root}: no such folder" + (f"; {hint}" if hint.startswith("did") else "")


def _read(folder: StudyFolder, config: StudyConfig) -> StudyRecord:
    base = read_evaluations(folder.base)
    with naming(folder.base):
        objective = objective_of(config, base)
    facts = read_json(folder.facts, FactsShape)
    with naming(folder.facts):
        leaks = tuple(_leak(fields) for fields in facts["leaks"])
        bad = tuple(BadSample(**fields) for fields in facts["bad"])
    trials = read_trials(folder)
    record = StudyRecord(
        config=config,
        objective=objective,
        base=base,
        trials=trials,
        seconds=facts["seconds"],
        versions=facts["versions"],
        points=read_points(folder, trials),
        points_seconds=facts["points_seconds"],
        leaks=leaks,
        bad=bad,
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
    _check_parts(folder, record)
    return record


def _check_parts(folder: StudyFolder, record: StudyRecord) -> None:
    """Check that what was measured is about the study's tasks, and finalists about what was measured.

    Raises:
        ValueError: Something is of other tasks, a finalist was made of nothing that is there or is compared
            with a base that is not, or all of them are gone.
    """
    tasks = {*record.config.targets, *record.config.held_out}
    check_tasks(folder.base, tasks - record.base.keys())
    for trial in record.trials:
        for rung in trial.rungs:
            check_tasks(folder.trials / trial.trial_id / TRIAL_FILE, tasks - rung.values.keys())
    for point in record.points:
        lacking = set() if point.rung is None else tasks - point.rung.values.keys()
        check_tasks(folder.points / str(point.number) / POINT_FILE, lacking)
    known = {each.key for each in candidates(record.trials, record.points)}
    for finalist in record.finalists:
        if finalist.candidate not in known:
            raise ValueError(
                f"{folder.finalists}: finalist {finalist.candidate!r} is no complete trial and no measured "
                "point"
            )
        for run in finalist.runs:
            if run.confirmed is not None:
                check_tasks(folder.root / run.folder / CONFIRM_FILE, tasks - run.confirm.keys())
        missing = {task for run in finalist.runs for task in run.confirm} - record.confirm_base.keys()
        if missing:
            what = "lacks" if folder.confirm_base.is_file() else "is missing, and with it"
            raise ValueError(f"{folder.confirm_base} {what} {min(missing)!r}, which finalists were scored on")
    if record.finished and record.confirm_base and not record.finalists:
        raise ValueError(
            f"{folder.finalists}: the finalists of the study are missing, though {folder.confirm_base.name} "
            f"tells that they were confirmed: they were removed, and what {folder.selected.name}/ was chosen "
            "by can't be told without them; put them back"
        )


def check_tasks(file: Path, lacking: Collection[str]) -> None:
    """Check that a file of a study tells of all its tasks.

    Args:
        file: The file.
        lacking: The tasks that it does not tell of.

    Raises:
        ValueError: There are any.
    """
    if lacking:
        raise ValueError(f"{file}: this file of the study is damaged: it lacks the task {min(lacking)!r}")


def read_trials(folder: StudyFolder) -> tuple[TrialResult, ...]:
    """Return the trials that have ended, in the order in which they were started.

    Raises:
        OSError: A file can't be read.
        ValueError: One is damaged.
    """
    trials = []
    for file in folder.trials.glob(f"*/{TRIAL_FILE}"):
        with naming(file):
            trials.append(read_trial(folder.root, file))
    return tuple(sorted(trials, key=lambda trial: trial.number))


def read_points(folder: StudyFolder, trials: Sequence[TrialResult]) -> tuple[PointResult, ...]:
    """Return the points that were measured, in the order in which they were planned.

    Raises:
        OSError: A file can't be read.
        ValueError: One is damaged.
    """
    by_number = {trial.number: trial for trial in trials}
    points = []
    for file in folder.points.glob(f"*/{POINT_FILE}"):
        with naming(file):
            points.append(read_point(folder.root, file, by_number))
    return tuple(sorted(points, key=lambda point: point.number))


def _leak(fields: dict[str, Any]) -> Leak:
    examples = tuple((one, other) for one, other in fields["examples"])
    return Leak(**fields | {"examples": examples})
