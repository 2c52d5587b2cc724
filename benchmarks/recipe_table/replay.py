"""Replay studies on a table, hundreds of each kind, and tell how close to the grid's best they come.

    python -m benchmarks.recipe_table.replay               # all variants, some minutes
    python -m benchmarks.recipe_table.replay --studies 50  # a first look

The variant that is best on the targets `CHOSEN_ON` is reported on the others, which had no part in choosing.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.progress import track

from benchmarks.machine import write_results
from benchmarks.recipe_table.grid import GRIDS, TABLES
from benchmarks.recipe_table.outcomes import Outcomes, of_the_grid, pooled, shown, within
from benchmarks.recipe_table.simulation import Tried, simulate
from benchmarks.recipe_table.table import RecipeTable, metadata, whole_targets
from benchmarks.recipe_table.variants import DEFAULT, Variant, variants

CHOSEN_ON: Final = ("counting", "naming")
"""Targets on which a variant is chosen; it is reported on the others. Fixed before the first replay."""
SHARE: Final = 0.15  # of the grid's steps, all seeds counted
WORKERS: Final = (1, 4, 16, 64, 1000)
_SIDE_BY_SIDE: Final = 4  # trials at a time where nothing else is said


@dataclass(frozen=True, kw_only=True)
class Case:
    """Some studies of one kind.

    Attributes:
        path: The table's file.
        target: What is learnt.
        elsewhere: The target whose results a study may begin with; None if there is no other.
        variant: How the studies search.
        budget: Most optimiser steps of each.
        workers: Trials at a time.
        studies: How many.
    """

    path: Path
    target: str
    elsewhere: str | None
    variant: Variant
    budget: int
    workers: int = _SIDE_BY_SIDE
    studies: int


@cache
def _table(path: Path, target: str) -> RecipeTable:
    return RecipeTable.read(path, target)


def replayed(case: Case) -> Outcomes:
    """Run the studies of a case, whose seeds are 0, 1 and so on."""
    warnings.filterwarnings("ignore", message="Define-by-run function passed")  # Tune's, on a busy machine
    table = _table(case.path, case.target)
    found = []
    for seed in range(case.studies):
        before: tuple[Tried, ...] = ()
        if case.elsewhere is not None and case.variant.start.endswith("elsewhere"):
            other = _table(case.path, case.elsewhere)
            before = simulate(other, Variant(sampler="random"), seed=seed, budget=case.budget).tried
        found.append(
            simulate(
                table,
                case.variant,
                seed=seed,
                budget=case.budget,
                workers=case.workers,
                elsewhere=before,
            )
        )
    return Outcomes.of(found, grid_steps(case.path))


def grid_steps(path: Path) -> int:
    """Return the optimiser steps of a target's whole grid: all its seeds count, those to come included."""
    about = metadata(path)
    recipes = len(about["subsets"]) * len(about["learning_rates"])
    return int(recipes * len(about["seeds"]) * about["rungs"][-1])


def compare(path: Path, studies: int, processes: int, console: Console) -> dict[str, Any]:
    """Replay all variants on all targets of a table; return the figures, and show them.

    Raises:
        ValueError: There is no table, or it has no whole seed.
    """
    targets = whole_targets(path) if path.exists() else ()
    if not targets:
        raise ValueError(f"{path}: no table with a whole seed; make one: make bench-table")
    tables = {target: _table(path, target) for target in targets}
    elsewhere = {
        target: targets[(place + 1) % len(targets)] if len(targets) > 1 else None
        for place, target in enumerate(targets)
    }
    chosen_on = [target for target in targets if target in CHOSEN_ON] or list(targets[:1])
    reported_on = [target for target in targets if target not in chosen_on]

    def case(target: str, variant: Variant, share: float, workers: int = _SIDE_BY_SIDE) -> Case:
        return Case(
            path=path,
            target=target,
            elsewhere=elsewhere[target],
            variant=variant,
            budget=int(share * grid_steps(path)),
            workers=workers,
            studies=studies,
        )

    every = variants(elsewhere=len(targets) > 1)
    if all(len(table.seeds) == 1 for table in tables.values()):
        every = tuple(variant for variant in every if not variant.finalists)  # there is no other seed
    with ProcessPoolExecutor(processes) as pool:
        run = partial(_run, pool, console)
        cases = [case(target, variant, SHARE) for variant in every for target in targets]
        found = run(cases, "variants")
        best = max(every, key=lambda variant: _merit(found, variant, chosen_on))
        kinds = dict.fromkeys((DEFAULT, best))
        wide = run([case(t, v, SHARE, w) for v in kinds for t in targets for w in WORKERS], "workers")
        # A share of the steps of one seed's grid, a third of the above where there are three seeds.
        seeds = len(metadata(path)["seeds"])
        less = run([case(t, v, SHARE / seeds) for v in kinds for t in targets], "one seed's share")
    grids = {target: of_the_grid(tables[target], studies, 1 / seeds) for target in targets}
    figures = {
        "what": "points by which the recipe that a simulated study selects falls short of the grid's best; "
        "'within' is the share of studies that fall short by at most one point",
        "table": {"file": path.name, **_about(path, tables)},
        "studies": studies,
        "share_of_steps": SHARE,
        "workers": _SIDE_BY_SIDE,
        "chosen_on": chosen_on,
        "reported_on": reported_on,
        "chosen": best.name,
        "default": DEFAULT.name,
        "exhaustive_grid_once": {target: each.figures() for target, each in grids.items()},
        "variants": {v.name: _by_target(found, v, targets) for v in every},
        "with_workers": {v.name: {str(w): _by_target(wide, v, targets, w) for w in WORKERS} for v in kinds},
        "with_one_seeds_share": {v.name: _by_target(less, v, targets) for v in kinds},
    }
    shown(console, figures)
    return figures


def _run(
    pool: ProcessPoolExecutor, console: Console, cases: Sequence[Case], name: str
) -> dict[Case, Outcomes]:
    done = pool.map(replayed, cases)
    bar = track(done, description=name, total=len(cases), console=console, disable=not console.is_terminal)
    return dict(zip(cases, bar, strict=True))


def _of(found: Mapping[Case, Outcomes], variant: Variant, target: str, workers: int) -> Outcomes:
    return next(
        outcomes
        for case, outcomes in found.items()
        if (case.variant, case.target, case.workers) == (variant, target, workers)
    )


def _merit(found: Mapping[Case, Outcomes], variant: Variant, targets: Sequence[str]) -> tuple[float, float]:
    """Return what a variant is chosen by: the share within one point, then the mean regret."""
    all_of_them = pooled([_of(found, variant, target, _SIDE_BY_SIDE) for target in targets])
    return within(all_of_them), -all_of_them.mean_regret


def _by_target(
    found: Mapping[Case, Outcomes], variant: Variant, targets: Sequence[str], workers: int = _SIDE_BY_SIDE
) -> dict[str, Any]:
    return {target: _of(found, variant, target, workers).figures() for target in targets}


def _about(path: Path, tables: Mapping[str, RecipeTable]) -> dict[str, Any]:
    about = metadata(path)
    return {
        "complete": about["complete"],
        "trainings": about["trainings"],
        "targets": {
            target: {
                "seeds": len(table.seeds),
                "steps": grid_steps(path),
                "best": vars(table.best()) | {"score": round(table.best().score, 2)},
                "best_at_any_step": round(table.best(any_step=True).score, 2),
            }
            for target, table in tables.items()
        },
    }


def main() -> None:
    """Replay, show and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", nargs="?", default="tiny-llava", choices=list(GRIDS))
    parser.add_argument("--studies", type=int, default=300, help="of each kind on each target")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    figures = compare(
        TABLES / f"{options.model}.parquet", options.studies, options.processes, Console(width=120)
    )
    name = "recipe_replay" if options.model == "tiny-llava" else f"recipe_replay_{options.model}"
    print(write_results(name, figures))


if __name__ == "__main__":
    main()
