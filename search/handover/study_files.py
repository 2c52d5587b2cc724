"""Handing over: the files that are left when a study is done."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml

from search.decision.evidence import MEASURES, Finalist, FinalistRun
from search.handover.licences import CARD, licence_of
from search.handover.model_card import hub_data_sets, model_card
from search.handover.recipe_document import FORMAT, read_recipe
from search.records.predictions import Whose, write_predictions
from search.records.retention import why_lost
from search.records.selected_predictions import SELECTED, put_table, table_for, whose
from search.records.stored_finalists import slug_of
from search.records.study_folder import StudyFolder
from search.records.study_record import StudyRecord
from search.results import PointResult, Rung, TrialResult, points_csv, trials_csv
from search.selection import Selection
from search.settings.study_file import dump_study
from search.settings.user_input import read_mapping
from spaces.points import Soup
from trainables.checkpoint import MANIFEST_FILE, CheckpointError, export_delta
from trainables.files import DamagedFile, sync_folder, write_atomically
from trainables.manifest import TrainableManifest
from trainables.scoring.evaluation import Evaluation
from trainables.weights.points import point_manifest


def write_results(folder: StudyFolder, record: StudyRecord, selection: Selection) -> None:
    """Write all but the report: the study, trials, predictions, the recipe and the selected weights."""
    write_atomically(folder.study, dump_study(record.config).encode())
    write_tables(folder, record)
    again = {each.candidate: each.run.seed for each in record.finalists if each.run is not None}
    answering = {slug_of(key): Whose(candidate=key, seed=seed) for key, seed in again.items()}
    if (chosen := whose(selection)) is not None:
        answering[SELECTED] = chosen
    for model, evaluations in record.predictions.models.items():
        file = folder.predictions / f"{model}.parquet"
        write_predictions(file, record.tasks, evaluations, answering.get(model))
    write_recipe(folder, record, selection)
    if selection.rung is not None:
        write_weights(folder, record, selection)
        write_card(folder, record, selection)


def write_verdict(folder: StudyFolder, record: StudyRecord, selection: Selection) -> Selection:
    """Write the recipe and the selected weights of a study that has run, by another rule than before maybe.

    The table of its answers goes with them, if there is one. All is made in a folder beside first: what fails
    leaves what was there.

    Returns:
        The selection, with a note on what there is no longer.
    """
    before = read_mapping(folder.recipe, "recipe") if folder.recipe.is_file() else {}
    after = recipe_document(record, selection)
    kept = _rung_with_weights(selection) is not None
    # Otherwise what lies there is of another recipe, or of another run of it.
    stays = not kept and _handed_over(before) == _handed_over(after) and folder.selected.is_dir()
    notes = list(selection.notes)
    if selection.winner is not None and not kept and not stays:
        notes.append(
            f"The weights of this recipe {why_lost(record, selection)}. So there is no "
            f"{folder.selected.name}/: recipe-search apply trains it again."
        )
    selection = replace(selection, notes=tuple(notes))
    with tempfile.TemporaryDirectory(prefix=".select-", dir=folder.root) as home:
        made = StudyFolder(Path(home))
        if kept:
            write_weights(made, record, selection)
        write_recipe(folder, record, selection, made.recipe)
        answers = table_for(folder, selection, made.root)
        if selection.winner is not None and (kept or stays):
            write_card(made, record, selection)
        if not stays:
            if folder.selected.is_dir():
                folder.selected.rename(made.root / "before")
            if kept:
                made.selected.rename(folder.selected)
        elif selection.winner is not None:
            (made.selected / CARD).replace(folder.selected / CARD)
        put_table(folder, answers)
        made.recipe.replace(folder.recipe)
    sync_folder(folder.root)
    return selection


def _handed_over(document: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return what tells a recipe's weights from others: the point, and the new seed of a finalist's run."""
    evidence = document.get("evidence") or {}
    return document.get("point"), (evidence.get("selected") or {}).get("seed")


def write_card(folder: StudyFolder, record: StudyRecord, selection: Selection) -> None:
    """Write the card of the selected weights beside them; the recipe must lie there already."""
    key, finalist = selection.key, selection.finalist
    card = model_card(
        record.config.name,
        read_recipe(folder.recipe),
        estimates=None if key is None else selection.estimates.get(key),
        confirmed=None if finalist is None else finalist.estimates,
        licence=licence_of(record.config.model.path),
        data_sets=hub_data_sets(record.config),
        notes=selection.notes,
    )
    write_atomically(folder.selected / CARD, card.encode())


def write_tables(folder: StudyFolder, record: StudyRecord) -> None:
    """Write the tables of trials and points."""
    write_atomically(folder.trials_table, trials_csv(record.trials).encode())
    if record.points:
        write_atomically(folder.points_table, points_csv(record.points).encode())


def write_weights(folder: StudyFolder, record: StudyRecord, selection: Selection) -> None:
    """Write the selected weights.

    Raises:
        DamagedFile: What they are written from is not what was trained any more, or missing.
    """
    rung = _rung_with_weights(selection)
    assert rung is not None
    assert rung.weights is not None
    weights = Path(rung.weights)
    manifest = json.loads((weights.parent / MANIFEST_FILE).read_text("utf-8"))
    try:
        export_delta(weights, manifest, record.model_fingerprint, folder.selected, sha256=rung.sha256)
    except CheckpointError as error:
        raise DamagedFile(f"the selected weights can't be handed over: {error}") from None


def _rung_with_weights(selection: Selection) -> Rung | None:
    """Return whose weights are selected, if they are there: of a finalist the run that stands for it.

    What the search trained on another seed is not in their place: the recipe's evidence is that run's.
    """
    rung = selection.rung if selection.run is None else selection.run.rung
    return None if rung is None or rung.weights is None else rung


def write_recipe(
    folder: StudyFolder, record: StudyRecord, selection: Selection, file: Path | None = None
) -> None:
    """Write the selected recipe with its evidence; see `search.handover.recipe_document` for reading it.

    Args:
        folder: The study's folder.
        record: What the study measured.
        selection: Its verdict.
        file: Where it goes; None is its place in the study's folder.
    """
    document = recipe_document(record, selection, _trained(folder, record, selection))
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
    write_atomically(file or folder.recipe, text.encode())


def _trained(folder: StudyFolder, record: StudyRecord, selection: Selection) -> Mapping[str, Any] | None:
    """Return the manifest of what was trained for the selection; of a soup, of all that its members did."""
    if selection.made is None:
        return None
    numbers = {member.trial for member in selection.made.members}
    members = [trial for trial in record.trials if trial.number in numbers]
    files = [folder.trials / trial.trial_id / MANIFEST_FILE for trial in members]
    manifests: list[dict[str, Any]] = [json.loads(file.read_text("utf-8")) for file in files]
    if len(manifests) == 1:
        return manifests[0]
    return point_manifest([TrainableManifest.from_dict(each) for each in manifests]).to_dict()


def recipe_document(
    record: StudyRecord, selection: Selection, manifest: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the selected recipe with its evidence, as plain values.

    Args:
        record: What the study measured.
        selection: Its verdict.
        manifest: What was trained for the selection, as `TrainableManifest.to_dict` tells it.
    """
    winner, rung = selection.winner, selection.rung
    return {
        "format": FORMAT,
        "verdict": "keep the base" if winner is None else "use this recipe",
        "reason": selection.reason,
        "recipe": None if winner is None else winner.recipe.to_dict(),
        "point": None if selection.made is None else selection.made.to_dict(),
        **_soup_recipes(record, selection.point),
        "model": {
            "path": record.config.model.path,
            "dtype": record.config.model.dtype,
            **({} if record.config.model.roles is None else {"roles": record.config.model.roles}),
            "fingerprint": record.model_fingerprint,
        },
        **described(record.architecture, manifest),
        "evidence": None if winner is None or rung is None else _evidence(record, selection, winner, rung),
        "objective": {
            "forgetting_weight": record.objective.forgetting_weight,
            "max_forgetting": record.objective.max_forgetting,
        },
        "selection": record.config.selection.model_dump(mode="json"),
        "trials": {
            state: sum(trial.state == state for trial in record.trials)
            for state in ("COMPLETE", "PRUNED", "FAILED")
        },
        "points": len(record.points),
        "data": dict(record.data_fingerprints),
        "versions": dict(record.versions),
    }


def described(architecture: str, manifest: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what kind of model was trained, and what of it; both None where that is not known.

    Args:
        architecture: The model's class, as its configuration names it.
        manifest: What was trained, as `TrainableManifest.to_dict` tells it.
    """
    if manifest is None:
        return {"architecture": None, "trained": None}
    return {
        "architecture": {
            "name": architecture,
            "model_type": manifest["model_type"],
            "family": manifest["family"],
            "parameters": manifest["total"],
        },
        "trained": {"roles": dict(manifest["by_role"]), "parameters": manifest["trained"]},
    }


def _soup_recipes(record: StudyRecord, chosen: PointResult | None) -> dict[str, Any]:
    """Return by which recipe each member of a soup was trained; nothing for any other point."""
    if chosen is None or not isinstance(chosen.point.transform, Soup):
        return {}
    recipes = {trial.number: trial.recipe.to_dict() for trial in record.trials}
    return {"soup_recipes": {member.trial: recipes[member.trial] for member in chosen.point.members}}


def _evidence(record: StudyRecord, selection: Selection, winner: TrialResult, rung: Rung) -> dict[str, Any]:
    def tasks(names: tuple[str, ...]) -> dict[str, dict[str, float | int]]:
        return {name: _compared(record.base[name], rung.values[name]) for name in names}

    return {
        "split": "search",
        "trial": winner.number,
        "trial_id": winner.trial_id,
        "seed": record.config.search.seed,
        **{name: round(value, 4) for name, value in rung.score.to_metrics().items()},
        "targets": tasks(record.config.targets),
        "held_out": tasks(record.config.held_out),
        **_confirm_evidence(record, selection.finalist),
    }


def _confirm_evidence(record: StudyRecord, finalist: Finalist | None) -> dict[str, Any]:
    """Return what new seeds of the selected recipe scored on data that the search never saw, if any was.

    Values are the estimates over the seeds, with their intervals; means where these are not known.
    """
    runs = [] if finalist is None else [run for run in finalist.runs if run.confirmed is not None]
    if finalist is None:
        return {}
    if not runs:
        return _selected_run(finalist.run)
    scores = [run.confirmed.to_metrics() for run in runs if run.confirmed is not None]
    found: dict[str, Any] = {
        "split": "confirm",
        "seeds": [run.seed for run in runs],
        "handed_over": None if finalist.run is None else finalist.run.seed,
    }
    for name in MEASURES:
        if finalist.estimates is None:
            found[name] = {"value": round(fmean(score[name] for score in scores), 4)}
            continue
        known = finalist.estimates.of(name)
        found[name] = {end: round(getattr(known, end), 4) for end in ("value", "low", "high")}

    def tasks(names: tuple[str, ...]) -> dict[str, dict[str, float | int]]:
        means = {name: fmean(run.confirm[name].value for run in runs) for name in names}
        return {name: _compared(record.confirm_base[name], mean) for name, mean in means.items()}

    found |= {"targets": tasks(record.config.targets), "held_out": tasks(record.config.held_out)}
    return {"confirm": found, **_selected_run(finalist.run)}


def _selected_run(run: FinalistRun | None) -> dict[str, Any]:
    """Return what the weights that are handed over score themselves, by task."""
    if run is None or run.rung is None:
        return {}
    confirm = {task: round(evaluation.value, 4) for task, evaluation in run.confirm.items()}
    search = {task: round(value, 4) for task, value in run.rung.values.items()}
    return {"selected": {"seed": run.seed, "search": search, "confirm": confirm}}


def _compared(base: Evaluation, tuned: float) -> dict[str, float | int]:
    return {"base": round(base.value, 4), "tuned": round(tuned, 4), "n": base.n}
