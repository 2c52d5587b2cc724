"""What many simulated studies came to: regrets, steps and times, as figures and as tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.recipe_table.simulation import Simulated
from benchmarks.recipe_table.table import RecipeTable

CLOSE: Final = 1.0  # points of regret that still count as having found the best


@dataclass(frozen=True, kw_only=True)
class Outcomes:
    """What studies of one kind came to, one entry each.

    Attributes:
        regrets: In points.
        shares: Steps taken, as a share of the whole grid's.
        seconds: Simulated time.
        trials: Trials that were started.
    """

    regrets: tuple[float, ...]
    shares: tuple[float, ...]
    seconds: tuple[float, ...]
    trials: tuple[float, ...]

    @classmethod
    def of(cls, studies: Sequence[Simulated], grid_steps: int) -> Outcomes:
        """Return the outcomes of some studies."""
        return cls(
            regrets=tuple(each.regret for each in studies),
            shares=tuple(each.steps / grid_steps for each in studies),
            seconds=tuple(each.seconds for each in studies),
            trials=tuple(float(each.trials) for each in studies),
        )

    @property
    def mean_regret(self) -> float:
        """Mean over the studies, in points."""
        return math.fsum(self.regrets) / len(self.regrets)

    def figures(self) -> dict[str, float]:
        """Return what is written of them."""
        n, share = len(self.regrets), within(self)
        return {
            "studies": n,
            "mean_regret": round(self.mean_regret, 3),
            "median_regret": round(float(np.median(self.regrets)), 3),
            "regret_of_19_in_20": round(float(np.quantile(self.regrets, 0.95)), 3),
            "within": round(share, 4),
            "within_stderr": round(math.sqrt(share * (1 - share) / n), 4),
            "share_of_steps": round(math.fsum(self.shares) / n, 4),
            "median_seconds": round(float(np.median(self.seconds)), 1),
            "mean_trials": round(math.fsum(self.trials) / n, 1),
        }


def within(outcomes: Outcomes) -> float:
    """Return the share of studies that come within `CLOSE` points of the grid's best."""
    return sum(regret <= CLOSE for regret in outcomes.regrets) / len(outcomes.regrets)


def pooled(several: Sequence[Outcomes]) -> Outcomes:
    """Return the outcomes of all kinds together."""
    return Outcomes(
        regrets=tuple(each for one in several for each in one.regrets),
        shares=tuple(each for one in several for each in one.shares),
        seconds=tuple(each for one in several for each in one.seconds),
        trials=tuple(each for one in several for each in one.trials),
    )


def of_the_grid(table: RecipeTable, studies: int, share: float) -> Outcomes:
    """Return what it comes to to train every recipe of the grid once, on a seed by chance, and take the best.

    Args:
        table: The table.
        studies: How many times.
        share: What share of the grid's steps that takes.
    """
    recipes = [(subset, rate) for subset in table.subsets for rate in table.learning_rates]
    seen = np.array(
        [[table.measured(subset, rate, seed)["score"] for seed in table.seeds] for subset, rate in recipes]
    )
    true, found = seen.mean(axis=1), []
    for study in range(studies):
        seeds = np.random.default_rng([study, 3]).integers(len(table.seeds), size=len(recipes))
        selected = int(np.argmax(seen[np.arange(len(recipes)), seeds]))
        found.append(float(true.max() - true[selected]))
    seconds = sum(table.seconds(subset, table.rungs[-1]) for subset, _ in recipes)
    return Outcomes(
        regrets=tuple(found),
        shares=(share,) * studies,
        seconds=(seconds,) * studies,
        trials=(float(len(recipes)),) * studies,
    )


def shown(console: Console, figures: Mapping[str, Any]) -> None:
    """Show the figures of a replay as tables."""
    targets = list(figures["table"]["targets"])
    chosen = ", ".join(figures["chosen_on"])
    reported = ", ".join(figures["reported_on"]) or "no other target is there yet"
    share = figures["share_of_steps"]
    console.print(f"{figures['studies']} studies a variant and target, {share:.0%} of the grid's steps")
    console.print(f"chosen on {chosen}: {figures['chosen']}; reported on: {reported}")
    _show(
        console, "variants", {"the whole grid, once": figures["exhaustive_grid_once"], **figures["variants"]}
    )
    for name, by_workers in figures["with_workers"].items():
        _show(console, f"{name}: with workers", {f"{workers}": each for workers, each in by_workers.items()})
    _show(console, f"with {share:.0%} of the steps of one seed's grid", figures["with_one_seeds_share"])
    assert targets, "there is nothing to show"


def _show(console: Console, title: str, rows: Mapping[str, Mapping[str, Mapping[str, float]]]) -> None:
    table = Table(title=title, title_justify="left")
    for column in (
        "",
        "target",
        "within 1 point",
        "mean regret",
        "19 in 20",
        "of the steps",
        "trials",
        "seconds",
    ):
        table.add_column(column, justify="left" if column in ("", "target") else "right")
    for name, by_target in rows.items():
        for place, (target, each) in enumerate(by_target.items()):
            table.add_row(
                name if place == 0 else "",
                target,
                f"{each['within']:.0%} ± {each['within_stderr']:.0%}",
                f"{each['mean_regret']:.2f}",
                f"{each['regret_of_19_in_20']:.2f}",
                f"{each['share_of_steps']:.1%}",
                f"{each['mean_trials']:.0f}",
                f"{each['median_seconds']:.0f}",
            )
    console.print(table)
