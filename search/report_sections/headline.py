"""The tiles below the page's title: the few numbers that a reader looks for first."""

from __future__ import annotations

from search import wording
from search.decision.evidence import Estimate
from search.findings import study_findings as findings
from search.findings.verdict import best_confirmed
from search.records.study_record import StudyRecord
from search.results import TrialState
from search.selection import Selection


def tiles(record: StudyRecord, selection: Selection) -> list[dict[str, str]]:
    """Return the tiles: what was confirmed of the selected recipe, else what the search measured of it."""
    study = _study(record)
    rung = selection.rung
    if rung is None:
        if (finalist := best_confirmed(record)) and finalist.estimates:
            score_there = finalist.estimates.score
            label = "best confirmed score of a recipe"
            return [_tile(label, wording.points(score_there.value), _note(score_there)), study]
        best = findings.shown(selection)
        value = wording.points(best.rung.score.score) if best else wording.UNKNOWN
        note = "infeasible" if best and not selection.ranking else "points; doing nothing scores 0"
        return [_tile("best score of a recipe", value, note), study]
    known = findings.confirmed(selection) or findings.estimates_of(selection, findings.selected(selection))
    score = rung.score
    found: list[dict[str, str]] = []
    for label, measured, estimate in (
        ("score", score.score, known.score if known else None),
        ("target gain", score.target_gain, known.target_gain if known else None),
        ("held-out forgetting", score.held_out_forgetting, known.held_out_forgetting if known else None),
        ("worst held-out drop", score.worst_forgetting, known.worst_forgetting if known else None),
    ):
        points = estimate.value if estimate else measured
        found.append(_tile(label, wording.points(points), _note(estimate)))
    split = "search" if findings.confirmed(selection) is None else "confirm"
    found[0]["label"] = f"score, {split} split"
    return [*found, study]


def _study(record: StudyRecord) -> dict[str, str]:
    states = [trial.state for trial in record.trials]
    pruned, failed = states.count(TrialState.PRUNED), states.count(TrialState.FAILED)
    took = wording.duration(record.seconds) if record.finished else "not finished"
    note = f"{pruned} pruned, {failed} failed, {took}"
    return _tile("search", wording.counted(len(states), "trial"), note)


def _note(estimate: Estimate | None) -> str:
    return f"{wording.interval(estimate.low, estimate.high)} points" if estimate else "points, no interval"


def _tile(label: str, value: str, note: str) -> dict[str, str]:
    return {"label": label, "value": value, "note": note}
