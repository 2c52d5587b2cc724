"""Metrics: how an answer is scored, with its direction and its source."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from trainables.evaluation import Direction
from trainables.text_metrics import normalized_exact_match

Measured = Literal["teacher_forcing", "generation", "likelihood"]

Score = Callable[[str, Sequence[str], Mapping[str, float]], float]
"""What was written, the answers that count as right, and the options -> points, 0 to 100."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """One way to score answers.

    Attributes:
        measured: What the model does for it: go along with the reference answer, write an answer greedily, or
            weigh the choices.
        source: Where the definition comes from.
        direction: Whether a higher or a lower value is better.
        options: Names of its options -> their defaults.
        score: Scores what was written; None where nothing needs to be.
        per_byte: Whether a choice's log-probability is divided by its length in bytes.
    """

    measured: Measured
    source: str
    direction: Direction = "higher"
    options: Mapping[str, float] = field(default_factory=dict)
    score: Score | None = None
    per_byte: bool = False


METRICS: Final[dict[str, Metric]] = {
    "exact_match": Metric(
        measured="teacher_forcing",
        source="the answer's tokens are what greedy decoding writes, their end included",
    ),
    "normalized_exact_match": Metric(
        measured="generation",
        source="SQuAD (arXiv 1606.05250): without case, punctuation, articles and surplus space",
        score=normalized_exact_match,
    ),
    "multiple_choice": Metric(
        measured="likelihood",
        source="lm-evaluation-harness, `acc`: the choice whose tokens are the most probable",
    ),
    "multiple_choice_norm": Metric(
        measured="likelihood",
        source="lm-evaluation-harness, `acc_bytes`: the most probable choice per byte",
        per_byte=True,
    ),
}


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """A task's metric with its options.

    Attributes:
        name: A key of `METRICS`.
        options: Pairs of an option's name and its value; what is not named has its default.
    """

    name: str
    options: tuple[tuple[str, float], ...] = ()

    @property
    def metric(self) -> Metric:
        """The metric of this name."""
        return METRICS[self.name]

    def score(self, prediction: str, accepted: Sequence[str]) -> float:
        """Return the points of what was written, 0 to 100.

        Args:
            prediction: What was written.
            accepted: The answers that count as right.
        """
        assert self.metric.score is not None
        return self.metric.score(prediction, accepted, {**self.metric.options, **dict(self.options)})

    def __str__(self) -> str:
        """Write the metric as `clock_time(minutes=1)`."""
        options = ", ".join(f"{name}={value:g}" for name, value in self.options)
        return f"{self.name}({options})" if options else self.name


EXACT_MATCH: Final = MetricSpec("exact_match")


@dataclass(frozen=True, kw_only=True, slots=True)
class Decoding:
    """How answers are written for metrics that need it; always greedily.

    Attributes:
        max_new_tokens: Tokens at most; None takes the longest accepted answer's and some more.
        stop: Texts before which an answer ends, besides at the end of the turn.
    """

    max_new_tokens: int | None = None
    stop: tuple[str, ...] = ()


DEFAULT_DECODING: Final = Decoding()
