"""What a study prints last: the selected recipe, and where to look further."""

from __future__ import annotations

import os
import statistics
from pathlib import Path

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from search import wording
from search.findings import study_findings as findings
from search.findings import verdict
from search.findings.costs import study_costs
from search.findings.point_findings import made_then
from search.labels import adapters_sentence, kept_sentence
from search.objective import Score
from search.records.study_record import StudyRecord
from search.report_sections.costs import cost_sentence
from search.results import TrialResult
from search.runner import Outcome
from search.selection import Selection
from search.stores.passwords import without_password


def render_summary(outcome: Outcome) -> RenderableType:
    """Return the closing panel of a study."""
    winner = outcome.selection.winner
    parts: list[RenderableType] = [Text(_sentence(outcome.selection.reason)), Text()]
    if winner is not None:
        parts += [_recipe_table(outcome.record, outcome.selection, winner), Text()]
    parts.append(_where(outcome))
    title = "keep the base" if winner is None else "selected recipe"
    return Panel(Group(*parts), title=title, title_align="left", padding=(1, 2))


def turn_rounds(trials: tuple[TrialResult, ...]) -> list[float]:
    """Return the measured turn-rounds in seconds: a report consumed -> the next trial's first step."""
    name = "cost/turn_round_seconds"
    return [
        trial.rungs[0].metrics[name] for trial in trials if trial.rungs and name in trial.rungs[0].metrics
    ]


def _recipe_table(record: StudyRecord, selection: Selection, winner: TrialResult) -> Table:
    table = Table.grid(padding=(0, 3, 0, 0))
    recipe, rung = winner.recipe, selection.rung
    assert rung is not None
    rows = [
        ("subset", recipe.subset),
        ("layers", "" if recipe.layers == "all" else recipe.layers),
        ("method", adapters_sentence(recipe)),
        ("held by", kept_sentence(recipe)),
        ("learning rate", f"{recipe.learning_rate:.3g}"),
        ("steps", f"{recipe.steps}, of {recipe.batch_size} samples each, {recipe.schedule}"),
        ("then", made_then(selection.point).removeprefix(", ").removeprefix("then ")),
        ("trained", f"{rung.metrics['cost/trainable_parameters']:,.0f} parameters"),
        *_worth(record, selection, rung.score),
    ]
    for name, value in rows:
        if value:
            table.add_row(Text(name, style="dim"), Text(value))
    return table


def _worth(record: StudyRecord, selection: Selection, searched: Score) -> list[tuple[str, str]]:
    """Return what the selected recipe is worth: what was confirmed of it, else what the search measured."""
    sure = findings.confirmed(selection)
    known = sure or findings.estimates_of(selection, findings.selected(selection))
    base = record.confirm_base if sure else record.base
    on_targets, on_held_out = (
        verdict.sizes(base[task].n for task in tasks)
        for tasks in (record.objective.targets, record.objective.held_out)
    )
    if known is None:
        gain, forgetting = wording.points(searched.target_gain), wording.points(searched.held_out_forgetting)
        score = wording.points(searched.score)
    else:
        gain, forgetting, score = (
            findings.with_interval(estimate.value, estimate)
            for estimate in (known.target_gain, known.held_out_forgetting, known.score)
        )
    split = "the search split" if sure is None else "the confirm split"
    rows = [
        ("target gain", f"{gain} points, {on_targets}"),
        ("forgetting", f"{forgetting} points on average, {on_held_out}"),
        ("score", f"{score} points, on {split}"),
    ]
    if sure is not None:
        rows.append(("", f"the search had shown {wording.points(searched.score)}"))
    best = verdict.best_name(record, selection)
    near = ", ".join(verdict.tied_names(record, selection))
    if best is None:
        return [*rows, ("within noise", near)]
    return [*rows, ("the best", f"{best}, within noise"), ("as near to it", near)]


def _where(outcome: Outcome) -> Table:
    table = Table.grid(padding=(0, 3, 0, 0))
    folder = outcome.folder
    rows = [("recipe", _shown(folder.recipe)), ("report", _shown(folder.report))]
    if outcome.selection.winner is not None:
        rows.append(("weights", f"{_shown(folder.selected)}{os.sep}"))
    rows.append(("MLflow", _ui_command(outcome.record.config.tracking.uri)))
    measured = turn_rounds(outcome.record.trials)
    took = f"{outcome.record.seconds:.0f} s for {len(outcome.record.trials)} trials"
    if outcome.record.points:
        took += f", {outcome.record.points_seconds:.0f} s for {len(outcome.record.points)} points"
    if outcome.record.finalists:
        finalists = wording.counted(len(outcome.record.finalists), "finalist")
        took += f", {outcome.record.finalists_seconds:.0f} s for {finalists}"
    if outcome.record.predictions.models:
        took += f", {outcome.record.predictions.seconds:.0f} s for predictions"
    if measured:
        took += f"; median turn-round {statistics.median(measured):.2f} s"
    rows.append(("took", took))
    if saved := cost_sentence(study_costs(outcome.record, outcome.selection)):
        rows.append(("cost", saved))
    for name, value in rows:
        table.add_row(Text(name, style="dim"), Text(value, style="" if name in {"took", "cost"} else "bold"))
    return table


def _ui_command(uri: str) -> str:
    """Return how to look at the store: a server's pages are there already."""
    if uri.startswith(("http://", "https://")):
        return without_password(uri)
    return (
        "recipe-search ui"
        if uri == "sqlite:///mlflow.db"
        else f"recipe-search ui --uri {without_password(uri)}"
    )


def _shown(path: Path) -> str:
    """Return a path relative to the working directory where it lies below it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
