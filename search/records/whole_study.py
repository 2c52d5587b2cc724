"""Whether what earlier drivers left of a study is whole and of this study, before anything is started.

Files may be damaged, gone or another study's. What was measured is told several times: by a trial's file, by
its evaluations of each sample, by the base's, by Optuna. Where these contradict each other nothing is gone on
with, since a wrong number would decide.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from search.config import StudyConfig
from search.decision.candidates import EVALUATIONS_FILE, candidates
from search.objective import Objective
from search.records.folder_entries import check_entries
from search.records.open_trials import OPEN_FILE, OpenTrial, read_open_trials, trial_id_of
from search.records.stored_finalists import CONFIRM_FILE, read_runs
from search.records.stored_results import POINT_FILE, TRIAL_FILE
from search.records.stored_study import check_tasks, objective_of, read_points, read_trials
from search.records.stored_training import TRAINING_FILE, read_training
from search.records.study_folder import StudyFolder
from search.records.study_identity import StudyIdentity
from search.records.taking_up import at_home, check_same_study, is_finished, readable
from search.results import PointResult, Rung, TrialResult, TrialState
from search.settings.user_input import InputError
from search.stores.optuna_store import known_trials
from search.stores.spool import Spool
from trainables.checkpoint import MANIFEST_FILE, PARAMETER, open_checkpoint
from trainables.files import naming, read_object
from trainables.manifest import TrainableManifest
from trainables.scoring.evaluation import Evaluation, read_evaluations, rung_file
from trainables.weights.rung_files import parameters_file

_SAME = 1e-6  # points


def check_meanwhile(config: StudyConfig, *, moved: tuple[str, ...] = ()) -> None:
    """Check what a study is gone on with once more, by who alone may change it: others could until then.

    Args:
        config: The study, as it was checked before.
        moved: Settings that may differ, since somebody said so.

    Raises:
        InputError: Another driver began the study, finished it, or left another one or a damaged one there.
    """
    folder = StudyFolder(config.folder)
    # Addresses are as they were at home if the folder was there when they were read.
    if at_home(config) != config or is_finished(folder):
        raise InputError(f"{config.folder}: another driver began or finished the study just now: start again")
    check_same_study(config, moved=moved)
    check_whole(folder, config)


def check_whole(folder: StudyFolder, config: StudyConfig) -> None:
    """Check what a study that has not finished is gone on with.

    Args:
        folder: The study's folder.
        config: The study.

    Raises:
        InputError: A file can't be read, is of another study, or is missing; one line that names it.
        DamagedFile: A file is damaged.
    """
    with readable():
        check_entries(folder)
        StudyIdentity.read(folder)
        trials, left_off = read_trials(folder), read_open_trials(folder.root)
        tasks = {*config.targets, *config.held_out}
        begun: tuple[TrialResult | OpenTrial, ...] = (*trials, *left_off.values())
        for each in begun:
            _check_trial(folder, config, each, tasks)
        complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
        for trial in complete:
            _check_weights(folder, trial, may_lack=config.selection.max_disk_gib is not None)
        points = read_points(folder, trials)
        for point in points:
            _check_point(folder, point, tasks)
        _check_evaluations(folder, trials, points)
        if folder.base.exists():
            base = read_evaluations(folder.base)
            check_tasks(folder.base, tasks - base.keys())
            _check_base(folder, objective_of(config, base), complete)
        for run in read_runs(folder.root).values():
            file = folder.root / run.folder / EVALUATIONS_FILE
            if run.rung is not None and file.exists():
                _check_values(file, run.rung, read_evaluations(file))
            if run.confirmed is not None:
                check_tasks(folder.root / run.folder / CONFIRM_FILE, tasks - run.confirm.keys())
        for training in sorted(folder.finalists.glob(f"trained/*/{TRAINING_FILE}")):
            _check_training(training.parent)
        _check_optuna(folder, config, begun)
    check_spool(folder)


def check_spool(folder: StudyFolder) -> None:
    """Check what MLflow has yet to be told.

    Raises:
        InputError: It can't be read.
    """
    if folder.spool.exists():
        spool = Spool(folder.spool)
        try:
            spool.check()
        finally:
            spool.close()


def _file_of(folder: StudyFolder, trial: TrialResult | OpenTrial) -> Path:
    name = OPEN_FILE if isinstance(trial, OpenTrial) else TRIAL_FILE
    return folder.trials / trial.trial_id / name


def _check_trial(
    folder: StudyFolder, config: StudyConfig, trial: TrialResult | OpenTrial, tasks: set[str]
) -> None:
    file = _file_of(folder, trial)
    with naming(file):
        if trial.trial_id != trial_id_of(trial.number) or trial.number >= config.search.trials:
            raise ValueError(f"number: expected that of trial {trial.trial_id}, got {trial.number}")
        steps = [rung.step for rung in trial.rungs]
        if steps != list(config.rungs[: len(steps)]):
            raise ValueError(f"rungs: expected the first of the steps {list(config.rungs)}, got {steps}")
        for rung in trial.rungs:
            if not math.isclose(rung.progress, rung.step / config.training.steps):
                raise ValueError(f"progress: expected {rung.step} of {config.training.steps} steps")
    for rung in trial.rungs:
        check_tasks(file, tasks - rung.values.keys())


def _check_weights(folder: StudyFolder, trial: TrialResult, *, may_lack: bool) -> None:
    """Check the trained parameters of a complete trial, of which more may be made."""
    home = folder.trials / trial.trial_id
    with naming(home / MANIFEST_FILE):
        manifest = TrainableManifest.from_dict(read_object(home / MANIFEST_FILE))
        keys = {PARAMETER + tensor.key for tensor in manifest.tensors}
    file = home / parameters_file(trial.last.step)
    if not file.exists():
        if may_lack:
            return
        raise ValueError(f"{file} is missing, and the study has yet to choose among its trials")
    with naming(file):
        # Its checksum is compared when it is used: these may be many, and large.
        names = set(open_checkpoint(file, None))
        if names != keys:
            raise ValueError(f"it lacks or adds {min(names ^ keys)!r}, by what {MANIFEST_FILE} says")


def _check_point(folder: StudyFolder, point: PointResult, tasks: set[str]) -> None:
    file = folder.points / str(point.number) / POINT_FILE
    if not file.is_file():
        raise ValueError(f"{folder.points}: two folders hold a point {point.number}")
    if point.rung is not None:
        check_tasks(file, tasks - point.rung.values.keys())


def _check_training(folder: Path) -> None:
    if (training := read_training(folder)) is not None:
        for rung in training.rungs:
            _check_values(folder / rung_file(rung.step), rung, training.evaluations[rung.step])
        if training.manifest is not None:
            with naming(folder / MANIFEST_FILE):
                TrainableManifest.from_dict(training.manifest)


def _check_evaluations(
    folder: StudyFolder, trials: Sequence[TrialResult], points: Sequence[PointResult]
) -> None:
    """Check that what was chosen by is the mean of what each sample scored."""
    for each in candidates(trials, points):
        file = each.evaluations_file(folder.root)
        _check_values(file, each.rung, read_evaluations(file))


def _check_values(file: Path, rung: Rung, found: Mapping[str, Evaluation]) -> None:
    check_tasks(file, rung.values.keys() - found.keys())
    for task, value in rung.values.items():
        if abs(found[task].value - value) > _SAME:
            raise ValueError(
                f"{file}: this file of the study is damaged: the samples of {task!r} have a mean of "
                f"{found[task].value:g} points, and {value:g} were recorded"
            )


def _check_base(folder: StudyFolder, objective: Objective, complete: Sequence[TrialResult]) -> None:
    """Check that trials were compared with this base; a trial's last rung is scored on all samples."""
    for trial in complete:
        expected = objective.score(trial.last.values).score
        if abs(expected - trial.last.score.score) > _SAME:
            raise ValueError(
                f"{folder.base}: trial {trial.trial_id} was compared with another base: its score is "
                f"{trial.last.score.score:g}, and would be {expected:g}; put back the study's own file"
            )


def _check_optuna(folder: StudyFolder, config: StudyConfig, begun: Sequence[TrialResult | OpenTrial]) -> None:
    """Check that Optuna knows the trials, and drew what they trained; a database is not asked here."""
    journal = folder.sampler
    if config.search.storage is not None or not (begun or journal.is_file()):
        return
    if not journal.is_file():
        raise ValueError(f"{journal} is missing: it says what the study's trials drew")
    with naming(journal):
        drawn = known_trials(journal, config.name)
        for trial in begun:
            if trial.number not in drawn:
                raise ValueError(f"it does not know trial {trial.trial_id}")
            if config.recipe_space().recipe(drawn[trial.number].params) != trial.recipe:
                raise ValueError(
                    f"it drew another recipe for trial {trial.trial_id} than {_file_of(folder, trial)} tells"
                )
    told = {trial.number for trial in begun}
    for number, known in drawn.items():
        home = folder.trials / trial_id_of(number)
        # Optuna is told of an end after that file is written. Who takes the whole folder away wants it anew.
        if known.state.is_finished() and number not in told and home.is_dir():
            raise ValueError(f"{home / TRIAL_FILE} is missing, and Optuna knows how the trial ended")
