"""Making a table: what is missing is trained in warm groups, what there is stays as it is."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from small_study import write_study

from benchmarks.recipe_table.grid import Grid
from benchmarks.recipe_table.produce import made_from, produce, study_of
from benchmarks.recipe_table.table import RecipeTable
from benchmarks.recipe_table.trainings import Trained, TrainingFiles
from benchmarks.recipe_table.writing import write_table
from search.planning.preparation import prepare


@pytest.mark.slow
def test_a_production_goes_on_where_it_was_broken_off(tmp_path: Path, base: Path) -> None:
    study = write_study(tmp_path, base, evaluation={"batch_size": 4, "drift_samples": 3, "rung_samples": 2})
    grid = Grid(
        model="made",
        study=study,
        targets=("easy",),
        subsets=("full", "projector"),
        learning_rates=(1e-2,),
        seeds=(0,),
        rungs=(1, 2),
    )
    cache, screen = tmp_path / "cache", Console(file=io.StringIO())
    full, projector = grid.cells("easy")
    files = TrainingFiles.begun(cache / "made" / "easy", made_from(prepare(study_of(grid, "easy", cache))))
    files.write(Trained(cell=full, rungs={}, error="as an earlier production left it"))

    assert produce(grid, cache, screen, until=0.0) is False
    assert files.missing([full, projector]) == [projector]

    assert produce(grid, cache, screen) is True
    earlier, trained = files.read([full, projector])
    assert earlier.error == "as an earlier production left it"
    assert trained.error is None
    assert set(trained.rungs) == {1, 2}
    for metrics in trained.rungs.values():
        assert {"value/easy", "value2/easy", "value/kept", "value2/kept"} <= set(metrics)
        assert {"drift/kl_held_out", "cost/train_flops", "cost/train_seconds"} <= set(metrics)
    assert files.read_base() is not None
    assert not list(cache.rglob("*.safetensors")), "no weights stay"

    assert "easy 2/2" in write_table(grid, cache, tmp_path / "made.parquet", early=2)
    with pytest.raises(ValueError, match="no seed"):
        RecipeTable.read(tmp_path / "made.parquet", "easy")
