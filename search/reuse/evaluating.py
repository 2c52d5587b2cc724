"""Evaluating a model on a study's tasks beside the study's base: the base itself, a delta or a checkpoint."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, cast, get_args

from rich.console import Console

from search.clusters.devices import Node
from search.clusters.warm_cluster import open_pool, placed, started
from search.config import StudyConfig
from search.handover.recipe_document import KEEP_THE_BASE, read_recipe
from search.phases.leased_jobs import run_jobs
from search.phases.steps import step
from search.phases.study_failed import StudyFailed
from search.phases.study_run import StudyRun
from search.planning.preparation import Prepared, prepare
from search.records.study_folder import StudyFolder
from search.records.versions import versions
from search.reuse.comparison import Compared, Evaluations, compare
from search.reuse.recipe_study import with_confirm
from search.reuse.tensor_check import check_tensors
from search.settings.study_file import load_study
from search.settings.user_input import InputError
from search.tracking import StudyTracker
from spaces.nearest import did_you_mean
from spaces.points import Identity, Point
from trainables.checkpoint import DELTA_FILE, CheckpointError, read_manifest
from trainables.weights.points import TrainedWeights
from trainables.workers.jobs import ConfirmJob, PointJob

BASE: Final = "base"
ScoredSplit = Literal["search", "confirm"]
_SPLITS: Final = get_args(ScoredSplit)


@dataclass(frozen=True, kw_only=True)
class Located:
    """What a path of the command line stands for; with neither it is the base.

    Attributes:
        delta: A folder of selected weights.
        checkpoint: A folder of a whole model.
    """

    delta: Path | None = None
    checkpoint: Path | None = None


def check_split(name: str) -> ScoredSplit:
    """Return a split by its name.

    Raises:
        InputError: It is none that is scored.
    """
    if name in _SPLITS:
        return cast(ScoredSplit, name)
    raise InputError(f"--split {name}: {did_you_mean(name, _SPLITS)}")


def what_is_at(path: Path) -> Located:
    """Return what a path of the command line stands for.

    Args:
        path: `base`, a folder of selected weights, a study's folder or its `recipe.yaml`, or a folder of a
            whole model.

    Raises:
        InputError: There is none of these.
    """
    if str(path) == BASE:
        return Located()
    if (path / DELTA_FILE).is_file():
        return Located(delta=path)
    if (path / "config.json").is_file():
        return Located(checkpoint=path)
    recipe = StudyFolder(path).recipe if path.is_dir() else path
    if not recipe.is_file():
        raise InputError(
            f"{path}: expected 'base', a folder with {DELTA_FILE} (a study's selected/), with recipe.yaml "
            "(a study's) or with config.json (a whole model)"
        )
    if read_recipe(recipe).verdict == KEEP_THE_BASE:
        return Located()
    selected = StudyFolder(recipe.parent).selected
    if not (selected / DELTA_FILE).is_file():
        raise InputError(f"{recipe}: its weights are not there: no {selected / DELTA_FILE}")
    return Located(delta=selected)


def evaluated_study(path: Path, overrides: Sequence[str], split: ScoredSplit) -> StudyConfig:
    """Read the study file whose tasks are scored; without `space`, `search` or `training` it will do.

    Args:
        path: The study file.
        overrides: Settings such as `evaluation.samples=100`.
        split: What is scored.

    Raises:
        InputError: The file or an override is wrong, or a task has no such split.
    """
    config = load_study(path, overrides, _completed)
    if split == "search":
        return config.model_copy(update={"finalists": None})
    for name, task in config.resolved_tasks().items():
        if split not in task.splits:
            raise InputError(f"--split {split}: task {name!r} has none")
    return with_confirm(config)


def _completed(content: dict[str, Any]) -> dict[str, Any]:
    """Return a study file's content with what only training asks for; finalists are not trained."""
    rates = {"subsets": ["norm"], "learning_rate": [1e-5, 1e-5]}
    training = {"steps": 1, "batch_size": 1} | (content.get("training") or {})
    if "space" not in content:
        training.pop("replay", None)
    return {"space": rates, "search": {"trials": 1, "presets": False}, **content} | {
        "training": training,
        "finalists": None,
    }


def prepare_to_score(config: StudyConfig) -> Prepared:
    """Check a study's data and model; what it would train on is not kept.

    Raises:
        InputError: Data or model are wrong.
    """
    prepared = prepare(config)
    tasks = tuple(replace(task, train=()) for task in prepared.setup.tasks)
    return replace(prepared, setup=replace(prepared.setup, tasks=tasks, replay=()), replay=())


def with_model(config: StudyConfig, checkpoint: Path) -> Prepared:
    """Return a study's checked input with a whole model in the base's place.

    Raises:
        InputError: The model can't be read.
    """
    model = config.model.model_copy(update={"path": str(checkpoint.absolute())})
    return prepare_to_score(config.model_copy(update={"model": model}))


def check_delta(folder: Path, prepared: Prepared, any_base: bool) -> TrainedWeights:
    """Return selected weights, which must have been trained from the study's base.

    Args:
        folder: The folder that they lie in.
        prepared: The study's checked input.
        any_base: Whether they may be those of another base.

    Raises:
        InputError: They are damaged, or those of another base.
    """
    try:
        description, manifest = read_manifest(folder)
    except CheckpointError as error:
        raise InputError(str(error)) from None
    known, found = description["base_fingerprint"], prepared.model_fingerprint
    if known and known != found and not any_base:
        raise InputError(
            f"{folder} was trained from another base than {prepared.config.model.path!r}: its fingerprint "
            f"is {found[:12]}, not {known[:12]}; --any-base evaluates it all the same"
        )
    check_tensors(folder / DELTA_FILE, manifest, prepared.config.model)
    path = str((folder / DELTA_FILE).absolute())
    return TrainedWeights(path=path, manifest=manifest, prefix="", sha256=description["sha256"])


def evaluate(
    prepared: Prepared,
    split: ScoredSplit,
    *,
    delta: TrainedWeights | None,
    checkpoint: Prepared | None,
    console: Console,
) -> Compared:
    """Evaluate a model and the base, on the cluster of `RAY_ADDRESS` or on this machine.

    Args:
        prepared: The study's checked input.
        split: What is scored; of `confirm` the input has the samples.
        delta: Selected weights, which make the model of the base.
        checkpoint: The input with a whole model in the base's place; without both it is the base.
        console: Where the progress is shown.

    Raises:
        InputError: The cluster can't be reached or is too small.
        StudyFailed: An evaluation failed, or Ray did.
    """
    with started(console) as (nodes, grows):
        with _run(prepared, nodes, console, grows=grows) as run, step(console, "evaluating"):
            base = _own(run, split)
            tuned = base if delta is None else _of_delta(run, delta, split)
        if checkpoint is not None:
            with _run(checkpoint, nodes, console, grows=grows) as other, step(console, "evaluating"):
                tuned = _own(other, split)
        return compare(prepared.config, split, base, tuned)


@contextmanager
def _run(prepared: Prepared, nodes: Sequence[Node], console: Console, *, grows: bool) -> Iterator[StudyRun]:
    prepared, placement = placed(prepared, nodes, console)
    cache = (prepared.config.folder.parent / ".cache").absolute()
    cache.mkdir(parents=True, exist_ok=True)
    folder = StudyFolder(Path(tempfile.mkdtemp(prefix="evaluate-", dir=cache)))
    tracking = prepared.config.tracking
    try:
        with open_pool(prepared, placement, folder.ray, grows=grows) as pool:
            yield StudyRun(
                prepared=prepared,
                folder=folder,
                # Nothing is recorded: an evaluation belongs to no study.
                tracker=StudyTracker(tracking.uri, tracking.experiment),
                console=console,
                placement=placement,
                pool=pool,
                versions=versions(),
            )
    finally:
        shutil.rmtree(folder.root, ignore_errors=True)


def _own(run: StudyRun, split: ScoredSplit) -> Evaluations:
    """Return what a run's own model scores, which may be known already."""
    if split == "search":
        return run.base()[0]
    data = run.prepared.confirm
    assert data is not None, "the confirm split was read"
    return run.base_on_confirm(data, lambda: _done(run, ConfirmJob(data=data)))


def _of_delta(run: StudyRun, delta: TrainedWeights, split: ScoredSplit) -> Evaluations:
    point = Point(0, 0, Identity())
    if split == "search":
        return _done(run, PointJob(point=point, members=(delta,)))
    assert run.prepared.confirm is not None, "the confirm split was read"
    return _done(run, ConfirmJob(data=run.prepared.confirm, point=point, members=(delta,)))


def _done(run: StudyRun, job: PointJob | ConfirmJob) -> Evaluations:
    ((_, report),) = run_jobs(run.pool, {"evaluation": (run.shape, job)}, at_a_time=1)
    if report.error is not None:
        raise StudyFailed(f"it can't be evaluated: {report.error}")
    return report.evaluations
