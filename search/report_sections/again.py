"""How to run a study, or train its recipe, again."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import yaml

from search.handover.study_files import recipe_document
from search.records.study_record import StudyRecord
from search.selection import Selection
from search.settings.study_file import dump_study


def command(record: StudyRecord, folder: Path) -> str:
    """Return the command that runs the resolved study again, beside the finished one.

    Args:
        record: The study.
        folder: Where it lies.
    """
    study = folder / "study.yaml"
    return shlex.join(["recipe-search", "run", str(study), f"name={record.config.name}-again"])


def repeatable(record: StudyRecord) -> str:
    """Say what another run has in common with this one."""
    text = f"The seed of the search and of every trial is {record.config.search.seed}. "
    if record.config.resources.max_concurrent_trials == 1:
        return text + "Trials ran one at a time, so the same study proposes the same recipes again."
    return text + (
        "A single trial can be repeated from its seed. A search whose trials run side by side may propose "
        "other recipes the next time; with resources.max_concurrent_trials=1 it does not."
    )


def recipe_yaml(record: StudyRecord, selection: Selection) -> str:
    """Return the selected recipe as a file that `apply` takes; empty for "keep the base".

    It is the study's `recipe.yaml` but for what only the files of its trials tell: what was trained.
    """
    if selection.winner is None:
        return ""
    known = {key: value for key, value in recipe_document(record, selection).items() if value is not None}
    return yaml.safe_dump(known, sort_keys=False, allow_unicode=True)


def study_yaml(record: StudyRecord) -> str:
    """Return the study as it was resolved, without the user and password of any address in it."""
    return re.sub(r"://[^/@\s]+@", "://***@", dump_study(record.config))
