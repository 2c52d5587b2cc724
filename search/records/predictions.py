"""Predictions: what a model answers to every sample, as a table and beside what it scored before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from search.findings.metric_findings import metric_label
from search.wording import points
from trainables.files import written_atomically
from trainables.scoring.evaluation import Evaluation
from trainables.workers.jobs import TaskData

COLUMNS: Final = pa.schema(
    {
        "task": pa.string(),
        "role": pa.string(),
        "split": pa.string(),
        "id": pa.string(),
        "where": pa.string(),
        "prompt": pa.string(),
        "messages": pa.list_(pa.struct({"role": pa.string(), "content": pa.string()})),
        "references": pa.list_(pa.string()),
        "choices": pa.list_(pa.string()),
        "prediction": pa.string(),
        "score": pa.float64(),
        "metric": pa.string(),
    }
)


def predictions_table(tasks: Iterable[TaskData], evaluations: Mapping[str, Evaluation]) -> pa.Table:
    """Return one row for each sample of the search splits, in the order of the tasks and their samples.

    Args:
        tasks: The tasks.
        evaluations: Task -> a model's evaluation; `prediction` is null where it does not tell what the model
            answered.
    """
    rows: list[dict[str, Any]] = []
    for task in tasks:
        evaluation = evaluations[task.name]
        predictions = evaluation.predictions or (None,) * evaluation.n
        for sample, score, prediction in zip(task.search, evaluation.scores, predictions, strict=True):
            rows.append(
                {
                    "task": task.name,
                    "role": task.role,
                    "split": "search",
                    "id": sample.id,
                    "where": sample.where,
                    "prompt": sample.prompt,
                    "messages": [
                        *({"role": turn.role, "content": turn.text} for turn in sample.history),
                        {"role": "user", "content": sample.prompt},
                    ],
                    "references": list(sample.accepted),
                    "choices": list(sample.choices),
                    "prediction": prediction,
                    "score": score,
                    "metric": metric_label(task),
                }
            )
    return pa.Table.from_pylist(rows, schema=COLUMNS)


def write_predictions(file: Path, tasks: Iterable[TaskData], evaluations: Mapping[str, Evaluation]) -> None:
    """Write a model's table as a Parquet file; see `predictions_table`."""
    with written_atomically(file) as stream:
        pq.write_table(predictions_table(tasks, evaluations), stream)


def differences(model: str, again: Mapping[str, Evaluation], recorded: Mapping[str, Evaluation]) -> list[str]:
    """Return a line for each task on which a model scores otherwise than it did before.

    Args:
        model: What the model is called.
        again: Task -> what it scores now.
        recorded: Task -> what it scored.
    """
    lines = []
    for task, evaluation in again.items():
        before = recorded[task]
        count = sum(now != then for now, then in zip(evaluation.scores, before.scores, strict=True))
        if count:
            lines.append(
                f"task {task!r}: {count} of {evaluation.n} samples score otherwise than when the {model} was "
                f"evaluated before: {points(evaluation.value, signed=False)} points instead of "
                f"{points(before.value, signed=False)}"
            )
    return lines
