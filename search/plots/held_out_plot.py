"""What is forgotten: a heat map of held-out tasks by recipes."""

from __future__ import annotations

from typing import Final

import plotly.graph_objects as go

from search import wording
from search.decision.candidates import Candidate
from search.findings.study_findings import Change, changes, estimates_of, group_bests, with_interval
from search.plots.plot_marks import Plot, escaped, finish, group_name, heading, in_lines
from search.records.study_record import StudyRecord
from search.results import TrialResult
from search.selection import Selection

_FAINT: Final = 3.0  # points; changes smaller than that are never drawn in a strong colour
_LABELS: Final = 130  # pixels for the names of recipes
_CELL: Final = 46  # pixels that a task's column needs


def held_out_changes(record: StudyRecord, selection: Selection) -> Plot | None:
    """Heat map: change of every held-out task for each subset at its best rate."""
    rows = [row.best for row in group_bests(record, selection) if row.best is not None]
    if not rows:
        return None
    known = [estimates_of(selection, Candidate(trial=trial)) for trial in rows]
    table = [
        [change for change in changes(record, trial.last, estimates) if not change.target]
        for trial, estimates in zip(rows, known, strict=True)
    ]
    values = [[change.change for change in row] for row in table]
    # At least an interval's half, so that noise does not look like loss.
    sizes = [size for row in table for change in row for size in (abs(change.change), _half(change))]
    largest = max([_FAINT, *sizes])
    notes = [[_note(trial, change) for change in row] for trial, row in zip(rows, table, strict=True)]
    figure = go.Figure(
        go.Heatmap(
            z=values,
            x=[escaped(task) for task in record.objective.held_out],
            y=[in_lines(group_name(trial), 28) for trial in rows],
            text=[[_text(change) for change in row] for row in table],
            texttemplate="%{text}",
            textfont={"size": 12},
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
    if any(known):
        caption += " Bold where the interval leaves out 0."
    return Plot(
        name="held_out",
        title="What is forgotten",
        caption=caption,
        figure=figure,
        min_width=_LABELS + _CELL * len(record.objective.held_out),
    )


def _half(change: Change) -> float:
    return (change.interval.high - change.interval.low) / 2 if change.interval else 0.0


def _text(change: Change) -> str:
    text = wording.points(change.change)
    return f"<b>{text}</b>" if change.sure else text


def _note(trial: TrialResult, change: Change) -> str:
    before, after = (wording.points(value, signed=False) for value in (change.base, change.tuned))
    text = with_interval(change.change, change.interval)
    return f"{heading(trial)}<br>{escaped(change.task)}: {before} to {after}, {text}, n = {change.n}"
