"""Arguments that several commands take."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

# An `argparse` object's sub-parsers have no public type.
Commands = Any
Command = Callable[[argparse.Namespace], int]

DONE: Final = 0
FAILED: Final = 1
WRONG_INPUT: Final = 2


def add_study(parser: argparse.ArgumentParser) -> None:
    """Take a study file, and settings that replace its own."""
    parser.add_argument("study", type=Path, metavar="STUDY.yaml", help="the study file")
    add_overrides(parser)


def add_folder(parser: argparse.ArgumentParser) -> None:
    """Take the folder of a study that has run."""
    parser.add_argument(
        "folder", type=Path, metavar="STUDY", help="the study's folder, such as runs/quickstart"
    )


def add_overrides(
    parser: argparse.ArgumentParser, text: str = "settings that replace the file's: search.trials=8"
) -> None:
    """Take settings that replace the study file's; `text` says which, and gives an example."""
    parser.add_argument(
        "overrides",
        nargs="*",
        # A positional argument with a default counts as given, so that none is called a required one.
        default=[],
        metavar="key=value",
        help=text,
    )
