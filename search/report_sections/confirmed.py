"""What was confirmed: each finalist's search score beside what new seeds scored on the confirm split."""

from __future__ import annotations

import math
import statistics

from search import wording
from search.decision.candidates import candidates
from search.decision.evidence import Finalist, FinalistRun
from search.decision.naming import brief_name
from search.findings import study_findings as findings
from search.findings.verdict import regret
from search.records.study_record import StudyRecord
from search.report_sections.whiskers import Scale, reach, whisker
from search.selection import Selection


def finalist_rows(record: StudyRecord, selection: Selection) -> list[dict[str, object]]:
    """Return one row a finalist, in the order of their search scores."""
    by_key = {each.key: each for each in candidates(record.trials, record.points)}
    chosen = findings.selected(selection)
    known = {each.candidate: selection.estimates.get(each.candidate) for each in record.finalists}
    searched = {each.candidate: by_key[each.candidate].rung.score.score for each in record.finalists}
    values: list[float] = []
    for finalist in record.finalists:
        search = known[finalist.candidate]
        values += reach(searched[finalist.candidate], search.score if search else None)
        if finalist.estimates:
            values += reach(finalist.estimates.score.value, finalist.estimates.score)
    scale = Scale.around(values)
    rows: list[dict[str, object]] = []
    for finalist in record.finalists:
        search, found = known[finalist.candidate], finalist.estimates
        score = searched[finalist.candidate]
        is_chosen = chosen is not None and chosen.key == finalist.candidate
        rows.append(
            {
                "name": brief_name(by_key[finalist.candidate]),
                "kind": "chosen" if is_chosen else "",
                "searched": wording.points(score),
                "searched_interval": wording.interval(search.score.low, search.score.high) if search else "",
                "searched_mark": whisker(scale, score, search.score if search else None),
                "again": wording.points(_again(finalist)),
                "confirmed": wording.points(found.score.value) if found else wording.UNKNOWN,
                "interval": wording.interval(found.score.low, found.score.high) if found else "",
                "mark": whisker(scale, found.score.value, found.score) if found else None,
                "regret": wording.points(regret(finalist, score)) if found else wording.UNKNOWN,
                "gain": wording.points(found.target_gain.value if found else math.nan),
                "forgetting": wording.points(found.held_out_forgetting.value if found else math.nan),
                "seeds": ", ".join(_seed(run) for run in finalist.runs),
                "note": _note(finalist, is_chosen),
            }
        )
    return rows


def _again(finalist: Finalist) -> float:
    """Return the mean search score of the runs on new seeds; NaN where none has one."""
    scores = [run.rung.score.score for run in finalist.runs if run.rung is not None]
    return statistics.fmean(scores) if scores else math.nan


def _seed(run: FinalistRun) -> str:
    if run.error is not None:
        return f"{run.seed}: failed ({run.error})"
    if run.confirmed is None:
        return f"{run.seed}: not evaluated"
    return f"{run.seed}: {wording.points(run.confirmed.score)}"


def _note(finalist: Finalist, is_chosen: bool) -> str:
    if is_chosen:
        return "selected"
    return "dropped, clearly behind" if finalist.dropped else ""
