"""Plots of a study: pure functions from what was measured to plotly figures.

A failed trial has no score and is in none of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from search import plot_theme, wording
from search.findings import changes, group_bests
from search.labels import group_label
from search.plot_marks import (
    MARKERS,
    Outcome,
    Plot,
    add_trials,
    by_outcome,
    escaped,
    finish,
    group_name,
    heading,
    in_lines,
    metric_of,
    one_legend_entry_a_name,
    score_of,
    spent_seconds,
)
from search.results import Rung, TrialResult
from search.selection import Selection
from search.study_record import StudyRecord
from search.trade_off import trade_off

# More would say no more, and take a browser seconds.
_BACKGROUND: Final = 150  # trials of other subsets in a panel, for orientation alone
_PANELS: Final = 12  # groups of recipes that have a panel of their own
_LINES: Final = 40  # trials of an outcome whose course is drawn


def study_plots(record: StudyRecord, selection: Selection) -> tuple[Plot, ...]:
    """Return the plots for which a study has data, the most telling one first."""
    makers = (trade_off, learning_rates, held_out_changes, over_steps, history, cost, drift)
    return tuple(plot for maker in makers if (plot := maker(record, selection)) is not None)


def learning_rates(record: StudyRecord, selection: Selection) -> Plot | None:
    """Score over the learning rate, one panel a group of recipes; the others' trials stay in grey."""
    groups = by_outcome(record, selection)
    trials = [trial for group in groups.values() for trial in group]
    if not trials:
        return None
    group_of = {trial.number: group_label(trial.recipe) for trial in trials}
    known = [row.group for row in group_bests(record, selection) if row.group in group_of.values()]
    shown = known[:_PANELS]
    columns = min(2, len(shown))
    rows = math.ceil(len(shown) / columns)
    figure = make_subplots(
        rows=rows,
        cols=columns,
        shared_xaxes="all",
        shared_yaxes="all",
        subplot_titles=[in_lines(escaped(group)) for group in shown],
        horizontal_spacing=0.04,
        vertical_spacing=min(0.12, 0.3 / rows),
    )
    for place, name in enumerate(shown):
        row, column = place // columns + 1, place % columns + 1
        others = _thinned([trial for trial in trials if group_of[trial.number] != name], _BACKGROUND)
        own = {outcome: [t for t in group if group_of[t.number] == name] for outcome, group in groups.items()}
        figure.add_scatter(
            x=[trial.recipe.learning_rate for trial in others],
            y=[trial.last.score.score for trial in others],
            mode="markers",
            marker={"color": plot_theme.GREY, "size": 5, "opacity": 0.35},
            hoverinfo="skip",
            showlegend=False,
            row=row,
            col=column,
        )
        add_trials(figure, own, lambda t: t.recipe.learning_rate, score_of, row=row, col=column)
    one_legend_entry_a_name(figure)
    figure.update_xaxes(**_rate_axis([trial.recipe.learning_rate for trial in trials]))
    figure.update_xaxes(title="learning rate", row=rows)
    figure.update_yaxes(rangemode="tozero")
    figure.update_yaxes(title="score", col=1)
    figure.update_annotations(font={"size": 11})
    finish(figure, height=110 + 170 * rows, legend_y=1 + 0.28 / rows)
    which = "Each subset" if len(shown) == len(known) else f"The best {len(shown)} of {len(known)}, each"
    caption = (
        f"{which} at its own learning rates; grey dots are the others' trials. At 0 a recipe is worth as "
        "much as doing nothing. Compare subsets at their own best rate, not at one rate for all."
    )
    return Plot(name="learning_rates", title="Score over learning rate", caption=caption, figure=figure)


def _rate_axis(rates: list[float]) -> dict[str, object]:
    """Return a logarithmic axis: labels at decades where the rates span one, else at 1, 2 and 5."""
    return {
        "type": "log",
        "exponentformat": "e",
        "dtick": 1 if max(rates) >= 10 * min(rates) else "D2",
        "minor": {"ticks": "outside", "ticklen": 4, "tickcolor": plot_theme.GREY},
    }


def held_out_changes(record: StudyRecord, selection: Selection) -> Plot | None:
    """Heat map: change of every held-out task for each subset at its best rate."""
    rows = [row.best for row in group_bests(record, selection) if row.best is not None]
    if not rows:
        return None
    table = [[c for c in changes(record, trial.last) if not c.target] for trial in rows]
    values = [[change.change for change in row] for row in table]
    # Two standard errors at least, so that noise does not look like loss.
    sizes = [size for row in table for c in row for size in (abs(c.change), 2 * c.stderr)]
    largest = max(size for size in [1.0, *sizes] if math.isfinite(size))
    notes = [
        [
            f"{heading(trial)}<br>{escaped(c.task)}: {wording.points(c.base, signed=False)} to "
            f"{wording.points(c.tuned, signed=False)} (± {wording.points(c.stderr, signed=False)}, n = {c.n})"
            for c in row
        ]
        for trial, row in zip(rows, table, strict=True)
    ]
    figure = go.Figure(
        go.Heatmap(
            z=values,
            x=[escaped(task) for task in record.objective.held_out],
            y=[in_lines(group_name(trial), 28) for trial in rows],
            text=[[wording.points(value) for value in row] for row in values],
            texttemplate="%{text}",
            customdata=notes,
            hovertemplate="%{customdata}<extra></extra>",
            coloraxis="coloraxis",
            xgap=2,
            ygap=2,
        )
    )
    figure.update_layout(coloraxis={"cmin": -largest, "cmax": largest, "showscale": False})
    figure.update_xaxes(type="category", showgrid=False, tickangle=-35, side="top")
    figure.update_yaxes(type="category", autorange="reversed", showgrid=False)
    finish(figure, height=120 + 36 * len(rows))
    figure.update_layout(margin={"b": 8})
    caption = (
        "Change of each held-out task in points, for every subset at its own best rate; best score on top."
    )
    return Plot(name="held_out", title="What is forgotten", caption=caption, figure=figure)


def over_steps(record: StudyRecord, selection: Selection) -> Plot | None:
    """Gain and forgetting at every rung, one line a trial."""
    groups = by_outcome(record, selection)
    if not any(len(trial.rungs) > 1 for group in groups.values() for trial in group):
        return None
    # Hundreds of lines would hide each other.
    drawn = {outcome: _thinned(trials, _LINES) for outcome, trials in groups.items()}
    panels: tuple[tuple[str, Callable[[Rung], float]], ...] = (
        ("target gain", lambda rung: rung.score.target_gain),
        ("forgetting", lambda rung: rung.score.held_out_forgetting),
    )
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.06)
    for panel, (title, value) in enumerate(panels, start=1):
        for outcome, trials in drawn.items():
            chosen = outcome is Outcome.SELECTED
            if not trials:
                continue
            # One trace for all lines, with gaps between them: a browser takes seconds over a trace a trial.
            figure.add_scatter(
                x=_joined([0, *(rung.step for rung in trial.rungs)] for trial in trials),
                y=_joined([0.0, *(value(rung) for rung in trial.rungs)] for trial in trials),
                name=outcome.value,
                legendgroup=outcome.value,
                mode="lines+markers",
                opacity=1 if chosen else 0.75,
                line={"width": 3 if chosen else 1.2},
                marker={**MARKERS[outcome], "size": 11 if chosen else 6},
                text=_joined([heading(trial)] * (len(trial.rungs) + 1) for trial in trials),
                hovertemplate="step %{x}: %{y:+.1f}<br>%{text}<extra></extra>",
                row=panel,
                col=1,
            )
        figure.update_yaxes(title=title, row=panel)
    one_legend_entry_a_name(figure)
    figure.update_xaxes(title="optimiser steps", row=2)
    finish(figure, height=520)
    shown, known = (sum(map(len, each.values())) for each in (drawn, groups))
    which = "every trial" if shown == known else f"{shown} of {known} trials, spread over the study"
    caption = f"Every evaluation of {which}, in points. A pruned trial's line ends where it was stopped."
    if early := record.config.evaluation.rung_samples:
        caption += f" All but those at the last step are of the first {early} samples of each task alone."
    return Plot(
        name="over_steps", title="Learning and forgetting as training goes on", caption=caption, figure=figure
    )


def _thinned(trials: Sequence[TrialResult], at_most: int) -> Sequence[TrialResult]:
    """Return every second, third, ... trial, so that no more are left than `at_most`."""
    return trials[:: max(1, math.ceil(len(trials) / at_most))]


def _joined(lines: Iterable[Sequence[Any]]) -> list[Any]:
    """Return the lines one after another, with a gap between two."""
    return [point for line in lines for point in (*line, None)][:-1]


def history(record: StudyRecord, selection: Selection) -> Plot | None:
    """Score of each trial in the order of their starts, with the best so far."""
    groups = by_outcome(record, selection)
    if sum(len(group) for group in groups.values()) < 2:
        return None
    figure = go.Figure()
    best, steps = 0.0, []
    feasible = {trial.number for trial in selection.ranking}
    for trial in record.trials:
        if trial.number in feasible:
            best = max(best, trial.last.score.score)
        steps.append((trial.number, best))
    figure.add_scatter(
        x=[number for number, _ in steps],
        y=[value for _, value in steps],
        name="best so far",
        mode="lines",
        line={"color": plot_theme.GREY, "shape": "hv", "width": 1.5},
        hoverinfo="skip",
    )
    add_trials(figure, groups, lambda t: t.number, score_of)
    figure.update_xaxes(title="trial, in order of start")
    figure.update_yaxes(title="score", rangemode="tozero")
    finish(figure, height=360)
    caption = "If the line still rises at the right end, more trials may well find a better recipe."
    return Plot(name="history", title="Did the search settle?", caption=caption, figure=figure)


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
