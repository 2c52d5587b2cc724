"""The trials: Ray Tune with Optuna over the study's space, from wherever an earlier driver left off."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial

from ray import tune

from search.objective import paired_metrics
from search.phases.point_search import needed_for_points
from search.phases.progress import StudyProgress
from search.phases.recorder import HOPELESS, TrialRecorder, record_end
from search.phases.study_failed import StudyFailed
from search.phases.study_run import StudyRun
from search.records.open_trials import OpenTrial, close_open_trial, read_open_trials
from search.records.room import make_room
from search.records.stored_study import read_trials
from search.records.study_folder import StudyFolder
from search.records.study_identity import StudyIdentity, seconds_before
from search.records.study_record import StudyRecord
from search.results import Rung, TrialResult
from search.sampler import RecipeSampler
from search.scheduler import StudyScheduler, make_scheduler
from search.stores.optuna_store import open_storage, optuna_study_name
from search.wording import counted
from trainables.trainable import RecipeTrainable, TrialContext


@dataclass(frozen=True)
class _Earlier:
    """What earlier drivers of a study left: the trials that ended, and those that began, by number."""

    ended: tuple[TrialResult, ...]
    left_off: dict[int, OpenTrial]

    @classmethod
    def of(cls, folder: StudyFolder) -> _Earlier:
        """Read it from the study's folder.

        Raises:
            DamagedFile: A trial's file is damaged.
        """
        return cls(read_trials(folder), read_open_trials(folder.root))

    def rungs(self) -> list[tuple[str, Rung]]:
        """Return every rung with its trial's id, in the order in which they were reported."""
        trials: list[TrialResult | OpenTrial] = [*self.ended, *self.left_off.values()]
        found = [(trial.trial_id, rung) for trial in trials for rung in trial.rungs]
        return sorted(found, key=lambda each: each[1].at)

    def events(self) -> Iterable[float]:
        """Yield when anything was recorded, in seconds since 1970."""
        yield from (rung.at for _, rung in self.rungs())
        yield from (trial.started + trial.seconds for trial in self.ended)


class _Hopeless(tune.Stopper):
    """Ends the search where every trial fails."""

    def __init__(self, recorder: TrialRecorder) -> None:
        self._recorder = recorder

    def __call__(self, trial_id: str, result: dict[str, object]) -> bool:
        """Stop no single trial."""
        return False

    def stop_all(self) -> bool:
        """Return whether to end the search."""
        return self._recorder.failed_first >= HOPELESS


def with_trials(run: StudyRun, record: StudyRecord) -> StudyRecord:
    """Let Tune and Optuna run the trials that have not ended; return the record with all of them.

    Raises:
        StudyFailed: The search ended too early, or its first trials all failed.
        DamagedFile: What an earlier driver wrote of a trial is damaged.
    """
    config, objective = run.config, record.objective
    began = time.monotonic()
    earlier = _Earlier.of(run.folder)
    identity = StudyIdentity.read(run.folder).searching(time.time())
    identity.write(run.folder)
    before = seconds_before(identity.searches, earlier.events())
    progress = StudyProgress(
        config.search.trials, run.console, max_forgetting=config.objective.max_forgetting
    )
    progress.taken_up(earlier.ended)
    scheduler = StudyScheduler(
        make_scheduler(
            config.search.pruning, config.training.steps, config.search.objectives, objective.violation
        )
    )
    scheduler.replay(earlier.rungs())
    for ended in earlier.ended:
        # The driver died between writing its end and dropping what it would have gone on from.
        run.ended_weights.settle(run.folder.root, ended)
        close_open_trial(run.folder.root, ended.trial_id)
    with progress:
        # The driver died between a trial's last rung and writing its end.
        for trial in earlier.left_off.values():
            if trial.is_trained or scheduler.has_stopped(trial.trial_id):
                record_end(trial.ended(), run.folder.root, run.ended_weights, run.tracker, progress)
        earlier = _Earlier.of(run.folder)
        sampler = _sampler(run, record, identity, earlier)
        recorder = _recorder(run, sampler, scheduler, progress, earlier)
        if len(recorder.results) < config.search.trials:
            _tune(run, record, sampler, scheduler, recorder)
    _check_whole(run, recorder)
    return replace(record, trials=recorder.results, seconds=before + time.monotonic() - began)


def _check_whole(run: StudyRun, recorder: TrialRecorder) -> None:
    """Check that all trials have ended.

    Raises:
        StudyFailed: They have not.
    """
    if recorder.failed_first >= HOPELESS:
        failed = [trial for trial in recorder.results if trial.error is not None]
        raise StudyFailed(
            f"the first {len(failed)} trials all failed, so the search was stopped; the last one: "
            f"{failed[-1].error}"
        )
    planned = run.config.search.trials
    if (ended := len(recorder.results)) < planned:
        raise StudyFailed(
            f"Ray Tune ended the search after {ended} of {counted(planned, 'trial')}; to go on: "
            f"recipe-search resume {run.config.folder}"
        )


def _recorder(
    run: StudyRun,
    sampler: RecipeSampler,
    scheduler: StudyScheduler,
    progress: StudyProgress,
    earlier: _Earlier,
) -> TrialRecorder:
    config = run.config
    return TrialRecorder(
        recipe=config.recipe_space().recipe,
        folder=run.folder.root,
        tracker=run.tracker,
        progress=progress,
        reclaim=run.pool.reclaim.remote,
        queue=sampler,
        has_stopped=scheduler.has_stopped,
        weights=run.ended_weights,
        make_room=lambda trials: make_room(
            run.folder, trials, needed_for_points(config, trials), run.room.while_searching
        ),
        max_losses=config.resources.max_failures,
        ended=earlier.ended,
        left_off=earlier.left_off,
    )


def _sampler(run: StudyRun, record: StudyRecord, identity: StudyIdentity, earlier: _Earlier) -> RecipeSampler:
    config = run.config
    return RecipeSampler(
        config.recipe_space(),
        presets=config.queued_presets(),
        violation=record.objective.violation,
        storage=open_storage(config.search.storage, run.folder.sampler),
        study_name=optuna_study_name(config.name, config.search.storage, identity.study_id),
        seed=config.search.seed,
        startup_trials=config.startup_trials,
        trials=config.search.trials,
        objectives=config.search.objectives,
        sampler=config.search.sampler,
        ended=earlier.ended,
        left_off=earlier.left_off,
    )


def _tune(
    run: StudyRun,
    record: StudyRecord,
    sampler: RecipeSampler,
    scheduler: StudyScheduler,
    recorder: TrialRecorder,
) -> None:
    config, placement = run.config, run.placement
    context = TrialContext(
        pool=run.pool,
        executions=placement.executions,
        recipe=config.recipe_space().recipe,
        score=partial(paired_metrics, objective=record.objective, base=record.base),
        seed=config.search.seed,
        rungs=config.rungs,
        folder=str(run.folder.trials),
        keep_rungs=run.ended_weights.earlier_rungs,
    )
    trainable = tune.with_resources(
        tune.with_parameters(RecipeTrainable, context=context),
        tune.PlacementGroupFactory([dict(placement.trial_resources)]),
    )
    tuner = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=sampler,
            scheduler=scheduler,
            num_samples=-1,  # the sampler says when it is done
            max_concurrent_trials=placement.concurrency,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            # Tune's own state is not gone back to: each driver begins anew.
            name=f"tune-{time.strftime('%Y%m%d-%H%M%S')}",
            storage_path=str(run.folder.ray),
            callbacks=[recorder],
            stop=_Hopeless(recorder),
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=1, num_to_keep=2),
            verbose=0,
        ),
    )
    # Tune's own handler would take an interrupt for the end of the search, and the next one, too.
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"
    tuner.fit()
