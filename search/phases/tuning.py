"""The trials: Ray Tune with Optuna over the study's space."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial

from ray import tune

from search.objective import paired_metrics
from search.phases.progress import StudyProgress
from search.phases.recorder import TrialRecorder
from search.phases.study_failed import StudyFailed
from search.phases.study_run import StudyRun
from search.records.study_record import StudyRecord
from search.sampler import RecipeSampler
from search.scheduler import make_scheduler
from search.stores.optuna_store import open_storage, optuna_study_name
from trainables.trainable import RecipeTrainable, TrialContext


def with_trials(run: StudyRun, record: StudyRecord) -> StudyRecord:
    """Let Tune and Optuna run the trials; return the record with them.

    Raises:
        StudyFailed: Trials are missing.
    """
    config, folder, placement, objective = run.config, run.folder, run.placement, record.objective
    began = time.monotonic()
    space = config.recipe_space()
    presets = config.queued_presets()
    context = TrialContext(
        pool=run.pool,
        executions=placement.executions,
        recipe=space.recipe,
        score=partial(paired_metrics, objective=objective, base=record.base),
        seed=config.search.seed,
        rungs=config.rungs,
        folder=str(folder.trials),
        keep_rungs=config.points is not None and config.points.earlier_rungs,
    )
    progress = StudyProgress(
        config.search.trials, run.console, max_forgetting=config.objective.max_forgetting
    )
    recorder = TrialRecorder(
        recipe=space.recipe,
        folder=folder.root,
        tracker=run.tracker,
        progress=progress,
        reclaim=run.pool.reclaim.remote,
    )
    sampler = RecipeSampler(
        space,
        presets=presets,
        violation=objective.violation,
        storage=open_storage(config.search.storage, folder.sampler),
        study_name=optuna_study_name(config.name, config.search.storage, run.tracker.run_id),
        seed=config.search.seed,
        startup_trials=config.startup_trials,
        objectives=config.search.objectives,
        sampler=config.search.sampler,
    )
    trainable = tune.with_resources(
        tune.with_parameters(RecipeTrainable, context=context),
        tune.PlacementGroupFactory([dict(placement.trial_resources)]),
    )
    tuner = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=sampler,
            scheduler=make_scheduler(
                config.search.pruning, config.training.steps, config.search.objectives, objective.violation
            ),
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
        raise StudyFailed(
            f"stopped after {ended} of {config.search.trials} trials; what these found is kept: see "
            f"`recipe-search select {config.folder}`"
        )
    return replace(record, trials=recorder.results, seconds=time.monotonic() - began)
