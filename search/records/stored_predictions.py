"""Predictions of a study that has run, read back with the samples that they answer."""

from __future__ import annotations

import math
from dataclasses import replace

import pyarrow.parquet as pq

from search.data.inputs import load_scored
from search.records.study_folder import StudyFolder
from search.records.study_record import Predictions, StudyRecord
from search.results import Rung
from trainables.data.samples import fingerprint
from trainables.scoring.evaluation import Evaluation

MODELS = ("base", "selected")


class NoSamples(Exception):
    """Answers can't be shown beside their samples; the message says why."""


def with_stored_predictions(record: StudyRecord, selected: Rung, folder: StudyFolder) -> StudyRecord:
    """Return the record with what the base and the selected recipe answered, and to what.

    Args:
        record: What the study measured.
        selected: What was measured of the selected weights.
        folder: The study's folder.

    Raises:
        NoSamples: A table is missing or damaged or another recipe's, or the samples can't be read or are
            others now.
    """
    missing = [model for model in MODELS if not (folder.predictions / f"{model}.parquet").is_file()]
    if missing:
        raise NoSamples(f"what the {missing[0]} model answers is not known")
    try:
        models = {model: _evaluations(folder, model) for model in MODELS}
        tasks = load_scored(record.config)
    except (OSError, ValueError, KeyError) as error:
        raise NoSamples(str(error)) from None
    for task in tasks:
        if task.name not in models["selected"] or not math.isclose(
            models["selected"][task.name].value, selected.values[task.name], abs_tol=1e-9
        ):
            raise NoSamples(f"{folder.predictions.name}/selected.parquet is of another recipe")
        recorded = record.data_fingerprints.get(f"{task.name}/search")
        if recorded != fingerprint(task.search):
            raise NoSamples(f"the search split of task {task.name!r} is another one than the study's")
    return replace(record, tasks=tasks, predictions=Predictions(models=models))


def _evaluations(folder: StudyFolder, model: str) -> dict[str, Evaluation]:
    table = pq.read_table(
        folder.predictions / f"{model}.parquet", columns=["task", "prediction", "score"]
    ).to_pylist()
    found: dict[str, Evaluation] = {}
    for task in dict.fromkeys(row["task"] for row in table):
        rows = [row for row in table if row["task"] == task]
        answers = tuple(row["prediction"] for row in rows)
        found[task] = Evaluation(
            task=task,
            scores=tuple(row["score"] for row in rows),
            predictions=() if None in answers else answers,
        )
    return found
