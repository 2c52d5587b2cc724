"""Which table of answers is the selected recipe's, and `selected.parquet` in step with what is selected."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Final

from search.records.predictions import Whose, read_answers, read_whose
from search.records.stored_finalists import slug_of
from search.records.study_folder import StudyFolder
from search.selection import Selection
from trainables.files import copy_atomically

SELECTED: Final = "selected"
_FORMER: Final = "former"
"""Name of a table that was set aside and does not tell whose it is."""

_DAMAGED: Final = (OSError, ValueError, KeyError)


def whose(selection: Selection) -> Whose | None:
    """Return whose answers are the selected recipe's; None where the base is kept."""
    if selection.key is None:
        return None
    return Whose(candidate=selection.key, seed=None if selection.run is None else selection.run.seed)


def is_of(file: Path, selection: Selection) -> bool:
    """Return whether a table holds the answers of what is selected; one that can't be read does not."""
    rung = selection.rung if selection.run is None else selection.run.rung
    if rung is None or not file.is_file():
        return False
    try:
        if (told := read_whose(file)) is not None:
            return told == whose(selection)
        answers = read_answers(file)
    except _DAMAGED:
        return False
    # Tables of earlier versions do not tell whose they are.
    return all(
        task in answers and math.isclose(answers[task].value, value, abs_tol=1e-9)
        for task, value in rung.values.items()
    )


def table_for(folder: StudyFolder, selection: Selection, home: Path) -> Path | None:
    """Return what is to be `selected.parquet`: the file itself, a copy of another table, or None.

    Args:
        folder: The study's folder.
        selection: Its verdict.
        home: Where a copy goes.
    """
    names = [SELECTED, *([] if selection.key is None else [slug_of(selection.key)]), _FORMER]
    files = [_table(folder, name) for name in names]
    found = next((file for file in files if is_of(file, selection)), None)
    if found is None or found == files[0]:
        return found
    return copy_atomically(found, home / found.name)


def put_table(folder: StudyFolder, table: Path | None) -> None:
    """Make what `table_for` returned `selected.parquet`; what was there takes its own recipe's name."""
    place = _table(folder, SELECTED)
    if table == place:
        return
    if place.is_file():
        aside = _table(folder, _own_name(place))
        if aside.is_file():
            # It was copied from there.
            place.unlink()
        else:
            place.rename(aside)
    if table is not None:
        table.replace(place)


def _own_name(file: Path) -> str:
    try:
        told = read_whose(file)
    except _DAMAGED:
        told = None
    return _FORMER if told is None else slug_of(told.candidate)


def _table(folder: StudyFolder, name: str) -> Path:
    return folder.predictions / f"{name}.parquet"
