"""What points gave beside the trials that they are made of: sentences and rows for a reader."""

from __future__ import annotations

import math

from search import wording
from search.decision.candidates import Candidate
from search.labels import approach_label
from search.records.study_record import StudyRecord
from search.results import PointResult
from search.selection import Selection
from spaces.points import Identity, Interpolation, Pruning, Soup


def made_then(result: PointResult | None) -> str:
    """Say what to do with trained weights, to go on a sentence: `, then interpolate ... at alpha 0.9`."""
    if result is None:
        return ""
    match result.point.transform:
        case Identity():
            return f", and take its weights after {wording.counted(result.point.step, 'step')}"
        case Interpolation(alpha):
            return f", then interpolate its weights with the base's at alpha {alpha:g}"
        case Pruning(keep):
            return f", then keep the changes of {100 * keep:g} % of each tensor's elements"
        case Soup(members):
            others = [str(member.trial) for member in members if member.trial != result.trial.number]
            noun = "trial" if len(others) == 1 else "trials"
            return f", then average its weights with those of {noun} {' and '.join(others)}"


def point_caveat(record: StudyRecord) -> str:
    """Say what the points' scores are worth; empty where none was measured."""
    number = sum(result.rung is not None for result in record.points)
    if not number:
        return ""
    confirmed = (
        "What finalists scored on data that the search never saw does not."
        if record.finalists
        else "Only finalists, evaluated on data that the search never saw, would confirm one."
    )
    scores = "1 of these scores is of a point" if number == 1 else f"{number} of these scores are of points"
    return (
        f"{scores} made from the best trials' weights without retraining, and chosen by the same samples: "
        f"the more points are tried, the more the best of them owes to chance. {confirmed}"
    )


def point_rows(record: StudyRecord, selection: Selection) -> list[dict[str, object]]:
    """Return the rows of the table of points, best score first, then the infeasible and the failed."""
    order = {result.number: place for place, result in enumerate(selection.points)}
    last = len(order)

    def place(result: PointResult) -> tuple[int, float]:
        return order.get(result.number, last), -result.rung.score.score if result.rung else math.inf

    return [_row(result, selection) for result in sorted(record.points, key=place)]


def _row(result: PointResult, selection: Selection) -> dict[str, object]:
    soup = isinstance(result.point.transform, Soup)
    row: dict[str, object] = {
        "trials": ", ".join(str(member.trial) for member in result.point.members),
        "recipe": "" if soup else approach_label(result.trial.recipe),
        "rate": "" if soup else wording.rate(result.trial.recipe.learning_rate),
        "preset": result.preset,
        "made": result.point.label,
    }
    if result.rung is None:
        absent = dict.fromkeys(("score", "beside", "gain", "forgetting", "worst", "kl"), wording.UNKNOWN)
        row["interval"] = ""
        return row | absent | {"state": "failed", "kind": "out", "error": result.error}
    score = result.rung.score
    known = selection.estimates.get(Candidate(trial=result.trial, made=result).key)
    chosen = selection.point is not None and selection.point.number == result.number
    feasible = any(result.number == point.number for point in selection.points)
    kl = result.rung.metrics.get("drift/kl_target", math.nan)
    return row | {
        "score": wording.points(score.score),
        "interval": wording.interval(known.score.low, known.score.high) if known else "",
        "beside": wording.points(score.score - result.trial.last.score.score),
        "gain": wording.points(score.target_gain),
        "forgetting": wording.points(score.held_out_forgetting),
        "worst": wording.points(score.worst_forgetting),
        "kl": f"{kl:.3f}" if math.isfinite(kl) else wording.UNKNOWN,
        "state": "selected" if chosen else "feasible" if feasible else "infeasible",
        "kind": "chosen" if chosen else "" if feasible else "out",
        "error": None,
    }
