"""Re-selection: another rule for a study that has run, without training anything again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from safetensors import SafetensorError

from search.decision.candidates import candidates
from search.decision.choices import NAMES
from search.decision.conclusion import conclude
from search.decision.evidence import Finalist
from search.handover.study_files import write_tables, write_verdict
from search.objective import Score
from search.records.stored_predictions import NoSamples, with_stored_predictions
from search.records.stored_study import objective_of, read_study
from search.records.study_folder import StudyFolder
from search.records.study_record import StudyRecord
from search.report_files import write_report
from search.results import Rung
from search.selection import Selection
from search.settings.study_file import apply_override, parse_study
from search.settings.user_input import InputError, read_mapping
from spaces.nearest import did_you_mean
from trainables.files import write_atomically

_SECTIONS = ("objective", "selection")


@dataclass(frozen=True, kw_only=True)
class Reselected:
    """What a study's folder says now.

    Attributes:
        record: What was measured, by the rule that holds now.
        selection: The verdict.
        folder: The study's folder.
    """

    record: StudyRecord
    selection: Selection
    folder: StudyFolder


def reselect(root: Path, overrides: Sequence[str], choice: str | None) -> Reselected:
    """Select by another rule, and write recipe, selected weights and report anew.

    Without any change it is the study's own rule that holds again.

    Args:
        root: The study's folder.
        overrides: Settings of `objective` and `selection`, such as `objective.max_forgetting=3`.
        choice: Name of the choice to take; None follows the rule.

    Raises:
        InputError: The folder, a file in it or a setting is wrong, or nothing can be selected from.
    """
    _check_rule(overrides, choice)
    rule = {"overrides": list(overrides), "choice": choice}
    done = _concluded(root, rule)
    return _reported(replace(done, selection=_handed_over(done, rule)))


def _handed_over(done: Reselected, rule: Mapping[str, Any]) -> Selection:
    """Write the verdict, and last the rule that it follows."""
    folder = done.folder
    try:
        selection = write_verdict(folder, done.record, done.selection)
        if rule["overrides"] or rule["choice"] is not None:
            write_atomically(folder.rule, yaml.safe_dump(dict(rule), sort_keys=False).encode())
        else:
            folder.rule.unlink(missing_ok=True)
    except InputError:
        raise
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        what = str(error) if isinstance(error, OSError | SafetensorError) else repr(error)
        raise InputError(
            f"{folder.root}: nothing was changed, since a file of the selected recipe can't be read, or none "
            f"written: {' '.join(what.split())}"
        ) from None
    return selection


def _check_rule(overrides: Sequence[str], choice: str | None) -> None:
    """Check that a rule changes nothing that has run.

    Raises:
        InputError: It does, or there is no such choice.
    """
    for override in overrides:
        section = override.partition("=")[0].partition(".")[0]
        if section not in _SECTIONS:
            raise InputError(
                f"override {override!r}: what has run can't be changed, only {' and '.join(_SECTIONS)}"
            )
        if override.partition("=")[0] == "selection.keep_weights":
            raise InputError(f"override {override!r}: whose weights stay was decided when the study ended")
    if choice is not None and choice not in NAMES:
        raise InputError(f"unknown choice {choice!r}: {did_you_mean(choice, NAMES)}")


def rewrite_report(root: Path) -> Reselected:
    """Write the tables and the report of a study anew, by the rule that holds.

    Raises:
        InputError: The folder or a file in it is wrong, or nothing has ended yet.
    """
    done = _concluded(root, _stored_rule(StudyFolder(root)))
    if done.record.finished and not done.folder.recipe.exists():
        note = f"{done.folder.recipe.name} is missing: recipe-search select {root} writes it anew."
        done = replace(done, selection=replace(done.selection, notes=(*done.selection.notes, note)))
    write_tables(done.folder, done.record)
    return _reported(done)


def _reported(done: Reselected) -> Reselected:
    """Write the report, with the samples that were answered if these can be had."""
    record, selection = done.record, done.selection
    if selection.winner is not None:
        try:
            record = with_stored_predictions(record, selection, done.folder)
        except NoSamples as error:
            notes = (*selection.notes, f"The report shows no samples: {error}.")
            selection = replace(selection, notes=notes)
    write_report(done.folder, record, selection)
    return replace(done, record=record, selection=selection)


def with_rule(record: StudyRecord, root: Path, overrides: Sequence[str]) -> StudyRecord:
    """Return a study's record with other settings of `objective` and `selection`, and scored by these.

    Raises:
        InputError: A setting is wrong.
    """
    if not overrides:
        return record
    content = read_mapping(StudyFolder(root).study, "study file")
    for override in overrides:
        apply_override(content, override)
    changed = parse_study(content, str(StudyFolder(root).study), overrides)
    if "selection.strict=true" in overrides and changed.objective.max_forgetting is None:
        raise InputError(
            "override 'selection.strict=true': there is no bound that the interval's upper end could keep: "
            "set objective.max_forgetting, too"
        )
    config = record.config.model_copy(update={"objective": changed.objective, "selection": changed.selection})
    objective = objective_of(config, record.base)
    weight = objective.forgetting_weight
    trials = {
        trial.number: replace(trial, rungs=tuple(_weighed(rung, weight) for rung in trial.rungs))
        for trial in record.trials
    }
    points = (
        replace(
            point,
            trial=trials[point.trial.number],
            rung=None if point.rung is None else _weighed(point.rung, weight),
        )
        for point in record.points
    )
    return replace(
        record,
        config=config,
        objective=objective,
        trials=tuple(trials.values()),
        points=tuple(points),
        finalists=tuple(_finalist_weighed(each, weight) for each in record.finalists),
    )


def _concluded(root: Path, rule: Mapping[str, Any]) -> Reselected:
    stored = read_study(root)
    record = with_rule(stored, root, rule["overrides"])
    if not candidates(record.trials, record.points):
        raise InputError(
            f"{root}: none of the {len(record.trials)} trials that have ended is complete, so there is "
            "nothing to select from"
        )
    try:
        selection = conclude(record, root, rule["choice"], other_rule=_goal(record) != _goal(stored))
    except ValueError as error:
        raise InputError(str(error)) from None
    return Reselected(record=record, selection=selection, folder=StudyFolder(root))


def _goal(record: StudyRecord) -> tuple[object, ...]:
    """Return what decided who was to be trained again."""
    objective, selection = record.config.objective, record.config.selection
    return objective.max_forgetting, objective.forgetting_weight, selection.maximise, selection.strict


def _stored_rule(folder: StudyFolder) -> Mapping[str, Any]:
    if not folder.rule.is_file():
        return {"overrides": [], "choice": None}
    rule = read_mapping(folder.rule, "rule")
    overrides, choice = rule.get("overrides"), rule.get("choice")
    if (
        rule.keys() != {"overrides", "choice"}
        or not isinstance(overrides, list)
        or not all(isinstance(each, str) for each in overrides)
        or not isinstance(choice, str | None)
    ):
        raise InputError(
            f"{folder.rule}: a rule holds overrides, a list of key=value, and a choice, a name or null"
        )
    try:
        _check_rule(overrides, choice)
    except InputError as error:
        raise InputError(f"{folder.rule}: {error}") from None
    return rule


def _weighed(rung: Rung, weight: float) -> Rung:
    score = _score_weighed(rung.score, weight)
    return replace(rung, score=score, metrics={**rung.metrics, "score": score.score})


def _score_weighed(score: Score, weight: float) -> Score:
    return replace(score, score=score.target_gain - weight * score.held_out_forgetting)


def _finalist_weighed(finalist: Finalist, weight: float) -> Finalist:
    runs = (
        replace(
            run,
            rung=None if run.rung is None else _weighed(run.rung, weight),
            confirmed=None if run.confirmed is None else _score_weighed(run.confirmed, weight),
        )
        for run in finalist.runs
    )
    return replace(finalist, runs=tuple(runs))
