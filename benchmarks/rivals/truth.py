"""What recipes are truly worth: by the recipe table where it knows the study, else by training them again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.recipe_table.grid import TABLES
from benchmarks.recipe_table.table import RecipeTable, whole_targets
from benchmarks.rivals.confirmed import Confirmed
from benchmarks.rivals.figures import Run, Truth
from benchmarks.rivals.handed import Handed
from benchmarks.rivals.problem import STUDY
from benchmarks.rivals.trace import incumbents
from search.settings.study_file import load_study

_TABLE = TABLES / "tiny-llava.parquet"


def by_table(recipes: RecipeTable) -> Truth:
    """Return what the recipes of a table are worth, and those between its rates."""
    return Truth(
        source=f"the recipe table, mean of its seeds ({len(recipes.seeds)}) on the search split",
        best=recipes.best().score,
        score=recipes.true_score,
    )


def truth_of(study: Path, runs: Sequence[Run], confirmed: Confirmed, table: Path = _TABLE) -> Truth:
    """Return what recipes are worth.

    Args:
        study: The study file; the table knows the recipes of the quickstart's alone.
        runs: What the sides found.
        confirmed: Trains recipes again.
        table: The table's file, which may be missing.
    """
    config = load_study(study)
    (target,) = config.targets
    if study == STUDY and table.exists() and target in whole_targets(table):
        return by_table(RecipeTable.read(table, target))
    steps = config.training.steps
    held = {Handed.plain(recipe, steps) for run in runs for _, recipe in incumbents(run.found.trace, steps)}
    confirmed.measure(sorted(held, key=lambda each: each.key))
    return Truth(
        source="recipes that a side held, trained again on 3 new seeds, on the confirm split",
        best=max(map(confirmed.mean, held)),
        score=lambda subset, rate: confirmed.mean(Handed.plain((subset, rate), steps)),
    )
