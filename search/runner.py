"""Running a study: from checked input to a selection, with every file written and every run recorded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from rich.console import Console

from search.clusters.warm_cluster import open_pool, placed, started
from search.decision.evidence import MEASURES
from search.finalists.finalist_search import with_finalists
from search.findings.costs import study_costs, study_metrics
from search.findings.data_findings import bad_csv, data_tags
from search.handover.registry import registered_name
from search.handover.study_files import write_results
from search.phases.base import base_lines
from search.phases.point_search import needed_for_points, with_points
from search.phases.prediction_jobs import with_predictions
from search.phases.selecting import with_point_weights, with_selection
from search.phases.study_failed import StudyFailed
from search.phases.study_run import StudyRun
from search.phases.tuning import with_trials
from search.planning.placement import Placement
from search.planning.preparation import Prepared
from search.records.retention import delete_others, kept_files, with_kept_weights
from search.records.room import Room, make_room, room_of
from search.records.stored_study import objective_of, read_retraining, write_base, write_facts
from search.records.study_folder import StudyFolder, make_anew
from search.records.study_identity import StudyIdentity
from search.records.study_lock import only_driver
from search.records.study_record import StudyRecord
from search.records.taking_up import check_same_data, is_started, other_versions
from search.records.versions import versions
from search.records.whole_study import check_meanwhile
from search.report_files import write_report
from search.results import TrialState
from search.selection import Selection
from search.settings.study_file import dump_study
from search.stores.study_note import verdict_tags
from search.tracking import StudyTracker
from trainables.files import drop_temporaries, write_atomically
from trainables.scoring.evaluation import read_evaluations

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


def run_study(
    prepared: Prepared, console: Console, *, overwrite: bool = False, moved: tuple[str, ...] = ()
) -> Outcome:
    """Run a study to its end, on the cluster of `RAY_ADDRESS` or on this machine.

    What its folder holds of it already is gone on with.

    Args:
        prepared: The study; its MLflow store and, where it has one, its Optuna database must be prepared.
        console: Where the progress is shown.
        overwrite: Whether an earlier run's folder is replaced.
        moved: Settings that may differ from those that the folder holds.

    Raises:
        InputError: The cluster can't be reached or is too small, the study's folder can't be made, another
            driver runs the study or changed it meanwhile, or what it began with has changed.
        StudyFailed: The base could not be evaluated, every trial failed, or Ray did.
    """
    config = prepared.config
    folder = StudyFolder(config.folder.absolute())
    with only_driver(folder.root):
        anew = overwrite or not is_started(config)
        if not anew:
            check_meanwhile(config, moved=moved)
            check_same_data(folder, prepared.model_fingerprint, prepared.data_fingerprints)
        with started(console) as (nodes, grows):
            prepared, placement = placed(prepared, nodes, console)
            room = room_of(config, placement, prepared.outline.manifests.values())
            if anew:
                files = {folder.identity.name: StudyIdentity.new().to_json()}
                make_anew(folder.root, files | {folder.study.name: dump_study(config).encode()})
            else:
                console.print(f"taking up {config.folder} again")
                drop_temporaries(folder.root, but=folder.ray)
                if (line := other_versions(folder, versions())) is not None:
                    console.print(f"warning: {line}", markup=False, highlight=False, soft_wrap=True)
            return _run_recorded(prepared, folder, placement, room, console, grows=grows)


def _run_recorded(
    prepared: Prepared,
    folder: StudyFolder,
    placement: Placement,
    room: Room,
    console: Console,
    *,
    grows: bool,
) -> Outcome:
    """Run the study under its MLflow parent run and write its folder."""
    config = prepared.config
    if prepared.bad:
        write_atomically(folder.bad_samples, bad_csv(prepared.bad).encode())
    made_with = versions()
    tracker = StudyTracker(config.tracking.uri, config.tracking.experiment, folder.spool)
    with tracker:
        tags = {**made_with, **data_tags(prepared.leaks, prepared.bad)}
        tracker.start_study(
            config,
            tags=tags,
            fingerprints=prepared.data_fingerprints,
            study_id=StudyIdentity.read(folder).study_id,
        )
        succeeded = False
        try:
            record, selection = _search(
                prepared, folder, tracker, console, placement, room, made_with, grows=grows
            )
            kept = kept_files(record, selection, folder)
            record = with_kept_weights(record, kept)
            write_results(folder, record, selection)
            write_report(folder, record, selection)
            _log_results(tracker, folder, selection)
            _register(tracker, folder, record, selection)
            tracker.finish(True, _last_metrics(record, selection), verdict_tags(record, selection))
            # A driver that dies before this does all of it again, and needs the weights for that.
            write_facts(folder, record, kept)
            delete_others(folder, kept)
            succeeded = True
        finally:
            if not succeeded:
                tracker.finish(False)
    warnings = (*record.predictions.warnings, *tracker.warnings)
    return Outcome(record=record, selection=selection, folder=folder, warnings=warnings)


def _search(
    prepared: Prepared,
    folder: StudyFolder,
    tracker: StudyTracker,
    console: Console,
    placement: Placement,
    room: Room,
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
            room=room,
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
        needed = needed_for_points(run.config, record.trials)
        record = replace(record, trials=make_room(folder, record.trials, needed, run.room.while_confirming))
        record = with_finalists(run, record)
        # All that the verdict rests on is measured.
        record = replace(record, retraining=read_retraining(folder), finished=True)
        record, selection = with_selection(run, record)
        record = with_predictions(run, record, selection)
        record = with_point_weights(run, record, selection)
    return record, selection


def _with_base(run: StudyRun) -> StudyRecord:
    """Return the record of a study that has evaluated its base, and nothing else so far."""
    if run.folder.base.is_file():
        # What trials were compared with before; a device might measure it otherwise in the last bits.
        base, cached = read_evaluations(run.folder.base), True
        run.console.print("loading the base model into its worker groups")
    else:
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
    write_facts(run.folder, record)
    write_base(run.folder, base)
    return record


def _log_results(tracker: StudyTracker, folder: StudyFolder, selection: Selection) -> None:
    files: list[Path] = [folder.trials_table, folder.recipe, folder.report, folder.plots]
    made = (folder.points_table, folder.bad_samples, folder.predictions)
    files += [path for path in made if path.exists()]
    tracker.log_artifacts([*files, folder.selected] if selection.winner else files)


def _register(tracker: StudyTracker, folder: StudyFolder, record: StudyRecord, selection: Selection) -> None:
    """Make the selected model the champion of MLflow's registry, if the study wants it there."""
    if record.config.tracking.register_weights is not None and selection.winner is not None:
        tracker.register(registered_name(record.config), folder.root)
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
