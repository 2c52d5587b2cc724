"""Score: target gain minus held-out forgetting, and the constraint on forgetting."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from trainables.scoring.evaluation import Evaluation


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """How a tuned model compares with its base; all values in points.

    Attributes:
        target_gain: Mean over targets of (tuned - base).
        held_out_forgetting: Mean over held-out tasks of (base - tuned); positive is bad.
        worst_forgetting: The largest of these drops.
        score: `target_gain` - weight x `held_out_forgetting`.
    """

    target_gain: float
    held_out_forgetting: float
    worst_forgetting: float
    score: float

    @classmethod
    def from_metrics(cls, metrics: Mapping[str, float]) -> Score:
        """Read back what `to_metrics` wrote, among other metrics."""
        return cls(
            target_gain=metrics["target_gain"],
            held_out_forgetting=metrics["held_out_forgetting"],
            worst_forgetting=metrics["worst_forgetting"],
            score=metrics["score"],
        )

    def to_metrics(self) -> dict[str, float]:
        """Return the fields under their metric names."""
        return {
            "score": self.score,
            "target_gain": self.target_gain,
            "held_out_forgetting": self.held_out_forgetting,
            "worst_forgetting": self.worst_forgetting,
        }


@dataclass(frozen=True, kw_only=True)
class Objective:
    """What a study maximises.

    Attributes:
        base: Task -> value of the untouched model, in points, for every target and held-out task.
        targets: The tasks to learn.
        held_out: The tasks not to forget.
        forgetting_weight: Points of gain that one point of mean held-out forgetting costs.
        max_forgetting: Bound on `held_out_forgetting`, in points, above which a recipe is infeasible.
    """

    base: Mapping[str, float]
    targets: tuple[str, ...]
    held_out: tuple[str, ...]
    forgetting_weight: float = 1.0
    max_forgetting: float | None = None

    def score(self, tuned: Mapping[str, float]) -> Score:
        """Score a tuned model.

        Args:
            tuned: Task -> value in points, for every target and held-out task.

        Raises:
            ValueError: A task's value is missing or not a finite number.
        """
        for task in (*self.targets, *self.held_out):
            for whose, values in (("base", self.base), ("tuned", tuned)):
                if not math.isfinite(values.get(task, math.nan)):
                    raise ValueError(f"the {whose} model's value of task {task!r} is missing or not finite")
        gain = _mean([tuned[task] - self.base[task] for task in self.targets])
        drops = [self.base[task] - tuned[task] for task in self.held_out]
        forgetting = _mean(drops)
        return Score(
            target_gain=gain,
            held_out_forgetting=forgetting,
            worst_forgetting=max(drops),
            score=gain - self.forgetting_weight * forgetting,
        )

    def violation(self, held_out_forgetting: float) -> float:
        """Return by how many points forgetting exceeds its bound; at most 0 is feasible."""
        if self.max_forgetting is None:
            return 0.0
        return held_out_forgetting - self.max_forgetting


def score_metrics(evaluations: Mapping[str, Evaluation], *, objective: Objective) -> dict[str, float]:
    """Return a rung's metrics: the score with its parts, and the value of every task.

    Raises:
        ValueError: A task's value is missing or not finite.
    """
    values = {task: evaluation.value for task, evaluation in evaluations.items()}
    return {
        **objective.score(values).to_metrics(),
        **{f"target/{task}": values[task] for task in objective.targets},
        **{f"held_out/{task}": values[task] for task in objective.held_out},
        "scored_samples": float(sum(evaluation.n for evaluation in evaluations.values())),
    }


def paired_metrics(
    evaluations: Mapping[str, Evaluation], *, objective: Objective, base: Mapping[str, Evaluation]
) -> dict[str, float]:
    """Return a rung's metrics, compared with the base on the samples that the rung was evaluated on.

    Args:
        evaluations: Task -> evaluation, of all samples or of the first ones alone.
        objective: What the study maximises.
        base: Task -> the untouched model's evaluation of all samples.

    Raises:
        ValueError: A task's value is missing or not finite.
    """
    same = {task: base[task].first(evaluation.n).value for task, evaluation in evaluations.items()}
    return score_metrics(evaluations, objective=replace(objective, base=same))


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)
