"""Plots of a study: pure functions from what was measured to plotly figures.

A failed trial has no score and is in none of them.
"""

from __future__ import annotations

from search.cost_plots import cost, drift
from search.held_out_plot import held_out_changes
from search.importance import importance
from search.plot_marks import Plot
from search.rate_plots import learning_rates
from search.selection import Selection
from search.study_record import StudyRecord
from search.time_plots import history, over_steps, timeline
from search.trade_off import trade_off

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
