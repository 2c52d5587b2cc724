"""TrialResult: what became of a trial; COMPLETE, PRUNED and FAILED exclude each other."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from search.objective import Score
from spaces.points import Point, Soup
from spaces.recipe import Recipe

_POINT_COLUMNS = ("trial", "step", "transform", "alpha", "keep", "members", "subset", "learning_rate")


class TrialState(StrEnum):
    """How a trial ended."""

    COMPLETE = "COMPLETE"
    PRUNED = "PRUNED"
    FAILED = "FAILED"


@dataclass(frozen=True, kw_only=True, slots=True)
class Rung:
    """One evaluation of a trial.

    Attributes:
        step: Optimiser steps done.
        progress: `step` over the recipe's steps, in (0, 1].
        score: The comparison with the base.
        values: Task -> value in points.
        metrics: Every metric logged at this rung, by its MLflow name, such as `drift/kl_target`.
        weights: Where the trained parameters of this rung lie, or None where they were not kept.
        sha256: Checksum of that file; None where it is not known, in studies of earlier versions.
        at: When it was reported, in seconds since 1970; NaN where that was not recorded.
    """

    step: int
    progress: float
    score: Score
    values: Mapping[str, float]
    metrics: Mapping[str, float]
    weights: str | None = None
    sha256: str | None = None
    at: float = math.nan


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialResult:
    """One trial, ended.

    Attributes:
        trial_id: The study's id of it, the key in every record.
        number: Order in which the trials were started, from 0.
        recipe: What was trained and how.
        state: How it ended.
        rungs: Its evaluations, by rising step.
        preset: Name of the preset that queued it, or None.
        error: Why it failed, one line; None unless FAILED.
        seconds: Wall-clock time from start to end.
        nodes: Addresses of the nodes that its workers ran on, as far as it reported.
        started: When it started, in seconds since 1970; NaN where that was not recorded.
    """

    trial_id: str
    number: int
    recipe: Recipe
    state: TrialState
    rungs: tuple[Rung, ...] = field(default=())
    preset: str | None = None
    error: str | None = None
    seconds: float = math.nan
    nodes: tuple[str, ...] = ()
    started: float = math.nan

    def __post_init__(self) -> None:
        """Refuse states that contradict the evidence."""
        if self.state is TrialState.FAILED:
            if self.error is None:
                raise ValueError(f"trial {self.trial_id}: a FAILED trial must say why")
            return
        if self.error is not None:
            raise ValueError(f"trial {self.trial_id}: only a FAILED trial has an error")
        if not self.rungs:
            raise ValueError(f"trial {self.trial_id}: a {self.state} trial needs at least one rung")
        if (self.state is TrialState.COMPLETE) != (self.rungs[-1].progress == 1):
            raise ValueError(
                f"trial {self.trial_id}: {self.state} contradicts progress {self.rungs[-1].progress}"
            )

    @property
    def last(self) -> Rung:
        """The last rung, whose score is the trial's.

        Raises:
            ValueError: The trial failed; a failed trial has no score.
        """
        if self.state is TrialState.FAILED:
            raise ValueError(f"trial {self.trial_id} failed ({self.error}): it has no score")
        return self.rungs[-1]


@dataclass(frozen=True, kw_only=True, slots=True)
class PointResult:
    """One point, evaluated without training.

    Attributes:
        number: Order in which the points were planned, from 0.
        point: What was done to which trial's weights.
        trial: That trial; of a soup, its best member.
        rung: What was measured; `progress` and `step` are those of the weights. None if it failed.
        preset: Name of the preset that it stands for, or None.
        error: Why it failed, one line; None unless it did.
        unwritten: Why its weights could not be written, one line; None unless that was tried in vain.
    """

    number: int
    point: Point
    trial: TrialResult
    rung: Rung | None = None
    preset: str | None = None
    error: str | None = None
    unwritten: str | None = None

    def __post_init__(self) -> None:
        """Refuse a point without evidence."""
        if (self.rung is None) == (self.error is None):
            raise ValueError(f"point {self.number}: it was either measured or has an error")

    @property
    def measured(self) -> Rung:
        """What was measured.

        Raises:
            ValueError: The point failed; it has no score.
        """
        if self.rung is None:
            raise ValueError(f"point {self.number} failed ({self.error}): it has no score")
        return self.rung


def trials_csv(trials: Iterable[TrialResult]) -> str:
    """Return the table of trials, one row each: recipe, state and the last rung's metrics."""
    rows: list[dict[str, object]] = []
    for trial in trials:
        row: dict[str, object] = {
            "number": trial.number,
            "trial_id": trial.trial_id,
            "state": trial.state.value,
            "preset": trial.preset or "",
            **trial.recipe.to_dict(),
            "seconds": round(trial.seconds, 3),
            "nodes": " ".join(trial.nodes),
            "error": trial.error or "",
        }
        if trial.state is not TrialState.FAILED:
            row |= {"step": trial.last.step, "progress": trial.last.progress}
            row |= dict(trial.last.metrics)
        rows.append(row)
    return _csv(rows)


def points_csv(points: Iterable[PointResult]) -> str:
    """Return the table of points, one row each: the transform, its trial's recipe and the metrics."""
    rows: list[dict[str, object]] = []
    for result in points:
        fields = {**result.point.to_dict(), "members": members_text(result.point)}
        if result.point.transform.name != Soup.name:
            fields |= {
                "subset": result.trial.recipe.subset,
                "learning_rate": result.trial.recipe.learning_rate,
            }
        row: dict[str, object] = {"number": result.number}
        row |= {name: fields.get(name, "") for name in _POINT_COLUMNS} | {
            "state": TrialState.FAILED if result.error else TrialState.COMPLETE,
            "preset": result.preset or "",
            "error": result.error or "",
        }
        rows.append(row | (dict(result.rung.metrics) if result.rung else {}))
    return _csv(rows)


def members_text(point: Point) -> str:
    """Write what a soup is made of as `3@100 5@100`: trial and step."""
    if not isinstance(point.transform, Soup):
        return ""
    return " ".join(f"{member.trial}@{member.step}" for member in point.members)


def _csv(rows: list[dict[str, object]]) -> str:
    columns = list(dict.fromkeys(column for row in rows for column in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
