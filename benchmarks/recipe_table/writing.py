"""Writing a table: all trainings that have ended, in one compact file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.recipe_table.grid import Grid
from benchmarks.recipe_table.table import KEYS, METADATA
from benchmarks.recipe_table.trainings import Trained, TrainingFiles
from search.objective import Objective

_KEPT: Final = ("value", "drift/", "train/", "cost/train_flops", "cost/train_seconds", "cost/eval_seconds")


def write_table(grid: Grid, cache: Path, path: Path, *, early: int | None) -> str:
    """Write what there is of a grid; return how much that is, in a line.

    Args:
        grid: The grid.
        cache: Folder of the trainings.
        path: The parquet file.
        early: Samples a task that the grid's study scores at rungs before the last; None where all.

    Raises:
        ValueError: There is no training at all.
    """
    rows: list[dict[str, Any]] = []
    about: dict[str, Any] = {
        "model": grid.model,
        "early_samples": early,
        "subsets": grid.subsets,
        "learning_rates": grid.learning_rates,
        "rungs": grid.rungs,
        "seeds": grid.seeds,
        "base": {},
        "targets": {},
        "held_out": {},
        "versions": {},
        "made_from": {},
        "trainings": {},
    }
    for target in grid.targets:
        files = TrainingFiles(cache / grid.model / target)
        if (base := files.read_base()) is None:
            continue
        made_from = files.made_from
        about["base"][target] = base
        about["versions"][target] = made_from["versions"]
        about["made_from"][target] = made_from["sha256"]
        for role in ("targets", "held_out"):
            about[role][target] = made_from[role]
        found = list(files.read(grid.cells(target)))
        about["trainings"][target] = {
            "ended": len(found),
            "failed": [each.cell.name for each in found if each.error is not None],
            "of": grid.trainings,
        }
        rows += _rows(found, _objective(base, made_from))
    if not rows:
        raise ValueError(f"{cache / grid.model}: no training has ended yet")
    counts = about["trainings"]
    about["complete"] = all(
        target in counts and counts[target]["ended"] == grid.trainings for target in grid.targets
    )
    _write(pd.DataFrame(rows), about, path)
    ended = ", ".join(f"{target} {each['ended']}/{each['of']}" for target, each in counts.items())
    return f"{path.name}: {len(rows)} rows, {path.stat().st_size / 1e6:.2f} MB; trainings: {ended}"


def _objective(base: Mapping[str, float], made_from: Mapping[str, Any]) -> Objective:
    scored = {name.removeprefix("value/"): value for name, value in base.items() if name.startswith("value/")}
    return Objective(base=scored, targets=tuple(made_from["targets"]), held_out=tuple(made_from["held_out"]))


def _rows(trainings: list[Trained], objective: Objective) -> Iterator[dict[str, Any]]:
    """Yield a row for each rung of each training; of one that failed, none."""
    for trained in trainings:
        if trained.error is not None:
            continue
        cell = trained.cell
        for step, metrics in sorted(trained.rungs.items()):
            values = {
                name.removeprefix("value/"): value
                for name, value in metrics.items()
                if name.startswith("value/")
            }
            score = objective.score(values)
            yield {
                "target": cell.target,
                "subset": cell.subset,
                "learning_rate": cell.learning_rate,
                "seed": cell.seed,
                "step": step,
                "score": score.score,
                "target_gain": score.target_gain,
                "held_out_forgetting": score.held_out_forgetting,
                **{name: value for name, value in metrics.items() if name.startswith(_KEPT)},
            }


def _write(frame: pd.DataFrame, about: Mapping[str, Any], path: Path) -> None:
    narrow = {name: "float32" for name in frame if name not in KEYS}
    frame = frame.astype({**narrow, "seed": "int16", "step": "int32"})
    table = pa.Table.from_pandas(frame, preserve_index=False)
    table = table.replace_schema_metadata({METADATA: json.dumps(about).encode()})
    pq.write_table(table, path, compression="zstd", compression_level=19)
