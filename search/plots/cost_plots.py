"""Plots of what a score costs, and of what drift foretells."""

from __future__ import annotations

import math

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from search.plots.plot_marks import (
    Plot,
    add_trials,
    by_outcome,
    finish,
    metric_of,
    one_legend_entry_a_name,
    score_of,
    spent_seconds,
)
from search.records.study_record import StudyRecord
from search.selection import Selection


def cost(record: StudyRecord, selection: Selection) -> Plot | None:
    """Score against what a trial cost: seconds of training and evaluation, and trained parameters."""
    groups = by_outcome(record, selection)
    if not any(groups.values()):
        return None
    figure = make_subplots(rows=1, cols=2, shared_yaxes=True, horizontal_spacing=0.05)
    add_trials(figure, groups, spent_seconds, score_of, row=1, col=1)
    add_trials(figure, groups, lambda t: metric_of(t, "cost/trainable_parameters"), score_of, row=1, col=2)
    one_legend_entry_a_name(figure)
    figure.update_xaxes(title="seconds", rangemode="tozero", row=1, col=1)
    figure.update_xaxes(title="parameters", type="log", dtick=1, exponentformat="SI", row=1, col=2)
    figure.update_yaxes(rangemode="tozero")
    figure.update_yaxes(title="score", col=1)
    finish(figure, height=380)
    caption = (
        "Seconds of training and evaluation, and number of trained parameters. "
        "Of two recipes that score alike, the one further left is the bargain."
    )
    return Plot(name="cost", title="What a score costs", caption=caption, figure=figure)


def drift(record: StudyRecord, selection: Selection) -> Plot | None:
    """Held-out forgetting against the drift of the answers on the targets, KL(base || tuned)."""
    groups = {
        outcome: [t for t in trials if math.isfinite(metric_of(t, "drift/kl_target"))]
        for outcome, trials in by_outcome(record, selection).items()
    }
    if sum(len(group) for group in groups.values()) < 2:
        return None
    figure = go.Figure()
    add_trials(
        figure, groups, lambda t: metric_of(t, "drift/kl_target"), lambda t: t.last.score.held_out_forgetting
    )
    figure.update_xaxes(title="drift on the targets (KL in nats)", rangemode="tozero")
    figure.update_yaxes(title="forgetting")
    finish(figure, height=360)
    caption = "How far the answers on the target tasks moved, against what was lost elsewhere."
    return Plot(name="drift", title="Does drift foretell forgetting?", caption=caption, figure=figure)
