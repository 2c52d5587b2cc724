"""Asking models for their answer to every sample, once a study has selected."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from search.decision.candidates import EVALUATIONS_FILE, candidates
from search.phases.base import cached_evaluations
from search.phases.leased_jobs import run_jobs
from search.phases.point_search import PointSearch, point_search
from search.phases.steps import step
from search.phases.study_run import StudyRun
from search.records.predictions import differences
from search.records.stored_finalists import slug_of
from search.records.study_record import Predictions, StudyRecord
from search.selection import Selection
from spaces.points import Identity
from trainables.checkpoint import MANIFEST_FILE
from trainables.files import write_atomically
from trainables.manifest import TrainableManifest
from trainables.scoring.evaluation import Evaluation, evaluations_json, read_evaluations
from trainables.weights.points import TrainedWeights
from trainables.workers.execution import GroupShape
from trainables.workers.jobs import EvaluateJob, PointJob


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A model that is asked for its answers.

    Attributes:
        called: What messages call it.
        shape: The worker group that evaluates it.
        job: How it comes about.
        recorded: Task -> what it scored before.
        cache: File that its answers are read from, and kept in; None keeps them nowhere.
    """

    called: str
    shape: GroupShape
    job: EvaluateJob | PointJob
    recorded: Mapping[str, Evaluation]
    cache: Path | None = None


def asked_of_base(shape: GroupShape, recorded: Mapping[str, Evaluation], cache: Path) -> Asked:
    """Return how the base is asked; what it answers may be known from an earlier study."""
    job = EvaluateJob(predictions=True)
    return Asked(called="base", shape=shape, job=job, recorded=recorded, cache=cache)


def asked_of_selected(search: PointSearch, selection: Selection) -> Asked | None:
    """Return how the selected weights are asked; None where the base is kept."""
    if selection.made is None:
        return None
    shape, job = search.job(selection.made)
    return Asked(
        called="selected recipe",
        shape=shape,
        job=replace(job, predictions=True),
        recorded=search.recorded(selection),
    )


def asked_of_finalists(run: StudyRun, record: StudyRecord) -> dict[str, Asked]:
    """Return how each finalist is asked, by the name of its folder: the run that stands for it."""
    trials = {trial.number: trial for trial in record.trials}
    points = {each.key: each.point for each in candidates(record.trials, record.points)}
    asked = {}
    for finalist in record.finalists:
        found = finalist.run
        if found is None or found.rung is None or found.rung.weights is None:
            continue
        point = points[finalist.candidate]
        weights = Path(found.rung.weights)
        manifest = json.loads((weights.parent / MANIFEST_FILE).read_text("utf-8"))
        member = TrainedWeights(
            path=str(weights), manifest=TrainableManifest.from_dict(manifest), sha256=found.rung.sha256
        )
        asked[slug_of(finalist.candidate)] = Asked(
            called=f"finalist {finalist.candidate}",
            shape=run.placement.shape_for(trials[each.trial].recipe.variant for each in point.members),
            # What is done to a recipe's weights has been done to these.
            job=PointJob(point=replace(point, transform=Identity()), members=(member,), predictions=True),
            recorded=read_evaluations(run.folder.root / found.folder / EVALUATIONS_FILE),
        )
    return asked


def with_predictions(run: StudyRun, record: StudyRecord, selection: Selection) -> StudyRecord:
    """Return the record with what the base, the finalists and the selected recipe answer to every sample."""
    asked = {"base": asked_of_base(run.shape, record.base, run.base_predictions)}
    asked |= asked_of_finalists(run, record)
    chosen = None if selection.finalist is None else slug_of(selection.finalist.candidate)
    if chosen not in asked:
        chosen = None
        if (selected := asked_of_selected(point_search(run, record), selection)) is not None:
            asked["selected"] = selected
    with step(run.console, "asking the base and the chosen recipes for their answer to every sample"):
        predictions = predict(run.pool, asked, at_a_time=run.placement.concurrency)
    if chosen is not None and chosen in predictions.models:
        models = {**predictions.models, "selected": predictions.models[chosen]}
        predictions = replace(predictions, models=models)
    return replace(record, predictions=predictions)


def predict(pool: Any, asked: Mapping[str, Asked], *, at_a_time: int) -> Predictions:
    """Evaluate models once more, for what they answer to every sample.

    A model that can't be evaluated is left out: that is a warning, since the study has its result.

    Args:
        pool: Handle of the `WorkerPool` actor.
        asked: Name of a model -> how it is asked.
        at_a_time: Bound on evaluations at a time.
    """
    began = time.monotonic()
    found = {name: known for name, each in asked.items() if (known := _cached(each)) is not None}
    warnings: dict[str, list[str]] = {}
    jobs = {name: (each.shape, each.job) for name, each in asked.items() if name not in found}
    for name, report in run_jobs(pool, jobs, at_a_time=at_a_time):
        if report.error is not None:
            warnings[name] = [f"what the {asked[name].called} answers is not known: {report.error}"]
            continue
        found[name] = dict(report.evaluations)
        if (file := asked[name].cache) is not None:
            write_atomically(file, evaluations_json(report.evaluations))
    for name, evaluations in found.items():
        warnings[name] = differences(asked[name].called, evaluations, asked[name].recorded)
    return Predictions(
        models={name: found[name] for name in asked if name in found},
        seconds=time.monotonic() - began,
        warnings=tuple(line for name in asked for line in warnings[name]),
    )


def _cached(asked: Asked) -> dict[str, Evaluation] | None:
    return None if asked.cache is None else cached_evaluations(asked.cache)
