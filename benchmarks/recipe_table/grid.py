"""What the tables hold: which recipes are trained, on which targets and seeds, and when they are scored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from spaces.nearest import did_you_mean

ROOT: Final = Path(__file__).parents[2]
TABLES: Final = Path(__file__).parent


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One training of a table.

    Attributes:
        target: The task that is learnt.
        subset: What is trained.
        learning_rate: Peak learning rate.
        seed: Fixes the order of the data.
    """

    target: str
    subset: str
    learning_rate: float
    seed: int

    @property
    def name(self) -> str:
        """A name that no other training of the target has, for files."""
        return f"{self.subset}-{self.learning_rate:.3e}-{self.seed}"


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The trainings of one model's table.

    Attributes:
        model: Name of the table.
        study: The study file that says everything that the grid does not.
        targets: Each of them is learnt by itself, in this order.
        subsets: What is trained.
        learning_rates: Peak learning rates, rising.
        seeds: Seeds of the order of the data, in the order in which they are trained.
        rungs: Optimiser steps at which a training is scored, rising; the last is its end.
    """

    model: str
    study: Path
    targets: tuple[str, ...]
    subsets: tuple[str, ...]
    learning_rates: tuple[float, ...]
    seeds: tuple[int, ...]
    rungs: tuple[int, ...]

    def cells(self, target: str) -> Iterator[Cell]:
        """Yield the trainings of a target: a whole seed after the other, so that half a table is of use."""
        for seed in self.seeds:
            for learning_rate in self.learning_rates:
                for subset in self.subsets:
                    yield Cell(target=target, subset=subset, learning_rate=learning_rate, seed=seed)

    @property
    def trainings(self) -> int:
        """Trainings of a target."""
        return len(self.subsets) * len(self.learning_rates) * len(self.seeds)

    @property
    def table(self) -> Path:
        """Where the finished table lies."""
        return TABLES / f"{self.model}.parquet"


def log_spaced(low: float, high: float, count: int) -> tuple[float, ...]:
    """Return rates that are equally far apart in logs, ends included, to four digits."""
    return tuple(float(f"{rate:.4g}") for rate in np.geomspace(low, high, count))


def grid_of(model: str) -> Grid:
    """Return the grid of a model.

    Raises:
        ValueError: There is none.
    """
    if model not in GRIDS:
        raise ValueError(f"no table of the model {model!r}: {did_you_mean(model, GRIDS)}")
    return GRIDS[model]


_TINY: Final = Grid(
    model="tiny-llava",
    study=ROOT / "examples" / "quickstart.yaml",
    targets=("counting", "clock", "naming", "pathology", "scene_text"),
    subsets=("full", "llm", "vision", "projector", "sa_proj", "mlp", "gate_up", "sa_gate_up"),
    learning_rates=log_spaced(1e-4, 5e-3, 12),
    seeds=(0, 1, 2),
    rungs=(25, 50, 100),
)
_SMOLLM2: Final = Grid(
    model="smollm2",
    study=ROOT / "examples" / "smollm2.yaml",
    targets=("german_participle",),
    subsets=("full", "sa_proj", "mlp", "gate_up"),
    learning_rates=log_spaced(2e-5, 5e-4, 3),
    seeds=(0, 1),
    rungs=(12, 24, 48),
)
GRIDS: Final[Mapping[str, Grid]] = {grid.model: grid for grid in (_TINY, _SMOLLM2)}
