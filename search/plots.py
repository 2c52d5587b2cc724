"""Plots of a study: pure functions from what was measured to plotly figures.

In every plot one outcome has one colour and one shape. A failed trial has no score and is in none of them.
"""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from search import plot_theme, wording
from search.findings import changes, forgetting_stderr, gain_stderr, subset_bests
from search.results import Rung, StudyRecord, TrialResult, TrialState
from search.selection import Selection


class Outcome(StrEnum):
    """What became of a trial, as a plot shows it."""

    SELECTED = "selected"
    COMPLETE = "complete"
    INFEASIBLE = "infeasible"
    PRUNED = "pruned"


_MARKERS: Final[dict[Outcome, dict[str, object]]] = {
    Outcome.SELECTED: {"color": plot_theme.GREEN, "symbol": "star", "size": 17},
    Outcome.COMPLETE: {"color": plot_theme.BLUE, "symbol": "circle", "size": 10},
    Outcome.INFEASIBLE: {"color": plot_theme.VERMILLION, "symbol": "x", "size": 9},
    Outcome.PRUNED: {"color": plot_theme.ORANGE, "symbol": "triangle-down-open", "size": 10},
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Plot:
    """A figure with what a reader needs beside it.

    Attributes:
        name: Short name, unique within a study: a file name, an anchor.
        title: Headline.
        caption: How to read it.
        figure: The plotly figure.
    """

    name: str
    title: str
    caption: str
    figure: go.Figure


def study_plots(record: StudyRecord, selection: Selection) -> tuple[Plot, ...]:
    """Return the plots for which a study has data, the most telling one first."""
    makers = (trade_off, learning_rates, held_out_changes, over_steps, history, cost, drift)
    return tuple(plot for maker in makers if (plot := maker(record, selection)) is not None)


def by_outcome(record: StudyRecord, selection: Selection) -> dict[Outcome, list[TrialResult]]:
    """Group the trials that have a score by what became of them."""
    winner = selection.winner.number if selection.winner else None
    complete = [trial for trial in selection.ranking if trial.number != winner]
    pruned = [trial for trial in record.trials if trial.state is TrialState.PRUNED]
    return {
        Outcome.PRUNED: pruned,
        Outcome.INFEASIBLE: list(selection.infeasible),
        Outcome.COMPLETE: complete,
        Outcome.SELECTED: [selection.winner] if selection.winner else [],
    }


def pareto_front(trials: Sequence[TrialResult]) -> tuple[TrialResult, ...]:
    """Return the complete trials that neither another one nor the base (0, 0) dominates, least forgetting first.

    A point dominates another if it gains at least as much and forgets at most as much, and is better in one.
    """
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    places = {t.number: (t.last.score.held_out_forgetting, t.last.score.target_gain) for t in complete}
    rivals = [*places.values(), (0.0, 0.0)]

    def dominated(forgetting: float, gain: float) -> bool:
        return any(f <= forgetting and g >= gain and (f, g) != (forgetting, gain) for f, g in rivals)

    front = [trial for trial in complete if not dominated(*places[trial.number])]
    return tuple(sorted(front, key=lambda trial: places[trial.number]))


def trade_off(record: StudyRecord, selection: Selection) -> Plot | None:
    """Target gain against held-out forgetting, with the Pareto front, the base and the bound."""
    groups = by_outcome(record, selection)
    scores = [trial.last.score for group in groups.values() for trial in group]
    if not scores:
        return None
    figure = go.Figure()
    bound = record.objective.max_forgetting
    x_range = _padded([0.0, *(s.held_out_forgetting for s in scores), *([] if bound is None else [bound])])
    y_range = _padded([0.0, *(s.target_gain for s in scores)])
    _add_equal_score(figure, record, selection, x_range)
    _add_front(figure, pareto_front(record.trials))
    _add_trials(
        figure, groups, lambda t: t.last.score.held_out_forgetting, lambda t: t.last.score.target_gain
    )
    if selection.winner is not None:
        _add_errors(figure, record, selection.winner)
    figure.add_scatter(
        x=[0],
        y=[0],
        name="base",
        mode="markers",
        marker={"color": plot_theme.GREY, "symbol": "square", "size": 11},
        hovertemplate="base model, untouched<extra></extra>",
    )
    if bound is not None:
        label = f"allowed: {bound:g}"
        line = {"color": plot_theme.VERMILLION, "dash": "dash", "width": 1}
        figure.add_vline(x=bound, line=line, annotation={"text": label, "yanchor": "bottom"}, layer="below")
    figure.update_xaxes(title="held-out forgetting (points, less is better)", range=x_range)
    figure.update_yaxes(title="target gain (points)", range=y_range)
    _finish(figure, height=520)
    caption = (
        "Up is more learned, left is less forgotten. The line is the Pareto front: no complete recipe lies above and "
        "to the left of it. The dotted line joins equal scores; what lies below the one through the base is worse "
        "than doing nothing."
    )
    return Plot(name="trade_off", title="Gain against forgetting", caption=caption, figure=figure)


def learning_rates(record: StudyRecord, selection: Selection) -> Plot | None:
    """Score over the learning rate, one panel a subset; the others' trials stay in grey."""
    groups = by_outcome(record, selection)
    trials = [trial for group in groups.values() for trial in group]
    if not trials:
        return None
    tried = {trial.recipe.subset for trial in trials}
    subsets = [row.subset for row in subset_bests(record, selection) if row.subset in tried]
    columns = min(2, len(subsets))
    rows = math.ceil(len(subsets) / columns)
    figure = make_subplots(
        rows=rows,
        cols=columns,
        shared_xaxes="all",
        shared_yaxes="all",
        subplot_titles=subsets,
        horizontal_spacing=0.04,
        vertical_spacing=min(0.12, 0.3 / rows),
    )
    for place, subset in enumerate(subsets):
        row, column = place // columns + 1, place % columns + 1
        others = [trial for trial in trials if trial.recipe.subset != subset]
        own = {name: [t for t in group if t.recipe.subset == subset] for name, group in groups.items()}
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
        _add_trials(figure, own, lambda t: t.recipe.learning_rate, _score, row=row, col=column)
    _one_legend_entry_a_name(figure)
    figure.update_xaxes(type="log", exponentformat="power", dtick=1, minor={"ticks": "outside"})
    figure.update_xaxes(title="learning rate", row=rows)
    figure.update_yaxes(title="score", col=1)
    _finish(figure, height=110 + 170 * rows, legend_y=1 + 0.28 / rows)
    caption = (
        "Each subset at its own learning rates. Grey dots are the other subsets' trials; at 0 a recipe is worth as "
        "much as doing nothing. Compare subsets at their own best rate, not at one rate for all."
    )
    return Plot(name="learning_rates", title="Score over learning rate", caption=caption, figure=figure)


def held_out_changes(record: StudyRecord, selection: Selection) -> Plot | None:
    """Heat map: change of every held-out task for each subset at its best rate."""
    rows = [row.best for row in subset_bests(record, selection) if row.best is not None]
    if not rows:
        return None
    table = [[c for c in changes(record, trial.last) if not c.target] for trial in rows]
    values = [[change.change for change in row] for row in table]
    largest = max(1.0, *(abs(value) for row in values for value in row if math.isfinite(value)))
    notes = [
        [
            f"{_recipe_line(trial)}<br>{_text(c.task)}: {wording.points(c.base, signed=False)} to "
            f"{wording.points(c.tuned, signed=False)} (± {wording.points(c.stderr, signed=False)}, n = {c.n})"
            for c in row
        ]
        for trial, row in zip(rows, table, strict=True)
    ]
    figure = go.Figure(
        go.Heatmap(
            z=values,
            x=[_text(task) for task in record.objective.held_out],
            y=[_short(trial) for trial in rows],
            text=[[wording.points(value) for value in row] for row in values],
            texttemplate="%{text}",
            customdata=notes,
            hovertemplate="%{customdata}<extra></extra>",
            coloraxis="coloraxis",
            xgap=2,
            ygap=2,
        )
    )
    figure.update_layout(
        coloraxis={"cmin": -largest, "cmax": largest, "colorbar": {"title": {"text": "points"}}}
    )
    figure.update_xaxes(type="category", showgrid=False, tickangle=-35, side="top")
    figure.update_yaxes(type="category", autorange="reversed", showgrid=False)
    _finish(figure, height=150 + 34 * len(rows))
    caption = (
        "Change of each held-out task in points, for every subset at its own best rate; best score on top."
    )
    return Plot(name="held_out", title="What is forgotten", caption=caption, figure=figure)


def over_steps(record: StudyRecord, selection: Selection) -> Plot | None:
    """Gain and forgetting at every rung, one line a trial."""
    groups = by_outcome(record, selection)
    if not any(len(trial.rungs) > 1 for group in groups.values() for trial in group):
        return None
    panels: tuple[tuple[str, Callable[[Rung], float]], ...] = (
        ("target gain", lambda rung: rung.score.target_gain),
        ("forgetting", lambda rung: rung.score.held_out_forgetting),
    )
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.06)
    for panel, (title, value) in enumerate(panels, start=1):
        for outcome, trials in groups.items():
            chosen = outcome is Outcome.SELECTED
            for trial in trials:
                figure.add_scatter(
                    x=[0, *(rung.step for rung in trial.rungs)],
                    y=[0.0, *(value(rung) for rung in trial.rungs)],
                    name=outcome.value,
                    legendgroup=outcome.value,
                    mode="lines+markers",
                    opacity=1 if chosen else 0.6,
                    line={"width": 3 if chosen else 1.2},
                    marker={**_MARKERS[outcome], "size": 11 if chosen else 6},
                    text=[_hover(trial)] * (len(trial.rungs) + 1),
                    hovertemplate="step %{x}: %{y:+.1f}<br>%{text}<extra></extra>",
                    row=panel,
                    col=1,
                )
        figure.update_yaxes(title=title, row=panel)
    _one_legend_entry_a_name(figure)
    figure.update_xaxes(title="optimiser steps", row=2)
    _finish(figure, height=520)
    caption = "Every evaluation of every trial, in points. A pruned trial's line ends where it was stopped."
    return Plot(
        name="over_steps", title="Learning and forgetting as training goes on", caption=caption, figure=figure
    )


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
    _add_trials(figure, groups, lambda t: t.number, _score)
    figure.update_xaxes(title="trial, in the order of their starts", rangemode="tozero")
    figure.update_yaxes(title="score")
    _finish(figure, height=360)
    caption = "If the line still rises at the right end, more trials may well find a better recipe."
    return Plot(name="history", title="Did the search settle?", caption=caption, figure=figure)


def cost(record: StudyRecord, selection: Selection) -> Plot | None:
    """Score against what a trial cost: seconds of training and evaluation, and trained parameters."""
    groups = by_outcome(record, selection)
    if not any(groups.values()):
        return None
    figure = make_subplots(rows=1, cols=2, shared_yaxes=True, horizontal_spacing=0.05)
    _add_trials(figure, groups, _spent, _score, row=1, col=1)
    _add_trials(figure, groups, lambda t: _metric(t, "cost/trainable_parameters"), _score, row=1, col=2)
    _one_legend_entry_a_name(figure)
    figure.update_xaxes(title="train + eval seconds", rangemode="tozero", row=1, col=1)
    figure.update_xaxes(title="trained parameters", type="log", dtick=1, exponentformat="SI", row=1, col=2)
    figure.update_yaxes(title="score", col=1)
    _finish(figure, height=380)
    caption = "A recipe far to the left that scores as high is the better bargain. Pruned trials cost less by design."
    return Plot(name="cost", title="What a score costs", caption=caption, figure=figure)


def drift(record: StudyRecord, selection: Selection) -> Plot | None:
    """Held-out forgetting against the drift of the answers on the targets, KL(base || tuned)."""
    groups = {
        outcome: [t for t in trials if math.isfinite(_metric(t, "drift/kl_target"))]
        for outcome, trials in by_outcome(record, selection).items()
    }
    if sum(len(group) for group in groups.values()) < 2:
        return None
    figure = go.Figure()
    _add_trials(
        figure, groups, lambda t: _metric(t, "drift/kl_target"), lambda t: t.last.score.held_out_forgetting
    )
    figure.update_xaxes(title="drift on the targets (KL, nats per answer token)", rangemode="tozero")
    figure.update_yaxes(title="forgetting")
    _finish(figure, height=360)
    caption = "How far the answers on the target tasks moved, against what was lost elsewhere."
    return Plot(name="drift", title="Does drift foretell forgetting?", caption=caption, figure=figure)


def _add_trials(
    figure: go.Figure,
    groups: dict[Outcome, list[TrialResult]],
    x: Callable[[TrialResult], float],
    y: Callable[[TrialResult], float],
    **place: int,
) -> None:
    for outcome, trials in groups.items():
        if not trials:
            continue
        figure.add_scatter(
            x=[x(trial) for trial in trials],
            y=[y(trial) for trial in trials],
            name=outcome.value,
            legendgroup=outcome.value,
            mode="markers",
            marker=_MARKERS[outcome],
            text=[_hover(trial) for trial in trials],
            hovertemplate="%{text}<extra></extra>",
            **place,
        )


def _add_front(figure: go.Figure, front: Sequence[TrialResult]) -> None:
    scores = [trial.last.score for trial in front]
    places = sorted([(0.0, 0.0), *((s.held_out_forgetting, s.target_gain) for s in scores)])
    # The base itself is on the front unless a trial forgets no more and gains no less.
    if any(f <= 0 and g >= 0 and (f, g) != (0, 0) for f, g in places):
        places.remove((0.0, 0.0))
    figure.add_scatter(
        x=[x for x, _ in places],
        y=[y for _, y in places],
        name="Pareto front",
        mode="lines",
        line={"color": plot_theme.GREY, "shape": "hv", "width": 1.5},
        hoverinfo="skip",
    )
    figure.add_scatter(
        x=[score.held_out_forgetting for score in scores],
        y=[score.target_gain for score in scores],
        text=[f"{_short(trial)} " for trial in front],
        mode="text",
        textposition="top left",
        textfont={"size": 11},
        cliponaxis=False,
        hoverinfo="skip",
        showlegend=False,
    )


def _add_equal_score(
    figure: go.Figure, record: StudyRecord, selection: Selection, x_range: tuple[float, float]
) -> None:
    weight = record.objective.forgetting_weight
    levels = [0.0] + ([selection.winner.last.score.score] if selection.winner else [])
    for level in levels:
        figure.add_scatter(
            x=list(x_range),
            y=[level + weight * x for x in x_range],
            name="equal score",
            mode="lines",
            line={"color": plot_theme.GREY, "dash": "dot", "width": 1},
            hoverinfo="skip",
            showlegend=level == levels[-1],
        )


def _add_errors(figure: go.Figure, record: StudyRecord, trial: TrialResult) -> None:
    rung = trial.last
    errors = {"error_x": forgetting_stderr(record, rung), "error_y": gain_stderr(record, rung)}
    bars = {"color": plot_theme.GREEN, "thickness": 1.2, "width": 4}
    figure.update_traces(
        {axis: {"array": [error], **bars} for axis, error in errors.items() if math.isfinite(error)},
        selector={"name": Outcome.SELECTED.value},
    )


def _one_legend_entry_a_name(figure: go.Figure) -> None:
    seen = set()
    for trace in figure.data:
        if trace.showlegend is not False:
            trace.showlegend = trace.name not in seen
            seen.add(trace.name)


def _finish(figure: go.Figure, *, height: int, legend_y: float = 1.02) -> None:
    figure.update_layout(template=plot_theme.template("light"), height=height, legend={"y": legend_y})


def _padded(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    room = 0.08 * (high - low) or 1.0
    return low - room, high + room


def _score(trial: TrialResult) -> float:
    return trial.last.score.score


def _metric(trial: TrialResult, name: str) -> float:
    return trial.last.metrics.get(name, math.nan)


def _spent(trial: TrialResult) -> float:
    return _metric(trial, "cost/train_seconds") + _metric(trial, "cost/eval_seconds")


def _text(text: str) -> str:
    """Escape a user's text: plotly reads tags in labels."""
    return html.escape(text, quote=False)


def _short(trial: TrialResult) -> str:
    return f"{_text(trial.recipe.subset)} {wording.rate(trial.recipe.learning_rate)}"


def _recipe_line(trial: TrialResult) -> str:
    return f"<b>trial {trial.number}</b> {_short(trial)}"


def _hover(trial: TrialResult) -> str:
    score, recipe = trial.last.score, trial.recipe
    lines = [
        _recipe_line(trial),
        f"{trial.state.value} at step {trial.last.step} of {recipe.steps}, batch {recipe.batch_size}",
        f"score {wording.points(score.score)}: gain {wording.points(score.target_gain)}, "
        f"forgetting {wording.points(score.held_out_forgetting)} (worst {wording.points(score.worst_forgetting)})",
    ]
    if trial.preset:
        lines.append(f"preset {_text(trial.preset)}")
    return "<br>".join(lines)
