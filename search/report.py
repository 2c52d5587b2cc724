"""The report: one self-contained HTML page that says what a study found."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
import shlex
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any, Final

import jinja2
import yaml
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from search import findings, plot_theme, wording
from search.data_findings import bad_rows, leak_rows
from search.example_findings import example_rows
from search.labels import approach_label, approach_sentence, settings_label
from search.metric_findings import metric_names, metric_notes
from search.plot_marks import Plot
from search.plots import study_plots
from search.point_findings import made_then, point_rows
from search.results import Rung, TrialResult, TrialState
from search.selection import Selection
from search.study_file import dump_study
from search.study_record import StudyRecord
from spaces.space import RecipeSpace

_RANKED: Final = 50  # rows that the page opens with; the others are folded away
_TEMPLATE: Final = Path(__file__).with_name("report_template.html")

_PAGE_JS: Final = """
const {plots, themes} = JSON.parse(document.getElementById('plot-data').textContent);
const dark = matchMedia('(prefers-color-scheme: dark)');
const touch = matchMedia('(pointer: coarse)').matches;
function draw() {
  for (const div of document.querySelectorAll('[data-plot]')) {
    let {data, layout} = structuredClone(plots[div.dataset.plot]);
    // On a phone there is no room for labels beside the marks: a tap names the recipe.
    if (div.clientWidth < 480) data = data.filter(trace => trace.mode !== 'text');
    layout.template = themes[dark.matches ? 'dark' : 'light'];
    if (touch) layout.dragmode = false;
    Plotly.react(div, data, layout, {responsive: true, displayModeBar: false});
  }
}
dark.addEventListener('change', draw);
draw();
"""


def render_report(record: StudyRecord, selection: Selection) -> str:
    """Return the report as one HTML page that needs no network; every text of the user's is escaped."""
    plots = study_plots(record, selection)
    scripts = (get_plotlyjs(), _PAGE_JS) if plots else ()
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    shown, rung = findings.shown_trial(selection), findings.shown_rung(selection)
    ranking = _ranking(record, selection)
    return environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        name=record.config.name,
        headline=_headline(selection),
        tiles=_tiles(record, selection),
        finding=findings.paragraph(record, selection),
        caveats=findings.caveats(record, selection),
        formula=_formula(record),
        ranking=ranking[:_RANKED],
        further=ranking[_RANKED:],
        subsets=_subsets(record, selection),
        points=point_rows(record, selection),
        tasks=_tasks(record, rung),
        tasks_title=_tasks_title(selection, shown),
        metric_notes=metric_notes(record),
        has_tuned=rung is not None,
        examples=example_rows(record),
        warnings=record.predictions.warnings,
        totals=_totals(record),
        failures=_failures(record),
        leaks=leak_rows(record.leaks),
        bad=bad_rows(record.bad),
        command=_command(record),
        repeatable=_repeatable(record),
        recipe_yaml=_recipe_yaml(selection),
        study_yaml=_without_passwords(dump_study(record.config)),
        versions=sorted(record.versions.items()),
        plots={plot.name: plot for plot in plots},
        plot_json=Markup(_plot_json(plots)),
        scripts=[Markup(script) for script in scripts],
        script_sources=Markup(" ".join(_hash(script) for script in scripts) or "'none'"),
    )


def _headline(selection: Selection) -> str:
    if selection.winner is None:
        return "Keep the base model"
    recipe = selection.winner.recipe
    trained = f"Train {approach_sentence(recipe)} at learning rate {wording.rate(recipe.learning_rate)}"
    return trained + made_then(selection.point)


def _tiles(record: StudyRecord, selection: Selection) -> list[dict[str, str]]:
    states = [trial.state for trial in record.trials]
    pruned, failed = states.count(TrialState.PRUNED), states.count(TrialState.FAILED)
    study = {
        "label": "search",
        "value": wording.counted(len(states), "trial"),
        "note": f"{pruned} pruned, {failed} failed, {wording.duration(record.seconds)}",
    }
    rung = selection.rung
    if rung is None:
        best = findings.shown_trial(selection)
        value = wording.points(best.last.score.score) if best else wording.UNKNOWN
        note = "infeasible" if best and not selection.ranking else "points; doing nothing scores 0"
        return [{"label": "best score of a recipe", "value": value, "note": note}, study]
    return [
        {
            "label": "score",
            "value": wording.points(rung.score.score),
            "note": _stderr_note(findings.score_stderr(record, rung)),
        },
        {
            "label": "target gain",
            "value": wording.points(rung.score.target_gain),
            "note": _stderr_note(findings.gain_stderr(record, rung)),
        },
        {
            "label": "held-out forgetting",
            "value": wording.points(rung.score.held_out_forgetting),
            "note": _stderr_note(findings.forgetting_stderr(record, rung)),
        },
        {
            "label": "worst held-out drop",
            "value": wording.points(rung.score.worst_forgetting),
            "note": "points on one task",
        },
        study,
    ]


def _stderr_note(stderr: float) -> str:
    if not math.isfinite(stderr):
        return "points"
    return f"points, ± {wording.points(stderr, signed=False)} (rough)"


def _formula(record: StudyRecord) -> str:
    objective = record.objective
    text = (
        f"Score is gain minus {objective.forgetting_weight:g} times forgetting, the mean drop of the "
        "held-out tasks; worst is the largest drop. All four are in points, KL is in nats per answer token."
    )
    if objective.max_forgetting is not None:
        text += f" A recipe that forgets more than {objective.max_forgetting:g} points is infeasible."
    return text


def _ranking(record: StudyRecord, selection: Selection) -> list[dict[str, object]]:
    winner = selection.winner.number if selection.winner and selection.point is None else None
    base: dict[str, object] = {"number": "base", "kind": "base", "subset": "keep the model as it is"}
    base |= dict.fromkeys(("tag", "rate", "state", "steps", "kl", "parameters", "time"), "")
    base |= dict.fromkeys(("score", "gain", "forgetting", "worst"), "0.0")
    row = partial(_row, record.config.recipe_space())
    rows: list[dict[str, object]] = []
    for trial in selection.ranking:
        if base and trial.last.score.score <= 0:
            rows.append(base)
            base = {}
        chosen = trial.number == winner
        rows.append(row(trial, "selected" if chosen else "complete", "chosen" if chosen else ""))
    if base:
        rows.append(base)
    rows += [row(trial, "infeasible", "out") for trial in selection.infeasible]
    pruned = [trial for trial in record.trials if trial.state is TrialState.PRUNED]
    pruned.sort(key=lambda trial: (-trial.last.step, -trial.last.score.score))
    rows += [row(trial, "pruned", "out") for trial in pruned]
    rows += [row(trial, "failed", "out") for trial in record.trials if trial.state is TrialState.FAILED]
    return rows


def _row(space: RecipeSpace, trial: TrialResult, state: str, kind: str) -> dict[str, object]:
    row: dict[str, object] = {
        "number": trial.number,
        "kind": kind,
        "subset": approach_label(trial.recipe),
        "tag": ", ".join(filter(None, (settings_label(trial.recipe, space), trial.preset))),
        "rate": wording.rate(trial.recipe.learning_rate),
        "state": state,
        "time": wording.duration(trial.seconds),
    }
    if trial.state is TrialState.FAILED:
        absent = ("score", "gain", "forgetting", "worst", "steps", "kl", "parameters")
        return row | dict.fromkeys(absent, wording.UNKNOWN)
    rung = trial.last
    kl = rung.metrics.get("drift/kl_target", math.nan)
    return row | {
        "score": wording.points(rung.score.score),
        "gain": wording.points(rung.score.target_gain),
        "forgetting": wording.points(rung.score.held_out_forgetting),
        "worst": wording.points(rung.score.worst_forgetting),
        "steps": rung.step,
        "kl": f"{kl:.3f}" if math.isfinite(kl) else wording.UNKNOWN,
        "parameters": wording.count(rung.metrics.get("cost/trainable_parameters", math.nan)),
    }


def _subsets(record: StudyRecord, selection: Selection) -> list[dict[str, object]]:
    """Return the rows of the table of subsets; none where no trial completed."""
    rows: list[dict[str, object]] = []
    if not (selection.ranking or selection.infeasible):
        return rows
    for found in findings.group_bests(record, selection):
        row: dict[str, object] = {"subset": found.group, "complete": found.complete, "trials": found.trials}
        if found.best is None:
            absent = dict.fromkeys(("score", "gain", "forgetting", "rate"), wording.UNKNOWN)
            rows.append(row | absent | {"note": "no trial completed" if found.trials else "not tried"})
            continue
        score = found.best.last.score
        notes = [] if found.feasible else ["infeasible"]
        if found.edge:
            notes.append(f"at the {found.edge} end of its interval")
        rows.append(
            row
            | {
                "score": wording.points(score.score),
                "gain": wording.points(score.target_gain),
                "forgetting": wording.points(score.held_out_forgetting),
                "rate": wording.rate(found.best.recipe.learning_rate),
                "note": ", ".join(notes),
            }
        )
    return rows


def _tasks_title(selection: Selection, shown: TrialResult | None) -> str:
    if shown is None:
        return "The base model, task by task"
    which = "the selected recipe" if selection.winner else "the best recipe tried"
    made = f", {selection.point.point.label}" if selection.point else ""
    number = selection.winner.number if selection.winner else shown.number
    return f"Task by task: {which} (trial {number}{made}) against the base"


def _tasks(record: StudyRecord, rung: Rung | None) -> list[dict[str, object]]:
    metrics = metric_names(record)
    return [
        {
            "task": row.task,
            "metric": metrics[row.task],
            "role": "target" if row.target else "held-out",
            "n": row.n or wording.UNKNOWN,
            "base": findings.with_stderr(row.base, row.base_stderr, signed=False),
            "tuned": wording.points(row.tuned, signed=False),
            "change": findings.with_stderr(row.change, row.stderr),
            "sign": "" if not abs(row.change) > 2 * row.stderr else "up" if row.change > 0 else "down",
        }
        for row in findings.changes(record, rung)
    ]


def _totals(record: StudyRecord) -> list[tuple[str, str]]:
    states = Counter(trial.state.value.lower() for trial in record.trials)
    total = findings.cost(record)
    number = wording.counted(len(record.points), "point")
    points = f"{number} in {wording.duration(record.points_seconds)}" if record.points else "none"
    return [
        ("trials", ", ".join(f"{number} {state}" for state, number in states.items()) or "none"),
        ("wall-clock time of the search", wording.duration(total.wall)),
        ("training, summed over trials", wording.duration(total.train)),
        ("evaluation, summed over trials", wording.duration(total.evaluation)),
        ("without retraining", points),
        ("every sample's prediction, base and selected", _predictions(record)),
    ]


def _predictions(record: StudyRecord) -> str:
    if not record.predictions.models:
        return "none"
    files = ", ".join(f"predictions/{model}.parquet" for model in record.predictions.models)
    return f"{files} in {wording.duration(record.predictions.seconds)}"


def _failures(record: StudyRecord) -> list[dict[str, object]]:
    return [
        {
            "number": trial.number,
            "recipe": f"{approach_label(trial.recipe)} {wording.rate(trial.recipe.learning_rate)}",
            "error": trial.error,
        }
        for trial in record.trials
        if trial.state is TrialState.FAILED
    ]


def _command(record: StudyRecord) -> str:
    """Return the command that runs the resolved study again, beside the finished one."""
    study = record.config.folder / "study.yaml"
    return shlex.join(["recipe-search", "run", str(study), f"name={record.config.name}-again"])


def _repeatable(record: StudyRecord) -> str:
    text = f"The seed of the search and of every trial is {record.config.search.seed}. "
    if record.config.resources.max_concurrent_trials == 1:
        return text + "Trials ran one at a time, so the same study proposes the same recipes again."
    return text + (
        "A single trial can be repeated from its seed. A search whose trials run side by side may propose "
        "other recipes the next time; with resources.max_concurrent_trials=1 it does not."
    )


def _recipe_yaml(selection: Selection) -> str:
    if selection.winner is None:
        return ""
    fields = selection.winner.recipe.to_dict()
    if selection.point is not None:
        fields = {"recipe": fields, "point": selection.point.point.to_dict()}
    return yaml.safe_dump(fields, sort_keys=False)


def _without_passwords(text: str) -> str:
    """Hide the user and password of an address such as `https://user:password@host`."""
    return re.sub(r"://[^/@\s]+@", "://***@", text)


def _plot_json(plots: tuple[Plot, ...]) -> str:
    """Return the figures and the two themes as JSON that is safe inside a script element."""
    figures: dict[str, Any] = {}
    for plot in plots:
        figure = json.loads(plot.figure.to_json())
        del figure["layout"]["template"]
        figures[plot.name] = figure
    themes = {mode: plot_theme.template(mode).to_plotly_json() for mode in ("light", "dark")}
    text = json.dumps({"plots": figures, "themes": themes}, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _hash(script: str) -> str:
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    return f"'sha256-{digest}'"
