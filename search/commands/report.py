"""`recipe-search report`: write a study's report anew."""

from __future__ import annotations

import argparse

from search.commands.arguments import DONE, Commands, add_folder


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "report",
        help="write the report of a study anew, as far as it has got",
        description="Write the tables and the report of a study anew, from what has ended so far.",
    )
    add_folder(parser)
    parser.set_defaults(command=_report)


def _report(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from search.decision.reselection import rewrite_report
    from search.findings.verdict_panel import verdict_panel

    Console(highlight=False).print(verdict_panel(rewrite_report(arguments.folder)))
    return DONE
