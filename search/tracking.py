"""StudyTracker: the study's record in MLflow, kept in a spool until a thread of its own has written it.

One parent run a study; under it one run `base` for the untouched model, one run a trial, one a point and one
for each seed of a finalist.
MLflow only records: nothing here hands a result back. Artifacts of a SQLite store lie in `mlruns/` beside the
database; a server decides for itself where its artifacts go.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from search.config import StudyConfig
from search.decision.candidates import Candidate
from search.decision.evidence import FinalistRun
from search.findings.costs import only_measured, with_co2
from search.handover.registry import register_selected
from search.objective import Objective, score_metrics
from search.results import PointResult, TrialResult, TrialState
from search.settings.study_file import InputError, dump_study, plain_values
from search.stores.mlflow_store import (
    experiment_id,
    flatten,
    log_batch,
    mlflow_client,
    prepare_store,
    quiet,
    refusing_store,
)
from search.stores.nested_runs import NestedRun, finalist_run, point_run, trial_run
from search.stores.passwords import shown
from search.stores.replayer import Replayer
from search.stores.run_update import STUDY, RunUpdate
from search.stores.spool import Spool
from search.stores.study_runs import StudyRuns, find_run
from search.stores.write_failures import lasts, why
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


def _to_stderr(line: str) -> None:
    # A live display takes what is printed here and shows it above itself.
    print(f"warning: {line}", file=sys.stderr)


class StudyTracker:
    """Records one study. What is recorded lasts once a method has returned, and is written later.

    Updates are written in order, by a background thread, each once, whatever dies: the same step of a trial,
    manifest, point, finalist or base that comes again, as after a resume, is ignored. While MLflow takes
    nothing they wait in the spool; `warnings` says what stays there, and what could never be written.

    Args:
        uri: MLflow tracking URI; see `prepare_store`.
        experiment: Name of the MLflow experiment; made if there is none.
        spool: File in the study's folder that keeps what is not written yet; None keeps it in memory.
        tell: Shows a person that MLflow went away, or is back; called from another thread.
    """

    def __init__(
        self,
        uri: str,
        experiment: str,
        spool: Path | None = None,
        tell: Callable[[str], object] = _to_stderr,
    ) -> None:
        self._uri = uri
        self._experiment = experiment
        self._file = spool
        self._tell = tell
        self._targets: tuple[str, ...] = ()
        self._carbon_intensity = 0.0
        self._study_run = ""
        self._replayer: Replayer | None = None

    @property
    def run_id(self) -> str:
        """The study's parent run, once `start_study` has opened it."""
        return self._study_run

    @property
    def warnings(self) -> list[str]:
        """What is not in MLflow, one line each; complete only after `close`."""
        return [] if self._replayer is None else self._replayer.warnings

    def start_study(
        self,
        config: StudyConfig,
        *,
        tags: Mapping[str, str],
        fingerprints: Mapping[str, str],
        study_id: str,
        kind: str = "study",
    ) -> str:
        """Find the study's parent run or open it, and record the configuration; waits for the store.

        Args:
            config: The study, resolved.
            tags: Package versions and, where known, `git_commit`.
            fingerprints: Name of a data set, such as `counting/train` -> SHA-256 of its content.
            study_id: The tag by which the run of a study that is resumed is found.
            kind: Whether a study is run, or a recipe applied (`apply`).

        Returns:
            The parent run's id.

        Raises:
            InputError: The store or the spool refuses; one line that names it.
        """
        self._targets = config.targets
        self._carbon_intensity = config.tracking.carbon_intensity
        all_tags = {"kind": kind, "study": config.name, "mlflow.source.name": "recipe-search", **tags}
        all_tags |= {f"data/{name}": digest for name, digest in fingerprints.items()}
        if "git_commit" in tags:
            all_tags["mlflow.source.git.commit"] = tags["git_commit"]
        spool = Spool(self._file)
        try:
            with refusing_store(self._uri), quiet():
                client = mlflow_client(self._uri)
                experiment = experiment_id(client, self._uri, self._experiment)
                run = find_run(client, experiment, {"study_id": study_id}) or client.create_run(
                    experiment, tags={"study_id": study_id, "kind": kind}, run_name=config.name
                )
                self._study_run = run.info.run_id
                settings = flatten(plain_values(config))
                # A parameter can't be changed: those of a study that is resumed stay what they were.
                new = {name: value for name, value in settings.items() if name not in run.data.params}
                log_batch(client, self._study_run, params=new, tags=all_tags)
                _log_data(client, self._study_run, fingerprints)
                client.log_text(self._study_run, dump_study(config), "study.yaml")
        except InputError:
            spool.close()
            raise
        spool.note_run(STUDY, self._study_run)
        self._start_writing(experiment, spool)
        # Behind what an earlier life of the study left, such as its end.
        self._submit(RunUpdate(what="the start of the study", status="RUNNING"))
        return self._study_run

    def replay(self) -> None:
        """Write what an earlier life of the study left in its spool, and nothing else; `close` waits for it.

        Raises:
            InputError: The store or the spool refuses; one line that names it.
        """
        if self._file is None or not self._file.exists():
            return
        spool = Spool(self._file)
        study = spool.run(STUDY)
        if study is None or not spool.count():
            spool.close()
            return
        with refusing_store(self._uri), quiet():
            experiment = mlflow_client(self._uri).get_run(study).info.experiment_id
        self._study_run = study
        self._start_writing(experiment, spool)

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
        self._submit_ended("the base", _BASE, spec, metrics=values)

    def start_trial(self, trial_id: str, number: int, recipe: Recipe, preset: str | None = None) -> None:
        """Open a trial's run, or go on with the one that already has this trial id.

        Args:
            trial_id: The trial's id.
            number: Order in which the trials were started, from 0.
            recipe: What is trained and how.
            preset: Name of the preset that queued it, or None.
        """
        self._submit(
            RunUpdate(
                what=f"the start of trial {number}",
                run=trial_id,
                made=trial_run(trial_id, number, recipe, preset),
                status="RUNNING",
            )
        )

    def log_manifest(self, trial_id: str, manifest: Mapping[str, Any]) -> None:
        """Record what a trial trains: the whole as `manifest.json`, its plain values also as parameters.

        Args:
            trial_id: The id of a trial that was started.
            manifest: The manifest, ready for JSON.
        """
        plain = {key: value for key, value in manifest.items() if isinstance(value, str | int | float)}
        what = f"the manifest of trial {trial_id}"
        self._submit(
            RunUpdate(
                what=what,
                run=trial_id,
                params=flatten({"manifest": plain}),
                texts={"manifest.json": json.dumps(dict(manifest), indent=2)},
            ),
            once=what,
        )

    def log_rung(self, trial_id: str, step: int, metrics: Mapping[str, float]) -> None:
        """Record one evaluation of a trial, in one batch.

        Args:
            trial_id: The id of a trial that was started.
            step: Optimiser steps done.
            metrics: Metric name -> value; what is not finite is only named, in the tag `not_finite`.
        """
        what = f"step {step} of trial {trial_id}"
        values = with_co2(metrics, self._carbon_intensity)
        self._submit(RunUpdate(what=what, run=trial_id, metrics=values, step=step), once=what)

    def end_trial(self, result: TrialResult) -> None:
        """Close a trial's run with its true state: COMPLETE finished, PRUNED was killed, FAILED failed."""
        tags = {"state": result.state.value}
        if result.error is not None:
            tags["error"] = result.error[:_LONGEST_TAG]
        if result.nodes:
            tags["nodes"] = " ".join(result.nodes)[:_LONGEST_TAG]
        self._submit(
            RunUpdate(
                what=f"the end of trial {result.number}",
                run=result.trial_id,
                made=trial_run(result.trial_id, result.number, result.recipe, result.preset),
                tags=tags,
                status=STATUS[result.state],
            )
        )

    def log_point(self, result: PointResult) -> None:
        """Record a point, with its trial's recipe, as a nested run that has ended."""
        key = f"point {result.number}"
        metrics = dict(result.rung.metrics) if result.rung else {}
        step = result.point.step
        self._submit_ended(key, key, point_run(result), metrics=metrics, step=step, error=result.error)

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
        metrics = dict(result.rung.metrics) if result.rung else {}
        if result.confirmed is not None:
            found = score_metrics(result.confirm, objective=confirm)
            metrics |= {f"confirm/{name}": value for name, value in found.items()}
        what, step = f"{candidate.key} on seed {result.seed}", candidate.point.step
        self._submit_ended(what, " ".join(spec.key), spec, metrics=metrics, step=step, error=result.error)

    def register(self, name: str, folder: Path) -> None:
        """Register the selected model as the champion; a store without a registry becomes a warning.

        Args:
            name: What it is called, for the warning.
            folder: The study's folder, with everything written.
        """
        self._submit(RunUpdate(what=f"the registered model {name!r}", registers=self._kept(folder)))

    def log_artifacts(self, paths: Iterable[Path]) -> None:
        """Record files and whole folders with the study's run, under their own names."""
        for path in paths:
            self._submit(RunUpdate(what=f"the artifact {path.name}", artifact=self._kept(path)))

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
        self._submit(RunUpdate(what="the end of the trials that were cut short", ends_open=True))
        if metrics:
            # A driver that dies after this comes here again with the same results.
            once = f"the results {json.dumps(dict(metrics), sort_keys=True)}"
            self._submit(RunUpdate(what="the results of the study", metrics=metrics), once)
        status = "FINISHED" if succeeded else "FAILED"
        self._submit(RunUpdate(what="the end of the study", tags=tags or {}, status=status))

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until everything so far is written.

        Returns:
            False if that took longer than `timeout` seconds, or the store takes nothing for long.
        """
        return self._replayer is None or self._replayer.flush(timeout)

    def close(self, timeout: float = 60.0) -> None:
        """Write what is left, for at most `timeout` seconds; a warning says what stays, and where."""
        if self._replayer is not None:
            self._replayer.close(timeout)

    def __enter__(self) -> StudyTracker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _kept(self, path: Path) -> str:
        """Return a path as the spool keeps it: below its own folder, the study's, which may be moved."""
        home, absolute = Path() if self._file is None else self._file.parent.absolute(), path.absolute()
        return str(absolute.relative_to(home) if absolute.is_relative_to(home) else absolute)

    def _start_writing(self, experiment: str, spool: Spool) -> None:
        self._replayer = Replayer(
            spool,
            StudyRuns(self._uri, experiment, spool, register_selected).write,
            lasts=lasts,
            reason=partial(why, uri=self._uri),
            where=f"MLflow store {shown(self._uri)}",
            tell=self._tell,
        )
        self._replayer.start()

    def _submit(self, update: RunUpdate, once: str | None = None) -> None:
        assert self._replayer is not None, "the study was started"
        self._replayer.submit(replace(update, metrics=only_measured(update.metrics)), once)

    def _submit_ended(
        self,
        what: str,
        key: str,
        made: NestedRun,
        *,
        metrics: Mapping[str, float],
        step: int = 0,
        error: str | None = None,
    ) -> None:
        """Record a nested run that has ended before it is recorded."""
        self._submit(
            RunUpdate(
                what=what,
                run=key,
                made=made,
                metrics=metrics,
                tags={"error": error[:_LONGEST_TAG]} if error else {},
                step=step,
                status="FAILED" if error else "FINISHED",
            ),
            once=what,
        )


def _log_data(client: Any, run: str, fingerprints: Mapping[str, str]) -> None:
    from mlflow.entities import Dataset, DatasetInput

    if fingerprints:
        inputs = [
            DatasetInput(Dataset(name, digest[:_DIGEST_LENGTH], "recipe-search", name))
            for name, digest in fingerprints.items()
        ]
        client.log_inputs(run, datasets=inputs)
