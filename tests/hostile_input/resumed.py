"""Damaged folders of studies that were interrupted, met by `resume`: refused before anything starts."""

from __future__ import annotations

import json
import pickle
import shutil
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import optuna
import torch
from made_study import evaluation

from hostile_input.cases import ESCAPE, Case, shared_folder, write_study
from hostile_input.folders import DAMAGES
from search.config import StudyConfig
from search.decision.evidence import FinalistRun
from search.objective import Score
from search.records.open_trials import OpenTrial, write_open_trial
from search.records.stored_finalists import run_folder, write_run
from search.records.stored_results import rung_to_dict, write_json, write_point, write_trial
from search.records.stored_study import objective_of
from search.records.study_folder import StudyFolder
from search.results import PointResult, Rung, TrialResult, TrialState
from search.settings.study_file import dump_study, load_study
from search.stores.optuna_store import open_storage
from search.stores.run_update import STUDY as STUDY_RUN
from search.stores.run_update import RunUpdate
from search.stores.spool import Spool
from spaces.points import Interpolation, Point
from trainables.checkpoint import PARAMETER, Pointer, save_checkpoint
from trainables.files import write_atomically
from trainables.manifest import TrainableManifest, TrainedParameter
from trainables.scoring.evaluation import Evaluation, evaluations_json, rung_file

BASE: Final = {"birds": 20.0, "digits": 80.0}
# Gain 40, forgetting 20, so a score of 20.
TUNED: Final = {"birds": 60.0, "digits": 60.0}
NAME: Final = "layer.weight"
MANIFEST: Final = TrainableManifest(
    model_type="llava",
    family="llava",
    subset="gate_up",
    parameters=(TrainedParameter(NAME, "mlp.gate", 0, (2,), 2, 8),),
    total=12,
)


def evaluations(values: Mapping[str, float]) -> dict[str, Evaluation]:
    return {task: evaluation(task, value, 5) for task, value in values.items()}


def facts(**changes: Any) -> dict[str, Any]:
    """Return what `record.json` holds."""
    return {
        "finished": False,
        "study_id": "5" * 32,
        "run_id": "6" * 32,
        "seconds": 1.0,
        "points_seconds": 0.0,
        "finalists_seconds": 0.0,
        "versions": {},
        "model_fingerprint": "7" * 64,
        "architecture": "LlavaForConditionalGeneration",
        "data_fingerprints": {},
        "leaks": [],
        "bad": [],
    } | changes


@cache
def interrupted() -> Path:
    """Return the folder of a study whose driver died: two trials ended, one is open; made once."""
    home = shared_folder("interrupted")
    file = write_study(
        home,
        search={"trials": 4, "presets": False, "pruning": {"first_rung": 2, "reduction_factor": 2}},
        points={"top": 1, "alpha": [0.5], "soup": None},
        output=str(home),
    )
    config = load_study(file)
    folder = StudyFolder(home / "lesson")
    folder.root.mkdir()
    write_atomically(folder.study, dump_study(config).encode())
    write_json(folder.identity, {"study_id": "5" * 32, "directory": str(home), "searches": [1e9]})
    write_json(folder.facts, facts())
    base = evaluations(BASE)
    write_atomically(folder.base, evaluations_json(base))
    ended = _trials(folder, config)
    score = objective_of(config, base).score(TUNED)
    point = Point(0, 4, Interpolation(0.5))
    write_point(folder.root, PointResult(number=0, point=point, trial=ended, rung=_rung(4, 4, score)))
    write_atomically(folder.points / "0" / "evaluations.json", evaluations_json(evaluations(TUNED)))
    _finalist(folder, score)
    spool = Spool(folder.spool)
    spool.note_run(STUDY_RUN, "6" * 32)
    spool.add(RunUpdate(what="a note", tags={"a": "b"}), once="a note")
    spool.close()
    return folder.root


def _rung(step: int, steps: int, score: Score, weights: Path | None = None) -> Rung:
    return Rung(
        step=step,
        progress=step / steps,
        score=score,
        values=TUNED,
        metrics={**score.to_metrics(), "train/loss": 0.5},
        weights=None if weights is None else str(weights),
        at=1e9 + step,
    )


def _trials(folder: StudyFolder, config: StudyConfig) -> TrialResult:
    """Leave a complete trial, a pruned one and an open one, as Optuna knows them; return the first."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        storage=open_storage(None, folder.sampler), study_name=config.name, direction="maximize"
    )
    score = objective_of(config, evaluations(BASE)).score(TUNED)
    ended = []
    for number, steps in enumerate(([2, 4], [2], [2])):
        asked = study.ask()
        config.recipe_space().suggest(asked)
        home = folder.trials / f"{number:04d}"
        write_json(home / "manifest.json", MANIFEST.to_dict())
        rungs, pointers = [], []
        for step in steps:
            write_atomically(home / rung_file(step), evaluations_json(evaluations(TUNED)))
            state = {PARAMETER + NAME: torch.ones(2), f"optimizer/{NAME}": torch.ones(2)}
            pointers.append(save_checkpoint(home / f"step_{step:06d}.safetensors", state, step))
            rungs.append(_rung(step, 4, score, home / f"step_{step:06d}.safetensors"))
        recipe = config.recipe_space().recipe(asked.params)
        if number == 2:
            _write_open(
                folder,
                OpenTrial(
                    trial_id="0002",
                    number=2,
                    recipe=recipe,
                    preset=None,
                    started=1e9,
                    seconds=5.0,
                    rungs=rungs,
                    nodes={"127.0.0.1"},
                    checkpoints=[each.to_dict() for each in pointers if each is not None],
                ),
            )
            continue
        state_of = TrialState.COMPLETE if number == 0 else TrialState.PRUNED
        ended.append(
            TrialResult(
                trial_id=f"{number:04d}",
                number=number,
                recipe=recipe,
                state=state_of,
                rungs=tuple(rungs),
                seconds=9.0,
                started=1e9,
            )
        )
        write_trial(folder.root, ended[-1])
        study.tell(asked, 20.0)
    return ended[0]


def _write_open(folder: StudyFolder, trial: OpenTrial) -> None:
    write_open_trial(folder.root, trial)


def _finalist(folder: StudyFolder, score: Score) -> None:
    """Leave a finalist's run, and the training that it was made of."""
    training = folder.finalists / "trained" / "trial_0_seed_100"
    state = {PARAMETER + NAME: torch.ones(2), f"optimizer/{NAME}": torch.ones(2)}
    pointer = save_checkpoint(training / "step_000004.safetensors", state, 4)
    assert isinstance(pointer, Pointer)
    rung = _rung(4, 4, score, training / "step_000004.safetensors")
    write_atomically(training / rung_file(4), evaluations_json(evaluations(TUNED)))
    write_json(training / "manifest.json", MANIFEST.to_dict())
    names = {"path": "step_000004.safetensors", "optimizer": "step_000004.optimizer.safetensors"}
    write_json(
        training / "training.json",
        {
            "trial": 0,
            "seed": 100,
            "metrics": {"4": dict(rung.metrics)},
            "rungs": [rung_to_dict(rung, training)],
            "checkpoints": [pointer.to_dict() | names],
            "error": None,
        },
    )
    run = FinalistRun(
        seed=100,
        rung=_rung(4, 4, score),
        confirm=evaluations(TUNED),
        confirmed=score,
        folder=str(run_folder("trial 0", 100)),
    )
    write_run(folder.root, run, evaluations(TUNED))
    write_atomically(folder.confirm_base, evaluations_json(evaluations(BASE)))


TRIAL: Final = "trials/0000/trial.json"
OPEN: Final = "trials/0002/open.json"
WEIGHTS: Final = "trials/0000/step_000004.safetensors"
POINT: Final = "points/0/point.json"
TRAINING: Final = "finalists/trained/trial_0_seed_100/training.json"
RUN: Final = "finalists/trial_0/seed_100/run.json"
JOURNAL: Final = "optuna.journal"
SPOOL: Final = "mlflow-spool.db"

# File -> the damages that are none: what they leave is gone on from, or they can't be done to it.
FILES: Final[Mapping[str, frozenset[str]]] = {
    "identity.json": frozenset(),
    "record.json": frozenset(),
    "base.json": frozenset({"removed"}),
    TRIAL: frozenset(),
    "trials/0000/manifest.json": frozenset(),
    "trials/0000/evaluations_000004.json": frozenset(),
    WEIGHTS: frozenset({"utf-16"}),
    OPEN: frozenset({"removed"}),
    POINT: frozenset({"removed"}),
    "points/0/evaluations.json": frozenset(),
    TRAINING: frozenset({"removed"}),
    "finalists/trained/trial_0_seed_100/evaluations_000004.json": frozenset(),
    RUN: frozenset({"removed"}),
    "finalists/trial_0/seed_100/evaluations.json": frozenset({"removed"}),
    "finalists/trial_0/seed_100/confirm.json": frozenset(),
    JOURNAL: frozenset(),
    SPOOL: frozenset({"removed", "empty", "utf-16"}),
}
# What is told by another file: a point is made of the trial.
TOLD_BY: Final = {(TRIAL, "removed"): POINT}
Change = Callable[[Path], object]


def edited(file: str, change: Callable[[Any], object]) -> Change:
    """Return what changes a JSON file in place."""

    def edit(root: Path) -> None:
        fields = json.loads((root / file).read_text())
        change(fields)
        (root / file).write_text(json.dumps(fields))

    return edit


def put(file: str, *way: str | int, value: Any) -> Change:
    """Return what puts another value into a JSON file."""

    def change(fields: Any) -> None:
        for key in way[:-1]:
            fields = fields[key]
        fields[way[-1]] = value

    return edited(file, change)


def linked(name: str, target: str) -> Change:
    """Return what puts a link in the place of a file or folder, to a copy of it outside."""

    def link(root: Path) -> None:
        outside = root.parent / target
        (root / name).rename(outside)
        (root / name).symlink_to(outside)

    return link


def spooled(statement: str, *values: Any) -> Change:
    """Return what changes the database of what MLflow is to be told."""

    def change(root: Path) -> None:
        with sqlite3.connect(root / SPOOL) as connection:
            connection.execute(statement, values)
        connection.close()

    return change


def flipped(file: str, at: float | int) -> Change:
    """Return what flips the bits of a byte: at a share of the file, or so many bytes from its start."""

    def flip(root: Path) -> None:
        content = bytearray((root / file).read_bytes())
        content[at if isinstance(at, int) else int(len(content) * at)] ^= 0xFF
        (root / file).write_bytes(content)

    return flip


def foreign(file: str, *, seed: int = 7) -> Change:
    """Return what puts the file of another study of this name in place: its trials drew other recipes."""

    def replace(root: Path) -> None:
        other = json.loads((root / file).read_text())
        other["recipe"]["learning_rate"] *= 1.5
        (root / file).write_text(json.dumps(other))

    return replace


def _pickled(root: Path) -> None:
    (root / WEIGHTS).write_bytes(pickle.dumps({NAME: [1.0, 2.0]}))


def _other_weights(root: Path) -> None:
    (root / WEIGHTS).unlink()
    save_checkpoint(root / WEIGHTS, {PARAMETER + "other.weight": torch.ones(2)}, 4)


def _renamed_study(root: Path) -> None:
    text = (root / JOURNAL).read_text()
    (root / JOURNAL).write_text(text.replace('"lesson"', '"other"'))


def _mlflow_database(root: Path) -> None:
    (root / SPOOL).unlink()
    connection = sqlite3.connect(root / SPOOL)
    connection.execute("CREATE TABLE runs (run_uuid TEXT PRIMARY KEY, name TEXT)")
    connection.close()


def _lock_is_a_link(root: Path) -> None:
    (root.parent / "precious.txt").write_text("precious")
    (root.parent / ".lesson.lock").symlink_to("precious.txt")


def _socket(root: Path) -> None:
    import socket
    from contextlib import chdir

    with chdir(root / "trials"), socket.socket(socket.AF_UNIX) as one:
        one.bind("s")


def _finished(*changes: Change) -> Change:
    """Return what makes of the study one that has finished, and damages that: nothing may be deleted then."""

    def finish(root: Path) -> None:
        put("record.json", "finished", value=True)(root)
        put("record.json", "kept", value=[])(root)
        for change in changes:
            change(root)

    return finish


HUGE: Final = 10**400
SPECIAL: Final[Mapping[str, tuple[Change, str]]] = {
    # Who the study is.
    "identity-of-quotes": (put("identity.json", "study_id", value="' OR 1=1"), "identity.json"),
    "identity-number": (put("identity.json", "study_id", value=5), "identity.json"),
    "identity-relative-directory": (put("identity.json", "directory", value="elsewhere"), "identity.json"),
    "identity-directory-of-nul": (put("identity.json", "directory", value="/a\0b"), "identity.json"),
    "identity-directory-too-long": (
        put("identity.json", "directory", value="/" + "a" * 5000),
        "identity.json",
    ),
    "identity-huge-time": (put("identity.json", "searches", value=[HUGE]), "identity.json"),
    "identity-nan-time": (put("identity.json", "searches", value=[float("nan")]), "identity.json"),
    "identity-text-times": (put("identity.json", "searches", value="1"), "identity.json"),
    "identity-of-another": (put("identity.json", "study_id", value="8" * 32), "record.json"),
    "record-of-another": (put("record.json", "study_id", value="8" * 32), "record.json"),
    "record-other-version": (
        edited("record.json", lambda fields: fields.pop("model_fingerprint")),
        "record.json",
    ),
    "record-finished-text": (put("record.json", "finished", value="yes"), "record.json"),
    "record-huge-time": (put("record.json", "seconds", value=HUGE), "record.json"),
    "record-infinite-time": (put("record.json", "seconds", value=float("inf")), "record.json"),
    "record-versions-list": (put("record.json", "versions", value=["torch"]), "record.json"),
    # What was measured.
    "base-other-task": (edited("base.json", lambda fields: fields.pop("digits")), "base.json"),
    "base-no-sample": (put("base.json", "birds", "scores", value=[]), "base.json"),
    "base-nan": (put("base.json", "birds", "scores", 0, value=float("nan")), "base.json"),
    "base-huge": (put("base.json", "birds", "scores", 0, value=HUGE), "base.json"),
    "base-of-another": (put("base.json", "birds", "scores", value=[100.0] * 5), "base.json"),
    "base-direction": (put("base.json", "birds", "direction", value="sideways"), "base.json"),
    "trial-number-huge": (put(TRIAL, "number", value=HUGE), TRIAL),
    "trial-number-negative": (put(TRIAL, "number", value=-1), TRIAL),
    "trial-number-of-another": (put(TRIAL, "number", value=1), TRIAL),
    "trial-id-of-another": (put(TRIAL, "trial_id", value="0001"), TRIAL),
    "trial-id-path": (put(TRIAL, "trial_id", value="../../x"), TRIAL),
    "trial-of-another": (foreign(TRIAL), TRIAL),
    "trial-state": (put(TRIAL, "state", value="RUNNING"), TRIAL),
    "trial-state-contradicts": (put(TRIAL, "state", value="PRUNED"), TRIAL),
    "trial-failed-without-reason": (put(TRIAL, "state", value="FAILED"), TRIAL),
    "trial-no-rungs": (put(TRIAL, "rungs", value=[]), TRIAL),
    "trial-step": (put(TRIAL, "rungs", 0, "step", value=3), TRIAL),
    "trial-steps-falling": (edited(TRIAL, lambda fields: fields["rungs"].reverse()), TRIAL),
    "trial-progress": (put(TRIAL, "rungs", 0, "progress", value=0.9), TRIAL),
    "trial-score-nan": (put(TRIAL, "rungs", 1, "score", "score", value=float("nan")), TRIAL),
    "trial-score-huge": (put(TRIAL, "rungs", 1, "score", "score", value=1e300), TRIAL),
    "trial-score-missing": (edited(TRIAL, lambda fields: fields["rungs"][1]["score"].clear()), TRIAL),
    "trial-value-of-another": (
        put(TRIAL, "rungs", 1, "values", "birds", value=99.0),
        "evaluations_000004.json",
    ),
    "trial-lacks-a-task": (edited(TRIAL, lambda fields: fields["rungs"][1]["values"].pop("birds")), TRIAL),
    "trial-recipe-unknown-key": (put(TRIAL, "recipe", "magic", value=1), TRIAL),
    "trial-recipe-rate-nan": (put(TRIAL, "recipe", "learning_rate", value=float("nan")), TRIAL),
    "trial-recipe-rate-text": (put(TRIAL, "recipe", "learning_rate", value="1e-4"), TRIAL),
    "trial-weights-outside": (put(TRIAL, "rungs", 1, "weights", value="../../etc/passwd"), TRIAL),
    "trial-weights-absolute": (put(TRIAL, "rungs", 1, "weights", value="/etc/passwd"), TRIAL),
    "trial-escape": (put(TRIAL, "state", value=ESCAPE), TRIAL),
    "evaluation-of-another": (
        put("trials/0000/evaluations_000004.json", "birds", "scores", value=[0.0] * 5),
        "evaluations_000004.json",
    ),
    "manifest-parameters": (put("trials/0000/manifest.json", "parameters", value=5), "manifest.json"),
    "manifest-shape": (
        put("trials/0000/manifest.json", "parameters", 0, "shape", value=None),
        "manifest.json",
    ),
    # What is gone on from.
    "open-number-huge": (put(OPEN, "number", value=HUGE), OPEN),
    "open-number-beyond": (put(OPEN, "number", value=99), OPEN),
    "open-of-another": (foreign(OPEN), OPEN),
    "open-id-path": (put(OPEN, "trial_id", value="../0001"), OPEN),
    "open-started-nan": (put(OPEN, "started", value=float("nan")), OPEN),
    "open-losses-negative": (put(OPEN, "losses", value=-5), OPEN),
    "open-nodes-text": (put(OPEN, "nodes", value="127.0.0.1"), OPEN),
    "open-checkpoint-path": (put(OPEN, "checkpoints", 0, "path", value="../0000/x.safetensors"), OPEN),
    "open-checkpoint-absolute": (put(OPEN, "checkpoints", 0, "path", value="/etc/passwd"), OPEN),
    "open-optimizer-absolute": (put(OPEN, "checkpoints", 0, "optimizer", value="/etc/passwd"), OPEN),
    "open-checkpoint-number": (put(OPEN, "checkpoints", 0, "path", value=5), OPEN),
    "open-checkpoint-step": (put(OPEN, "checkpoints", 0, "step", value="2"), OPEN),
    "open-spent-nan": (put(OPEN, "checkpoints", 0, "spent", value={"seconds": float("nan")}), OPEN),
    "open-checkpoints-object": (put(OPEN, "checkpoints", value={}), OPEN),
    "open-rung-twice": (edited(OPEN, lambda fields: fields["rungs"].append(fields["rungs"][0])), OPEN),
    # What is made of trials.
    "weights-pickled": (_pickled, WEIGHTS),
    "weights-of-another": (_other_weights, WEIGHTS),
    "weights-header-flipped": (flipped(WEIGHTS, 0.02), WEIGHTS),
    "point-of-no-trial": (put(POINT, "trial", value=9), POINT),
    "point-number": (put(POINT, "number", value=3), "points"),
    "point-alpha": (put(POINT, "point", value={"trial": 0, "step": 4, "transform": "alpha"}), POINT),
    "point-of-a-rung-that-is-none": (put(POINT, "rung", value=None), POINT),
    "training-seed": (put(TRAINING, "seed", value=101), TRAINING),
    "training-trial": (put(TRAINING, "trial", value=HUGE), TRAINING),
    "training-rungs": (put(TRAINING, "rungs", value="many"), TRAINING),
    "training-checkpoint": (put(TRAINING, "checkpoints", 0, "path", value="/etc/passwd"), TRAINING),
    "training-weights": (put(TRAINING, "rungs", 0, "weights", value="/etc/passwd"), TRAINING),
    "training-other-version": (edited(TRAINING, lambda fields: fields.pop("rungs")), TRAINING),
    "run-confirmed-nan": (put(RUN, "confirmed", "score", value=float("nan")), RUN),
    "run-confirmed-partly": (put(RUN, "confirmed", value={}), RUN),
    "run-seed": (put(RUN, "seed", value="100"), RUN),
    "confirm-other-task": (
        edited("finalists/trial_0/seed_100/confirm.json", lambda fields: fields.pop("digits")),
        "confirm.json",
    ),
    # What others keep.
    "journal-flipped": (flipped(JOURNAL, 0.3), JOURNAL),
    "journal-of-another": (_renamed_study, JOURNAL),
    "journal-of-numbers": (lambda root: (root / JOURNAL).write_text("1\n2\n"), JOURNAL),
    "journal-of-an-unknown-step": (lambda root: (root / JOURNAL).write_text('{"op_code": 99}\n'), JOURNAL),
    "spool-of-mlflow": (_mlflow_database, SPOOL),
    "spool-header-flipped": (flipped(SPOOL, 0), SPOOL),
    "spool-page-flipped": (flipped(SPOOL, 4096), SPOOL),
    "spool-no-json": (spooled("UPDATE waiting SET content = 'x'"), SPOOL),
    "spool-number": (spooled("UPDATE waiting SET content = '5'"), SPOOL),
    "spool-unknown-key": (spooled('UPDATE waiting SET content = \'{"made": null, "magic": 1}\''), SPOOL),
    "spool-artifact-outside": (
        spooled(
            "UPDATE waiting SET content = ?",
            json.dumps({"what": "x", "made": None, "artifact": "/etc/passwd"}),
        ),
        SPOOL,
    ),
    "spool-registers-outside": (
        spooled(
            "UPDATE waiting SET content = ?", json.dumps({"what": "x", "made": None, "registers": "../x"})
        ),
        SPOOL,
    ),
    # Links, and what lies in the place of something else.
    "link-trials": (linked("trials", "elsewhere"), "trials: a link"),
    "link-a-trial": (linked("trials/0000", "elsewhere"), "trials/0000: a link"),
    "link-weights": (linked(WEIGHTS, "elsewhere.safetensors"), f"{WEIGHTS}: a link"),
    "link-journal": (linked(JOURNAL, "elsewhere.journal"), f"{JOURNAL}: a link"),
    "link-spool": (linked(SPOOL, "elsewhere.db"), f"{SPOOL}: a link"),
    "link-record": (linked("record.json", "elsewhere.json"), "record.json: a link"),
    "link-to-nothing": (lambda root: (root / "report.html").symlink_to("/none/there"), "report.html: a link"),
    "link-lock": (_lock_is_a_link, ".lesson.lock"),
    "folder-as-lock": (lambda root: (root.parent / ".lesson.lock").mkdir(), ".lesson.lock"),
    "folder-as-report": (lambda root: (root / "report.html").mkdir(), "report.html: expected a file"),
    "folder-as-recipe": (lambda root: (root / "recipe.yaml").mkdir(), "recipe.yaml: expected a file"),
    "folder-as-table": (lambda root: (root / "trials.csv").mkdir(), "trials.csv: expected a file"),
    "file-as-ray": (lambda root: (root / "ray").write_text(""), "ray: expected a folder"),
    "file-as-selected": (lambda root: (root / "selected").write_text(""), "selected: expected a folder"),
    "file-as-predictions": (
        lambda root: (root / "predictions").write_text(""),
        "predictions: expected a folder",
    ),
    # A study that has finished: what its driver may have died before is done, with whole files alone.
    "finished-record-of-another": (
        _finished(put("record.json", "study_id", value="8" * 32)),
        "record.json",
    ),
    "finished-kept-numbers": (_finished(put("record.json", "kept", value=[1])), "record.json"),
    "finished-link-trials": (_finished(linked("trials", "elsewhere")), "trials: a link"),
    "finished-link-a-trial": (_finished(linked("trials/0000", "elsewhere")), "trials/0000: a link"),
    "finished-spool-of-mlflow": (_finished(_mlflow_database), SPOOL),
    "finished-spool-no-json": (_finished(spooled("UPDATE waiting SET content = 'x'")), SPOOL),
    "socket-among-trials": (_socket, "trials/s: expected a file"),
}


def _resumed(change: Change) -> Callable[[Path], Sequence[str | Path]]:
    def make(folder: Path) -> Sequence[str | Path]:
        root = folder / "lesson"
        shutil.copytree(interrupted(), root)
        change(root)
        return ("resume", root)

    return make


def _damaged(file: str, damage: str) -> Change:
    return lambda root: DAMAGES[damage](root / file)


CASES: Final = [
    *(
        Case(
            name=f"{file}-{damage}",
            make=_resumed(_damaged(file, damage)),
            says=(TOLD_BY.get((file, damage), file),),
        )
        for file, fine in FILES.items()
        for damage in DAMAGES
        if damage not in fine
    ),
    *(Case(name=name, make=_resumed(change), says=(says,)) for name, (change, says) in SPECIAL.items()),
]
