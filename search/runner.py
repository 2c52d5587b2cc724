"""Running a study: from checked input to a selection, with every file written and every run recorded."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray import tune
from rich.console import Console

from search.autoscaler import cluster_nodes
from search.base import base_key, cached_base
from search.cluster import connected
from search.config import StudyConfig
from search.data_findings import bad_csv, data_lines, data_tags
from search.encoding import encode_once, for_workers
from search.handover import StudyFolder, write_results
from search.leased_jobs import run_jobs
from search.objective import Objective
from search.optuna_store import open_storage, optuna_study_name
from search.placement import Placement
from search.plots import study_plots
from search.point_search import PointSearch, search_points
from search.prediction_jobs import asked_of_base, asked_of_selected, predict
from search.preparation import Prepared, place_study, with_evaluation_that_fits
from search.progress import StudyProgress
from search.recorder import TrialRecorder
from search.report import render_report
from search.results import StudyRecord, TrialState
from search.sampler import RecipeSampler
from search.scheduler import make_scheduler
from search.selection import Selection, select
from search.study_file import InputError, dump_study
from search.tracking import StudyTracker
from search.versions import versions
from trainables.evaluation import Evaluation
from trainables.execution import GroupShape
from trainables.files import write_atomically
from trainables.jobs import EvaluateJob
from trainables.pool import ON_HEAD, WorkerPool
from trainables.trainable import RecipeTrainable, TrialContext

_LITTLE_TO_LOSE = 10.0  # points; a held-out task that starts below this says little about forgetting


class StudyFailed(RuntimeError):
    """The study could not be carried out; the message is one line."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a study leaves.

    Attributes:
        record: What was measured.
        selection: The verdict.
        folder: Where the files lie.
        warnings: What could not be recorded or came out otherwise the second time, one line each.
    """

    record: StudyRecord
    selection: Selection
    folder: StudyFolder
    warnings: tuple[str, ...]


def run_study(prepared: Prepared, console: Console) -> Outcome:
    """Run a study to its end, on the cluster of `RAY_ADDRESS` or on this machine.

    Args:
        prepared: The study; its MLflow store and, where it has one, its Optuna database must be prepared. An
            earlier run's folder is replaced.
        console: Where the progress is shown.

    Raises:
        InputError: The cluster can't be reached or is too small, or the study's folder can't be made.
        StudyFailed: The base could not be evaluated, every trial failed, or Ray did.
    """
    with console.status("starting Ray") as status, connected():
        try:
            nodes, grows = cluster_nodes()
            placement = place_study(prepared.config, prepared.outline, nodes)
            prepared = with_evaluation_that_fits(prepared, placement)
            status.stop()
            prepared = encode_once(prepared, console)
            folder = StudyFolder(prepared.config.folder.absolute())
            _make_anew(folder.root)
            for warning in placement.warnings:
                console.print(f"warning: {warning}")
            for line in data_lines(prepared.leaks, prepared.warnings, prepared.bad):
                console.print(line)
            return _run_recorded(prepared, folder, placement, console, grows=grows)
        except (ray.exceptions.RayError, ray.tune.TuneError) as error:
            raise StudyFailed(str(error).strip().splitlines()[-1]) from error


def _run_recorded(
    prepared: Prepared, folder: StudyFolder, placement: Placement, console: Console, *, grows: bool
) -> Outcome:
    """Run the study under its MLflow parent run and write its folder."""
    config = prepared.config
    write_atomically(folder.study, dump_study(config).encode())
    if prepared.bad:
        write_atomically(folder.bad_samples, bad_csv(prepared.bad).encode())
    made_with = versions()
    tracker = StudyTracker(config.tracking.uri, config.tracking.experiment)
    with tracker:
        tags = {**made_with, **data_tags(prepared.leaks, prepared.bad)}
        tracker.start_study(config, tags=tags, fingerprints=prepared.data_fingerprints)
        succeeded = False
        try:
            record, selection = _search(prepared, folder, tracker, console, placement, made_with, grows=grows)
            write_results(
                folder,
                record,
                selection,
                model_fingerprint=prepared.model_fingerprint,
                data_fingerprints=prepared.data_fingerprints,
            )
            write_atomically(folder.report, render_report(record, selection).encode())
            for plot in study_plots(record, selection):
                write_atomically(folder.plots / f"{plot.name}.json", plot.figure.to_json().encode())
            _log_results(tracker, folder, selection)
            succeeded = True
        finally:
            tracker.finish(succeeded=succeeded, metrics=_last_metrics(selection) if succeeded else {})
    warnings = (*record.predictions.warnings, *tracker.warnings)
    return Outcome(record=record, selection=selection, folder=folder, warnings=warnings)


def _make_anew(folder: Path) -> None:
    try:
        if folder.exists():
            if not StudyFolder(folder).study.is_file() and any(folder.iterdir()):
                raise InputError(f"output: {folder} is not a study's folder, so it is not replaced")
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
    except OSError as error:
        raise InputError(f"output: {folder} can't be made: {error.strerror}") from None


def score_metrics(evaluations: Mapping[str, Evaluation], *, objective: Objective) -> dict[str, float]:
    """Return a rung's metrics: the score with its parts, and the value of every task.

    Raises:
        ValueError: A task's value is missing or not finite.
    """
    values = {task: evaluation.value for task, evaluation in evaluations.items()}
    return {
        **objective.score(values).to_metrics(),
        **{f"target/{task}": values[task] for task in objective.targets},
        **{f"held_out/{task}": values[task] for task in objective.held_out},
    }


def _search(
    prepared: Prepared,
    folder: StudyFolder,
    tracker: StudyTracker,
    console: Console,
    placement: Placement,
    made_with: Mapping[str, str],
    *,
    grows: bool,
) -> tuple[StudyRecord, Selection]:
    config = prepared.config
    shape = placement.smallest_shape
    pool = ray.remote(num_cpus=0, max_concurrency=1000, resources=ON_HEAD)(WorkerPool).remote(
        for_workers(prepared.setup),
        placement.nodes,
        str(folder.ray),
        config.resources.max_failures,
        grows=grows,
        max_idle=config.resources.max_idle_groups,
    )
    try:
        # Where trials take groups of several shapes, each is started when it is asked for.
        alike = all(execution.shape == shape for execution in placement.executions.values())
        pool.warm_up.remote({shape: placement.concurrency if alike else 1})
        console.print("loading the base model into its worker groups and evaluating it")
        with console.status("loading and evaluating the base model"):
            cache = config.folder.parent / ".cache"
            key = partial(
                base_key, prepared.setup, prepared.model_fingerprint, (str(shape), *_numerics(made_with))
            )
            base, cached = cached_base(cache, key(), partial(_measure_base, pool, shape))
        tracker.log_base(base, cached)
        for line in base_lines(config, base):
            console.print(line)
        objective = Objective(
            base={task: evaluation.value for task, evaluation in base.items()},
            targets=config.targets,
            held_out=config.held_out,
            forgetting_weight=config.objective.forgetting_weight,
            max_forgetting=config.objective.max_forgetting,
        )
        began = time.monotonic()
        recorder = _tune(config, folder, tracker, console, placement, pool, objective)
        seconds = time.monotonic() - began
        if all(trial.state is TrialState.FAILED for trial in recorder.results):
            first = recorder.results[0].error if recorder.results else "no trial was started"
            raise StudyFailed(f"every trial failed; the first one: {first}")
        began = time.monotonic()
        search = PointSearch(
            pool=pool,
            executions=placement.executions,
            at_a_time=placement.concurrency,
            trials=recorder.results,
            trial_folders=folder.trials,
            folder=folder.points,
            objective=objective,
            metrics=partial(score_metrics, objective=objective),
        )
        points = search_points(config, search, tracker, console)
        points_seconds = time.monotonic() - began
        selection = select(recorder.results, objective, points)
        with console.status("asking the base and the selected recipe for their answer to every sample"):
            asked = {"base": asked_of_base(shape, base, cache / f"{key(predictions=True)}.json")}
            if (selected := asked_of_selected(search, selection)) is not None:
                asked["selected"] = selected
            predictions = predict(pool, asked, at_a_time=placement.concurrency)
    finally:
        ray.get(pool.close.remote())
    record = StudyRecord(
        config=config,
        objective=objective,
        base=base,
        trials=recorder.results,
        seconds=seconds,
        versions=made_with,
        points=points,
        points_seconds=points_seconds,
        leaks=prepared.leaks,
        bad=prepared.bad,
        predictions=predictions,
        tasks=prepared.setup.tasks,
    )
    return record, selection


def _tune(
    config: StudyConfig,
    folder: StudyFolder,
    tracker: StudyTracker,
    console: Console,
    placement: Placement,
    pool: Any,
    objective: Objective,
) -> TrialRecorder:
    """Let Tune and Optuna run the trials; return the recorder that followed them."""
    space = config.recipe_space()
    presets = config.queued_presets()
    context = TrialContext(
        pool=pool,
        executions=placement.executions,
        recipe=space.recipe,
        score=partial(score_metrics, objective=objective),
        seed=config.search.seed,
        rungs=config.rungs,
        folder=str(folder.trials),
        keep_rungs=config.points is not None and config.points.earlier_rungs,
    )
    progress = StudyProgress(config.search.trials, console, max_forgetting=config.objective.max_forgetting)
    recorder = TrialRecorder(
        recipe=space.recipe,
        folder=folder.trials,
        tracker=tracker,
        progress=progress,
        reclaim=pool.reclaim.remote,
    )
    sampler = RecipeSampler(
        space,
        presets=presets,
        violation=objective.violation,
        storage=open_storage(config.search.storage, folder.sampler),
        study_name=optuna_study_name(config.name, config.search.storage, tracker.run_id),
        seed=config.search.seed,
        startup_trials=config.startup_trials,
    )
    trainable = tune.with_resources(
        tune.with_parameters(RecipeTrainable, context=context),
        tune.PlacementGroupFactory([dict(placement.trial_resources)]),
    )
    tuner = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=sampler,
            scheduler=make_scheduler(config.search.pruning, config.training.steps),
            num_samples=config.search.trials,
            max_concurrent_trials=placement.concurrency,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(folder.ray),
            callbacks=[recorder],
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=1, num_to_keep=2),
            verbose=0,
        ),
    )
    with progress:
        tuner.fit()
    # Tune takes an interrupt for the end of the search.
    if (ended := len(recorder.results)) < config.search.trials:
        raise StudyFailed(f"stopped after {ended} of {config.search.trials} trials")
    return recorder


def base_lines(config: StudyConfig, base: Mapping[str, Evaluation]) -> list[str]:
    """Return what the untouched model scores, and which held-out tasks have next to nothing to lose."""

    def scores(tasks: Iterable[str]) -> str:
        return ", ".join(f"{task} {base[task].value:.1f}" for task in tasks)

    lines = [f"base, in points: {scores(config.targets)}; held out: {scores(config.held_out)}"]
    low = [task for task in config.held_out if base[task].value < _LITTLE_TO_LOSE]
    if low:
        lines.append(f"warning: held-out {scores(low)}: a skill that the base lacks can't be forgotten")
    return lines


def _numerics(made_with: Mapping[str, str]) -> list[str]:
    """Return the versions that a model's output may depend on."""
    return [f"{name} {made_with[name]}" for name in ("torch", "transformers") if name in made_with]


def _measure_base(pool: Any, shape: GroupShape) -> Mapping[str, Evaluation]:
    """Evaluate the untouched model in a leased group.

    Raises:
        StudyFailed: The evaluation failed.
    """
    ((_, report),) = run_jobs(pool, {"base": (shape, EvaluateJob())}, at_a_time=1)
    if report.error is not None:
        raise StudyFailed(f"the base can't be evaluated: {report.error}")
    return report.evaluations


def _log_results(tracker: StudyTracker, folder: StudyFolder, selection: Selection) -> None:
    files: list[Path] = [folder.trials_table, folder.recipe, folder.report, folder.plots]
    made = (folder.points_table, folder.bad_samples, folder.predictions)
    files += [path for path in made if path.exists()]
    tracker.log_artifacts([*files, folder.selected] if selection.winner else files)


def _last_metrics(selection: Selection) -> dict[str, float]:
    return selection.rung.score.to_metrics() if selection.rung else {"score": 0.0}
