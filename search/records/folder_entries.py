"""What may lie in a study's folder: regular files and folders, and nothing that leads out of it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from search.records.study_folder import StudyFolder
from search.settings.user_input import InputError


def check_entries(folder: StudyFolder) -> None:
    """Check the entries of a study's folder before anything of it is read, written or deleted.

    What lies in `ray` is left out: nothing of it is gone back to.

    Args:
        folder: The study's folder.

    Raises:
        InputError: There is a folder in the place of a file or the other way round, a link that leads out of
            the study's folder, or a pipe, a socket or a device, which would be waited for.
    """
    for place in _folders(folder):
        if os.path.lexists(place) and not place.is_dir():
            raise InputError(f"{place}: expected a folder of the study, but this is none")
    for place in _files(folder):
        if os.path.lexists(place) and place.is_dir():
            raise InputError(f"{place}: expected a file of the study, but this is a folder")
    home = folder.root.resolve()
    for place in _entries(folder):
        try:
            mode = place.lstat().st_mode
        except FileNotFoundError:  # another command has ended just now
            continue
        if stat.S_ISLNK(mode):
            if not place.resolve().is_relative_to(home):
                raise InputError(
                    f"{place}: a link that leads out of the study's folder; put its target there"
                )
        elif not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            raise InputError(f"{place}: expected a file of the study, but this is none that can be read")


def _entries(folder: StudyFolder) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder.root):
        if Path(parent) == folder.root and folder.ray.name in folders:
            folders.remove(folder.ray.name)
        for name in (*folders, *files):
            # Optuna's lock is a link to the journal where that lay then; only the link itself is looked at.
            if not name.startswith(f"{folder.sampler.name}."):
                yield Path(parent, name)


def _folders(folder: StudyFolder) -> tuple[Path, ...]:
    return (
        folder.trials,
        folder.points,
        folder.finalists,
        folder.predictions,
        folder.plots,
        folder.selected,
        folder.ray,
    )


def _files(folder: StudyFolder) -> tuple[Path, ...]:
    return (
        folder.identity,
        folder.spool,
        folder.trials_table,
        folder.points_table,
        folder.bad_samples,
        folder.recipe,
        folder.rule,
        folder.report,
        folder.facts,
        folder.base,
        folder.confirm_base,
        folder.sampler,
    )
