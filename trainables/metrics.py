"""Metrics: how an answer is scored, with its direction and its source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from trainables.evaluation import Direction

Measured = Literal["teacher_forcing", "generation", "likelihood"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """One way to score answers.

    Attributes:
        measured: What the model does for it: go along with the reference answer, write an answer greedily, or
            weigh the choices.
        source: Where the definition comes from.
        direction: Whether a higher or a lower value is better.
        options: Names of its options -> their defaults.
    """

    measured: Measured
    source: str
    direction: Direction = "higher"
    options: Mapping[str, float] = field(default_factory=dict)


METRICS: Final[dict[str, Metric]] = {
    "exact_match": Metric(
        measured="teacher_forcing",
        source="the answer's tokens are what greedy decoding writes, their end included",
    ),
    "normalized_exact_match": Metric(
        measured="generation",
        source="SQuAD (arXiv 1606.05250): without case, punctuation, articles and surplus space",
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
