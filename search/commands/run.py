"""`recipe-search run`: run a study."""

from __future__ import annotations

import argparse
import errno
import sys
from typing import TYPE_CHECKING

from search.commands.arguments import DONE, FAILED, Commands, add_study
from search.settings.user_input import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from search.config import StudyConfig


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("run", help="run a study")
    add_study(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace the folder of an earlier run")
    parser.set_defaults(command=_run)


def _run(arguments: argparse.Namespace) -> int:
    from search.clusters.cluster import cluster_address
    from search.records.taking_up import at_home, check_same_study, is_started
    from search.settings.study_file import load_study

    config = load_study(arguments.study, arguments.overrides)
    address = cluster_address()
    if address is not None and address.startswith("ray://"):
        from search.clusters.remote import run_on_head

        options = ["--overwrite"] if arguments.overwrite else []
        return run_on_head(address, arguments.study, [*arguments.overrides, *options])
    if not arguments.overwrite:
        if is_started(config):
            config = at_home(config)
            check_same_study(config)
            return run_or_go_on(config)
        if config.folder.exists():
            raise InputError(
                f"{config.folder} exists already: give the study another name=..., or pass --overwrite"
            )
    return run_or_go_on(config, overwrite=arguments.overwrite)


def run_or_go_on(config: StudyConfig, *, overwrite: bool = False, moved: tuple[str, ...] = ()) -> int:
    """Run a study, or go on with what its folder holds of it; return the exit status.

    Args:
        config: The study.
        overwrite: Whether to begin anew in any case.
        moved: Settings that may differ from those that its folder holds, since somebody said so.

    Raises:
        InputError: The study can't be run as it is.
    """
    from rich.console import Console

    from search.clusters.cluster import cluster_address
    from search.records.study_folder import StudyFolder
    from search.records.study_lock import only_driver
    from search.records.taking_up import is_finished, is_started
    from search.records.whole_study import check_whole

    console = Console(highlight=False)
    folder = StudyFolder(config.folder)
    if not overwrite and is_started(config):
        if is_finished(folder):
            return _tell_finished(config, console)
        with only_driver(folder.root.absolute()):
            check_whole(folder, config)

    from search.phases.steps import step
    from search.planning.preparation import check_cluster_for, check_resources, prepare
    from search.stores.optuna_store import prepare_storage
    from search.tracking import prepare_store

    address = cluster_address()
    with step(console, "checking model, data and store"):
        check_cluster_for(config, address)
        prepared = prepare(config)
        check_resources(prepared, address)
        prepare_store(config.tracking.uri, config.tracking.experiment)
        if config.search.storage is not None:
            prepare_storage(config.search.storage)
    from search.phases.study_failed import StudyFailed, WorkersLost
    from search.runner import run_study

    try:
        outcome = run_study(prepared, console, overwrite=overwrite, moved=moved)
    except WorkersLost as error:
        print(f"error: {error}; to go on: recipe-search resume {config.folder}", file=sys.stderr)
        return FAILED
    except StudyFailed as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        if is_started(config):
            print(f"interrupted; to go on: recipe-search resume {config.folder}", file=sys.stderr)
        else:
            print("interrupted before the study had begun", file=sys.stderr)
        return FAILED
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        place = f": {error.filename}" if error.filename else ""
        print(
            f"error: {error.strerror}{place}; once there is room: recipe-search resume {config.folder}",
            file=sys.stderr,
        )
        return FAILED

    from search.findings.summary import render_summary

    console.print(render_summary(outcome))
    for warning in outcome.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    return DONE


def _tell_finished(config: StudyConfig, console: Console) -> int:
    """Say that a study has finished, and do what its driver may have died before."""
    from search.records.folder_entries import check_entries
    from search.records.retention import delete_others
    from search.records.stored_study import read_kept
    from search.records.study_folder import StudyFolder
    from search.records.whole_study import check_spool
    from search.tracking import StudyTracker

    folder = StudyFolder(config.folder)
    check_entries(folder)
    check_spool(folder)
    if (kept := read_kept(folder)) is not None:
        if lost := sorted(path for path in kept if not path.is_file()):
            print(f"warning: {lost[0]} is gone, so that no other weights are deleted", file=sys.stderr)
        else:
            delete_others(folder, kept)
    with StudyTracker(config.tracking.uri, config.tracking.experiment, folder.spool) as tracker:
        tracker.replay()
    console.print(f"{config.folder} has finished already: see {folder.report}; --overwrite runs it anew")
    for warning in tracker.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    return DONE
