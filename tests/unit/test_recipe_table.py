"""A table of recipes: what it tells of a grid, by numbers that are worked out by hand."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from made_table import BASE, RATES, made_rows, made_table, table_of

from benchmarks.recipe_table.grid import GRIDS, Grid
from benchmarks.recipe_table.stored import take_over
from benchmarks.recipe_table.table import RecipeTable, metadata, whole_targets
from benchmarks.recipe_table.trainings import Trained, TrainingFiles
from benchmarks.recipe_table.writing import write_table


def test_between_two_rates_a_score_is_linear_in_the_logarithm() -> None:
    """`full` has mean scores 20, 40 and -10 at 1e-3, 1e-2 and 1e-1 after two steps.

    A third of the way from 1e-3 to 1e-2 in decades, at 10^(-3 + 1/3), it is 20 + 20 / 3.
    """
    table = made_table()
    assert [table.true_score("full", rate) for rate in RATES] == pytest.approx([20, 40, -10])
    assert table.true_score("full", 10 ** (-3 + 1 / 3)) == pytest.approx(20 + 20 / 3)
    assert table.true_score("full", 10**-1.5) == pytest.approx((40 - 10) / 2)
    assert table.true_score("full", 1e-2, step=1) == pytest.approx(44)


def test_best_is_the_highest_mean_and_may_be_at_an_earlier_rung() -> None:
    """`mlp` has 30 and 60 at 1e-1: 45 on average, the most; `full` has 44 after one step."""
    best = made_table().best()
    assert (best.subset, best.learning_rate, best.step, best.score) == ("mlp", 1e-1, 2, pytest.approx(45))
    lower = made_rows()
    lower.loc[(lower.subset == "mlp") & (lower.step == 2), "score"] -= 5
    table = table_of(lower)
    assert (table.best().subset, table.best().learning_rate) == ("full", 1e-2)
    earlier = table.best(any_step=True)
    assert (earlier.subset, earlier.step, earlier.score) == ("full", 1, pytest.approx(44))


def test_a_study_sees_the_first_samples_alone_before_the_last_rung() -> None:
    """After one step the first samples say 50 - 12 of the target and 88 - 78 of the skill."""
    rows = made_rows()
    rows["value2/new"], rows["value2/old"] = 50.0, 78.0
    base = BASE | {"value2/new": 12.0, "value2/old": 88.0}
    table = table_of(rows, base=base, early=2)
    early, late = (table.measured("full", 1e-3, 0, step) for step in (1, 2))
    assert early["seen/score"] == pytest.approx(50 - 12 - (88 - 78))
    assert early["seen/held_out_forgetting"] == pytest.approx(10)
    assert early["score"] == pytest.approx(14)
    assert late["seen/score"] == late["score"] == pytest.approx(18)


def test_time_is_that_of_the_median_speed() -> None:
    """The speeds are 0.5e9 and 1e9 FLOPs a second, in the median 0.75e9: a step of 1e9 takes 4 / 3 s.

    An evaluation takes half a second.
    """
    table = made_table()
    assert table.seconds("full", 1) == pytest.approx(4 / 3 + 0.5)
    assert table.seconds("mlp", 3) == pytest.approx(4 + 0.5)


def test_a_seed_that_is_not_whole_does_not_count() -> None:
    rows = made_rows()
    table = table_of(rows[~((rows.seed == 1) & (rows.subset == "mlp"))])
    assert table.seeds == (0,)
    assert table.true_score("full", 1e-3) == pytest.approx(18)
    with pytest.raises(ValueError, match="no seed was trained for all 12 recipes and rungs"):
        table_of(rows[rows.subset != "mlp"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("ful", 1e-3, 0), "subset 'ful' is not in the table, which has full, mlp"),
        (("full", 1e-3, 7), "seed 7 is not in the table, which has 0, 1"),
        (("full", 0.2, 0), "learning rate 0.2 is not between 0.001 and 0.1"),
        (("full", 1e-3, 0, 3), "step 3 is not in the table, which has 1, 2"),
    ],
)
def test_what_a_table_does_not_have_is_said(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        made_table().measured(*arguments)  # type: ignore[arg-type]


def test_a_written_table_is_read_back_and_counts_what_is_missing(tmp_path: Path) -> None:
    """Two of four trainings have ended, one of them failed; none of the other target has."""
    grid = Grid(
        model="made",
        study=tmp_path / "study.yaml",
        targets=("new", "other"),
        subsets=("full",),
        learning_rates=(1e-3, 1e-2),
        seeds=(0, 1),
        rungs=(1,),
    )
    made_from = {"targets": ["new"], "held_out": ["old"], "versions": {"torch": "2"}}
    files = TrainingFiles.begun(tmp_path / "made" / "new", made_from)
    files.write_base({"value/new": 10.0, "value/old": 80.0})
    cells = list(grid.cells("new"))
    assert [cell.seed for cell in cells] == [0, 0, 1, 1]
    costs = {"cost/train_flops": 4.0, "cost/train_seconds": 2.0, "cost/eval_seconds": 3.0}
    for cell, gained in zip(cells, (30.0, 50.0), strict=False):
        measured = {"value/new": gained, "value/old": 75.0, "drift/x": 1.0, **costs}
        files.write(Trained(cell=cell, rungs={1: measured}))
    files.write(Trained(cell=cells[2], rungs={}, error="TrialFailed: loss is nan"))
    assert files.missing(cells) == cells[3:]
    said = write_table(grid, tmp_path, tmp_path / "made.parquet", early=None)
    assert "new 3/4" in said
    about = metadata(tmp_path / "made.parquet")
    assert about["complete"] is False
    assert about["trainings"] == {"new": {"ended": 3, "failed": ["full-1.000e-03-1"], "of": 4}}
    assert whole_targets(tmp_path / "made.parquet") == ("new",)
    table = RecipeTable.read(tmp_path / "made.parquet", "new")
    assert table.seeds == (0,)
    assert table.true_score("full", 1e-3) == pytest.approx(30 - 10 - 5)
    assert table.measured("full", 1e-2, 0)["drift/x"] == 1.0
    with pytest.raises(ValueError, match="no target 'othr'"):
        RecipeTable.read(tmp_path / "made.parquet", "othr")


def test_a_production_goes_on_from_the_stored_table_of_the_same_data(tmp_path: Path) -> None:
    """Of two trainings the table has one; its folder is gone."""
    grid = Grid(
        model="made",
        study=tmp_path / "study.yaml",
        targets=("new",),
        subsets=("full",),
        learning_rates=(1e-3, 1e-2),
        seeds=(0,),
        rungs=(1, 2),
    )
    made_from = {"targets": ["new"], "held_out": ["old"], "versions": {"torch": "2"}}
    base = {"value/new": 10.0, "value/old": 80.0}
    files = TrainingFiles.begun(tmp_path / "made" / "new", made_from)
    files.write_base(base)
    first, second = grid.cells("new")
    early = {"value/new": 20.0, "value/old": 75.0, "value5/new": 15.0, "drift/x": 1.0}
    rungs = {1: early, 2: {"value/new": 30.0, "value/old": 70.0, "drift/x": 2.0}}
    files.write(Trained(cell=first, rungs=rungs))
    table = tmp_path / "made.parquet"
    write_table(grid, tmp_path, table, early=5)

    anew = TrainingFiles.begun(tmp_path / "anew", made_from)
    assert take_over(table, "new", grid.cells("new"), anew) == 1
    assert take_over(table, "new", grid.cells("new"), anew) == 0
    assert anew.read_base() == base
    assert anew.missing([first, second]) == [second]
    (trained,) = anew.read([first, second])
    assert trained == Trained(cell=first, rungs=rungs)

    other = TrainingFiles.begun(tmp_path / "other", {**made_from, "versions": {"torch": "3"}})
    assert take_over(table, "new", grid.cells("new"), other) == 0
    assert other.read_base() is None
    assert take_over(tmp_path / "none.parquet", "new", grid.cells("new"), other) == 0


def test_trainings_of_other_data_are_not_gone_on_with(tmp_path: Path) -> None:
    TrainingFiles.begun(tmp_path, {"data": "a"})
    TrainingFiles.begun(tmp_path, {"data": "a"})
    with pytest.raises(ValueError, match="trainings of another model, data or settings"):
        TrainingFiles.begun(tmp_path, {"data": "b"})


def test_the_grids_are_those_that_were_meant() -> None:
    tiny, smollm2 = GRIDS["tiny-llava"], GRIDS["smollm2"]
    assert (tiny.trainings, smollm2.trainings) == (8 * 12 * 3, 4 * 3 * 2)
    assert tiny.learning_rates[0] == 1e-4
    assert tiny.learning_rates[-1] == 5e-3
    ratios = pd.Series(tiny.learning_rates).pct_change().dropna()
    assert ratios.tolist() == pytest.approx([0.427] * 11, abs=0.002)
    for grid in GRIDS.values():
        assert grid.study.is_file()
        names = [cell.name for cell in grid.cells(grid.targets[0])]
        assert len({*names}) == len(names) == grid.trainings
