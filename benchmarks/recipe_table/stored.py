"""Trainings of a stored table, with which a production goes on where their files are gone."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from benchmarks.recipe_table.grid import Cell
from benchmarks.recipe_table.table import KEYS, METADATA
from benchmarks.recipe_table.trainings import Trained, TrainingFiles

_SCORED = ("score", "target_gain", "held_out_forgetting")  # follow from the values


def take_over(table: Path, target: str, cells: Iterable[Cell], files: TrainingFiles) -> int:
    """Put the trainings of a stored table in their folder again, where they are missing there.

    Args:
        table: The parquet file, which need not be there.
        target: Whose trainings.
        cells: The grid's trainings of the target.
        files: Its folder.

    Returns:
        How many were put there; none where the table was made from another model, data or settings.
    """
    if not table.exists():
        return 0
    stored = pq.read_table(table)
    about: dict[str, Any] = json.loads(stored.schema.metadata[METADATA])
    if about.get("made_from", {}).get(target) != files.made_from["sha256"]:
        return 0
    if files.read_base() is None:
        files.write_base(about["base"][target])
    rows = stored.to_pandas()
    trainings = {
        (subset, rate, seed): found
        for (subset, rate, seed), found in rows[rows["target"] == target].groupby(
            ["subset", "learning_rate", "seed"]
        )
    }
    taken = 0
    for cell in files.missing(cells):
        found = trainings.get((cell.subset, cell.learning_rate, cell.seed))
        if found is not None:
            files.write(Trained(cell=cell, rungs=_rungs(found)))
            taken += 1
    return taken


def _rungs(rows: pd.DataFrame) -> dict[int, dict[str, float]]:
    measured = rows.drop(columns=[*KEYS, *_SCORED]).astype(float)
    return {
        int(step): {str(name): value for name, value in metrics.dropna().items()}
        for step, (_, metrics) in zip(rows["step"], measured.iterrows(), strict=True)
    }
