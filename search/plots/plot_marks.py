"""What all plots of a study share: one colour and one shape for each outcome, and what a pointer shows."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import plotly.graph_objects as go

from search import wording
from search.decision.evidence import Estimates
from search.labels import approach_label, group_label
from search.objective import Score
from search.plots import plot_theme
from search.records.study_record import StudyRecord
from search.results import TrialResult, TrialState
from search.selection import Selection


class Outcome(StrEnum):
    """What became of a trial, as a plot shows it."""

    SELECTED = "selected"
    COMPLETE = "complete"
    INFEASIBLE = "infeasible"
    PRUNED = "pruned"


MARKERS: Final[dict[Outcome, dict[str, object]]] = {
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
        narrow: The same traces laid out for a phone; None where one layout does for both.
        min_width: Pixels below which the plot is scrolled, not squeezed; 0 where it may be squeezed.
    """

    name: str
    title: str
    caption: str
    figure: go.Figure
    narrow: go.Figure | None = None
    min_width: int = 0


def by_outcome(record: StudyRecord, selection: Selection) -> dict[Outcome, list[TrialResult]]:
    """Group the trials that have a score by what became of them; none is selected where a point is."""
    chosen = selection.winner if selection.point is None else None
    winner = chosen.number if chosen else None
    complete = [trial for trial in selection.ranking if trial.number != winner]
    pruned = [trial for trial in record.trials if trial.state is TrialState.PRUNED]
    return {
        Outcome.PRUNED: pruned,
        Outcome.INFEASIBLE: list(selection.infeasible),
        Outcome.COMPLETE: complete,
        Outcome.SELECTED: [chosen] if chosen else [],
    }


def add_trials(
    figure: go.Figure,
    groups: dict[Outcome, list[TrialResult]],
    x: Callable[[TrialResult], float],
    y: Callable[[TrialResult], float],
    *,
    hover: Callable[[TrialResult], str] | None = None,
    size: Callable[[TrialResult], float] | None = None,
    **place: int,
) -> None:
    """Add one marker a trial, one trace an outcome.

    Args:
        figure: What is added to.
        groups: The trials by outcome.
        x: A trial's place from left to right.
        y: A trial's place from below.
        hover: What a pointer at a trial shows; a few words on it if None.
        size: A mark's diameter in pixels; that of its outcome if None.
        place: Row and column of a panel.
    """
    for outcome, trials in groups.items():
        if not trials:
            continue
        figure.add_scatter(
            x=[x(trial) for trial in trials],
            y=[y(trial) for trial in trials],
            name=outcome.value,
            legendgroup=outcome.value,
            mode="markers",
            marker=MARKERS[outcome] | ({"size": [size(trial) for trial in trials]} if size else {}),
            text=[(hover or hover_text)(trial) for trial in trials],
            hovertemplate="%{text}<extra></extra>",
            **place,
        )


def one_legend_entry_a_name(figure: go.Figure) -> None:
    """Keep one legend entry of the traces that share a name."""
    seen = set()
    for trace in figure.data:
        if trace.showlegend is not False:
            trace.showlegend = trace.name not in seen
            seen.add(trace.name)


def finish(figure: go.Figure, *, height: int, legend_y: float = 1.02) -> None:
    """Set the theme and the height in pixels; the page takes the width."""
    figure.update_layout(template=plot_theme.template("light"), height=height, legend={"y": legend_y})


def score_of(trial: TrialResult) -> float:
    """Return the score of a trial that did not fail."""
    return trial.last.score.score


def metric_of(trial: TrialResult, name: str) -> float:
    """Return a metric of the last rung; NaN where it was not logged."""
    return trial.last.metrics.get(name, math.nan)


def spent_seconds(trial: TrialResult) -> float:
    """Return the seconds of training and evaluation up to the last rung."""
    return metric_of(trial, "cost/train_seconds") + metric_of(trial, "cost/eval_seconds")


def escaped(text: str) -> str:
    """Escape a user's text: plotly reads tags in labels."""
    return html.escape(text, quote=False)


def short_name(trial: TrialResult) -> str:
    """Name a recipe by what sets it apart: `gate_up 3.1e-4`."""
    return f"{escaped(approach_label(trial.recipe))} {wording.rate(trial.recipe.learning_rate)}"


def group_name(trial: TrialResult) -> str:
    """Name a recipe by its group and rate, in as few words as a place in a plot has room for."""
    return f"{escaped(group_label(trial.recipe))} {wording.rate(trial.recipe.learning_rate)}"


def in_lines(text: str, width: int = 20) -> str:
    """Break an escaped text at blanks and behind `+` into lines of some width, as plotly writes them."""
    lines = [""]
    for piece in re.findall(r" +|[^ +]+\+?|\+", text):
        if lines[-1] and len(lines[-1] + piece) > width:
            lines.append("")
        lines[-1] += piece if lines[-1] else piece.lstrip()
    return "<br>".join(line.rstrip() for line in lines)


def heading(trial: TrialResult) -> str:
    """Return the first line of what a pointer shows."""
    return f"<b>trial {trial.number}</b> {short_name(trial)}"


def score_lines(score: Score, known: Estimates | None = None) -> list[str]:
    """Return the lines of a score in what a pointer shows."""
    if known is None:
        return [
            f"score {wording.points(score.score)}, gain {wording.points(score.target_gain)}",
            f"forgetting {wording.points(score.held_out_forgetting)}, "
            f"worst {wording.points(score.worst_forgetting)}",
        ]
    return [
        f"{name} {wording.points(value)} {wording.interval(estimate.low, estimate.high)}"
        for name, value, estimate in (
            ("score", score.score, known.score),
            ("gain", score.target_gain, known.target_gain),
            ("forgetting", score.held_out_forgetting, known.held_out_forgetting),
            ("worst", score.worst_forgetting, known.worst_forgetting),
        )
    ]


def hover_text(trial: TrialResult) -> str:
    """Return what a pointer at a trial shows: which it is and its score."""
    return "<br>".join([heading(trial), *score_lines(trial.last.score)])


def hover_details(trial: TrialResult, known: Estimates | None) -> str:
    """Return what a pointer at a trial shows where there is room for all of its recipe.

    Args:
        trial: The trial.
        known: Its intervals, where they are known.
    """
    recipe = trial.recipe
    trained = wording.count(metric_of(trial, "cost/trainable_parameters"))
    lines = [
        heading(trial),
        f"{trial.state.value} at step {trial.last.step} of {recipe.steps}, batch {recipe.batch_size}, "
        f"{recipe.schedule}",
        f"trains {trained} parameters in {wording.duration(metric_of(trial, 'cost/train_seconds'))}",
        *score_lines(trial.last.score, known),
    ]
    if trial.preset:
        lines.append(f"preset {escaped(trial.preset)}")
    return "<br>".join(lines)
