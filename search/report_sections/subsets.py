"""Each subset at its own best rate."""

from __future__ import annotations

from search import wording
from search.decision.candidates import Candidate
from search.findings import study_findings as findings
from search.records.study_record import StudyRecord
from search.selection import Selection


def subset_rows(record: StudyRecord, selection: Selection) -> list[dict[str, object]]:
    """Return the rows of the table of subsets; none where no trial completed."""
    rows: list[dict[str, object]] = []
    if not (selection.ranking or selection.infeasible):
        return rows
    for found in findings.group_bests(record, selection):
        row: dict[str, object] = {"subset": found.group, "complete": found.complete, "trials": found.trials}
        if found.best is None:
            absent = dict.fromkeys(("score", "gain", "forgetting", "rate"), wording.UNKNOWN)
            note = "no trial completed" if found.trials else "not tried"
            rows.append(row | absent | {"note": note, "interval": ""})
            continue
        score = found.best.last.score
        known = findings.estimates_of(selection, Candidate(trial=found.best))
        notes = [] if found.feasible else ["infeasible"]
        if found.edge:
            notes.append(f"at the {found.edge} end of its interval")
        rows.append(
            row
            | {
                "score": wording.points(score.score),
                "interval": wording.interval(known.score.low, known.score.high) if known else "",
                "gain": wording.points(score.target_gain),
                "forgetting": wording.points(score.held_out_forgetting),
                "rate": wording.rate(found.best.recipe.learning_rate),
                "note": ", ".join(notes),
            }
        )
    return rows
