"""Score, gain and forgetting over the learning rate, each group of recipes in a panel of its own."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from typing import Any, Final

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from search.findings.study_findings import GroupBest, group_bests
from search.labels import group_label
from search.plots import plot_theme
from search.plots.plot_marks import (
    Outcome,
    Plot,
    add_trials,
    by_outcome,
    escaped,
    finish,
    in_lines,
    one_legend_entry_a_name,
    score_of,
)
from search.plots.time_plots import thinned
from search.records.study_record import StudyRecord
from search.results import TrialResult, TrialState
from search.selection import Selection

# More would say no more, and take a browser seconds.
_BACKGROUND: Final = 150  # trials of other subsets in a panel, for orientation alone
_PANELS: Final = 12  # groups of recipes that have a panel of their own
_BINS: Final = 8  # steps of a curve, from the lowest rate to the highest

_CURVES: Final[tuple[tuple[str, str, str, Callable[[TrialResult], float]], ...]] = (
    ("gain", plot_theme.SKY, "solid", lambda trial: trial.last.score.target_gain),
    ("forgetting", plot_theme.PURPLE, "dash", lambda trial: trial.last.score.held_out_forgetting),
)

Groups = dict[Outcome, list[TrialResult]]


def learning_rates(record: StudyRecord, selection: Selection) -> Plot | None:
    """Score over the learning rate, with curves of gain and forgetting; the others' trials stay in grey."""
    groups = by_outcome(record, selection)
    trials = [trial for group in groups.values() for trial in group]
    if not trials:
        return None
    names = {group_label(trial.recipe) for trial in trials}
    tried = [row for row in group_bests(record, selection) if row.group in names]
    known = [row for row in tried if row.best is not None] or tried
    shown = known[:_PANELS]
    figure, narrow = (_panels(shown, groups, columns) for columns in (min(2, len(shown)), 1))
    which = "Each subset" if len(shown) == len(known) else f"The best {len(shown)} of {len(known)}, each"
    caption = (
        f"{which} at its own learning rates: marks are scores, lines the gain and the forgetting that make "
        "them up, of complete trials (medians where many lie close together), the dotted one the best rate. "
        "Grey dots are the others' trials. At 0 a recipe is worth as much as doing nothing. Compare subsets "
        "at their own best rate, not at one rate for all."
    )
    return Plot(
        name="learning_rates",
        title="Score over learning rate",
        caption=caption,
        figure=figure,
        narrow=narrow if len(shown) > 1 else None,
    )


def _panels(shown: Sequence[GroupBest], groups: Groups, columns: int) -> go.Figure:
    """Draw the panels row by row, so that the traces' order does not depend on the columns."""
    trials = [trial for group in groups.values() for trial in group]
    rows = math.ceil(len(shown) / columns)
    height = 110 + 200 * rows
    figure = make_subplots(
        rows=rows,
        cols=columns,
        shared_xaxes="all",
        shared_yaxes="all",
        subplot_titles=[in_lines(escaped(found.group), 40) for found in shown],
        horizontal_spacing=0.04,
        vertical_spacing=min(0.12, 36 / height) if columns > 1 else min(0.12, 34 / height),
    )
    for place, found in enumerate(shown):
        at: dict[str, Any] = {"row": place // columns + 1, "col": place % columns + 1}
        own = {o: [t for t in group if group_label(t.recipe) == found.group] for o, group in groups.items()}
        others = thinned([t for t in trials if group_label(t.recipe) != found.group], _BACKGROUND)
        figure.add_scatter(
            x=[trial.recipe.learning_rate for trial in others],
            y=[trial.last.score.score for trial in others],
            mode="markers",
            marker={"color": plot_theme.GREY, "size": 5, "opacity": 0.35},
            hoverinfo="skip",
            showlegend=False,
            **at,
        )
        complete = [t for group in own.values() for t in group if t.state is TrialState.COMPLETE]
        for name, colour, dash, value in _CURVES:
            curve = rate_curve(complete, value)
            figure.add_scatter(
                x=[rate for rate, _ in curve],
                y=[points for _, points in curve],
                name=name,
                legendgroup=name,
                mode="lines",
                line={"color": colour, "dash": dash, "width": 2},
                hoverinfo="skip",
                **at,
            )
        if found.best is not None:
            best = found.best.recipe.learning_rate
            figure.add_vline(x=best, line={"color": plot_theme.GREY, "dash": "dot", "width": 1}, **at)
        add_trials(figure, own, lambda t: t.recipe.learning_rate, score_of, **at)
    one_legend_entry_a_name(figure)
    figure.update_xaxes(**_rate_axis([trial.recipe.learning_rate for trial in trials]))
    figure.update_xaxes(title="learning rate", row=rows)
    figure.update_yaxes(rangemode="tozero")
    figure.update_yaxes(title="points", col=1)
    figure.update_annotations(font={"size": 11})
    finish(figure, height=height, legend_y=1 + 44 / (height - 72))
    return figure


def rate_curve(
    trials: Sequence[TrialResult], value: Callable[[TrialResult], float]
) -> list[tuple[float, float]]:
    """Return a value over the learning rate, by rising rate.

    Up to two trials a bin each trial is a place of the curve. Of more, each bin of the logarithmic range
    is one, with the medians of its trials' rates and values.
    """
    ordered = sorted(trials, key=lambda trial: trial.recipe.learning_rate)
    if len(ordered) <= 2 * _BINS:
        return [(trial.recipe.learning_rate, value(trial)) for trial in ordered]
    low, high = (math.log(ordered[end].recipe.learning_rate) for end in (0, -1))
    bins: dict[int, list[TrialResult]] = {}
    for trial in ordered:
        share = (math.log(trial.recipe.learning_rate) - low) / (high - low) if high > low else 0.0
        bins.setdefault(min(int(share * _BINS), _BINS - 1), []).append(trial)
    return [
        (
            statistics.median(trial.recipe.learning_rate for trial in found),
            statistics.median(value(trial) for trial in found),
        )
        for found in bins.values()
    ]


def _rate_axis(rates: list[float]) -> dict[str, object]:
    """Return a logarithmic axis: labels at decades where the rates span one, else at 1, 2 and 5."""
    return {
        "type": "log",
        "exponentformat": "e",
        "dtick": 1 if max(rates) >= 10 * min(rates) else "D2",
        "minor": {"ticks": "outside", "ticklen": 4, "tickcolor": plot_theme.GREY},
    }
