"""Target gain against held-out forgetting, with the Pareto front: the plot that the study is about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

import plotly.graph_objects as go

from search.decision.candidates import Candidate, candidates
from search.decision.evidence import Estimate
from search.decision.front import pareto_front
from search.findings.study_findings import confirmed, estimates_of, selected
from search.plots import plot_theme
from search.plots.marker_sizes import cost_sizes
from search.plots.plot_marks import (
    Outcome,
    Plot,
    add_trials,
    by_outcome,
    finish,
    group_name,
    hover_details,
)
from search.plots.point_marks import add_points
from search.plots.verdict_marks import add_choices, add_confirmed, bars
from search.records.study_record import StudyRecord
from search.results import TrialResult
from search.selection import Selection

_GAP: Final = "\u2002\u2002"  # keeps a label off its mark
Range = tuple[float, float]
_LETTER: Final = 0.008  # width of a letter of a label, as a share of the plot's on a desk


def trade_off(record: StudyRecord, selection: Selection) -> Plot | None:
    """Target gain against held-out forgetting, with the Pareto front, the base and the bound."""
    groups = by_outcome(record, selection)
    scores = [trial.last.score for group in groups.values() for trial in group]
    if not scores:
        return None
    scores += [result.rung.score for result in record.points if result.rung]
    figure = go.Figure()
    bound = record.objective.max_forgetting
    searched, sure = estimates_of(selection, selected(selection)), confirmed(selection)
    known = [found for found in (searched, sure) if found is not None]
    error_x = [end for found in known for end in _ends(found.held_out_forgetting)]
    error_y = [end for found in known for end in _ends(found.target_gain)]
    # The front's labels stand to the left of their points where there is room.
    x_range = _padded(
        [0.0, *error_x, *(s.held_out_forgetting for s in scores), *([] if bound is None else [bound])],
        left=0.16,
    )
    y_range = _padded([0.0, *error_y, *(s.target_gain for s in scores)])
    front = [each.trial for each in pareto_front(candidates(record.trials, ()))]
    _add_equal_score(figure, record, selection, x_range)
    _add_front(figure, front)
    sizes, unit = cost_sizes([trial for group in groups.values() for trial in group])
    add_trials(
        figure,
        groups,
        lambda t: t.last.score.held_out_forgetting,
        lambda t: t.last.score.target_gain,
        hover=lambda t: hover_details(t, estimates_of(selection, Candidate(trial=t))),
        size=None if sizes is None else partial(_seen, sizes, selection),
    )
    add_points(figure, record, selection)
    if searched is not None:
        figure.update_traces(
            error_x=bars(searched.held_out_forgetting),
            error_y=bars(searched.target_gain),
            selector={"name": Outcome.SELECTED.value},
        )
    add_confirmed(figure, selection)
    add_choices(figure, record, selection)
    figure.add_scatter(
        x=[0],
        y=[0],
        name="base",
        mode="markers",
        marker={"color": plot_theme.GREY, "symbol": "square", "size": 11},
        hovertemplate="base model, untouched<extra></extra>",
    )
    _add_labels(figure, _told_apart(front, selection, x_range, y_range), x_range)
    if bound is not None:
        figure.add_vline(
            x=bound,
            line={"color": plot_theme.VERMILLION, "dash": "dash", "width": 1},
            layer="below",
            annotation={"text": f"allowed up to {bound:g}"},
            annotation_position="bottom right",
        )
    figure.update_xaxes(title="held-out forgetting (points)", range=x_range)
    figure.update_yaxes(title="target gain (points)", range=y_range)
    finish(figure, height=520)
    caption = (
        "Up is more learned, left is less forgotten. The line is the Pareto front of the trials: no complete "
        "one lies above and to the left of it. The dotted lines join equal scores: what lies below the one "
        "through the base is worse than doing nothing."
    )
    if unit:
        caption += f" The larger a mark, the more {unit} its training took."
    if searched is not None:
        share = f"{100 * record.config.selection.confidence:g} %"
        caption += f" Bars are {share} intervals."
    if sure is not None:
        caption += " The open star is what new seeds and unseen data confirmed of the selected one."
    if record.points:
        caption += " Diamonds were made without retraining; a thin line joins base, interpolations and trial."
    return Plot(name="trade_off", title="Gain against forgetting", caption=caption, figure=figure)


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


def _add_labels(figure: go.Figure, trials: Sequence[TrialResult], x_range: Range) -> None:
    """Name trials to the left of their points, or to the right where the name is too long for that."""
    names = [group_name(trial) for trial in trials]
    places = [trial.last.score.held_out_forgetting for trial in trials]
    room = [(place - x_range[0]) / (x_range[1] - x_range[0]) / _LETTER for place in places]
    fits = [len(name) < letters for name, letters in zip(names, room, strict=True)]
    figure.add_scatter(
        x=places,
        y=[trial.last.score.target_gain for trial in trials],
        text=[
            f"{name}\u2002\u2002" if fit else f"\u2002\u2002{name}"
            for name, fit in zip(names, fits, strict=True)
        ],
        mode="text",
        textposition=["top left" if fit else "top right" for fit in fits],
        textfont={"size": 11},
        cliponaxis=False,
        hoverinfo="skip",
        showlegend=False,
    )


def _told_apart(
    front: Sequence[TrialResult], selection: Selection, x_range: Range, y_range: Range
) -> list[TrialResult]:
    """Return those trials of the front whose labels do not cover each other, the selected one first."""
    winner = selection.winner.number if selection.winner else None
    wide, high = 0.2 * (x_range[1] - x_range[0]), 0.04 * (y_range[1] - y_range[0])
    labelled: list[TrialResult] = []
    for trial in sorted(front, key=lambda t: t.number != winner):
        score = trial.last.score
        if all(
            abs(score.held_out_forgetting - other.last.score.held_out_forgetting) > wide
            or abs(score.target_gain - other.last.score.target_gain) > high
            for other in labelled
        ):
            labelled.append(trial)
    return labelled


def _ends(estimate: Estimate) -> tuple[float, float]:
    return estimate.low, estimate.high


def _seen(sizes: Mapping[int, float], selection: Selection, trial: TrialResult) -> float:
    """Return a mark's size; the selected star is never too small to be found."""
    chosen = selection.winner is not None and trial.number == selection.winner.number
    return max(sizes[trial.number], 17.0) if chosen else sizes[trial.number]


def _add_equal_score(figure: go.Figure, record: StudyRecord, selection: Selection, x_range: Range) -> None:
    weight = record.objective.forgetting_weight
    levels = [0.0] + ([selection.rung.score.score] if selection.rung else [])
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


def _padded(values: Sequence[float], left: float = 0.08) -> Range:
    low, high = min(values), max(values)
    span = high - low or 10.0
    return low - left * span, high + 0.08 * span
