"""All recipes, ranked: one row a trial, with intervals, and the base where it belongs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Final

from search import wording
from search.decision.candidates import Candidate
from search.decision.evidence import Estimate, Measure
from search.findings import study_findings as findings
from search.labels import approach_label, settings_label
from search.records.study_record import StudyRecord
from search.report_sections.whiskers import Scale, reach, whisker
from search.results import TrialResult, TrialState
from search.selection import Selection
from spaces.space import RecipeSpace

_ABSENT = ("tag", "rate", "state", "said", "steps", "kl", "parameters", "time")
_MEASURED = ("score", "gain", "forgetting", "worst")
_INTERVALS: Final[Mapping[str, Measure]] = {
    "interval": "score",
    "gain_interval": "target_gain",
    "forgetting_interval": "held_out_forgetting",
}


def ranking_rows(record: StudyRecord, selection: Selection) -> list[dict[str, object]]:
    """Return the rows: feasible trials by score with the base among them, then the others."""
    winner = selection.winner.number if selection.winner and selection.point is None else None
    pruned = [trial for trial in record.trials if trial.state is TrialState.PRUNED]
    pruned.sort(key=lambda trial: (-trial.last.step, -trial.last.score.score))
    shown = (*selection.ranking, *selection.infeasible, *pruned)
    scale = Scale.around(
        value for trial in shown for value in reach(trial.last.score.score, _score(selection, trial))
    )
    row = partial(_row, record.config.recipe_space(), selection, scale)
    base: dict[str, object] | None = _base(scale)
    rows: list[dict[str, object]] = []
    for trial in selection.ranking:
        if base and trial.last.score.score <= 0:
            rows.append(base)
            base = None
        chosen = trial.number == winner
        rows.append(row(trial, "selected" if chosen else "complete", "chosen" if chosen else ""))
    if base:
        rows.append(base)
    rows += [row(trial, "infeasible", "out") for trial in selection.infeasible]
    rows += [row(trial, "pruned", "out") for trial in pruned]
    rows += [row(trial, "failed", "out") for trial in record.trials if trial.state is TrialState.FAILED]
    return rows


def formula(record: StudyRecord, selection: Selection) -> str:
    """Say what the numbers of the ranking are."""
    objective = record.objective
    text = (
        f"Score is gain minus {objective.forgetting_weight:g} times forgetting, the mean drop of the "
        "held-out tasks; worst is the largest drop. All four are in points, KL is in nats per answer token, "
        "trained counts parameters."
    )
    if objective.max_forgetting is not None:
        text += f" A recipe that forgets more than {objective.max_forgetting:g} points is infeasible."
    if selection.estimates:
        share = f"{100 * record.config.selection.confidence:g} %"
        text += (
            f" Brackets and bars are {share} intervals on the search split; the thin line is the base, at 0."
        )
        if any(trial.state is TrialState.PRUNED for trial in record.trials):
            text += (
                " Those of pruned trials are of the samples that they were scored on when they were stopped."
            )
    if len(selection.tied) > 1:
        what = "selected recipe" if selection.best == selection.key else "best"
        text += f" Tied means complete, and within noise of the {what}."
    return text


def _base(scale: Scale) -> dict[str, object]:
    base: dict[str, object] = {"number": "base", "kind": "base", "subset": "keep the model as it is"}
    base |= dict.fromkeys(_ABSENT, "") | dict.fromkeys(_MEASURED, "0.0")
    return base | dict.fromkeys(_INTERVALS, "") | {"mark": whisker(scale, 0.0, None)}


def _score(selection: Selection, trial: TrialResult) -> Estimate | None:
    known = findings.estimates_of(selection, Candidate(trial=trial))
    return known.score if known else None


def _intervals(selection: Selection, trial: TrialResult) -> dict[str, object]:
    known = findings.estimates_of(selection, Candidate(trial=trial))
    if known is None:
        return dict.fromkeys(_INTERVALS, "")
    found = {name: known.of(measure) for name, measure in _INTERVALS.items()}
    return {name: wording.interval(each.low, each.high) for name, each in found.items()}


def _row(
    space: RecipeSpace, selection: Selection, scale: Scale, trial: TrialResult, state: str, kind: str
) -> dict[str, object]:
    key = Candidate(trial=trial).key
    named = [choice.name for choice in selection.choices if choice.candidate == key]
    tied = len(selection.tied) > 1 and key in selection.tied and kind != "chosen"
    row: dict[str, object] = {
        "number": trial.number,
        "kind": kind,
        "subset": approach_label(trial.recipe),
        "tag": ", ".join(filter(None, (settings_label(trial.recipe, space), trial.preset, *named))),
        "rate": wording.rate(trial.recipe.learning_rate),
        "state": state,
        "said": "tied" if tied and state == "complete" else state,
        "time": wording.duration(trial.seconds),
        "mark": None,
        **_intervals(selection, trial),
    }
    if trial.state is TrialState.FAILED:
        return row | dict.fromkeys((*_MEASURED, "steps", "kl", "parameters"), wording.UNKNOWN)
    rung, interval = trial.last, _score(selection, trial)
    kl = rung.metrics.get("drift/kl_target", math.nan)
    return row | {
        "score": wording.points(rung.score.score),
        "mark": whisker(scale, rung.score.score, interval),
        "gain": wording.points(rung.score.target_gain),
        "forgetting": wording.points(rung.score.held_out_forgetting),
        "worst": wording.points(rung.score.worst_forgetting),
        "steps": rung.step,
        "kl": f"{kl:.3f}" if math.isfinite(kl) else wording.UNKNOWN,
        "parameters": wording.count(rung.metrics.get("cost/trainable_parameters", math.nan)),
    }
