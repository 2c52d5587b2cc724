"""`recipe-search doctor`: is this machine or cluster fit to run?"""

from __future__ import annotations

import argparse
from pathlib import Path

from search.commands.arguments import Commands, add_overrides


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("doctor", help="is this machine or cluster fit to run a study?")
    parser.add_argument(
        "study",
        nargs="?",
        type=Path,
        metavar="STUDY.yaml",
        help="check what this study names and needs, too",
    )
    add_overrides(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(command=_doctor)


def _doctor(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from search.clusters.doctor import checks_to_json, exit_code, render_checks, run_doctor

    if arguments.study is None:
        checks = run_doctor()
    else:
        from search.clusters.cluster import cluster_address
        from search.clusters.study_check import check_study
        from search.settings.study_file import load_study

        config = load_study(arguments.study, arguments.overrides)
        checks = run_doctor(
            tracking_uri=config.tracking.uri, storage=config.search.storage, output=Path(config.output)
        )
        checks.append(check_study(config, cluster_address()))
    if arguments.json:
        print(checks_to_json(checks))
    else:
        Console(highlight=False).print(render_checks(checks))
    return exit_code(checks)
