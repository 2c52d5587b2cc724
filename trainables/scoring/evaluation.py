"""Evaluation: what a task measured, with its direction, size and error."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, get_args

from trainables.files import naming, read_object

Direction = Literal["higher", "lower"]

_LARGEST: Final = 1e9  # points; a file that says more is damaged


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """One task's result on one split.

    Attributes:
        task: Name of the task.
        scores: Points of each sample, 0 to 100, in the order of the split.
        direction: Whether a higher or a lower value is better.
        predictions: What the model answered to each sample; empty where it was not asked for.
    """

    task: str
    scores: tuple[float, ...]
    direction: Direction = "higher"
    predictions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse an empty evaluation, which has no mean, and one whose predictions are not its samples'."""
        if not self.scores:
            raise ValueError(f"task {self.task!r} was evaluated on no sample")
        if self.predictions and len(self.predictions) != self.n:
            raise ValueError(f"task {self.task!r}: {len(self.predictions)} predictions for {self.n} samples")

    @property
    def n(self) -> int:
        """Number of samples."""
        return len(self.scores)

    def first(self, n: int) -> Evaluation:
        """Return the same on the first `n` samples alone, which may not be more than there are."""
        if n > self.n:
            raise ValueError(f"task {self.task!r} was evaluated on {self.n} samples, not on {n}")
        return replace(self, scores=self.scores[:n], predictions=self.predictions[:n])

    @property
    def value(self) -> float:
        """Mean over the samples, in points."""
        return math.fsum(self.scores) / self.n

    @property
    def stderr(self) -> float:
        """Standard error of the mean, in points; NaN for a single sample."""
        if self.n < 2:
            return math.nan
        mean = self.value
        variance = math.fsum((score - mean) ** 2 for score in self.scores) / (self.n - 1)
        return math.sqrt(variance / self.n)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values, ready for JSON."""
        fields = {"task": self.task, "scores": list(self.scores), "direction": self.direction}
        return fields | ({"predictions": list(self.predictions)} if self.predictions else {})

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Evaluation:
        """Read back what `to_dict` wrote.

        Raises:
            KeyError: Something is missing.
            ValueError: Something is of another type.
        """
        scores, predictions = fields["scores"], fields.get("predictions", [])
        if not isinstance(scores, list) or not all(
            type(score) in (int, float) and abs(score) <= _LARGEST for score in scores
        ):
            raise ValueError("scores: expected a list of points")
        if not isinstance(predictions, list) or not all(isinstance(text, str) for text in predictions):
            raise ValueError("predictions: expected a list of texts")
        if fields["direction"] not in get_args(Direction) or not isinstance(fields["task"], str):
            raise ValueError("task and direction: expected a name, and 'higher' or 'lower'")
        return cls(
            task=fields["task"],
            scores=tuple(scores),
            direction=fields["direction"],
            predictions=tuple(predictions),
        )


def rung_file(step: int) -> str:
    """Return the name of the file with a trial's evaluations after `step` optimiser steps."""
    return f"evaluations_{step:06d}.json"


def evaluations_json(evaluations: Mapping[str, Evaluation]) -> bytes:
    """Return task -> evaluation as a file's content, JSON."""
    return json.dumps({task: evaluation.to_dict() for task, evaluation in evaluations.items()}).encode()


def read_evaluations(file: Path) -> dict[str, Evaluation]:
    """Read back what `evaluations_json` made of task -> evaluation.

    Raises:
        OSError: The file can't be read.
        DamagedFile: It holds something else.
    """
    stored = read_object(file)
    with naming(file):
        return {task: Evaluation.from_dict(fields) for task, fields in stored.items()}
