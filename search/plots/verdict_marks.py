"""Marks of the verdict in the plot of gain against forgetting: intervals, confirmation, named choices."""

from __future__ import annotations

import plotly.graph_objects as go

from search.decision.candidates import candidates
from search.decision.evidence import Estimate, Estimates
from search.findings.study_findings import confirmed
from search.objective import Score
from search.plots import plot_theme
from search.plots.plot_marks import score_lines
from search.records.study_record import StudyRecord
from search.selection import Selection


def bars(estimate: Estimate) -> dict[str, object]:
    """Return an interval as plotly's error bars of one mark."""
    return {
        "array": [estimate.high - estimate.value],
        "arrayminus": [estimate.value - estimate.low],
        "color": plot_theme.GREEN,
        "thickness": 1.2,
        "width": 4,
    }


def add_confirmed(figure: go.Figure, selection: Selection) -> None:
    """Add where unseen data and new seeds put the selected candidate, joined with where the search saw it."""
    sure, rung = confirmed(selection), selection.rung
    if sure is None or rung is None:
        return
    place = sure.held_out_forgetting.value, sure.target_gain.value
    figure.add_scatter(
        x=[rung.score.held_out_forgetting, place[0]],
        y=[rung.score.target_gain, place[1]],
        mode="lines",
        line={"color": plot_theme.GREEN, "width": 1.5, "dash": "dot"},
        hoverinfo="skip",
        showlegend=False,
    )
    figure.add_scatter(
        x=[place[0]],
        y=[place[1]],
        name="selected, confirmed",
        mode="markers",
        marker={"color": plot_theme.GREEN, "symbol": "star-open", "size": 17, "line": {"width": 2}},
        error_x=bars(sure.held_out_forgetting),
        error_y=bars(sure.target_gain),
        text=["<br>".join(["<b>confirmed on new seeds and unseen data</b>", *_sure_lines(sure)])],
        hovertemplate="%{text}<extra></extra>",
    )


def _sure_lines(sure: Estimates) -> list[str]:
    values = Score(
        target_gain=sure.target_gain.value,
        held_out_forgetting=sure.held_out_forgetting.value,
        worst_forgetting=sure.worst_forgetting.value,
        score=sure.score.value,
    )
    return score_lines(values, sure)


def add_choices(figure: go.Figure, record: StudyRecord, selection: Selection) -> None:
    """Put a ring and a name around the named choices."""
    by_key = {each.key: each for each in candidates(record.trials, record.points)}
    names: dict[str, list[str]] = {}
    for choice in selection.choices:
        names.setdefault(choice.candidate, []).append(choice.name)
    if not names:
        return
    scores = [by_key[key].rung.score for key in names]
    figure.add_scatter(
        x=[score.held_out_forgetting for score in scores],
        y=[score.target_gain for score in scores],
        name="named choice",
        mode="markers+text",
        marker={"color": plot_theme.PURPLE, "symbol": "circle-open", "size": 28, "line": {"width": 2}},
        text=[f"<b>\u2002{', '.join(each)}</b>" for each in names.values()],
        textposition="bottom right",
        textfont={"size": 12},
        cliponaxis=False,
        hoverinfo="skip",
    )
