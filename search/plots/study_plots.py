"""Plots of a study: pure functions from what was measured to plotly figures.

A failed trial has no score and is in none of them.
"""

from __future__ import annotations

from search.plots.cost_plots import cost, drift
from search.plots.held_out_plot import held_out_changes
from search.plots.importance import importance
from search.plots.plot_marks import Plot
from search.plots.rate_plots import learning_rates
from search.plots.time_plots import history, over_steps, timeline
from search.plots.trade_off import trade_off
from search.records.study_record import StudyRecord
from search.selection import Selection

_MAKERS = (
    trade_off,
    learning_rates,
    held_out_changes,
    drift,
    importance,
    over_steps,
    history,
    timeline,
    cost,
)


def study_plots(record: StudyRecord, selection: Selection) -> tuple[Plot, ...]:
    """Return the plots for which a study has data, the most telling one first."""
    return tuple(plot for maker in _MAKERS if (plot := maker(record, selection)) is not None)
