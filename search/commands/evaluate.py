"""`recipe-search evaluate`: score a model on a study's tasks."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from search.commands.arguments import DONE, FAILED, Commands, add_study
from search.settings.user_input import InputError


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "evaluate",
        help="score a model on a study's tasks, beside the base",
        description="Score a model on a study's tasks, beside the base on the same samples.",
    )
    parser.add_argument(
        "path",
        type=Path,
        metavar="PATH",
        help="a study's folder or its selected/, the folder of a whole model, or the word base",
    )
    add_study(parser)
    parser.add_argument("--split", default="search", metavar="NAME", help="search (default) or confirm")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--any-base", action="store_true", help="put selected weights onto another base than their own"
    )
    parser.set_defaults(command=_evaluate)


def _evaluate(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from search.clusters.cluster import cluster_address
    from search.reuse.evaluating import BASE, check_split, evaluated_study, what_is_at

    console = Console(highlight=False, stderr=bool(arguments.json))
    split = check_split(arguments.split)
    found = what_is_at(arguments.path)
    config = evaluated_study(arguments.study, arguments.overrides, split)
    address = cluster_address()
    if address is not None and address.startswith("ray://"):
        raise InputError(f"RAY_ADDRESS: nothing is evaluated through {address}; evaluate on its head")

    from search.phases.steps import step
    from search.phases.study_failed import StudyFailed
    from search.planning.preparation import check_cluster_for, check_resources
    from search.reuse.evaluating import check_delta, evaluate, prepare_to_score, with_model

    with step(console, "checking model and data"):
        check_cluster_for(config, address)
        prepared = prepare_to_score(config)
        check_resources(prepared, address)
        delta = None if found.delta is None else check_delta(found.delta, prepared, arguments.any_base)
        checkpoint = None if found.checkpoint is None else with_model(config, found.checkpoint)
    try:
        compared = evaluate(prepared, split, delta=delta, checkpoint=checkpoint, console=console)
    except StudyFailed as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED

    from search.reuse.comparison_tables import comparison_json, comparison_tables

    if arguments.json:
        print(json.dumps({"path": str(arguments.path), **comparison_json(config, compared)}, indent=2))
        return DONE
    is_base = delta is None and checkpoint is None
    if is_base and str(arguments.path) != BASE:
        console.print(f"{arguments.path}: the verdict is to keep the base, so the base is evaluated")
    for table in comparison_tables(config, compared, tuned=None if is_base else "tuned"):
        console.print(table)
    return DONE
