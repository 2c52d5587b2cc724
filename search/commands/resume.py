"""`recipe-search resume`: go on with a study whose driver ended before it did."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from search.commands.arguments import Commands, add_folder, add_overrides
from search.commands.run import run_or_go_on
from search.settings.user_input import InputError


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "resume",
        help="go on with a study that was interrupted",
        description="Go on with a study that was interrupted or killed: trials that have ended are kept, and "
        "those that were running go on from their last checkpoints. What a finished study could not tell "
        "MLflow is told now. Running the same study again does the same.",
    )
    add_folder(parser)
    add_overrides(
        parser,
        "settings that may change: resources.max_concurrent_trials=4, and where a store has moved, "
        "tracking.uri=http://mlflow:5000",
    )
    parser.set_defaults(command=_resume)


def _resume(arguments: argparse.Namespace) -> int:
    from search.clusters.cluster import cluster_address
    from search.records.study_folder import StudyFolder
    from search.records.taking_up import at_home, check_same_study, is_started
    from search.settings.study_file import load_study

    if (address := cluster_address()) is not None and address.startswith("ray://"):
        raise InputError(
            f"RAY_ADDRESS={address}: the study's folder lies on the cluster's head; run the same study file "
            "again from here, or `recipe-search resume` there"
        )
    root: Path = arguments.folder.absolute()
    study = StudyFolder(root).study
    if not study.is_file():
        hint = "; a study file is taken up with `recipe-search run`" if root.is_file() else ""
        raise InputError(f"{arguments.folder} is no study's folder: it has no {study.name}{hint}")
    config = load_study(study, arguments.overrides)
    if config.name != root.name:
        raise InputError(
            f"{arguments.folder} is the folder of the study {config.name!r}: rename the folder to that to go "
            "on"
        )
    config = config.model_copy(update={"output": str(root.parent)})
    if not is_started(config):
        identity = StudyFolder(root).identity
        raise InputError(
            f"{identity} is {'no file' if identity.exists() else 'missing'}: the folder was not made by "
            "`recipe-search run`, or by an older version"
        )
    config = at_home(config)
    # A store that has moved is told where to; the file of the study would be compared in vain.
    stores = ("tracking.uri", "search.storage")
    moved = tuple(key for key in stores if _is_set(key, arguments.overrides))
    check_same_study(config, moved=moved)
    return run_or_go_on(config, moved=moved)


def _is_set(key: str, overrides: Sequence[str]) -> bool:
    return any(override.startswith(f"{key}=") for override in overrides)
