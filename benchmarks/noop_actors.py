"""The no-op study over real actors: our own trainable, with a pool and a worker group that answer at once."""

from __future__ import annotations

import time
from functools import partial
from typing import Any
from uuid import uuid4

import psutil
import ray
from ray import tune

from benchmarks.noop_study import COSTS, MANIFEST, NoopStudy, evaluations
from search.objective import score_metrics
from search.planning.placement import DRIVER_RESOURCE
from search.scheduler import StudyScheduler
from search.stores.mlflow_store import prepare_store
from search.tracking import StudyTracker
from trainables.pool import Lease
from trainables.trainable import RecipeTrainable, TrialContext
from trainables.workers.execution import Execution, GroupShape
from trainables.workers.jobs import Job, Report, TrainJob


class NoopGroup:
    """Serves any number of jobs at once; each report is there as soon as it is asked for."""

    def __init__(self) -> None:
        self._jobs: dict[int, tuple[TrainJob, int]] = {}
        self._sequence = 0

    def submit(self, job: Job) -> int:
        """Take a job."""
        assert isinstance(job, TrainJob)
        self._sequence += 1
        self._jobs[self._sequence] = (job, 0)
        return self._sequence

    def next_report(self, sequence: int) -> Report:
        """Return the report of the job's next rung."""
        job, rung = self._jobs[sequence]
        self._jobs[sequence] = (job, rung + 1)
        step = job.rungs[rung]
        return Report(
            step=step,
            done=step == job.rungs[-1],
            evaluations=evaluations(job.recipe.learning_rate, step / job.rungs[-1], seed=sequence),
            metrics=COSTS,
            manifest=MANIFEST if rung == 0 else None,
            started_at=time.time(),
        )

    def abandon(self, sequence: int) -> None:
        """Forget a job."""
        self._jobs.pop(sequence, None)


class NoopPool:
    """Leases the one group to everybody."""

    def __init__(self, group: Any) -> None:
        self._lease = Lease("noop", group)

    def lease(self, shape: GroupShape, holder: str = "") -> Lease:
        """Return the group."""
        return self._lease

    def release(self, name: str, *, usable: bool = True) -> None:
        """Nothing is given back."""

    def reclaim(self, holder: str) -> None:
        """Nothing is taken back."""


class BareTrainable(tune.Trainable):
    """A class trainable that reports three scores; what Tune costs by itself."""

    def setup(self, config: dict[str, Any]) -> None:
        """Begin."""
        self._rung = 0

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin the next trial."""
        self._rung = 0
        return True

    def step(self) -> dict[str, Any]:
        """Report."""
        self._rung += 1
        return {"score": 1.0, "step": (25, 50, 100)[self._rung - 1], "done": self._rung == 3}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Save nothing."""

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        """Load nothing."""


class _Watch(tune.Callback):
    """Counts reports and looks once, late, at the processes of trials."""

    def __init__(self, trials: int) -> None:
        self.reports = 0
        self.processes: dict[str, Any] = {}
        self._late = trials

    def on_trial_result(self, **info: Any) -> None:
        self.reports += 1
        if self.reports == self._late:
            self.processes = _trial_processes()


def run_real(study: NoopStudy, *, ours: bool) -> dict[str, Any]:
    """Run the study; return how many trials' processes there were and the memory of one in MiB."""
    watch = _Watch(study.config.search.trials)
    tune_config: dict[str, Any] = {"scheduler": study.scheduler()}
    if not ours:
        space = study.config.space
        param_space = {
            "subset": tune.choice(list(space.subsets)),
            "learning_rate": tune.loguniform(*space.learning_rate),
        }
        _fit(study, BareTrainable, [watch], tune_config, param_space)
        study.results = watch.reports
        return watch.processes
    prepare_store(study.config.tracking.uri)
    group = ray.remote(num_cpus=0)(NoopGroup).remote()
    pool = ray.remote(num_cpus=0)(NoopPool).remote(group)
    context = TrialContext(
        pool=pool,
        executions=dict.fromkeys(study.config.recipe_space().variants, Execution(shape=GroupShape())),
        recipe=study.config.recipe_space().recipe,
        score=partial(score_metrics, objective=study.objective),
        seed=0,
        rungs=study.config.rungs,
        folder=str(study.folder / "trials"),
    )
    with StudyTracker(study.config.tracking.uri, study.config.tracking.experiment) as tracker:
        tracker.start_study(study.config, tags={}, fingerprints={}, study_id=uuid4().hex)
        sampler, scheduler = study.sampler(), StudyScheduler(study.scheduler())
        tune_config = {"search_alg": sampler, "scheduler": scheduler}
        trainable = tune.with_parameters(RecipeTrainable, context=context)
        recorder = study.recorder(tracker, sampler, scheduler)
        _fit(study, trainable, [recorder, watch], tune_config, None)
        tracker.flush(3600)
    study.results = watch.reports
    return watch.processes


def _fit(study: NoopStudy, trainable: Any, callbacks: list[Any], tune_config: Any, space: Any) -> None:
    """Run the study; its `seconds` are this thread's processor time, Tune's start and end included."""
    tuner = tune.Tuner(
        tune.with_resources(trainable, tune.PlacementGroupFactory([{DRIVER_RESOURCE: 1}])),
        param_space=space,
        tune_config=tune.TuneConfig(
            num_samples=study.config.search.trials,
            max_concurrent_trials=study.concurrency,
            reuse_actors=True,
            **tune_config,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(study.folder / "ray"),
            callbacks=callbacks,
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=1, num_to_keep=2),
            verbose=0,
        ),
    )
    began = time.thread_time()
    results = tuner.fit()
    study.seconds = time.thread_time() - began
    assert not results.errors, results.errors[0]


def _trial_processes() -> dict[str, Any]:
    """Return number and memory of the processes of this driver's Ray that run a trainable."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if "Trainable" in " ".join(process.cmdline()):
                memory = process.memory_full_info()
                found.append((memory.pss / 2**20, memory.uss / 2**20))
        except psutil.Error:  # it ended while it was looked at
            continue
    if not found:
        return {"n": 0}
    return {
        "n": len(found),
        "pss_mib": round(sum(pss for pss, _ in found) / len(found), 1),
        "uss_mib": round(sum(uss for _, uss in found) / len(found), 1),
    }
