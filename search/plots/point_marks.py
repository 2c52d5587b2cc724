"""Points in the plot of gain against forgetting: diamonds, and the path from the base to a trial."""

from __future__ import annotations

from typing import Any, Final

import plotly.graph_objects as go

from search.decision.candidates import Candidate
from search.findings.study_findings import estimates_of
from search.plots import plot_theme
from search.plots.plot_marks import MARKERS, Outcome, heading, score_lines
from search.records.study_record import StudyRecord
from search.results import PointResult
from search.selection import Selection
from spaces.points import Interpolation, Soup

_DIAMOND: Final = {"color": plot_theme.PURPLE, "size": 8}


def add_points(figure: go.Figure, record: StudyRecord, selection: Selection) -> None:
    """Add the points that were measured, the selected one with the mark of a selected trial."""
    chosen = selection.point.number if selection.point else None
    feasible = {result.number for result in selection.points}
    measured = [result for result in record.points if result.rung is not None]
    groups = {
        "without retraining": [r for r in measured if r.number in feasible and r.number != chosen],
        "without retraining, infeasible": [r for r in measured if r.number not in feasible],
        Outcome.SELECTED.value: [r for r in measured if r.number == chosen],
    }
    markers: list[dict[str, object]] = [
        {**_DIAMOND, "symbol": "diamond"},
        {**_DIAMOND, "symbol": "diamond-open"},
        MARKERS[Outcome.SELECTED],
    ]
    _add_paths(figure, measured)
    for (name, results), marker in zip(groups.items(), markers, strict=True):
        if results:
            figure.add_scatter(
                x=[result.measured.score.held_out_forgetting for result in results],
                y=[result.measured.score.target_gain for result in results],
                name=name,
                mode="markers",
                marker=marker,
                text=[_hover_text(result, selection) for result in results],
                hovertemplate="%{text}<extra></extra>",
            )


def _add_paths(figure: go.Figure, results: list[PointResult]) -> None:
    """Join the base, a trial's interpolations by rising alpha, and the trial."""
    paths: dict[int, list[tuple[float, PointResult]]] = {}
    for result in results:
        if isinstance(result.point.transform, Interpolation):
            paths.setdefault(result.trial.number, []).append((result.point.transform.alpha, result))
    x: list[Any] = []
    y: list[Any] = []
    for path in paths.values():
        scores = [result.measured.score for _, result in sorted(path, key=lambda step: step[0])]
        scores.append(path[0][1].trial.last.score)
        x += [0.0, *(score.held_out_forgetting for score in scores), None]
        y += [0.0, *(score.target_gain for score in scores), None]
    if x:
        figure.add_scatter(
            x=x,
            y=y,
            mode="lines",
            line={"color": plot_theme.PURPLE, "width": 1},
            opacity=0.6,
            hoverinfo="skip",
            showlegend=False,
        )


def _hover_text(result: PointResult, selection: Selection) -> str:
    known = estimates_of(selection, Candidate(trial=result.trial, made=result))
    numbers = ", ".join(str(member.trial) for member in result.point.members)
    soup = isinstance(result.point.transform, Soup)
    head = f"<b>trials {numbers}</b>" if soup else heading(result.trial)
    return "<br>".join([head, result.point.label, *score_lines(result.measured.score, known)])
