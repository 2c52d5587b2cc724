"""StudyTracker: the study's record in MLflow, written by a thread of its own.

One parent run a study; under it one run `base` for the untouched model, one run a trial, one a point and one
for each seed of a finalist.
MLflow only records: nothing here hands a result back. Artifacts of a SQLite store lie in `mlruns/` beside the
database; a server decides for itself where its artifacts go.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from search.config import StudyConfig
from search.decision.candidates import Candidate
from search.decision.evidence import FinalistRun
from search.findings.costs import with_co2
from search.handover.registry import Champion, register
from search.objective import Objective, score_metrics
from search.results import PointResult, TrialResult, TrialState
from search.settings.study_file import dump_study, plain_values
from search.stores.background import BackgroundWriter
from search.stores.mlflow_store import experiment_id, flatten, log_batch, prepare_store, quiet, refusing_store
from search.stores.nested_runs import NestedRun, finalist_run, point_run, trial_run
from search.stores.passwords import shown
from spaces.recipe import Recipe
from trainables.scoring.evaluation import Evaluation

__all__ = ["STATUS", "StudyTracker", "prepare_store"]

STATUS: Final = {
    TrialState.COMPLETE: "FINISHED",
    TrialState.PRUNED: "KILLED",
    TrialState.FAILED: "FAILED",
}
_LONGEST_TAG = 5000
_DIGEST_LENGTH = 36  # MLflow's bound on a data set's digest
_BASE = "base"


class StudyTracker:
    """Records one study. All methods but `start_study`, `flush` and `close` return at once.

    Writes happen in order, in a background thread. One that fails is tried again a few times; if it still
    fails the study goes on without it and `warnings` says so.

    Args:
        uri: MLflow tracking URI; see `prepare_store`.
        experiment: Name of the MLflow experiment; made if there is none.
    """

    def __init__(self, uri: str, experiment: str) -> None:
        self._uri = uri
        self._experiment = experiment
        self._writer = BackgroundWriter(f"MLflow store {shown(uri)}")
        self._targets: tuple[str, ...] = ()
        self._carbon_intensity = 0.0
        self._client: Any = None
        self._experiment_id = ""
        self._study_run = ""
        # All three belong to the writer's thread.
        self._specs: dict[str, NestedRun] = {}
        self._runs: dict[str, str] = {}
        self._open: set[str] = set()

    @property
    def run_id(self) -> str:
        """The study's parent run, once `start_study` has opened it."""
        return self._study_run

    @property
    def warnings(self) -> list[str]:
        """What could not be recorded, one line each; complete only after `close`."""
        return self._writer.warnings

    def start_study(
        self,
        config: StudyConfig,
        *,
        tags: Mapping[str, str],
        fingerprints: Mapping[str, str],
        run_id: str | None = None,
        kind: str = "study",
    ) -> str:
        """Open the study's parent run and record the configuration; waits for the store.

        Args:
            config: The study, resolved.
            tags: Package versions and, where known, `git_commit`.
            fingerprints: Name of a data set, such as `counting/train` -> SHA-256 of its content.
            run_id: The parent run of a study that is resumed; None opens a new one.
            kind: Whether a study is run, or a recipe applied (`apply`).

        Returns:
            The parent run's id.

        Raises:
            InputError: The store refuses; one line that names the URI.
        """
        self._targets = config.targets
        self._carbon_intensity = config.tracking.carbon_intensity
        all_tags = {"kind": kind, "study": config.name, "mlflow.source.name": "recipe-search", **tags}
        all_tags |= {f"data/{name}": digest for name, digest in fingerprints.items()}
        if "git_commit" in tags:
            all_tags["mlflow.source.git.commit"] = tags["git_commit"]
        with refusing_store(self._uri), quiet():
            from mlflow.tracking import MlflowClient

            self._client = MlflowClient(self._uri)
            self._experiment_id = experiment_id(self._client, self._uri, self._experiment)
            if run_id is None:
                run = self._client.create_run(self._experiment_id, run_name=config.name)
                self._study_run = run.info.run_id
                log_batch(self._client, self._study_run, params=flatten(plain_values(config)))
            else:
                self._study_run = run_id
                self._client.update_run(run_id, status="RUNNING")
            log_batch(self._client, self._study_run, tags=all_tags)
            self._log_data(fingerprints)
            self._client.log_text(self._study_run, dump_study(config), "study.yaml")
        return self._study_run

    def log_base(self, evaluations: Mapping[str, Evaluation], cached: bool) -> None:
        """Record the untouched model as the nested run `base`.

        Args:
            evaluations: Task -> what the base scored on the search split.
            cached: Whether the evaluations were taken from an earlier study.
        """
        values = {
            f"{'target' if task in self._targets else 'held_out'}/{task}": evaluation.value
            for task, evaluation in evaluations.items()
        }
        spec = NestedRun(name=_BASE, key=("kind", _BASE), tags={"cached": str(cached).lower()})
        now = _now()

        def write() -> None:
            self._specs[_BASE] = spec
            run = self._nested_run(_BASE)
            log_batch(self._client, run, metrics=values, timestamp=now)
            self._end(run, "FINISHED", now)

        self._writer.submit("the base", write)

    def start_trial(self, trial_id: str, number: int, recipe: Recipe, preset: str | None = None) -> None:
        """Open a trial's run, or go on with the one that already has this trial id.

        Args:
            trial_id: Tune's id of the trial.
            number: Order in which the trials were started, from 0.
            recipe: What is trained and how.
            preset: Name of the preset that queued it, or None.
        """
        spec = trial_run(trial_id, number, recipe, preset)

        def write() -> None:
            self._specs[trial_id] = spec
            self._client.update_run(self._nested_run(trial_id), status="RUNNING")
            self._open.add(trial_id)

        self._writer.submit(f"the start of trial {number}", write)

    def log_manifest(self, trial_id: str, manifest: Mapping[str, Any]) -> None:
        """Record what a trial trains: the whole as `manifest.json`, its plain values also as parameters.

        Args:
            trial_id: Tune's id of a trial that was started.
            manifest: The manifest, ready for JSON.
        """
        plain = {key: value for key, value in manifest.items() if isinstance(value, str | int | float)}
        whole = dict(manifest)

        def write() -> None:
            run = self._nested_run(trial_id)
            log_batch(self._client, run, params=flatten({"manifest": plain}))
            self._client.log_text(run, json.dumps(whole, indent=2), "manifest.json")

        self._writer.submit(f"the manifest of trial {trial_id}", write)

    def log_rung(self, trial_id: str, step: int, metrics: Mapping[str, float]) -> None:
        """Record one evaluation of a trial, in one batch.

        Args:
            trial_id: Tune's id of a trial that was started.
            step: Optimiser steps done.
            metrics: Metric name -> value; what is not finite is only named, in the tag `not_finite`.
        """
        values, now = with_co2(metrics, self._carbon_intensity), _now()

        def write() -> None:
            run = self._nested_run(trial_id)
            log_batch(self._client, run, metrics=values, step=step, timestamp=now)

        self._writer.submit(f"step {step} of trial {trial_id}", write)

    def end_trial(self, result: TrialResult) -> None:
        """Close a trial's run with its true state: COMPLETE finished, PRUNED was killed, FAILED failed."""
        tags = {"state": result.state.value}
        if result.error is not None:
            tags["error"] = result.error[:_LONGEST_TAG]
        if result.nodes:
            tags["nodes"] = " ".join(result.nodes)[:_LONGEST_TAG]
        spec = trial_run(result.trial_id, result.number, result.recipe, result.preset)
        now = _now()

        def write() -> None:
            self._specs.setdefault(result.trial_id, spec)
            run = self._nested_run(result.trial_id)
            log_batch(self._client, run, tags=tags)
            self._end(run, STATUS[result.state], now)
            self._open.discard(result.trial_id)

        self._writer.submit(f"the end of trial {result.number}", write)

    def log_point(self, result: PointResult) -> None:
        """Record a point, with its trial's recipe, as a nested run that has ended."""
        key, spec = f"point {result.number}", point_run(result)
        metrics = dict(result.rung.metrics) if result.rung else {}
        tags = {"error": result.error[:_LONGEST_TAG]} if result.error else {}
        now = _now()

        def write() -> None:
            self._specs[key] = spec
            run = self._nested_run(key)
            log_batch(self._client, run, metrics=metrics, tags=tags, step=result.point.step, timestamp=now)
            self._end(run, "FAILED" if result.error else "FINISHED", now)

        self._writer.submit(key, write)

    def log_finalist(
        self, candidate: Candidate, result: FinalistRun, confirm: Objective, *, dropped: bool
    ) -> None:
        """Record a candidate's recipe trained again on a new seed, as a nested run that has ended.

        Args:
            candidate: The candidate.
            result: Its run.
            confirm: The objective, with the base's values on the confirm split.
            dropped: Whether the candidate was dropped from the race.
        """
        spec = finalist_run(candidate, result, dropped=dropped)
        key = " ".join(spec.key)
        metrics = dict(result.rung.metrics) if result.rung else {}
        if result.confirmed is not None:
            found = score_metrics(result.confirm, objective=confirm)
            metrics |= {f"confirm/{name}": value for name, value in found.items()}
        tags = {"error": result.error[:_LONGEST_TAG]} if result.error else {}
        step, now = candidate.point.step, _now()

        def write() -> None:
            self._specs[key] = spec
            run = self._nested_run(key)
            log_batch(self._client, run, metrics=metrics, tags=tags, step=step, timestamp=now)
            self._end(run, "FAILED" if result.error else "FINISHED", now)

        self._writer.submit(f"{candidate.key} on seed {result.seed}", write)

    def register(self, name: str, chosen: Callable[[], Champion]) -> None:
        """Register the selected model as the champion; a store without a registry becomes a warning.

        Args:
            name: What it is called, for the warning.
            chosen: Makes what is registered ready.
        """
        self._writer.submit(
            f"the registered model {name!r}",
            lambda: register(self._client, self._experiment_id, self._study_run, chosen()),
        )

    def log_artifacts(self, paths: Iterable[Path]) -> None:
        """Record files and whole folders with the study's run, under their own names."""
        for path in paths:
            self._writer.submit(f"the artifact {path.name}", partial(self._log_path, path))

    def finish(
        self,
        succeeded: bool,
        metrics: Mapping[str, float] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Close the study's run; a trial that is still open was cut short: its run is closed as killed.

        Args:
            succeeded: Whether the study reached its end.
            metrics: The selected recipe's metrics, and what the study cost.
            tags: What was selected.
        """
        last_metrics, last_tags, now = dict(metrics or {}), dict(tags or {}), _now()

        def write() -> None:
            for trial_id in sorted(self._open):
                self._end(self._runs[trial_id], "KILLED", now)
                self._open.discard(trial_id)
            log_batch(self._client, self._study_run, metrics=last_metrics, tags=last_tags, timestamp=now)
            self._end(self._study_run, "FINISHED" if succeeded else "FAILED", now)

        self._writer.submit("the end of the study", write)

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until everything so far is written; False if that took longer than `timeout` seconds."""
        return self._writer.flush(timeout)

    def close(self, timeout: float = 60.0) -> None:
        """Write what is left, for at most `timeout` seconds; what is lost becomes a warning."""
        self._writer.close(timeout)

    def __enter__(self) -> StudyTracker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _nested_run(self, key: str) -> str:
        """Return the run of a trial or of the base: the known one, else the recorded one, else a new one."""
        if key in self._runs:
            return self._runs[key]
        if key not in self._specs:
            raise LookupError(f"{key} was never started")
        spec = self._specs[key]
        tag, value = spec.key
        found = self._client.search_runs(
            [self._experiment_id],
            f"tags.`mlflow.parentRunId` = '{self._study_run}' and tags.`{tag}` = '{value}'",
            max_results=1,
        )
        run: str
        if found:
            run = found[0].info.run_id
        else:
            tags = {"mlflow.parentRunId": self._study_run, tag: value, **spec.tags}
            run = self._client.create_run(
                self._experiment_id, start_time=spec.started, tags=tags, run_name=spec.name
            ).info.run_id
        log_batch(self._client, run, params=spec.params)
        self._runs[key] = run
        return run

    def _log_data(self, fingerprints: Mapping[str, str]) -> None:
        from mlflow.entities import Dataset, DatasetInput

        if fingerprints:
            inputs = [
                DatasetInput(Dataset(name, digest[:_DIGEST_LENGTH], "recipe-search", name))
                for name, digest in fingerprints.items()
            ]
            self._client.log_inputs(self._study_run, datasets=inputs)

    def _log_path(self, path: Path) -> None:
        if path.is_dir():
            self._client.log_artifacts(self._study_run, str(path), path.name)
        else:
            self._client.log_artifact(self._study_run, str(path))

    def _end(self, run: str, status: str, timestamp: int) -> None:
        from mlflow.entities import RunStatus

        # `MlflowClient.set_terminated` prints two lines to stdout for every run of a server.
        store = self._client._tracking_client.store
        store.update_run_info(run, RunStatus.from_string(status), timestamp, None)


def _now() -> int:
    return int(time.time() * 1000)
