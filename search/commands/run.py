"""`recipe-search run`: run a study."""

from __future__ import annotations

import argparse
import sys

from search.commands.arguments import DONE, FAILED, Commands, add_study
from search.settings.user_input import InputError


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("run", help="run a study")
    add_study(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace the folder of an earlier run")
    parser.set_defaults(command=_run)


def _run(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from search.clusters.cluster import cluster_address
    from search.settings.study_file import load_study

    console = Console(highlight=False)
    config = load_study(arguments.study, arguments.overrides)
    address = cluster_address()
    if address is not None and address.startswith("ray://"):
        from search.clusters.remote import run_on_head

        options = ["--overwrite"] if arguments.overwrite else []
        return run_on_head(address, arguments.study, [*arguments.overrides, *options])
    if config.folder.exists() and not arguments.overwrite:
        raise InputError(
            f"{config.folder} exists already: give the study another name=..., or pass --overwrite"
        )

    from search.phases.steps import step
    from search.planning.preparation import check_cluster_for, check_resources, prepare
    from search.stores.optuna_store import prepare_storage
    from search.tracking import prepare_store

    with step(console, "checking model, data and store"):
        check_cluster_for(config, address)
        prepared = prepare(config)
        check_resources(prepared, address)
        prepare_store(config.tracking.uri)
        if config.search.storage is not None:
            prepare_storage(config.search.storage)
    from search.phases.study_failed import StudyFailed
    from search.runner import run_study

    try:
        outcome = run_study(prepared, console)
    except StudyFailed as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED

    from search.findings.summary import render_summary

    console.print(render_summary(outcome))
    for warning in outcome.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    return DONE
