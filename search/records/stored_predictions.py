"""Predictions of a study that has run, read back with the samples that they answer."""

from __future__ import annotations

from dataclasses import replace

from search.data.inputs import load_scored
from search.records.predictions import read_answers
from search.records.selected_predictions import SELECTED, is_of
from search.records.study_folder import StudyFolder
from search.records.study_record import Predictions, StudyRecord
from search.selection import Selection
from trainables.data.samples import fingerprint

MODELS = ("base", SELECTED)


class NoSamples(Exception):
    """Answers can't be shown beside their samples; the message says why."""


def with_stored_predictions(record: StudyRecord, selection: Selection, folder: StudyFolder) -> StudyRecord:
    """Return the record with what the base and the selected recipe answered, and to what.

    Args:
        record: What the study measured.
        selection: Its verdict, which does not keep the base.
        folder: The study's folder.

    Raises:
        NoSamples: A table is missing or damaged or another recipe's, or the samples can't be read or are
            others now.
    """
    tables = {model: folder.predictions / f"{model}.parquet" for model in MODELS}
    missing = [model for model, table in tables.items() if not table.is_file()]
    if missing:
        raise NoSamples(f"what the {missing[0]} model answers is not known")
    try:
        models = {model: read_answers(table) for model, table in tables.items()}
        tasks = load_scored(record.config)
    except (OSError, ValueError, KeyError) as error:
        raise NoSamples(str(error)) from None
    if not is_of(tables[SELECTED], selection):
        raise NoSamples(f"{folder.predictions.name}/{SELECTED}.parquet is of another recipe")
    for task in tasks:
        recorded = record.data_fingerprints.get(f"{task.name}/search")
        if recorded != fingerprint(task.search):
            raise NoSamples(f"the search split of task {task.name!r} is another one than the study's")
    return replace(record, tasks=tasks, predictions=Predictions(models=models))
