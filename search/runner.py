"""Running a study: from checked input to a selection, with every file written and every run recorded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from rich.console import Console

from search.clusters.warm_cluster import open_pool, placed, started
from search.decision.evidence import MEASURES
from search.finalists.finalist_search import with_finalists
from search.findings.costs import study_costs, study_metrics
from search.findings.data_findings import bad_csv, data_tags
from search.handover.registry import champion, registered_name
from search.handover.study_files import write_results
from search.phases.base import base_lines
from search.phases.point_search import with_points
from search.phases.prediction_jobs import with_predictions
from search.phases.selecting import with_point_weights, with_selection
from search.phases.study_failed import StudyFailed
from search.phases.study_run import StudyRun
from search.phases.tuning import with_trials
from search.planning.placement import Placement
from search.planning.preparation import Prepared
from search.records.retention import with_kept_weights
from search.records.stored_study import objective_of, read_retraining, write_base, write_facts
from search.records.study_folder import StudyFolder, make_anew
from search.records.study_record import StudyRecord
from search.records.versions import versions
from search.report_files import write_report
from search.results import TrialState
from search.selection import Selection
from search.settings.study_file import dump_study
from search.stores.study_note import verdict_tags
from search.tracking import StudyTracker
from trainables.files import write_atomically

_REGISTERING_SECONDS: Final = 600.0


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
    with started(console) as (nodes, grows):
        prepared, placement = placed(prepared, nodes, console)
        folder = StudyFolder(prepared.config.folder.absolute())
        make_anew(folder.root)
        return _run_recorded(prepared, folder, placement, console, grows=grows)


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
            write_results(folder, record, selection)
            write_report(folder, record, selection)
            write_facts(folder, record)
            _log_results(tracker, folder, selection)
            _register(tracker, folder, record, selection)
            succeeded = True
        finally:
            if succeeded:
                tracker.finish(True, _last_metrics(record, selection), verdict_tags(record, selection))
            else:
                tracker.finish(False)
    warnings = (*record.predictions.warnings, *tracker.warnings)
    return Outcome(record=record, selection=selection, folder=folder, warnings=warnings)


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
    """Carry out the study's phases on a pool of worker groups; each adds to the record."""
    with open_pool(prepared, placement, folder.ray, grows=grows) as pool:
        run = StudyRun(
            prepared=prepared,
            folder=folder,
            tracker=tracker,
            console=console,
            placement=placement,
            pool=pool,
            versions=made_with,
        )
        # Where trials take groups of several shapes, each is started when it is asked for.
        alike = all(execution.shape == run.shape for execution in placement.executions.values())
        pool.warm_up.remote({run.shape: placement.concurrency if alike else 1})
        record = _with_base(run)
        record = with_trials(run, record)
        if all(trial.state is TrialState.FAILED for trial in record.trials):
            first = record.trials[0].error if record.trials else "no trial was started"
            raise StudyFailed(f"every trial failed; the first one: {first}")
        record = with_points(run, record)
        record = with_finalists(run, record)
        # All that the verdict rests on is measured.
        record = replace(record, retraining=read_retraining(folder), finished=True)
        record, selection = with_selection(run, record)
        record = with_predictions(run, record, selection)
        record = with_point_weights(run, record, selection)
        record = with_kept_weights(record, selection, folder)
    return record, selection


def _with_base(run: StudyRun) -> StudyRecord:
    """Return the record of a study that has evaluated its base, and nothing else so far."""
    run.console.print("loading the base model into its worker groups and evaluating it")
    with run.console.status("loading and evaluating the base model"):
        base, cached = run.base()
    run.tracker.log_base(base, cached)
    for line in base_lines(run.config, base):
        run.console.print(line)
    record = StudyRecord(
        config=run.config,
        objective=objective_of(run.config, base),
        base=base,
        trials=(),
        seconds=0.0,
        versions=run.versions,
        leaks=run.prepared.leaks,
        bad=run.prepared.bad,
        tasks=run.prepared.setup.tasks,
        model_fingerprint=run.prepared.model_fingerprint,
        architecture=run.prepared.outline.architecture,
        data_fingerprints=run.prepared.data_fingerprints,
        run_id=run.tracker.run_id,
        finished=False,
    )
    write_base(run.folder, base)
    write_facts(run.folder, record)
    return record


def _log_results(tracker: StudyTracker, folder: StudyFolder, selection: Selection) -> None:
    files: list[Path] = [folder.trials_table, folder.recipe, folder.report, folder.plots]
    made = (folder.points_table, folder.bad_samples, folder.predictions)
    files += [path for path in made if path.exists()]
    tracker.log_artifacts([*files, folder.selected] if selection.winner else files)


def _register(tracker: StudyTracker, folder: StudyFolder, record: StudyRecord, selection: Selection) -> None:
    """Make the selected model the champion of MLflow's registry, if the study wants it there."""
    if record.config.tracking.register_weights is not None and selection.winner is not None:
        tracker.register(registered_name(record.config), partial(champion, folder, record))
        # A merged model takes longer than the end of a study waits for.
        tracker.flush(_REGISTERING_SECONDS)


def _last_metrics(record: StudyRecord, selection: Selection) -> dict[str, float]:
    cost = study_metrics(study_costs(record, selection), record.config.tracking.carbon_intensity)
    if selection.rung is None:
        return {"score": 0.0, **cost}
    confirmed = None if selection.finalist is None else selection.finalist.estimates
    found = {} if confirmed is None else {name: confirmed.of(name) for name in MEASURES}
    return {
        **cost,
        **selection.rung.score.to_metrics(),
        **{f"confirm/{name}": each.value for name, each in found.items()},
        **{f"confirm/{name}_low": each.low for name, each in found.items()},
        **{f"confirm/{name}_high": each.high for name, each in found.items()},
    }
