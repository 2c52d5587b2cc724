"""`recipe-search select`: another rule for a study that has run."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from search.commands.arguments import DONE, Commands, add_folder
from search.settings.user_input import InputError


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "select",
        help="select by another rule from a study that has run, without training",
        description="Select by another rule from what a study has measured so far, and write recipe, weights "
        "and report anew. Without options its own rule holds again.",
    )
    add_folder(parser)
    parser.add_argument(
        "--max-forgetting", metavar="X", help="points of forgetting that are allowed; null: any"
    )
    parser.add_argument(
        "--forgetting-weight", metavar="L", help="points of gain that a point forgotten costs"
    )
    parser.add_argument("--maximise", metavar="WHAT", help="score or target_gain")
    parser.add_argument(
        "--strict",
        action=argparse.BooleanOptionalAction,
        help="whether the interval's upper end must keep --max-forgetting, not the mean",
    )
    parser.add_argument("--choice", metavar="NAME", help="take this choice: cautious, balanced or bold")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="other settings: selection.ties=[cost]"
    )
    parser.set_defaults(command=_select)


def _select(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from search.decision.reselection import reselect
    from search.findings.verdict_panel import verdict_panel

    strict = None if arguments.strict is None else str(arguments.strict).lower()
    options = {
        "--max-forgetting": ("objective.max_forgetting", arguments.max_forgetting),
        "--forgetting-weight": ("objective.forgetting_weight", arguments.forgetting_weight),
        "--maximise": ("selection.maximise", arguments.maximise),
        "--strict" if arguments.strict else "--no-strict": ("selection.strict", strict),
    }
    given = {f"{key}={value}": flag for flag, (key, value) in options.items() if value is not None}
    root: Path = arguments.folder
    try:
        done = reselect(root, [*arguments.overrides, *given], arguments.choice)
    except InputError as error:
        raise InputError(_with_flags(str(error), given)) from None
    Console(highlight=False).print(verdict_panel(done, anew=True))
    return DONE


def _with_flags(message: str, given: Mapping[str, str]) -> str:
    """Return a message that names options as they were written, not as the settings that they stand for."""
    for override, flag in given.items():
        message = message.replace(f"override {override!r}: {override.partition('=')[0]}: ", f"{flag}: ")
        message = message.replace(f"override {override!r}", flag)
    return message
