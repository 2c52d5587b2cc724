"""The command `recipe-search`; exit status 0 is done, 1 a failed study, 2 a wrong input."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

from search.commands import apply, doctor, evaluate, export, plan, report, resume, run, select, ui
from search.commands.arguments import FAILED, WRONG_INPUT
from search.settings.user_input import InputError
from search.terminal import error_text
from trainables.files import DamagedFile


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    parsed = _parse(arguments)
    # A wrong input is one line, and the only progress shown is the study's.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    # Nothing is reported to anyone unless the user asks for it.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        status: int = parsed.command(parsed)
    except (InputError, DamagedFile) as error:
        print(f"error: {error_text(error)}", file=sys.stderr)
        return WRONG_INPUT
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return FAILED
    return status


def command() -> int:
    """Run the shell's command; a Ray that it starts listens on loopback alone.

    Ray reads this when it is imported. It is not set in `main`, which other programs call in processes of
    their own, and not where a cluster is joined, whose other nodes must be reached.
    """
    if os.environ.get("RAY_ADDRESS") in (None, "", "local"):
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    return main()


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the arguments; overrides may also follow options, where argparse alone would refuse them."""
    parser = _parser()
    parsed, rest = parser.parse_known_args(arguments)
    unknown = [word for word in rest if word.startswith("-") or "overrides" not in parsed]
    if unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    if rest:
        parsed.overrides = [*parsed.overrides, *rest]
    return parsed


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="recipe-search",
        description="Find which part of a model to train so that it learns a skill and keeps the others.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {version('recipe-search')}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in (run, resume, plan, select, report, apply, evaluate, export, doctor, ui):
        command.add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(command())
