"""A tuned model beside its base: as tables for a person, and as plain values for a script."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from search.config import StudyConfig
from search.decision.evidence import MEASURES, Estimate
from search.reuse.comparison import Compared
from search.wording import points
from trainables.scoring.evaluation import Evaluation

_NAMES: Final = {
    "score": "score",
    "target_gain": "target gain",
    "held_out_forgetting": "forgetting, mean",
    "worst_forgetting": "forgetting, worst",
}


def comparison_tables(
    config: StudyConfig, compared: Compared, *, tuned: str | None
) -> Iterator[RenderableType]:
    """Yield a table of the tasks, and one of gain, forgetting and score, each under its title.

    Args:
        config: The study.
        compared: What was measured.
        tuned: What the tuned model is called; None where there is only the base.
    """
    yield Text(f"points on the {compared.split} split, ± standard error", style="bold")
    table = Table()
    for name in ("task", "role", "n", "base", *([] if tuned is None else [tuned, "change"])):
        table.add_column(name, justify="left" if name in ("task", "role") else "right")
    for task, role in _tasks(config):
        base, own = compared.base[task], compared.tuned[task]
        row = [task, role, f"{base.n:,}", _value(base)]
        if tuned is not None:
            row += [_value(own), interval(compared.estimates.changes[task])]
        table.add_row(*row)
    yield table
    if tuned is None:
        return
    yield Text(f"beside the base, with {_share(config)} intervals", style="bold")
    measures = Table()
    measures.add_column("measure")
    measures.add_column("points", justify="right")
    for name in MEASURES:
        measures.add_row(_NAMES[name], interval(compared.estimates.of(name)))
    yield measures


def comparison_json(config: StudyConfig, compared: Compared) -> dict[str, Any]:
    """Return a comparison as plain values, ready for JSON; a standard error of one sample is null."""
    estimates = compared.estimates
    return {
        "study": config.name,
        "split": compared.split,
        "confidence": config.selection.confidence,
        **{name: _plain(estimates.of(name)) for name in MEASURES},
        "tasks": {
            task: {
                "role": role,
                "n": compared.base[task].n,
                "base": compared.base[task].value,
                "base_stderr": _finite(compared.base[task].stderr),
                "tuned": compared.tuned[task].value,
                "tuned_stderr": _finite(compared.tuned[task].stderr),
                "change": _plain(estimates.changes[task]),
            }
            for task, role in _tasks(config)
        },
    }


def interval(estimate: Estimate) -> str:
    """Write an estimate as `+2.0 [+0.5, +3.5]`."""
    return f"{points(estimate.value)} [{points(estimate.low)}, {points(estimate.high)}]"


def _tasks(config: StudyConfig) -> Iterator[tuple[str, str]]:
    yield from ((task, "target") for task in config.targets)
    yield from ((task, "held out") for task in config.held_out)


def _value(evaluation: Evaluation) -> str:
    error = evaluation.stderr
    return f"{evaluation.value:.1f}" + (f" ± {error:.1f}" if math.isfinite(error) else "")


def _share(config: StudyConfig) -> str:
    return f"{100 * config.selection.confidence:g} %"


def _plain(estimate: Estimate) -> dict[str, float]:
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
