"""The folder of a made study, finished or not, from which another rule may select."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
import yaml
from made_study import BASE, config, evaluation, objective, record, trial

from search import cli
from search.config import StudyConfig
from search.decision.candidates import EVALUATIONS_FILE
from search.decision.evidence import Finalist, FinalistRun
from search.records.stored_finalists import run_folder, write_finalist, write_run
from search.records.stored_results import write_point, write_trial
from search.records.stored_study import write_base, write_facts
from search.records.study_folder import StudyFolder
from search.results import PointResult, TrialResult, TrialState
from search.settings.study_file import dump_study
from spaces.points import Interpolation, Point
from trainables.checkpoint import save_checkpoint
from trainables.files import write_atomically
from trainables.scoring.evaluation import evaluations_json, rung_file

MANIFEST = {
    "model_type": "llava",
    "family": "llava",
    "subset": "gate_up",
    "trained": 2,
    "total": 12,
    "by_role": {"mlp.gate": 2},
    "adapters": None,
}
# Gain 50, forgetting (30 + 10) / 2 = 20: score 30.
BOLD = {"count": 60.0, "clock": 70.0, "colour": 60.0, "shape": 70.0}
# Gain (30 + 10) / 2 = 20, forgetting (0 + 2) / 2 = 1: score 19.
MILD = {"count": 40.0, "clock": 30.0, "shape": 78.0}


def evaluations(values: Mapping[str, float]) -> bytes:
    return evaluations_json({task: evaluation(task, value, 100) for task, value in values.items()})


def stored(folder: StudyFolder, made: TrialResult, *, kept: bool = True) -> TrialResult:
    """Leave a trial's files as a study does."""
    home = folder.trials / made.trial_id
    for rung in made.rungs:
        write_atomically(home / rung_file(rung.step), evaluations(rung.values))
    (home / "manifest.json").write_text(json.dumps(MANIFEST), encoding="utf-8")
    if kept:
        tensors = {"parameter/a.weight": torch.full((2,), float(made.number))}
        pointer = save_checkpoint(home / "step_000040.safetensors", tensors, 40)
        last = dataclasses.replace(made.last, weights=pointer.path, sha256=pointer.sha256)
        made = dataclasses.replace(made, rungs=(*made.rungs[:-1], last))
    write_trial(folder.root, made)
    return made


def study_folder(
    root: Path,
    *,
    study: StudyConfig | None = None,
    finished: bool = True,
    pruned: bool = False,
    written: bool = False,
    unwritten: str | None = None,
) -> StudyFolder:
    """Make the folder of a study of a bold and a mild trial, and the bold one halfway to the base.

    The latter's weights may have been `written`, or `unwritten` for a reason.
    """
    folder = StudyFolder(root)
    root.mkdir()
    study = study or config()
    state = TrialState.PRUNED if pruned else TrialState.COMPLETE
    trials = [
        stored(folder, trial(0, [BASE | BOLD], study=study, state=state)),
        stored(folder, trial(1, [BASE | MILD], study=study, state=state), kept=False),
    ]
    made = dataclasses.replace(record(trials, study=study), finished=finished)
    # Gain 35, forgetting 10: score 25.
    halfway = {"count": 45.0, "clock": 55.0, "colour": 75.0, "shape": 75.0}
    if not pruned:
        measured = trial(0, [BASE | halfway], study=study).last
        point = PointResult(number=0, point=Point(0, 40, Interpolation(0.5)), trial=trials[0], rung=measured)
        write_atomically(folder.points / "0" / EVALUATIONS_FILE, evaluations(BASE | halfway))
        if written:
            tensors = {"parameter/a.weight": torch.full((2,), 0.5)}
            pointer = save_checkpoint(folder.points / "0" / "weights.safetensors", tensors, 40)
            (folder.points / "0" / "manifest.json").write_text(json.dumps(MANIFEST), encoding="utf-8")
            point = dataclasses.replace(
                point, rung=dataclasses.replace(measured, weights=pointer.path, sha256=pointer.sha256)
            )
        write_point(root, dataclasses.replace(point, unwritten=unwritten))
    write_atomically(folder.study, dump_study(study).encode())
    write_base(folder, made.base)
    write_facts(folder, made)
    return folder


def confirmed(folder: StudyFolder, candidate: str, runs: Mapping[int, Mapping[str, float]]) -> None:
    """Leave a finalist's files: seed -> what its run scored on either split; its weights are the seed's."""
    goal = objective(config())
    done = []
    for seed, values in runs.items():
        home = folder.root / run_folder(candidate, seed)
        tensors = {"parameter/a.weight": torch.full((2,), float(seed))}
        home.mkdir(parents=True)
        pointer = save_checkpoint(home / "weights.safetensors", tensors, 40)
        (home / "manifest.json").write_text(json.dumps(MANIFEST), encoding="utf-8")
        scored = {task: evaluation(task, value, 100) for task, value in (BASE | dict(values)).items()}
        done.append(
            FinalistRun(
                seed=seed,
                rung=dataclasses.replace(
                    trial(0, [values]).last, weights=pointer.path, sha256=pointer.sha256
                ),
                confirm=scored,
                confirmed=goal.score(BASE | dict(values)),
                folder=str(run_folder(candidate, seed)),
            )
        )
        write_run(folder.root, done[-1], scored)
    write_finalist(folder.root, 0, Finalist(candidate=candidate, runs=tuple(done)))
    write_atomically(folder.confirm_base, evaluations(BASE))


def document(folder: StudyFolder) -> dict[str, object]:
    found = yaml.safe_load(folder.recipe.read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def point_of(folder: StudyFolder) -> dict[str, object]:
    point = document(folder)["point"]
    assert isinstance(point, dict)
    return point


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Return a command's status and all that it said, in one line."""
    status = cli.main(arguments)
    said = capsys.readouterr()
    return status, " ".join((said.out + said.err).replace("│", " ").split())
