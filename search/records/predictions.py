"""Predictions: what a model answers to every sample, as a table and beside what it scored before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from search.findings.metric_findings import metric_label
from search.wording import points
from trainables.files import written_atomically
from trainables.scoring.evaluation import Evaluation
from trainables.workers.jobs import TaskData

_CANDIDATE: Final = "recipe_search.candidate"
_SEED: Final = "recipe_search.seed"

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


@dataclass(frozen=True, kw_only=True, slots=True)
class Whose:
    """Whose answers a table holds.

    Attributes:
        candidate: The candidate's key; see `search.decision.candidates`.
        seed: The new seed that it was trained again on; None for what the search trained.
    """

    candidate: str
    seed: int | None = None


def write_predictions(
    file: Path,
    tasks: Iterable[TaskData],
    evaluations: Mapping[str, Evaluation],
    whose: Whose | None = None,
) -> None:
    """Write a model's table as a Parquet file, whose schema's metadata tell whose it is.

    Args:
        file: The file.
        tasks: The tasks; see `predictions_table`.
        evaluations: Task -> a model's evaluation.
        whose: Whose answers these are; None for the base's.
    """
    table = predictions_table(tasks, evaluations)
    if whose is not None:
        seed = {} if whose.seed is None else {_SEED: str(whose.seed)}
        table = table.replace_schema_metadata({_CANDIDATE: whose.candidate, **seed})
    with written_atomically(file) as stream:
        pq.write_table(table, stream)


def read_whose(file: Path) -> Whose | None:
    """Return whose answers a table holds; None where it does not tell.

    Raises:
        OSError: The file can't be read.
        ValueError: It is damaged.
    """
    told = {key.decode(): value.decode() for key, value in (pq.read_schema(file).metadata or {}).items()}
    if _CANDIDATE not in told:
        return None
    return Whose(candidate=told[_CANDIDATE], seed=int(told[_SEED]) if _SEED in told else None)


def read_answers(file: Path) -> dict[str, Evaluation]:
    """Return what a table holds: task -> evaluation.

    Raises:
        OSError: The file can't be read.
        ValueError: It is damaged.
        KeyError: It lacks a column.
    """
    table = pq.read_table(file, columns=["task", "prediction", "score"]).to_pylist()
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
