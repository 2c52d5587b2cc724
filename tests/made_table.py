"""A table of recipes small enough to work out by hand."""

from __future__ import annotations

from typing import Any, Final

import pandas as pd

from benchmarks.recipe_table.table import RecipeTable

RATES: Final = (1e-3, 1e-2, 1e-1)
BASE: Final = {"value/new": 10.0, "value/old": 80.0}
# (subset, rate) -> (score after one step, after two) on the first seed, and on the second.
SCORES: Final = {
    ("full", 1e-3): ((14.0, 18.0), (16.0, 22.0)),
    ("full", 1e-2): ((48.0, 36.0), (40.0, 44.0)),
    ("full", 1e-1): ((0.0, -20.0), (0.0, 0.0)),
    ("mlp", 1e-3): ((1.0, 2.0), (3.0, 4.0)),
    ("mlp", 1e-2): ((5.0, 10.0), (7.0, 14.0)),
    ("mlp", 1e-1): ((9.0, 30.0), (11.0, 60.0)),
}
SECONDS: Final = {"full": 2.0, "mlp": 1.0}
"""Subset -> seconds that a step of training takes; an evaluation takes half a second."""


def made_rows() -> pd.DataFrame:
    """Return the rows: nothing is forgotten, so that a score is what the target gains."""
    rows = []
    for (subset, rate), seeds in SCORES.items():
        for seed, scores in enumerate(seeds):
            for step, score in enumerate(scores, start=1):
                rows.append(
                    {
                        "target": "new",
                        "subset": subset,
                        "learning_rate": rate,
                        "seed": seed,
                        "step": step,
                        "score": score,
                        "target_gain": score,
                        "held_out_forgetting": 0.0,
                        "value/new": BASE["value/new"] + score,
                        "value/old": BASE["value/old"],
                        "drift/kl_held_out": 0.1 * rate / RATES[0],
                        "cost/train_flops": 1e9 * step,
                        "cost/train_seconds": SECONDS[subset] * step,
                        "cost/eval_seconds": 0.5 * step,
                    }
                )
    return pd.DataFrame(rows)


def table_of(rows: pd.DataFrame, **changes: Any) -> RecipeTable:
    """Return the table of some rows."""
    about: dict[str, Any] = {"subsets": ("full", "mlp"), "learning_rates": RATES, "rungs": (1, 2)}
    about |= {"base": BASE, "targets": ("new",), "held_out": ("old",)}
    return RecipeTable(rows, **about | changes)


def made_table() -> RecipeTable:
    """Return the table of all rows."""
    return table_of(made_rows())
