"""Plots over time: the course of each trial, of the search, and when what ran."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from search import wording
from search.plots import plot_theme
from search.plots.plot_marks import (
    MARKERS,
    Outcome,
    Plot,
    add_trials,
    by_outcome,
    finish,
    heading,
    hover_text,
    one_legend_entry_a_name,
    score_of,
)
from search.records.study_record import StudyRecord
from search.results import Rung, TrialResult, TrialState
from search.selection import Selection

_LINES: Final = 40  # trials of an outcome whose course is drawn; more would hide each other


def over_steps(record: StudyRecord, selection: Selection) -> Plot | None:
    """Gain and forgetting at every rung, one line a trial."""
    groups = by_outcome(record, selection)
    if not any(len(trial.rungs) > 1 for group in groups.values() for trial in group):
        return None
    drawn = {outcome: thinned(trials, _LINES) for outcome, trials in groups.items()}
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
                x=joined([0, *(rung.step for rung in trial.rungs)] for trial in trials),
                y=joined([0.0, *(value(rung) for rung in trial.rungs)] for trial in trials),
                name=outcome.value,
                legendgroup=outcome.value,
                mode="lines+markers",
                opacity=1 if chosen else 0.75,
                line={"width": 3 if chosen else 1.2},
                marker={**MARKERS[outcome], "size": 11 if chosen else 6},
                text=joined([heading(trial)] * (len(trial.rungs) + 1) for trial in trials),
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


def timeline(record: StudyRecord, selection: Selection) -> Plot | None:
    """When each trial ran: one bar a trial, in the order of their starts."""
    begun = [trial for trial in record.trials if math.isfinite(trial.started + trial.seconds)]
    if len(begun) < 2:
        return None
    zero = min(trial.started for trial in begun)
    unit, seconds = _unit(max(trial.started + trial.seconds for trial in begun) - zero)
    failed = [trial for trial in begun if trial.state is TrialState.FAILED]
    groups: dict[str, tuple[list[TrialResult], str]] = {
        outcome.value: ([t for t in trials if t in begun], str(MARKERS[outcome]["color"]))
        for outcome, trials in by_outcome(record, selection).items()
    }
    groups["failed"] = failed, plot_theme.GREY
    # No bar is thinner than a pixel, however many there are.
    height = min(620, 130 + 16 * len(begun))
    figure = go.Figure()
    for name, (trials, colour) in groups.items():
        if trials:
            spans = [(_since(t.started, zero, seconds), t.seconds / seconds, t) for t in trials]
            figure.add_bar(
                x=[round(length, 4) for _, length, _ in spans],
                base=[round(start, 4) for start, _, _ in spans],
                y=[trial.number for _, _, trial in spans],
                orientation="h",
                name=name,
                marker={"color": colour, "line": {"width": 0}},
                width=0.8 if len(begun) < 100 else 1,
                text=[_span(trial) for _, _, trial in spans],
                textposition="none",
                hovertemplate="%{text}<extra></extra>",
            )
    figure.update_layout(barmode="overlay")
    figure.update_xaxes(title=f"{unit} since the first trial's start", rangemode="tozero")
    numbers = [trial.number for trial in begun]
    figure.update_yaxes(title="trial", range=[max(numbers) + 0.6, min(numbers) - 0.6], zeroline=False)
    finish(figure, height=height)
    when = datetime.fromtimestamp(zero, UTC).strftime("%Y-%m-%d %H:%M")
    caption = (
        f"Each bar is a trial, from its start to its end; the first one started at {when} UTC. Pruned trials "
        "are the short ones: what stopping them early saved is where their bars end."
    )
    return Plot(name="timeline", title="What ran when", caption=caption, figure=figure)


def _since(moment: float, zero: float, seconds: float) -> float:
    return (moment - zero) / seconds


def _span(trial: TrialResult) -> str:
    if trial.state is TrialState.FAILED:
        return f"{heading(trial)}<br>failed after {wording.duration(trial.seconds)}"
    return f"{hover_text(trial)}<br>ran for {wording.duration(trial.seconds)}"


def _unit(span: float) -> tuple[str, float]:
    """Return in what a span is told, and how many seconds that has."""
    if span < 600:
        return "seconds", 1.0
    return ("minutes", 60.0) if span < 4 * 3600 else ("hours", 3600.0)


def thinned(trials: Sequence[TrialResult], at_most: int) -> Sequence[TrialResult]:
    """Return every second, third, ... trial, so that no more are left than `at_most`."""
    return trials[:: max(1, math.ceil(len(trials) / at_most))]


def joined(lines: Iterable[Sequence[Any]]) -> list[Any]:
    """Return the lines one after another, with a gap between two."""
    return [point for line in lines for point in (*line, None)][:-1]
