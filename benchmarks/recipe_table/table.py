"""RecipeTable: what every recipe of a grid came to, read from the stored table."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmarks.recipe_table.grid import TABLES
from spaces.nearest import did_you_mean

KEYS: Final = ("target", "subset", "learning_rate", "seed", "step")
METADATA: Final = b"recipe_table"
"""Key of the table's own entry in the file's schema metadata, JSON."""


@dataclass(frozen=True, kw_only=True)
class Best:
    """The best recipe of a table.

    Attributes:
        subset: What it trains.
        learning_rate: Its rate.
        step: Optimiser steps.
        score: Its true score, in points.
    """

    subset: str
    learning_rate: float
    step: int
    score: float


class RecipeTable:
    """What the recipes of a grid came to on one target.

    A recipe's *true score* is its mean over the table's seeds. Between two rates of the grid everything is
    interpolated linearly in the rate's logarithm, so no recipe is better than the best of the grid. Seeds
    that were not trained for every recipe are left out.

    Args:
        rows: A row for each subset, learning rate, seed and step, as the file has them.
        subsets: What the grid's recipes train.
        learning_rates: Their rates, rising.
        rungs: Steps at which they are scored, rising.
        base: `value/<task>` -> points of the untouched model, and the same for what early rungs see.
        targets: Tasks to learn.
        held_out: Tasks not to forget.
        early: Samples a task that a study scores at rungs before the last; None where it scores all.

    Raises:
        ValueError: No seed was trained for every recipe.
    """

    def __init__(
        self,
        rows: pd.DataFrame,
        *,
        subsets: Sequence[str],
        learning_rates: Sequence[float],
        rungs: Sequence[int],
        base: Mapping[str, float],
        targets: Sequence[str],
        held_out: Sequence[str],
        early: int | None = None,
    ) -> None:
        self.base, self.early = dict(base), early
        self.subsets, self.learning_rates, self.rungs = tuple(subsets), tuple(learning_rates), tuple(rungs)
        each = len(self.subsets) * len(self.learning_rates) * len(self.rungs)
        counts = rows.groupby("seed").size()
        self.seeds = tuple(int(seed) for seed in sorted(counts.index) if counts[seed] == each)
        if not self.seeds:
            raise ValueError(f"no seed was trained for all {each} recipes and rungs of the table")
        self._targets, self._held_out = tuple(targets), tuple(held_out)
        self._logs = np.log(self.learning_rates)
        arrays = self._arranged(rows)
        self._names = tuple(arrays)
        self._values = np.stack(list(arrays.values()))  # [metric, subset, rate, seed, rung]
        self._step_seconds, self._eval_seconds = self._times(arrays)

    @classmethod
    def read(cls, model: str | Path, target: str) -> RecipeTable:
        """Read the table of a model, or a file, for one target.

        Raises:
            ValueError: It has no whole seed of the target.
        """
        path = model if isinstance(model, Path) else TABLES / f"{model}.parquet"
        meta = metadata(path)
        if target not in meta["base"]:
            raise ValueError(f"{path.name}: no target {target!r}: {did_you_mean(target, meta['base'])}")
        rows = pq.read_table(path, filters=[("target", "=", target)]).to_pandas()
        return cls(
            rows.astype({"subset": str}),
            subsets=meta["subsets"],
            learning_rates=meta["learning_rates"],
            rungs=meta["rungs"],
            base=meta["base"][target],
            targets=meta["targets"][target],
            held_out=meta["held_out"][target],
            early=meta["early_samples"],
        )

    def best(self, *, any_step: bool = False) -> Best:
        """Return the recipe with the highest true score at the last rung, or at any.

        Args:
            any_step: Whether recipes count that end at an earlier rung of the same schedule.
        """
        means = self._values[self._names.index("score")].mean(axis=2)  # [subset, rate, rung]
        if not any_step:
            means = np.where(np.arange(len(self.rungs)) == len(self.rungs) - 1, means, -np.inf)
        subset, rate, rung = np.unravel_index(int(np.argmax(means)), means.shape)
        return Best(
            subset=self.subsets[subset],
            learning_rate=self.learning_rates[rate],
            step=self.rungs[rung],
            score=float(means[subset, rate, rung]),
        )

    def true_score(self, subset: str, learning_rate: float, step: int | None = None) -> float:
        """Return the mean over seeds of a recipe's score, in points.

        Args:
            subset: What it trains.
            learning_rate: Its rate, between the grid's ends.
            step: The rung; None is the last.
        """
        found = [self.measured(subset, learning_rate, seed, step)["score"] for seed in self.seeds]
        return math.fsum(found) / len(found)

    def measured(
        self, subset: str, learning_rate: float, seed: int, step: int | None = None
    ) -> dict[str, float]:
        """Return what one training measured at a rung, by its metrics' names.

        `seen/score` and `seen/held_out_forgetting` are what a study sees there: before the last rung it
        scores the first samples of each task alone.

        Raises:
            ValueError: The table does not have the subset, seed or step, or the rate is beyond its ends.
        """
        low, share = self._between(learning_rate)
        place = (_place("subset", subset, self.subsets), _place("seed", seed, self.seeds))
        rung = len(self.rungs) - 1 if step is None else _place("step", step, self.rungs)
        one, other = (self._values[:, place[0], rate, place[1], rung] for rate in (low, low + 1))
        return dict(zip(self._names, (one + share * (other - one)).tolist(), strict=True))

    def seconds(self, subset: str, steps: int) -> float:
        """Return the simulated seconds of some steps of a recipe and the evaluation after them.

        A step takes its FLOPs at the speed that is the table's median, and an evaluation the median's time:
        each time by itself tells more of what else its machine did.
        """
        return steps * self._step_seconds[_place("subset", subset, self.subsets)] + self._eval_seconds

    def _times(self, arrays: Mapping[str, NDArray[np.float64]]) -> tuple[NDArray[np.float64], float]:
        """Return the seconds of a step for each subset, and those of an evaluation."""
        flops, steps = arrays["cost/train_flops"], np.array(self.rungs)
        speed = float(np.median(flops[..., -1] / arrays["cost/train_seconds"][..., -1]))
        evaluation = float(np.median(arrays["cost/eval_seconds"][..., -1])) / len(steps)
        return np.asarray((flops / steps).mean(axis=(1, 2, 3)) / speed), evaluation

    def _between(self, learning_rate: float) -> tuple[int, float]:
        """Return the place of the next lower rate of the grid, and how far beyond it a rate is, in 0 to 1."""
        ends = self.learning_rates[0], self.learning_rates[-1]
        if not ends[0] * (1 - 1e-9) <= learning_rate <= ends[1] * (1 + 1e-9):
            raise ValueError(f"learning rate {learning_rate:g} is not between {ends[0]:g} and {ends[1]:g}")
        at = math.log(learning_rate)
        low = int(np.clip(np.searchsorted(self._logs, at, side="right") - 1, 0, len(self._logs) - 2))
        share = (at - self._logs[low]) / (self._logs[low + 1] - self._logs[low])
        return low, float(np.clip(share, 0.0, 1.0))

    def _arranged(self, rows: pd.DataFrame) -> dict[str, NDArray[np.float64]]:
        """Return name -> values [subset, rate, seed, rung]."""
        axes = {
            "subset": self.subsets,
            "learning_rate": self.learning_rates,
            "seed": self.seeds,
            "step": self.rungs,
        }
        order = pd.MultiIndex.from_product(axes.values(), names=axes)
        ordered = rows.set_index(list(axes)).reindex(order)
        shape = tuple(map(len, axes.values()))
        names = [name for name in ordered if name not in KEYS and not ordered[name].isna().any()]
        arrays = {name: ordered[name].to_numpy(dtype=float).reshape(shape) for name in names}
        gain, forgetting = self._compared(arrays, "value")
        if self.early is not None:
            early_gain, early_forgetting = self._compared(arrays, f"value{self.early}")
            gain[..., :-1], forgetting[..., :-1] = early_gain[..., :-1], early_forgetting[..., :-1]
        return arrays | {"seen/score": gain - forgetting, "seen/held_out_forgetting": forgetting}

    def _compared(
        self, arrays: Mapping[str, NDArray[np.float64]], kind: str
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return gain and forgetting by a kind of values."""

        def change(tasks: Sequence[str]) -> NDArray[np.float64]:
            names = [f"{kind}/{task}" for task in tasks]
            return np.mean([arrays[name] - self.base[name] for name in names], axis=0)

        return change(self._targets), -change(self._held_out)


def metadata(path: Path) -> dict[str, Any]:
    """Return what a table's file says of itself."""
    found: dict[str, Any] = json.loads(pq.read_schema(path).metadata[METADATA])
    return found


def whole_targets(path: Path) -> tuple[str, ...]:
    """Return the targets of a file of which at least one seed is whole."""
    found = []
    for target in metadata(path)["base"]:
        try:
            RecipeTable.read(path, target)
        except ValueError:
            continue
        found.append(target)
    return tuple(found)


def _place(name: str, value: Any, known: Sequence[Any]) -> int:
    if value not in known:
        raise ValueError(f"{name} {value!r} is not in the table, which has {', '.join(map(str, known))}")
    return known.index(value)
