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
from benchmarks.rivals.trace import Recipe2, incumbents
from search.settings.study_file import load_study

_TABLE = TABLES / "tiny-llava.parquet"
_FAR = 10.0  # points; two and a half standard errors of a score's gain on 150 samples


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
    held = promising(runs, config.training.steps)
    confirmed.measure(held)
    return Truth(
        source="recipes that a side held, trained again on 3 new seeds, on the confirm split",
        best=max(map(confirmed.mean, held)),
        score=lambda subset, rate: _mean_of(
            Handed.plain((subset, rate), config.training.steps), held, confirmed
        ),
    )


def promising(runs: Sequence[Run], steps: int) -> list[Handed]:
    """Return the recipes that a side held and that may be good, by what the sides measured.

    Those more than `_FAR` points below the highest score of all are not, and need not be trained again.
    """
    held = {recipe for run in runs for _, recipe in incumbents(run.found.trace, steps)}
    scores: dict[Recipe2, float] = {}
    for run in runs:
        for each in run.found.trace:
            if each.step == steps and each.recipe in held:
                scores[each.recipe] = max(each.score, scores.get(each.recipe, each.score))
    highest = max(scores.values())
    return [Handed.plain(recipe, steps) for recipe in sorted(held) if scores[recipe] >= highest - _FAR]


def _mean_of(recipe: Handed, known: Sequence[Handed], confirmed: Confirmed) -> float:
    return confirmed.mean(recipe) if recipe in known else float("-inf")
